# SPDX-License-Identifier: Apache-2.0
"""EventArrays read from their bytes, against rosbags' serialisation of the message definitions."""

import struct

import numpy as np
import pytest
from event_codecs import as_rows

from anyseg_ros.bags import messages
from anyseg_ros.bags.definitions import EVENT_ARRAYS, typestore
from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.real import event_rig
from anyseg_ros.sensors.event_array import event_array_from, event_array_from_cdr
from anyseg_ros.sensors.payload import PayloadError

S = 10**9
STAMP_NS = 1_700_000_000 * S


def array_of(rows, frame_id="events", stamp_ns=STAMP_NS, msgtype=EVENT_ARRAYS[0], width=640, height=480):
    """A message of events (x, y, p, t_ns)."""
    event = msgtype.replace("EventArray", "Event")
    events = [
        messages.message(event, x=x, y=y, ts=messages.header(t, "").stamp, polarity=bool(p)) for x, y, p, t in rows
    ]
    return messages.message(
        msgtype, header=messages.header(stamp_ns, frame_id), height=height, width=width, events=events
    )


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    t_ns = STAMP_NS + np.sort(rng.integers(0, 2 * S, count))
    return as_rows((rng.integers(0, 640, count), rng.integers(0, 480, count), rng.integers(0, 2, count), t_ns))


def serialised(msg, little_endian=True):
    return bytes(typestore().serialize_cdr(msg, msg.__msgtype__, little_endian=little_endian))


def found(array):
    return as_rows((array.events.x, array.events.y, array.events.p, array.events.t_ns))


@pytest.mark.parametrize("count", [0, 1, 2, 50, 1000])
@pytest.mark.parametrize("msgtype", EVENT_ARRAYS)
@pytest.mark.parametrize("little_endian", [True, False])
def test_events_come_back_from_their_bytes(count, msgtype, little_endian):
    rows = rows_of(count, count)
    for length in range(9) if count < 1000 else (0, 5):
        frame_id = "camera_ü"[:length]
        msg = array_of(rows, frame_id, msgtype=msgtype)
        array = event_array_from_cdr(serialised(msg, little_endian), 640, 480)
        assert found(array) == rows
        assert (array.stamp_ns, array.frame_id) == (STAMP_NS, frame_id)
        assert (array.torn, array.outside, array.unordered) == (0, 0, 0)
        kinds = [getattr(array.events, name).dtype for name in ("x", "y", "p", "t_ns")]
        assert kinds == ["u2", "u2", "u1", "i8"] and (array.events.width, array.events.height) == (640, 480)
        slow = event_array_from(msg, 640, 480)
        assert found(slow) == rows and (slow.stamp_ns, slow.frame_id) == (STAMP_NS, frame_id)


@pytest.mark.parametrize("frame_id", ["", "abc", "abcd"])
def test_cut_off_at_any_byte(frame_id):
    rows = rows_of(7)
    data = serialised(array_of(rows, frame_id))
    begin = len(data) - (16 * 7 - 3)
    for size in range(len(data)):
        if size < begin:
            with pytest.raises(PayloadError, match=f"is torn: it ends after {size} bytes"):
                event_array_from_cdr(data[:size], 640, 480)
            continue
        array = event_array_from_cdr(data[:size], 640, 480)
        whole = (size - begin + 3) // 16
        assert found(array) == rows[:whole] and array.torn == 7 - whole
    assert found(event_array_from_cdr(data + b"\0\0\0", 640, 480)) == rows, "middleware pads to 4 bytes"


def test_a_length_from_nowhere_allocates_nothing():
    data = bytearray(serialised(array_of(rows_of(2), "")))
    begin = len(data) - 29
    data[begin - 4 : begin] = struct.pack("<I", 2**32 - 1)
    assert event_array_from_cdr(bytes(data), 640, 480).torn == 2**32 - 3
    data[12:16] = struct.pack("<I", 2**32 - 1)
    with pytest.raises(PayloadError, match="is torn"):
        event_array_from_cdr(bytes(data), 640, 480)


def test_times_that_run_back_are_sorted_stably_and_counted():
    rows = [(1, 0, 1, STAMP_NS + 5), (2, 0, 0, STAMP_NS + 3), (3, 0, 1, STAMP_NS + 5), (4, 0, 1, STAMP_NS + 3)]
    for array in (
        event_array_from_cdr(serialised(array_of(rows)), 640, 480),
        event_array_from(array_of(rows), 640, 480),
    ):
        assert array.events.x.tolist() == [2, 4, 1, 3] and array.unordered == 2
        assert array.events.p.tolist() == [0, 1, 1, 1]


