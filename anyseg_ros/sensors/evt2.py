# SPDX-License-Identifier: Apache-2.0
"""Prophesee EVT2 and EVT2.1: 32-bit little-endian words, the type in the top four bits.

Source: Prophesee's EVT 2.0 and EVT 2.1 format descriptions. The word of an event holds the type (bits 28-31: 0 OFF,
1 ON), the low 6 bits of the time (22-27), the column (11-21) and the row (0-10). TIME_HIGH (8) holds the other 28
bits of a time in microseconds, which wraps every 4.8 hours. EVT2.1 puts a second word beside each of these: a mask
whose bit i says that column x + i fired. It precedes its event's word; in the legacy order it follows it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CD_OFF, CD_ON, TIME_HIGH, EXT_TRIGGER = 0x0, 0x1, 0x8, 0xA
SKIPPED = (0xD, 0xE, 0xF)  # IMU, OTHER, CONTINUED
WRAP_US = 1 << 34
ENCODINGS = ("evt2", "evt21", "evt21_legacy")

# Places in the decoder's state and its counters.
HIGH, EPOCH, TIME, HAS_TIME = range(4)
OUTSIDE, UNTIMED, UNKNOWN, RISING, FALLING = range(5)


class Evt2Decoder:
    """Decodes the words of one sensor, with the time kept from call to call.

    Args:
        width: of the sensor in pixels; events outside are dropped and counted.
        height: of the sensor in pixels.
        encoding: evt2, evt21 or evt21_legacy.

    Attributes:
        torn_bytes: calls so far whose bytes ended within a word (the rest is dropped).
    """

    def __init__(self, width: int, height: int, encoding: str = "evt2"):
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding '{encoding}' is none of {', '.join(ENCODINGS)}")
        self.width, self.height, self.encoding = int(width), int(height), encoding
        self.torn_bytes = 0
        self._state = np.zeros(4, dtype=np.int64)
        self._counters = np.zeros(5, dtype=np.int64)

    @property
    def counters(self) -> dict[str, int]:
        """Events outside the sensor, events and triggers before the time is known, unknown words, trigger edges."""
        names = ("outside", "untimed", "unknown_words", "triggers_rising", "triggers_falling")
        return dict(zip(names, self._counters.tolist(), strict=True))

    @property
    def time_us(self) -> int | None:
        """Unwrapped sensor time of the last event or TIME_HIGH, or None before the first TIME_HIGH."""
        return int(self._state[TIME]) if self._state[HAS_TIME] else None

    def decode(self, data: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decode the words that follow those of the last call.

        Returns:
            x uint16 [N], y uint16 [N], p uint8 [N] (1 = ON), t_us int64 [N] (unwrapped; may step back a little
            where the sensor's time does).
        """
        raw = np.frombuffer(data, dtype=np.uint8)
        size = 4 if self.encoding == "evt2" else 8
        if len(raw) % size:
            self.torn_bytes += 1
            raw = raw[: len(raw) - len(raw) % size]
        words = raw.view("<u4").astype(np.uint32)
        heads, masks = words, np.ones(1, dtype=np.uint32)
        if self.encoding != "evt2":
            first, second = words[0::2], words[1::2]
            heads, masks = (second, first) if self.encoding == "evt21" else (first, second)
        capacity = _capacity(heads, masks)
        x, y = np.empty(capacity, dtype=np.uint16), np.empty(capacity, dtype=np.uint16)
        p, t_us = np.empty(capacity, dtype=np.uint8), np.empty(capacity, dtype=np.int64)
        n = _decode(heads, masks, self._state, self._counters, self.width, self.height, x, y, p, t_us)
        return x[:n], y[:n], p[:n], t_us[:n]

    def reset(self) -> None:
        """Forget everything but the counters."""
        self._state[:] = 0


@njit(cache=True, nogil=True)
def _capacity(heads, masks):
    """The number of events in the words. One mask for all words says that none has its own."""
    total, shared = 0, masks.shape[0] != heads.shape[0]
    for i in range(heads.shape[0]):
        if heads[i] >> 28 <= CD_ON:
            mask = masks[0 if shared else i]
            while mask:
                mask &= mask - np.uint32(1)
                total += 1
    return total


@njit(cache=True, nogil=True)
def _decode(heads, masks, state, counters, width, height, x, y, p, t_us):
    high, epoch, time, has_time = state[0], state[1], state[2], state[3]
    n, shared = 0, masks.shape[0] != heads.shape[0]
    for i in range(heads.shape[0]):
        word = np.int64(heads[i])
        code = word >> 28
        if code <= CD_ON:
            mask = np.int64(masks[0 if shared else i])
            column, row = word >> 11 & 0x7FF, word & 0x7FF
            if has_time:
                time = epoch + (high << 6) + (word >> 22 & 0x3F)
            while mask:
                if mask & 1:
                    if not has_time:
                        counters[UNTIMED] += 1
                    elif column >= width or row >= height:
                        counters[OUTSIDE] += 1
                    else:
                        x[n], y[n], p[n], t_us[n] = column, row, code, time
                        n += 1
                mask >>= 1
                column += 1
        elif code == TIME_HIGH:
            new = word & 0xFFFFFFF
            if has_time and high - new > 1 << 27:  # it fell by more than half of its range
                epoch += WRAP_US
            if not has_time or new != high:
                time = epoch + (new << 6)
            high, has_time = new, 1
        elif code == EXT_TRIGGER:
            counters[UNTIMED if not has_time else RISING if word & 1 else FALLING] += 1
        elif code not in SKIPPED:
            counters[UNKNOWN] += 1
    state[0], state[1], state[2], state[3] = high, epoch, time, has_time
    return n
