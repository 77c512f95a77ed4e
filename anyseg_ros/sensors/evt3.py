# SPDX-License-Identifier: Apache-2.0
"""Prophesee EVT3: little-endian 16-bit words, the code in the top four bits, with state across packets.

Source: Prophesee's EVT 3.0 format description. A time is 24 bits of microseconds (TIME_HIGH and TIME_LOW) and wraps
every 16.8 s; ``t_us`` is unwrapped. The time counts from the TIME_LOW word on, so that a TIME_HIGH alone does not
make events jump by 4096 us.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, TIME_HIGH, EXT_TRIGGER = 0x6, 0x8, 0xA
VECTORS = (VECT_12, VECT_8)
SKIPPED = (0x7, 0xD, 0xE, 0xF)  # CONTINUED_4, IMU, OTHERS, CONTINUED_12
WRAP_US = 1 << 24
BACKWARD_HIGH = 10  # a TIME_HIGH that falls by no more is noise, by more a wrap
LONGEST_GAP_US = 4080 << 12  # a longer pause cannot be told from a step back

# Places in the decoder's state (high, epoch, time, has_high, has_time, row, has_row, base, sign) and its counters.
TIME, HAS_HIGH, HAS_TIME, HAS_ROW = 2, 3, 4, 6
OUTSIDE, UNTIMED, UNKNOWN, RISING, FALLING = range(5)
# What is known of TIME_HIGH: nothing, the one before a gap (which tells a wrap, but not the time), the current one.
NEVER, BEFORE_GAP, CURRENT = range(3)

# The place of a lone bit among 12: the multiplier brings each of them to another four bits (a de Bruijn sequence).
BIT_SEQUENCE = 0x09AF
PLACE_OF_BIT = np.zeros(16, dtype=np.int64)
PLACE_OF_BIT[((1 << np.arange(12)) * BIT_SEQUENCE & 0xFFFF) >> 12] = np.arange(12)


class Evt3Decoder:
    """Decodes the packets of one sensor.

    Attributes:
        width, height: sensor size; events outside are dropped and counted.
        torn_bytes: packets with an odd number of bytes so far (the last byte is dropped).
    """

    def __init__(self, width: int, height: int):
        self.width, self.height = int(width), int(height)
        self.torn_bytes = 0
        self._state = np.zeros(9, dtype=np.int64)
        self._counters = np.zeros(5, dtype=np.int64)

    @property
    def counters(self) -> dict[str, int]:
        """Events outside the sensor, events and triggers before the time or row is known, unknown words, edges."""
        names = ("outside", "untimed", "unknown_words", "triggers_rising", "triggers_falling")
        return dict(zip(names, self._counters.tolist(), strict=True))

    @property
    def time_us(self) -> int | None:
        """Unwrapped sensor time of the last time word, or None before the first."""
        return int(self._state[TIME]) if self._state[HAS_TIME] else None

    def decode(self, packet: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decode one packet.

        Returns:
            x uint16 [N], y uint16 [N], p uint8 [N] (1 = ON), t_us int64 [N] (unwrapped; may step back a little
            where the sensor's time does).
        """
        words = self._words(packet)
        capacity = _most_events(words)
        x, y = np.empty(capacity, dtype=np.uint16), np.empty(capacity, dtype=np.uint16)
        p, t_us = np.empty(capacity, dtype=np.uint8), np.empty(capacity, dtype=np.int64)
        n = _decode(words, self._state, self._counters, self.width, self.height, x, y, p, t_us)
        return x[:n], y[:n], p[:n], t_us[:n]

    def resync(self) -> None:
        """After lost packets: drop events until both time words and the row came again; keep the wrap count."""
        self._state[[HAS_TIME, HAS_ROW]] = 0
        self._state[HAS_HIGH] = min(self._state[HAS_HIGH], BEFORE_GAP)

    def reset(self) -> None:
        """Forget everything but the counters."""
        self._state[:] = 0

    def _words(self, packet: bytes | np.ndarray) -> np.ndarray:
        data = np.frombuffer(packet, dtype=np.uint8)
        if len(data) % 2:
            self.torn_bytes += 1
            data = data[:-1]
        return data.view("<u2").astype(np.uint16)


@njit(cache=True, nogil=True)
def _most_events(words):
    """The number of events in the words, those that will be dropped included; without branches, for SIMD."""
    total = np.int64(0)
    for i in range(words.shape[0]):
        code, payload = words[i] >> 12, words[i] & 0xFFF
        mask = np.uint16(payload if code == VECT_12 else payload & 0xFF if code == VECT_8 else code == ADDR_X)
        # Set bits, counted in pairs, fours, and all at once.
        mask -= mask >> np.uint16(1) & np.uint16(0x5555)
        mask = (mask & np.uint16(0x3333)) + (mask >> np.uint16(2) & np.uint16(0x3333))
        total += ((mask + (mask >> np.uint16(4))) & np.uint16(0x0F0F)) * np.uint16(0x0101) >> np.uint16(8) & 0x1F
    return total


