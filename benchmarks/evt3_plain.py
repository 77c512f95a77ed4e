# SPDX-License-Identifier: Apache-2.0
"""EVT3 as one writes it first in NumPy: the whole stream at once, each word's state from the last word that set it.

The words are those of ``anyseg_ros.sensors.evt3``, and so are the events that come out. ``evt3_numpy`` is the careful
version.
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


def decode_stream(data: bytes, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decode all packets of a sensor, joined.

    Args:
        data: of an even number of bytes.
        width: sensor size in pixels; events outside are dropped.
        height: the same.

    Returns:
        x, y, p, t_us (unwrapped), int64 [N] each.
    """
    words = np.frombuffer(data, dtype="<u2")
    code, payload = words >> 12, (words & 0xFFF).astype(np.int64)
    index = np.arange(len(words))

    def last(mask: np.ndarray) -> np.ndarray:
        """Place of the last word of a kind at or before each word; -1 where there was none."""
        return np.maximum.accumulate(np.where(mask, index, -1))

    at_row, at_base, at_low = last(code == ADDR_Y), last(code == VECT_BASE_X), last(code == TIME_LOW)
    at_high = np.where(at_low >= 0, last(code == TIME_HIGH)[at_low], -1)
    time = (payload[at_high] << 12) + payload[at_low] + _epochs(code, payload)[at_high]
    step = np.where(code == VECT_12, 12, np.where(code == VECT_8, 8, 0))
    after = np.cumsum(step)
    base = np.where(at_base >= 0, (payload[at_base] & 0x7FF) + after - step - after[at_base], after - step)
    sign = np.where(at_base >= 0, payload[at_base] >> 11, 0)

    single = np.flatnonzero(code == ADDR_X)
    places, columns, signs = [single], [payload[single] & 0x7FF], [payload[single] >> 11]
    for bit in range(12):
        kinds = (code == VECT_12) | (code == VECT_8) if bit < 8 else code == VECT_12
        place = np.flatnonzero(kinds & (payload >> bit & 1 == 1))
        places.append(place)
        columns.append(base[place] + bit)
        signs.append(sign[place])
    place, x, p = (np.concatenate(parts) for parts in (places, columns, signs))
    order = np.argsort(place, kind="stable")
    place, x, p = place[order], x[order], p[order]
    y = payload[at_row[place]] & 0x7FF
    kept = (at_row[place] >= 0) & (at_high[place] >= 0) & (x < width) & (y < height)
    return x[kept], y[kept], p[kept], time[place][kept]


def _epochs(code: np.ndarray, payload: np.ndarray) -> np.ndarray:
    """At each TIME_HIGH what the wraps before it amount to, in microseconds; 0 at the other words."""
    highs = np.flatnonzero(code == TIME_HIGH)
    epochs = np.zeros(len(code), dtype=np.int64)
    if len(highs):
        wraps = np.cumsum(np.diff(payload[highs], prepend=payload[highs[0]]) < -BACKWARD_HIGH)
        epochs[highs] = WRAP_US * wraps
    return epochs
