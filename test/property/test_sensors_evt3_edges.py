# SPDX-License-Identifier: Apache-2.0
"""EVT3 at the edges of the sensor: narrow sensors, vectors across the border, lost packets; no event unaccounted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.evt3 import Evt3Decoder, decode_reference

# ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12 and VECT_8 more often, TIME_LOW, TIME_HIGH
CODES = (0x0, 0x2, 0x3, 0x4, 0x4, 0x4, 0x5, 0x5, 0x6, 0x8)
words = st.builds(lambda code, payload: code << 12 | payload, st.sampled_from(CODES), st.integers(0, 0xFFF))
near = st.builds(lambda code, column, sign: code << 12 | sign << 11 | column, st.sampled_from((0, 2, 3)),
                 st.integers(0, 50), st.integers(0, 1))  # fmt: skip
packets = st.lists(st.lists(st.one_of(words, near), max_size=40), max_size=5)
sizes = st.tuples(st.integers(1, 45), st.integers(1, 45))


def as_bytes(packet):
    return np.array(packet, dtype="<u2").tobytes()


def carried(packet):
    """How many events the words of a packet carry, whatever becomes of them."""
    masks = {0x4: 0xFFF, 0x5: 0xFF}
    return sum(1 if word >> 12 == 0x2 else bin(word & masks.get(word >> 12, 0)).count("1") for word in packet)


@settings(max_examples=200, deadline=None)
@given(packets, sizes, st.booleans())
def test_every_event_is_decoded_as_the_reference_does_or_counted(stream, size, timed):
    stream = [[0x8001, 0x6001, 0x0001], *stream] if timed else stream
    decoder = Evt3Decoder(*size)
    events = [
        tuple(map(int, event)) for packet in stream for event in zip(*decoder.decode(as_bytes(packet)), strict=True)
    ]
    assert events == decode_reference([as_bytes(packet) for packet in stream], *size)
    counters = decoder.counters
    assert len(events) + counters["outside"] + counters["untimed"] == sum(map(carried, stream))


@settings(max_examples=60, deadline=None)
@given(packets, packets)
def test_after_a_gap_nothing_is_decoded_before_time_and_row_come_again(before, after):
    decoder = Evt3Decoder(60, 60)
    for packet in [[0x8001, 0x6001, 0x0001], *before]:
        decoder.decode(as_bytes(packet))
    decoder.resync()
    has_high = has_time = has_row = False
    for packet in after:
        for word in packet:
            found = decoder.decode(as_bytes([word]))[0]
            has_row |= word >> 12 == 0x0
            has_high |= word >> 12 == 0x8
            has_time |= has_high and word >> 12 == 0x6
            assert len(found) == 0 or (has_time and has_row)
