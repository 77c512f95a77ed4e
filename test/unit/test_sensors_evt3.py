# SPDX-License-Identifier: Apache-2.0
"""EVT3: known words, and the real recording word by word."""

import os
from pathlib import Path

import numpy as np
import pytest

from anyseg_ros.sensors.evt3 import Evt3Decoder, decode_reference, encode_evt3

DATA = os.environ.get("ANYSEG_TEST_DATA")
needs_events = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "events_evt3").is_dir(), reason="ANYSEG_TEST_DATA holds no events_evt3"
)
TIMED = [0x8001, 0x6002, 0x0005]  # time 4098 us, row 5


def packet_of(*words):
    return np.array(words, dtype="<u2").tobytes()


def decoded(*packets, size=(640, 480)):
    decoder = Evt3Decoder(*size)
    events = [tuple(map(int, e)) for packet in packets for e in zip(*decoder.decode(packet), strict=True)]
    assert events == decode_reference(list(packets), *size)
    return events, decoder.counters


def test_single_events():
    events, _ = decoded(packet_of(*TIMED, 0x2007, 0x2808, 0x0006, 0x2009))
    assert events == [(7, 5, 0, 4098), (8, 5, 1, 4098), (9, 6, 0, 4098)]


def test_vectors_advance_their_base():
    events, _ = decoded(packet_of(*TIMED, 0x3864, 0x4805, 0x5081))
    assert [e[0] for e in events] == [100, 102, 111, 112, 119]
    assert {e[2] for e in events} == {1}


def test_state_lives_across_packets():
    events, _ = decoded(packet_of(*TIMED, 0x3032), packet_of(0x5001), packet_of(0x5001, 0x2001))
    assert [e[:3] for e in events] == [(50, 5, 0), (58, 5, 0), (1, 5, 0)]


@pytest.mark.parametrize("start", [[], [0x8001], [0x6002], [0x6002, 0x8001], [0x8001, 0x6002], [0x0005]])
def test_nothing_comes_before_time_and_row_are_known(start):
    events, counters = decoded(packet_of(*start, 0x2001))
    assert events == [] and counters["untimed"] == 1


def test_time_counts_from_the_low_word():
    events, _ = decoded(packet_of(0x8001, 0x6FFF, 0x0005, 0x2001, 0x8002, 0x2002, 0x6000, 0x2003))
    assert [e[3] for e in events] == [8191, 8191, 8192]


def test_time_wraps_but_small_steps_back_are_noise():
    events, _ = decoded(packet_of(0x8FFF, 0x6000, 0x0005, 0x2001, 0x8FFD, 0x6000, 0x2001, 0x8003, 0x6001, 0x2001))
    assert [e[3] for e in events] == [0xFFF000, 0xFFD000, (1 << 24) + 0x3001]


def test_events_outside_are_dropped_and_counted():
    events, counters = decoded(packet_of(*TIMED, 0x2009, 0x200A, 0x300A - 2, 0x5007), size=(10, 6))
    assert [e[0] for e in events] == [9, 8, 9] and counters["outside"] == 2
    assert decoded(packet_of(*TIMED, 0x2001), size=(10, 5))[1]["outside"] == 1


def test_other_words():
    _, counters = decoded(packet_of(*TIMED, 0xA601, 0xA600, 0xA601, 0x7000, 0xD000, 0xE000, 0xF000, 0x1000, 0xB000))
    assert (counters["triggers_rising"], counters["triggers_falling"], counters["unknown_words"]) == (2, 1, 2)


def test_a_torn_packet_loses_its_last_byte_only():
    decoder = Evt3Decoder(640, 480)
    x, *_ = decoder.decode(packet_of(*TIMED, 0x2007) + b"\x08")
    assert x.tolist() == [7] and decoder.torn_bytes == 1


@pytest.mark.parametrize(
    "events, sentence",
    [
        (([1], [1], [1], [1, 2]), "entries"),
        (([2048], [0], [0], [0]), "0 to 2047"),
        (([0], [0], [2], [0]), "0 to 2047"),
        (([0, 0], [0, 0], [0, 0], [5, 4]), "in order"),
        (([0, 0], [0, 0], [0, 0], [0, 1 << 24]), "16.7 s"),
    ],
)
def test_what_evt3_cannot_carry_is_refused(events, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode_evt3(*(np.array(e) for e in events))


def test_no_events_are_no_bytes():
    assert encode_evt3(*(np.empty(0, int) for _ in range(4))) == b""


def real_packets():
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    name = "event_camera_msgs/msg/EventPacket"
    store = get_typestore(Stores.ROS2_JAZZY)
    definition = (
        "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
        "string encoding\nbool is_bigendian\nuint8[] events\n"
    )
    store.register(get_types_from_msg(definition, name))
    with Reader(Path(DATA) / "events_evt3") as reader:
        return [store.deserialize_cdr(raw, c.msgtype) for c, _, raw in reader.messages() if c.msgtype == name]


@needs_events
def test_the_real_recording_equals_the_plain_decoder_word_by_word():
    packets = [bytes(msg.events) for msg in real_packets()]
    decoder = Evt3Decoder(640, 480)
    parts = [np.concatenate(part) for part in zip(*(decoder.decode(packet) for packet in packets), strict=True)]
    assert np.array_equal(
        np.stack([part.astype(np.int64) for part in parts], axis=1), decode_reference(packets, 640, 480)
    )
