# SPDX-License-Identifier: Apache-2.0
"""Event formats once more, event by event and bit by bit: references and encoders that tests compare decoders with."""

import struct

import numpy as np


def words_of(data, letter, order="<"):
    """The whole words of a byte string; a torn tail is left out."""
    size = struct.calcsize(letter)
    return struct.unpack(f"{order}{len(data) // size}{letter}", data[: len(data) // size * size])


def packed(words, letter, order="<"):
    return struct.pack(f"{order}{len(words)}{letter}", *words)


def evt2_reference(calls, width, height, encoding="evt2"):
    """All events (x, y, p, t_us) of a stream that was cut into ``calls``."""
    events, high, epoch = [], None, 0
    for data in calls:
        if encoding == "evt2":
            pairs = [(word, 1) for word in words_of(data, "I")]
        else:
            both = words_of(data[: len(data) // 8 * 8], "I")
            first, second = both[0::2], both[1::2]
            pairs = zip(second, first, strict=True) if encoding == "evt21" else zip(first, second, strict=True)
        for word, mask in pairs:
            code = word >> 28
            if code == 8:
                new = word & 0xFFFFFFF
                if high is not None and high - new > 1 << 27:
                    epoch += 1 << 34
                high = new
            elif code <= 1 and high is not None and (word & 0x7FF) < height:
                t_us = epoch + (high << 6) + (word >> 22 & 0x3F)
                columns = [(word >> 11 & 0x7FF) + bit for bit in range(32) if mask >> bit & 1]
                events += [(column, word & 0x7FF, code, t_us) for column in columns if column < width]
    return events


def encode_evt2(events, encoding="evt2"):
    """Events (x, y, p, t_us), in time order, as words that can be decoded on their own.

    EVT2.1 puts all that differ in their column only, by less than 32, into one mask.
    """
    words, high, i = [], None, 0
    while i < len(events):
        x, y, p, t_us = events[i]
        if t_us >> 6 & 0xFFFFFFF != high:
            high = t_us >> 6 & 0xFFFFFFF
            words.append((8 << 28 | high, 0))
        mask, i = 1, i + 1
        while encoding != "evt2" and i < len(events):
            step = events[i][0] - x
            if events[i][1:] != (y, p, t_us) or not mask.bit_length() <= step < 32:
                break
            mask, i = mask | 1 << step, i + 1
        words.append((p << 28 | (t_us & 0x3F) << 22 | x << 11 | y, mask))
    if encoding == "evt2":
        return packed([head for head, _ in words], "I")
    return b"".join(packed((m, h) if encoding == "evt21" else (h, m), "I") for h, m in words)


def libcaer_reference(data, time_base, width, height):
    """Events (x, y, p, t_ns) of one packet."""
    events, epoch, last = [], 0, 0
    both = words_of(data[: len(data) // 8 * 8], "I")
    for word, time in zip(both[0::2], both[1::2], strict=True):
        time &= (1 << 31) - 1
        if epoch == 0 and time + (1 << 30) < last:
            epoch = 1 << 31
        last = time
        x, y, p = word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1
        if word & 1 and x < width and y < height:
            events.append((x, y, p, time_base + 1000 * (epoch + time)))
    return events


def encode_libcaer(events, time_base):
    """Events (x, y, p, t_ns) as one packet."""
    rows = [(1 | p << 1 | y << 2 | x << 17, (t_ns - time_base) // 1000 & 0x7FFFFFFF) for x, y, p, t_ns in events]
    return packed([word for row in rows for word in row], "I")


def libcaer_cmp_reference(data, time_base, width, height, order="<"):
    """Events (x, y, p, t_ns) of one packet."""
    events, x, base, sign, high, low = [], None, None, 0, 0, 0
    for word in words_of(data, "H", order):
        code, payload = word >> 12, word & 0xFFF
        rows = []
        if code == 0:
            high = payload
        elif code == 1:
            low = payload
        elif code == 2:
            x = payload & 0x7FF
        elif code == 3:
            rows, p = [payload & 0x7FF], payload >> 11
        elif code == 4:
            base, sign = payload & 0x7FF, payload >> 11
        elif code == 5 and base is not None:
            rows, p = [base + bit for bit in range(8) if payload >> bit & 1], sign
            base += 8
        if x is not None and x < width:
            events += [(x, y, p, time_base + 1000 * (high << 12 | low)) for y in rows if y < height]
    return events


def encode_libcaer_cmp(events, time_base, order="<"):
    """Events (x, y, p, t_ns) as one packet; events of one column, time and polarity in rising rows share a vector."""
    words, x, low, high, i = [], None, 0, 0, 0
    while i < len(events):
        column, y, p, t_ns = events[i]
        dt = (t_ns - time_base) // 1000
        for code, new, old in ((0, dt >> 12, high), (1, dt & 0xFFF, low), (2, column, x)):
            if new != old:
                words.append(code << 12 | new)
        high, low, x = dt >> 12, dt & 0xFFF, column
        mask, i = 1, i + 1
        while i < len(events):
            step = events[i][1] - y
            if (events[i][0], *events[i][2:]) != (column, p, t_ns) or not mask.bit_length() <= step < 8:
                break
            mask, i = mask | 1 << step, i + 1
        words += [3 << 12 | p << 11 | y] if mask == 1 else [4 << 12 | p << 11 | y, 5 << 12 | mask]
    return packed(words, "H", order)


def mono_reference(data, time_base, width, height, order="<"):
    """Events (x, y, p, t_ns) of one packet."""
    events = []
    for word in words_of(data, "Q", order):
        x, y = word >> 32 & 0xFFFF, word >> 48 & 0x7FFF
        if x < width and y < height:
            events.append((x, y, word >> 63, time_base + (word & 0xFFFFFFFF)))
    return events


def encode_mono(events, time_base, order="<"):
    """Events (x, y, p, t_ns) as one packet."""
    return packed([p << 63 | y << 48 | x << 32 | (t_ns - time_base) for x, y, p, t_ns in events], "Q", order)


def as_rows(arrays):
    """Decoded arrays as a list of tuples of plain integers."""
    return [tuple(map(int, row)) for row in zip(*arrays, strict=True)]


def random_events(rng, count, width, height, start, span):
    """Rows (x, y, p, t) in time order, many of them beside each other at one time so that vectors are worth it."""
    t = np.sort(rng.integers(start, start + span, max(count // 3, 1)))[
        np.sort(rng.integers(0, max(count // 3, 1), count))
    ]
    x = np.clip(rng.integers(0, width) + np.cumsum(rng.integers(-1, 3, count)), 0, width - 1)
    y = np.clip(rng.integers(0, height) + np.cumsum(rng.integers(-1, 3, count)), 0, height - 1)
    return as_rows((x, y, rng.integers(0, 2, count), t))