def test_events_outside_are_dropped_and_counted():
    rows = [(640, 0, 1, STAMP_NS), (639, 479, 1, STAMP_NS), (0, 480, 1, STAMP_NS), (65535, 65535, 0, STAMP_NS)]
    array = event_array_from_cdr(serialised(array_of(rows)), 640, 480)
    assert found(array) == [(639, 479, 1, STAMP_NS)] and array.outside == 3


def test_times_before_1970_and_odd_nanoseconds():
    data = bytearray(serialised(array_of([(1, 2, 1, 0)], "", stamp_ns=0)))
    data[4:8] = struct.pack("<i", -1)
    data[-9:-1] = struct.pack("<iI", -2, 4_000_000_000)
    array = event_array_from_cdr(bytes(data), 640, 480)
    assert array.stamp_ns == -S and array.events.t_ns.tolist() == [2 * S]


def test_other_sensors_and_other_bytes_are_refused():
    with pytest.raises(PayloadError, match="640 x 480 sensor, but the rig says 1280 x 720"):
        event_array_from_cdr(serialised(array_of([])), 1280, 720)
    with pytest.raises(PayloadError, match="346 x 260"):
        event_array_from(array_of([], width=346, height=260), 640, 480)
    with pytest.raises(PayloadError, match="representation 0x0003, expected plain CDR"):
        event_array_from_cdr(b"\x00\x03\x00\x00" + bytes(40), 640, 480)


@pytest.mark.parametrize("raw", [True, False])
def test_the_feed_joins_arrays_and_counts(raw):
    sensor = event_rig(640, 480).sensors[0]
    feed = EventFeed(sensor)

    def give(rows):
        msg = array_of(rows, "dvs")
        return feed(serialised(msg) if raw else msg)

    first = give([(1, 1, 1, STAMP_NS), (2, 1, 1, STAMP_NS + 1000)])
    second = give([(640, 1, 1, STAMP_NS + 1500), (3, 1, 1, STAMP_NS + 3000), (4, 1, 0, STAMP_NS + 2000)])
    assert (first.start_ns, first.stamp_ns, first.frame_id) == (STAMP_NS - 1, STAMP_NS + 1000, "dvs")
    assert (second.start_ns, second.stamp_ns) == (STAMP_NS + 1000, STAMP_NS + 3000)
    assert second.payload.x.tolist() == [4, 3]
    assert give([]) is None
    assert (feed.counters["outside"], feed.counters["unordered"], feed.counters["torn_events"]) == (1, 1, 0)


def test_the_feed_counts_events_that_were_overtaken():
    feed = EventFeed(event_rig(640, 480).sensors[0])

    def give(*ms):
        return feed(array_of([(1, 1, 1, STAMP_NS + at * 1_000_000) for at in ms], "dvs"))

    give(0, 9)
    give(20, 29)
    give(10, 19)  # after later ones
    give(15, 17)  # these, too
    give(20, 29)  # counted as a duplicate by its stamp
    give(25, 39)  # the first of them only
    assert feed.counters["overtaken"] == 5
    give(-5000, -4990)  # the clock went back: nothing was overtaken
    give(-4980, -4970)
    assert feed.counters["overtaken"] == 5


def test_what_is_overtaken_takes_no_time_from_the_next():
    feed = EventFeed(event_rig(640, 480).sensors[0])

    def span(*ms):
        found = feed(array_of([(1, 1, 1, STAMP_NS + at * 1_000_000) for at in ms], "dvs"))
        return (found.start_ns - STAMP_NS) / 1e6, (found.stamp_ns - STAMP_NS) / 1e6

    span(1, 10)
    assert span(21, 30) == (10, 30)
    assert span(11, 20)[1] == 20  # after later ones
    assert span(31, 40) == (30, 40)  # and not from 20 on


@pytest.mark.parametrize("msgtype", EVENT_ARRAYS)
def test_arrays_in_a_bag(tmp_path, msgtype):
    rows = rows_of(300)
    with BagWriter(tmp_path / "bag") as writer:
        for k in range(3):
            msg = array_of(rows[100 * k : 100 * k + 100], "dvs", rows[100 * k][3], msgtype)
            writer.write("/dvs/events", STAMP_NS + k, msg)
        writer.write("/dvs/events", STAMP_NS + 3, array_of([], width=10, msgtype=msgtype))
    with BagReader(tmp_path / "bag") as reader:
        measurements = [m for _, m in reader.measurements(event_rig(640, 480))]
        assert reader.rejected["event"] == 1, "the one of another sensor"
        assert len(reader.first_message("/dvs/events").events) == 100
    got = [row for m in measurements for row in as_rows((m.payload.x, m.payload.y, m.payload.p, m.payload.t_ns))]
    assert got == rows