@njit(cache=True, nogil=True)
def _decode(words, state, counters, width, height, x, y, p, t_us):
    """Words to events; the state lives in locals while the loop runs (twice as fast as in the array)."""
    high, epoch, time, has_high, has_time = state[0], state[1], state[2], state[3], state[4]
    row, has_row, base, sign = state[5], state[6], state[7], state[8]
    timed = has_time and has_row
    inside = timed and row < height
    n = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code, payload = word >> 12, word & 0xFFF
        if code == ADDR_X:
            column = payload & 0x7FF
            if inside and column < width:
                x[n], y[n], p[n], t_us[n] = column, row, payload >> 11, time
                n += 1
            else:
                counters[OUTSIDE if timed else UNTIMED] += 1
        elif code in VECTORS:
            mask = payload if code == VECT_12 else payload & 0xFF
            if not inside or base + 12 > width:
                mask = _drop(mask, base, timed, inside, width, counters)
            while mask:
                low = mask & -mask
                x[n], y[n], p[n], t_us[n] = base + PLACE_OF_BIT[(low * BIT_SEQUENCE & 0xFFFF) >> 12], row, sign, time
                mask ^= low
                n += 1
            base += 12 if code == VECT_12 else 8
        elif code == VECT_BASE_X:
            base, sign = payload & 0x7FF, payload >> 11
        elif code == ADDR_Y:
            row, has_row, timed = payload & 0x7FF, 1, has_time
            inside = timed and row < height
        elif code == TIME_LOW:
            if has_high == CURRENT:
                time, has_time, timed = epoch + (high << 12) + payload, 1, has_row
                inside = timed and row < height
        elif code == TIME_HIGH:
            if has_high and high - payload > BACKWARD_HIGH:
                epoch += WRAP_US
            high, has_high = payload, CURRENT
        elif code == EXT_TRIGGER:
            counters[UNTIMED if not has_time else RISING if payload & 1 else FALLING] += 1
        elif code not in SKIPPED:
            counters[UNKNOWN] += 1
    state[0], state[1], state[2], state[3], state[4] = high, epoch, time, has_high, has_time
    state[5], state[6], state[7], state[8] = row, has_row, base, sign
    return n


@njit(cache=True, nogil=True)
def _drop(mask, base, timed, inside, width, counters):
    """The bits of a vector word that are events of the sensor; the others are counted."""
    kept = mask & ((1 << min(max(width - base, 0), 12)) - 1) if inside else 0
    dropped = mask ^ kept
    while dropped:
        dropped &= dropped - 1
        counters[OUTSIDE if timed else UNTIMED] += 1
    return kept


def decode_reference(packets: list[bytes], width: int, height: int) -> list[tuple[int, int, int, int]]:
    """A plain decoder, to compare the fast one with: all events (x, y, p, t_us) of a stream of packets."""
    events: list[tuple[int, int, int, int]] = []
    high = time = row = None
    epoch = base = polarity = 0
    for packet in packets:
        for i in range(0, len(packet) - 1, 2):
            word = packet[i] | packet[i + 1] << 8
            code, payload = word >> 12, word & 0xFFF
            columns: list[int] = []
            if code == ADDR_Y:
                row = payload & 0x7FF
            elif code == ADDR_X:
                columns, sign = [payload & 0x7FF], payload >> 11
            elif code == VECT_BASE_X:
                base, polarity = payload & 0x7FF, payload >> 11
            elif code in (VECT_12, VECT_8):
                size = 12 if code == VECT_12 else 8
                columns, sign = [base + bit for bit in range(size) if payload >> bit & 1], polarity
                base += size
            elif code == TIME_HIGH:
                epoch += WRAP_US if high is not None and high - payload > BACKWARD_HIGH else 0
                high = payload
            elif code == TIME_LOW and high is not None:
                time = epoch + (high << 12) + payload
            if time is not None and row is not None and row < height:
                events += [(column, row, sign, time) for column in columns if column < width]
    return events


def encode_evt3(x: np.ndarray, y: np.ndarray, p: np.ndarray, t_us: np.ndarray) -> bytes:
    """Events as one packet that can be decoded without those before it.

    Args:
        x: [N] columns, below 2048.
        y: [N] rows, below 2048.
        p: [N] polarity, 0 or 1.
        t_us: [N] non-negative and non-decreasing microseconds; the packet carries them modulo 2^24.

    Raises:
        ValueError: the arrays differ in length or hold what the format cannot carry.
    """
    columns, rows, signs, times = (np.ascontiguousarray(a, dtype=np.int64) for a in (x, y, p, t_us))
    if not len(columns) == len(rows) == len(signs) == len(times):
        raise ValueError(f"x, y, p, t_us have {len(columns)}, {len(rows)}, {len(signs)}, {len(times)} entries")
    if len(times) == 0:
        return b""
    if min(columns.min(), rows.min(), signs.min()) < 0 or max(columns.max(), rows.max()) > 0x7FF or signs.max() > 1:
        raise ValueError("EVT3 carries x and y from 0 to 2047 and p of 0 or 1; some events are beyond")
    steps = np.diff(times)
    if times[0] < 0 or np.any(steps < 0) or np.any(steps > LONGEST_GAP_US):
        raise ValueError("event times must be non-negative, in order, and less than 16.7 s apart")
    words = np.empty(4 * len(times), dtype=np.uint16)
    n = _encode(columns, rows, signs, times, words)
    return words[:n].astype("<u2").tobytes()


@njit(cache=True, nogil=True)
def _encode(x, y, p, t_us, words):
    n = 0
    high, low, row = -1, -1, -1
    for i in range(t_us.shape[0]):
        new_high, new_low = (t_us[i] >> 12) & 0xFFF, t_us[i] & 0xFFF
        if new_high != high:
            words[n] = (TIME_HIGH << 12) | new_high
            n += 1
            high, low = new_high, -1
        if new_low != low:
            words[n] = (TIME_LOW << 12) | new_low
            n += 1
            low = new_low
        if y[i] != row:
            words[n] = (ADDR_Y << 12) | y[i]
            n += 1
            row = y[i]
        words[n] = (ADDR_X << 12) | (p[i] << 11) | x[i]
        n += 1
    return n
