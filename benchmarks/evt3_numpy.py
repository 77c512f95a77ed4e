# SPDX-License-Identifier: Apache-2.0
"""EVT3 without a compiled loop: whole packets at a time, what a word inherits is filled forward by its position.

This is what a careful user writes in NumPy, and the rival of the event benchmark. The words are those of
``anyseg_ros.sensors.evt3``, and so are the events that come out.
"""

from __future__ import annotations

import numpy as np

from anyseg_ros.sensors.evt3 import (
    ADDR_X,
    ADDR_Y,
    BACKWARD_HIGH,
    TIME_HIGH,
    TIME_LOW,
    VECT_8,
    VECT_12,
    VECT_BASE_X,
    WRAP_US,
)

UNKNOWN = -1


class NumpyEvt3Decoder:
    """Decodes the packets of one sensor; what a packet leaves behind is put in front of the next.

    Args:
        width: sensor size in pixels; events outside are dropped.
        height: the same.
    """

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self._epoch = self._base = self._sign = 0
        self._high = self._time = self._row = UNKNOWN

    def decode(self, packet: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decode one packet.

        Returns:
            x uint16 [N], y uint16 [N], p uint8 [N], t_us int64 [N] (unwrapped).
        """
        words = np.frombuffer(packet, dtype="<u2", count=len(packet) // 2)
        code, payload = words >> 12, (words & 0xFFF).astype(np.int64)
        time = self._times(code, payload)
        row = _fill(np.flatnonzero(code == ADDR_Y), payload & 0x7FF, self._row)
        start, sign = self._columns(code, payload)
        emitting = np.flatnonzero((code == ADDR_X) | (code == VECT_12) | (code == VECT_8))
        masks = np.where(code[emitting] == ADDR_X, 1, payload[emitting]).astype("<u2")
        masks[code[emitting] == VECT_8] &= 0xFF
        bits = np.unpackbits(masks.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
        which, bit = np.nonzero(bits)
        at = emitting[which]
        x, y, t_us = start[at] + bit, row[at], time[at]
        kept = (x < self.width) & (y < self.height) & (y != UNKNOWN) & (t_us != UNKNOWN)
        if len(words):
            self._time, self._row = int(time[-1]), int(row[-1])
        return (
            x[kept].astype(np.uint16),
            y[kept].astype(np.uint16),
            sign[at][kept].astype(np.uint8),
            t_us[kept],
        )

    def _times(self, code: np.ndarray, payload: np.ndarray) -> np.ndarray:
        """Unwrapped time that holds at each word; it counts from the TIME_LOW on."""
        at_high = np.flatnonzero(code == TIME_HIGH)
        highs = payload[at_high]
        before = np.concatenate([[self._high], highs[:-1]])[: len(highs)]
        epochs = self._epoch + WRAP_US * np.cumsum((before != UNKNOWN) & (before - highs > BACKWARD_HIGH))
        at_low = np.flatnonzero(code == TIME_LOW)
        place = np.searchsorted(at_high, at_low) - 1
        high, epoch = (
            np.concatenate([values, [carried]])[place]  # place -1 is what was carried over
            for values, carried in ((highs, self._high), (epochs, self._epoch))
        )
        known = high != UNKNOWN
        at_low = at_low[known]
        lows = np.zeros(len(code), dtype=np.int64)
        lows[at_low] = (epoch + (high << 12))[known] + payload[at_low]
        if len(highs):
            self._high, self._epoch = int(highs[-1]), int(epochs[-1])
        return _fill(at_low, lows, self._time)

    def _columns(self, code: np.ndarray, payload: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column of the lowest bit, and polarity, of each word that emits events (anything at the others)."""
        at_base = np.flatnonzero(code == VECT_BASE_X)
        steps = np.where(code == VECT_12, 12, np.where(code == VECT_8, 8, 0))
        after = np.cumsum(steps)
        origin = (payload & 0x7FF) - after  # at a VECT_BASE_X, which steps by nothing
        base = _fill(at_base, origin, self._base) + after - steps
        sign = _fill(at_base, payload >> 11, self._sign)
        if len(code):
            self._base, self._sign = int(base[-1] + steps[-1]), int(sign[-1])
        single = code == ADDR_X
        return np.where(single, payload & 0x7FF, base), np.where(single, payload >> 11, sign)


def _fill(places: np.ndarray, values: np.ndarray, carried: int) -> np.ndarray:
    """At each word the value of the last place at or before it, before the first one what was carried over."""
    lengths = np.diff(places, prepend=0, append=len(values))
    return np.repeat(np.concatenate([[carried], values[places]]), lengths)
