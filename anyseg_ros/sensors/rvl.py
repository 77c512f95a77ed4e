# SPDX-License-Identifier: Apache-2.0
"""RVL depth images: A. Wilson, "Fast Lossless Compression for Depth Images", ISS 2017.

Numbers are written in groups of three bits, low group first, each in a half byte whose top bit says that more follow;
half bytes fill 32-bit words from the top. The numbers are: count of zero pixels, count of others, and for each of
those the difference to the one before it, zigzag coded (0, -1, 1, -2, ...).
"""

from __future__ import annotations

import numpy as np
from numba import njit


def decode_rvl(data: np.ndarray, count: int) -> np.ndarray | None:
    """The pixels of an RVL stream.

    Args:
        data: uint8 [N], little-endian words; bytes beyond the last whole word are left out.
        count: number of pixels.

    Returns:
        uint16 [count]; None where the stream ends early or its counts do not fit.
    """
    words = np.frombuffer(data[: len(data) // 4 * 4].tobytes(), dtype="<u4").astype(np.uint32)
    pixels = np.zeros(count, dtype=np.uint16)
    return pixels if _decode(words, pixels) else None


@njit(cache=True, nogil=True)
def _number(words, place):
    """The number that begins at a half byte, and the place after it; -1 where there is none of at most 30 bits."""
    value, shift = np.int64(0), 0
    while place < 8 * words.shape[0] and shift < 30:
        group = np.int64(words[place >> 3] >> np.uint32(28 - 4 * (place & 7))) & 15
        place += 1
        value |= (group & 7) << shift
        shift += 3
        if group < 8:
            return value, place
    return np.int64(-1), place


@njit(cache=True, nogil=True)
def _decode(words, pixels):
    """Fill the pixels, which are zero; False for a stream that does not fit."""
    filled, place, value = 0, 0, np.int64(0)
    while filled < pixels.shape[0]:
        zeros, place = _number(words, place)
        if zeros < 0 or zeros > pixels.shape[0] - filled:
            return False
        filled += zeros
        others, place = _number(words, place)
        if others < 0:
            return filled == pixels.shape[0]
        if others > pixels.shape[0] - filled:
            return False
        for _ in range(others):
            coded, place = _number(words, place)
            if coded < 0:
                return False
            value += (coded >> 1) ^ -(coded & 1)
            pixels[filled] = value & 0xFFFF
            filled += 1
    return True
