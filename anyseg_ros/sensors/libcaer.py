# SPDX-License-Identifier: Apache-2.0
"""The encodings libcaer and libcaer_cmp of iniVation cameras (event_camera_msgs).

Source: the data structures of libcaer_driver and event_camera_codecs. Every packet stands alone: its ``time_base`` is
host time, and times count from there.

libcaer: two little-endian 32-bit words an event: valid (bit 0), polarity (1), row (2-16), column (17-31); then
microseconds as a non-negative int32, which wraps once in 36 minutes.

libcaer_cmp: 16-bit words in the sender's byte order, the code in the top four bits. Rows and columns have changed
their roles against EVT3: ADDR_X is remembered, ADDR_Y makes the event, vectors run along a column.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TIME_HIGH, TIME_LOW, ADDR_X, ADDR_Y, VECT_BASE_Y, VECT_8 = range(6)
WRAP_US = 1 << 31
LATEST_NS = 1 << 62  # of a time base, which is any uint64 in a torn message, so that sums stay within int64
OUTSIDE, UNPLACED, UNKNOWN, INVALID = range(4)


class LibcaerDecoder:
    """Decodes the packets of one camera in the encoding libcaer or libcaer_cmp.

    Args:
        width: of the sensor in pixels; events outside are dropped and counted.
        height: of the sensor in pixels.
        compressed: the encoding is libcaer_cmp.

    Attributes:
        torn_bytes: packets so far whose bytes ended within a word (the rest is dropped).
    """

    def __init__(self, width: int, height: int, compressed: bool):
        self.width, self.height, self.compressed = int(width), int(height), compressed
        self.torn_bytes = 0
        self._counters = np.zeros(4, dtype=np.int64)

    @property
    def counters(self) -> dict[str, int]:
        """Events outside the sensor, before their column or row is known, unknown words, events marked invalid."""
        names = ("outside", "untimed", "unknown_words", "invalid")
        return dict(zip(names, self._counters.tolist(), strict=True))

    def decode(
        self, data: bytes | np.ndarray, time_base_ns: int, is_bigendian: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decode one packet.

        Returns:
            x uint16 [N], y uint16 [N], p uint8 [N] (1 = ON), t_ns int64 [N] (may step back where the camera's does).
        """
        raw = np.frombuffer(data, dtype=np.uint8)
        size = 2 if self.compressed else 8
        if len(raw) % size:
            self.torn_bytes += 1
            raw = raw[: len(raw) - len(raw) % size]
        # libcaer keeps events in little-endian memory on every host; the compressed words are the host's own.
        if self.compressed:
            words = raw.view(">u2" if is_bigendian else "<u2").astype(np.uint16)
            capacity = _capacity(words)
        else:
            words = raw.view("<u4").astype(np.uint32)
            capacity = len(words) // 2
        x, y = np.empty(capacity, dtype=np.uint16), np.empty(capacity, dtype=np.uint16)
        p, t_us = np.empty(capacity, dtype=np.uint8), np.empty(capacity, dtype=np.int64)
        kernel = _decode_compressed if self.compressed else _decode_plain
        n = kernel(words, self._counters, self.width, self.height, x, y, p, t_us)
        return x[:n], y[:n], p[:n], t_us[:n] * 1000 + min(time_base_ns, LATEST_NS)


@njit(cache=True, nogil=True)
def _decode_plain(words, counters, width, height, x, y, p, t_us):
    n, epoch, last = 0, 0, np.int64(0)
    for i in range(words.shape[0] // 2):
        word, time = np.int64(words[2 * i]), np.int64(words[2 * i + 1]) & 0x7FFFFFFF
        # A packet spans less than 36 minutes: one wrap at most, and a fall by less than half is no wrap.
        if last - time > WRAP_US // 2 and epoch == 0:
            epoch = WRAP_US
        last = time
        column, row = word >> 17, word >> 2 & 0x7FFF
        if not word & 1:
            counters[INVALID] += 1
        elif column >= width or row >= height:
            counters[OUTSIDE] += 1
        else:
            x[n], y[n], p[n], t_us[n] = column, row, word >> 1 & 1, epoch + time
            n += 1
    return n


@njit(cache=True, nogil=True)
def _capacity(words):
    """An upper bound of the number of events in compressed words."""
    total = 0
    for word in words:
        code = word >> 12
        if code == ADDR_Y:
            total += 1
        elif code == VECT_8:
            total += 8
    return total


@njit(cache=True, nogil=True)
def _decode_compressed(words, counters, width, height, x, y, p, t_us):
    n, zero, none = 0, np.int64(0), np.int64(-1)
    high, low, column, base, sign = zero, zero, none, none, zero
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code, payload = word >> 12, word & 0xFFF
        mask, row, polarity = np.int64(0), payload & 0x7FF, payload >> 11
        if code == ADDR_Y:
            mask = np.int64(1)
        elif code == VECT_8:
            mask, row, polarity = payload & 0xFF, base, sign
            base += 8 if base >= 0 else 0
        elif code == VECT_BASE_Y:
            base, sign = row, polarity
        elif code == ADDR_X:
            column = payload & 0x7FF
        elif code == TIME_LOW:
            low = payload
        elif code == TIME_HIGH:
            high = payload << 12
        else:
            counters[UNKNOWN] += 1
        while mask:
            if mask & 1:
                if column < 0 or row < 0:
                    counters[UNPLACED] += 1
                elif column >= width or row >= height:
                    counters[OUTSIDE] += 1
                else:
                    x[n], y[n], p[n], t_us[n] = column, row, polarity, high | low
                    n += 1
            mask >>= 1
            row += 1 if row >= 0 else 0
    return n
