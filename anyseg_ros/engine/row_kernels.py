# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels that work on a few image rows at a time: upsampling and adding maps, and labels from logits.

All of them upsample bilinearly as ``torch.nn.functional.interpolate(align_corners=False)`` does. The inner loops run
over contiguous memory without a branch, so that the compiler turns them into vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Without these three the compiler may neither fuse a multiply with an add nor reorder a sum.
FAST = {"contract", "nsz", "reassoc"}

LOG2_E = np.float32(1.4426950408889634)
LOWEST = np.float32(-80.0)
"""exp of less is nothing beside the 1 that the largest class adds; below -87 a float32 is no longer normal."""
# Taylor coefficients of 2^x; on [-0.5, 0.5] the first one left out is worth 1.2e-7.
P1, P2, P3, P4, P5, P6 = (
    np.float32(value)
    for value in (
        0.6931471805599453, 0.24022650695910072, 0.05550410866482158,
        0.009618129107628477, 0.0013333558146428443, 0.00015403530393381606,
    )
)  # fmt: skip
LEFT = np.array([0.375, 0.125, 0.0, 0.0], np.float32)
"""Upsampling by four: weights of the pixel to the left, the pixel itself and the one to the right, per phase."""
MIDDLE = np.array([0.625, 0.875, 0.875, 0.625], np.float32)
RIGHT = np.array([0.0, 0.0, 0.125, 0.375], np.float32)


@njit(cache=True, nogil=True, inline="always")
def _source(index, size, small):
    """The two pixels among ``small`` that pixel ``index`` of ``size`` lies between, and the weight of the second."""
    at = max(np.float32(0.0), (np.float32(index) + np.float32(0.5)) * np.float32(small / size) - np.float32(0.5))
    low = min(int(at), small - 1)
    return low, min(low + 1, small - 1), np.float32(at - np.float32(low))


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_row(row, y, height, small, between):
    """Adds row ``y`` of ``height`` of the upsampled map ``small`` [h,w,E] to ``row`` [W,E]; ``between`` is scratch."""
    low, high, t = _source(y, height, small.shape[0])
    s = np.float32(1.0) - t
    above, below = small[low], small[high]
    width, channels = row.shape
    for x in range(small.shape[1]):
        for c in range(channels):
            between[x, c] = s * above[x, c] + t * below[x, c]
    for x in range(width):
        left, right, u = _source(x, width, small.shape[1])
        v = np.float32(1.0) - u
        a, b, out = between[left], between[right], row[x]
        for c in range(channels):
            out[c] += v * a[c] + u * b[c]


@njit(cache=True, nogil=True, fastmath=FAST)
def add_upsampled(rows, first, height, half, quarter, eighth, between):
    """Adds three coarser maps, upsampled, to some rows of the finest, and cuts off what is negative (ReLU).

    Args:
        rows: float32 [R,W,E], rows ``first`` to ``first + R`` of the finest map; changed in place.
        first: number of the first row.
        height: rows of the whole finest map.
        half: float32 [h,w,E], and so on: the coarser maps.
        quarter: see there.
        eighth: see there.
        between: float32 scratch of at least [w,E] for the widest of the three.
    """
    for r in range(rows.shape[0]):
        row = rows[r]
        _add_row(row, first + r, height, half, between)
        _add_row(row, first + r, height, quarter, between)
        _add_row(row, first + r, height, eighth, between)
        for x in range(row.shape[0]):
            out = row[x]
            for c in range(row.shape[1]):
                out[c] = max(out[c], np.float32(0.0))


@njit(cache=True, nogil=True, fastmath=FAST)
def _vertical(logits, y, padded):
    """Row ``y`` of the logits [K,h,w] upsampled by four in height -> ``padded`` [K,w+2], edges repeated."""
    low, high, t = _source(y, 4 * logits.shape[1], logits.shape[1])
    s = np.float32(1.0) - t
    width = logits.shape[2]
    for k in range(logits.shape[0]):
        above, below, out = logits[k, low], logits[k, high], padded[k]
        for x in range(width):
            out[x + 1] = s * above[x] + t * below[x]
        out[0] = out[1]
        out[width + 1] = out[width]


@njit(cache=True, nogil=True, fastmath=FAST)
def _largest(padded, phase, values, best, label):
    """Every fourth pixel of a row, from ``phase`` on: scores [K,w], the largest and its class."""
    left, middle, right = LEFT[phase], MIDDLE[phase], RIGHT[phase]
    classes, width = values.shape
    for x in range(width):
        best[x] = np.float32(-np.inf)
    for k in range(classes):
        source, out = padded[k], values[k]
        for x in range(width):
            score = left * source[x] + middle * source[x + 1] + right * source[x + 2]
            out[x] = score
            larger = score > best[x]
            label[x] = np.int32(k) if larger else label[x]
            best[x] = score if larger else best[x]


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_of_exponentials(values, best, total, power, power_bits):
    """Sum over the classes of exp(score - largest score) -> ``total`` [w]."""
    classes, width = values.shape
    for x in range(width):
        total[x] = np.float32(0.0)
    for k in range(classes):
        scores = values[k]
        for x in range(width):
            z = max(scores[x] - best[x], LOWEST) * LOG2_E
            whole = np.int32(z - np.float32(0.5))
            f = z - np.float32(whole)
            part = np.float32(1.0) + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
            scores[x] = part
            power_bits[x] = (whole + np.int32(127)) << np.int32(23)
        for x in range(width):
            total[x] += scores[x] * power[x]


@njit(cache=True, nogil=True)
def label_rows(logits, first, last, labels, confidence):
    """Labels of some rows from logits at a quarter of the size, without the logits at full size.

    Args:
        logits: float32 [K,h,w].
        first: first row of the full size to fill.
        last: the row after the last.
        labels: uint8 [4h,4w]; rows ``first`` to ``last`` are filled.
        confidence: float32 [4h,4w], the softmax probability of the label; likewise.
    """
    classes, _, width = logits.shape
    padded = np.empty((classes, width + 2), np.float32)
    values = np.empty((classes, width), np.float32)
    best, total, power = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    label, power_bits = np.zeros(width, np.int32), power.view(np.int32)
    for y in range(first, last):
        _vertical(logits, y, padded)
        for phase in range(4):
            _largest(padded, phase, values, best, label)
            _sum_of_exponentials(values, best, total, power, power_bits)
            for x in range(width):
                labels[y, 4 * x + phase] = label[x]
                confidence[y, 4 * x + phase] = np.float32(1.0) / total[x]
