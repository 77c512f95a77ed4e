# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels of the encoder: all between its matrix products, on maps whose channels lie side by side.

Several images are a stack of rows: row r of the stack is row ``r % height`` of image ``r // height``. The inner loops
run over contiguous channels without a branch, so that the compiler turns them into vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Without these the compiler may neither fuse a multiply with an add nor reorder a sum.
FAST = {"contract", "nsz", "reassoc"}

KERNEL, STRIDE, PADDING = 7, 4, 3
"""Of the first patch embedding."""

# The normal distribution's Phi(x) - 0.5 = x P(x^2) / Q(x^2), both fitted together to the least largest error, which is
# 1.2e-7, on [-LIMIT, LIMIT]; beyond, the rest is 2e-8.
LIMIT = np.float32(5.515433)
P0, P1, P2, P3, P4 = (
    np.float32(value)
    for value in (0.3989415764808655, 0.05861120671033859, 0.006178608164191246, 0.0004146245482843369,
                  7.428751359839225e-06)
)  # fmt: skip
Q1, Q2, Q3, Q4, Q5 = (
    np.float32(value)
    for value in (0.31357184052467346, 0.0427698940038681, 0.0032877870835363865, 0.0001489214482717216,
                  6.090426154514716e-07)
)  # fmt: skip


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def normalise(tokens, weight, bias, epsilon, out):
    """LayerNorm of each row of ``tokens`` float32 [n,C] -> ``out``, which may be the same memory."""
    count, channels = tokens.shape
    for i in range(count):
        row, target = tokens[i], out[i]
        total = np.float32(0.0)
        for c in range(channels):
            total += row[c]
        mean = total / np.float32(channels)
        spread = np.float32(0.0)
        for c in range(channels):
            spread += (row[c] - mean) * (row[c] - mean)
        scale = np.float32(1.0) / np.sqrt(spread / np.float32(channels) + epsilon)
        for c in range(channels):
            target[c] = (row[c] - mean) * scale * weight[c] + bias[c]


@njit(cache=True, nogil=True, fastmath=FAST)
def mean_of_streams(streams, out):
    """Mean of ``streams`` float32 [M,n,C] over the first axis -> ``out`` [n,C]."""
    share = np.float32(1.0) / np.float32(streams.shape[0])
    for i in range(out.shape[0]):
        target = out[i]
        target[:] = streams[0, i]
        for s in range(1, streams.shape[0]):
            row = streams[s, i]
            for c in range(target.shape[0]):
                target[c] += row[c]
        for c in range(target.shape[0]):
            target[c] *= share


@njit(cache=True, nogil=True)
def patches_of_maps(maps, first, height, kernel, stride, padding, out):
    """What a convolution reads for each of its outputs, zeros beyond the border.

    Args:
        maps: float32 [S,H,W,C].
        first: row of the stack of outputs with which ``out`` begins.
        height: outputs' rows per image.
        kernel: side of a patch.
        stride: from patch to patch.
        padding: how far the first patch begins before the map.
        out: float32 [R,w,kernel*kernel*C], filled; within a patch row, column, channel.
    """
    _, full_height, full_width, channels = maps.shape
    for r in range(out.shape[0]):
        image, top = maps[(first + r) // height], (first + r) % height * stride - padding
        for x in range(out.shape[1]):
            patch, left = out[r, x], x * stride - padding
            for i in range(kernel * kernel):
                y, column = top + i // kernel, left + i % kernel
                target = patch[i * channels : (i + 1) * channels]
                if 0 <= y < full_height and 0 <= column < full_width:
                    target[:] = image[y, column]
                else:
                    target[:] = np.float32(0.0)


@njit(cache=True, nogil=True)
def patches_of_images(images, first, height, out):
    """As ``patches_of_maps`` for the first embedding of float32 images [S,3,H,W]; within a patch channel, row, column.

    Kernel, stride and padding are constants: copies of seven numbers are otherwise three times as slow.
    """
    _, channels, full_height, full_width = images.shape
    for r in range(out.shape[0]):
        image, top = images[(first + r) // height], (first + r) % height * STRIDE - PADDING
        row = out[r]
        for i in range(channels * KERNEL):
            y, at = top + i % KERNEL, i * KERNEL
            source = image[i // KERNEL, min(max(y, 0), full_height - 1)]
            above_or_below = y != min(max(y, 0), full_height - 1)
            for x in range(row.shape[0]):
                left = x * STRIDE - PADDING
                if not above_or_below and left >= 0 and left + KERNEL <= full_width:
                    for k in range(KERNEL):
                        row[x, at + k] = source[left + k]
                else:
                    for k in range(KERNEL):
                        beyond = above_or_below or left + k < 0 or left + k >= full_width
                        row[x, at + k] = np.float32(0.0) if beyond else source[left + k]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _gelu(x):
    """GELU, x Phi(x), as torch.nn.functional.gelu does without its approximation."""
    y = max(min(x, LIMIT), -LIMIT)
    u = y * y
    p = P0 + u * (P1 + u * (P2 + u * (P3 + u * P4)))
    q = np.float32(1.0) + u * (Q1 + u * (Q2 + u * (Q3 + u * (Q4 + u * Q5))))
    return x * (np.float32(0.5) + y * p / q)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def convolve_gelu(window, first, height, weight, bias, out):
    """Depthwise 3x3 convolution and GELU of some rows of a stack.

    Args:
        window: float32 [R+2,w,C]: the rows of ``out`` with the one above and the one below; those that belong to
            another image are not read.
        first: the row of the stack with which ``out`` begins.
        height: rows per image.
        weight: float32 [9,C], row by row.
        bias: float32 [C].
        out: float32 [R,w,C], filled.
    """
    rows, width, channels = out.shape
    zero = np.zeros(channels, np.float32)
    for r in range(rows):
        top, bottom = (first + r) % height == 0, (first + r + 1) % height == 0
        for x in range(width):
            left, right = x == 0, x == width - 1
            a0 = zero if top or left else window[r, x - 1]
            a1 = zero if top else window[r, x]
            a2 = zero if top or right else window[r, x + 1]
            b0 = zero if left else window[r + 1, x - 1]
            b1 = window[r + 1, x]
            b2 = zero if right else window[r + 1, x + 1]
            c0 = zero if bottom or left else window[r + 2, x - 1]
            c1 = zero if bottom else window[r + 2, x]
            c2 = zero if bottom or right else window[r + 2, x + 1]
            target = out[r, x]
            for c in range(channels):
                total = bias[c] + a0[c] * weight[0, c] + a1[c] * weight[1, c] + a2[c] * weight[2, c]
                total += b0[c] * weight[3, c] + b1[c] * weight[4, c] + b2[c] * weight[5, c]
                total += c0[c] * weight[6, c] + c1[c] * weight[7, c] + c2[c] * weight[8, c]
                target[c] = _gelu(total)
