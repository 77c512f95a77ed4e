# SPDX-License-Identifier: Apache-2.0
"""EventPackets of every encoding in a row: what state they keep, what is lost or refused, and when it happened."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from event_codecs import as_rows, encode_libcaer, encode_libcaer_cmp, encode_mono, random_events

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.real import event_rig
from anyseg_ros.sensors.evt3 import encode_evt3
from anyseg_ros.sensors.messages import EventStream, PayloadError

DATA = os.environ.get("ANYSEG_TEST_DATA")
NOW_NS = 10**18


def message(words=(), seq=0, stamp_ns=NOW_NS, **changes):
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    fields = {
        "header": SimpleNamespace(stamp=stamp), "width": 640, "height": 480, "seq": seq, "time_base": 0,
        "encoding": "evt3", "is_bigendian": False, "events": np.array(words, dtype="<u2").tobytes(),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def at(time_us, x=1):
    return [0x8000 | time_us >> 12 & 0xFFF, 0x6000 | time_us & 0xFFF, 0x0005, 0x2000 | x]


def test_the_earliest_packet_sets_the_offset_and_later_ones_do_not_move_it():
    stream = EventStream(640, 480)
    assert stream.feed(message(at(1000), 0)).t_ns.tolist() == [NOW_NS]
    late = stream.feed(message(at(2000), 1, NOW_NS + 6_000_000))  # 5 ms later than the sensor says
    assert late.t_ns.tolist() == [
        NOW_NS + 1_000_000 + 100
    ]  # 100 ppm of a millisecond, in which clocks may have drifted
    assert stream.watermark_ns == late.t_ns[-1] and stream.clock.lateness_ns == 5_000_000 - 100


def test_host_times_never_run_back():
    stream = EventStream(640, 480)
    times = [stream.feed(message(at(1000 + 10 * i), i, NOW_NS - 900_000 * i)).t_ns[0] for i in range(50)]
    assert all(a <= b for a, b in zip(times, times[1:], strict=False)) and stream.counters["resets"] == 0


def test_times_that_run_back_within_a_packet_are_raised_and_counted():
    stream = EventStream(640, 480)
    events = stream.feed(message([*at(9000), *at(8000), *at(9001)]))
    assert (events.t_ns - NOW_NS).tolist() == [0, 0, 1000] and stream.counters["held_back"] == 1


def test_time_words_raise_the_watermark_without_events():
    stream = EventStream(640, 480)
    stream.feed(message(at(1000), 0))
    before = stream.watermark_ns
    assert len(stream.feed(message(at(9000)[:2], 1))) == 0
    assert stream.watermark_ns == before + 8_000_000


def test_before_the_first_event_no_time_is_known():
    stream = EventStream(640, 480)
    assert len(stream.feed(message(at(9000)[:2], 1))) == 0 and stream.watermark_ns is None


def test_lost_packets_are_counted_and_the_row_must_come_again():
    stream = EventStream(640, 480)
    stream.feed(message(at(1000), 4))
    events = stream.feed(message([0x2001, *at(2000), 0x2002], 8))
    assert stream.lost_packets == 3 and stream.counters["untimed"] == 1
    assert events.x.tolist() == [1, 2]


def test_after_lost_packets_a_low_time_word_alone_tells_no_time():
    """The high time word that belongs to it may have been lost: its events would lie 4 ms or more beside their time."""
    stream = EventStream(640, 480)
    stream.feed(message(at(100 << 12), 0))
    later_ns = NOW_NS + 3 * 4_096_000
    events = stream.feed(message([0x6007, 0x0001, 0x2001, *at(103 << 12, x=2)], 3, later_ns))
    assert events.x.tolist() == [2] and events.t_ns.tolist() == [later_ns] and stream.counters["untimed"] == 1


@pytest.mark.parametrize("seq, stamp_ns", [(3, NOW_NS), (11, NOW_NS + 5_000_000_000), (11, NOW_NS - 5_000_000_000)])
def test_a_restart_or_a_clock_jump_begins_anew(seq, stamp_ns):
    stream = EventStream(640, 480)
    stream.feed(message(at(500_000), 10))
    assert stream.feed(message(at(1000), seq, stamp_ns)).t_ns.tolist() == [stamp_ns]
    assert stream.counters["resets"] == 1


def test_a_wild_time_does_not_stop_the_stream():
    """One damaged word says that hours have passed; without a reset all later events would wait for that time."""
    stream = EventStream(640, 480)
    wild = encode_libcaer([(1, 1, 1, 0), (2, 1, 1, 1_000_000_000_000)], 0)
    stream.feed(message(encoding="libcaer", events=wild, time_base=NOW_NS))
    after = message(seq=1, stamp_ns=NOW_NS + 10**7, encoding="libcaer", time_base=NOW_NS + 10**7)
    after.events = encode_libcaer([(3, 1, 1, NOW_NS + 10**7), (4, 1, 1, NOW_NS + 10**7 + 1000)], NOW_NS + 10**7)
    assert stream.feed(after).t_ns.tolist() == [NOW_NS + 10**7, NOW_NS + 10**7 + 1000]
    assert stream.counters["resets"] == 1


@pytest.mark.parametrize(
    "encoding, encode",
    [
        ("evt3", lambda events, base: encode_evt3(*np.array([(x, y, p, t // 1000) for x, y, p, t in events]).T)),
        ("libcaer", encode_libcaer),
        ("libcaer_cmp", encode_libcaer_cmp),
        ("mono", encode_mono),
    ],
)
def test_every_encoding_gives_the_events_in_host_time(encoding, encode):
    stream, rng, start = EventStream(640, 480), np.random.default_rng(1), NOW_NS - 10**9
    for k in range(4):
        base = start + k * 10**7
        rows = [(x, y, p, base + 1000 * t) for x, y, p, t in random_events(rng, 100, 640, 480, 0, 9000)]
        packet = message(seq=k, stamp_ns=rows[0][3] + 10**9, encoding=encoding, time_base=base)
        packet.events = encode(rows, base)
        events = stream.feed(packet)
        assert as_rows((events.x, events.y, events.p, events.t_ns)) == [(x, y, p, t + 10**9) for x, y, p, t in rows]
        assert (events.x.dtype, events.y.dtype, events.p.dtype, events.t_ns.dtype) == ("u2", "u2", "u1", "i8")
    assert stream.watermark_ns == events.t_ns[-1] and stream.counters["packets"] == 4
    dropped = set(stream.counters) - {"packets"}
    assert not any(stream.counters[name] for name in dropped)


def test_a_change_of_encoding_is_a_restart():
    stream = EventStream(640, 480)
    stream.feed(message(at(500_000), 0))
    packet = message(
        seq=1, stamp_ns=NOW_NS + 1000, encoding="mono", time_base=77, events=encode_mono([(1, 2, 0, 77)], 77)
    )
    assert stream.feed(packet).t_ns.tolist() == [NOW_NS + 1000]
    stream.feed(message([0x2001], 2))
    assert (stream.counters["resets"], stream.counters["untimed"]) == (2, 1), "nothing of the first evt3 is left"


def test_mono_words():
    words = np.array([1 << 63 | 7 << 48 | 9 << 32 | 250, 3 << 48 | 900 << 32 | 300], dtype="<u8")
    stream = EventStream(640, 480)
    events = stream.feed(message(encoding="mono", events=words.tobytes(), time_base=5000))
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([9], [7], [1])
    assert events.t_ns.tolist() == [NOW_NS] and stream.counters["outside"] == 1
    swapped = message(encoding="mono", events=words.astype(">u8").tobytes(), time_base=5000, is_bigendian=True)
    assert EventStream(640, 480).feed(swapped).x.tolist() == [9]


def test_libcaer_words():
    """Known bits; time wraps within the packet; little-endian whatever the flag says."""
    words = [1 | 1 << 1 | 5 << 2 | 7 << 17, 0x7FFFFFFF, 1 | 6 << 2 | 8 << 17, 3, 0 | 6 << 2 | 9 << 17, 4]
    packet = message(encoding="libcaer", events=np.array(words, "<u4").tobytes() + b"\x01", is_bigendian=True)
    stream = EventStream(640, 480)
    events = stream.feed(packet)
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([7, 8], [5, 6], [1, 0])
    assert np.diff(events.t_ns).tolist() == [4000]
    assert (stream.counters["invalid"], stream.counters["torn_bytes"]) == (1, 1)


def test_libcaer_cmp_words():
    words = [0x3005, 0x5001, 0x2007, 0x3805, 0x0001, 0x1002, 0x4808, 0x5081, 0x5001, 0x6000, 0x2280, 0x3001]
    stream = EventStream(640, 480)
    events = stream.feed(message(encoding="libcaer_cmp", events=np.array(words, "<u2").tobytes()))
    assert (events.x.tolist(), events.y.tolist()) == ([7, 7, 7, 7], [5, 8, 15, 16])
    assert events.p.tolist() == [1, 1, 1, 1] and (events.t_ns - NOW_NS).tolist() == [0, *[4_098_000] * 3]
    counters = stream.counters
    assert (counters["untimed"], counters["unknown_words"], counters["outside"]) == (2, 1, 1)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"encoding": "evt2"}, "'evt2' is not read, expected evt3"),
        ({"encoding": "trigger"}, "'trigger' carries triggers and no events, expected evt3, libcaer_cmp"),
        ({"width": 1280}, "1280 x 480 sensor"),
        ({"events": 5}, "no bytes"),
    ],
)
def test_packets_that_cannot_be_read(changes, sentence):
    stream = EventStream(640, 480)
    with pytest.raises(PayloadError, match=sentence):
        stream.feed(message(**changes))
    assert stream.feed(message(at(1000))).x.tolist() == [1], "the next one is read all the same"


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "events_evt3").is_dir(), reason="ANYSEG_TEST_DATA holds no events_evt3"
)
def test_the_real_recording_has_its_known_counts():
    rig, off, on, times = event_rig(640, 480), 0, 0, []
    stream = EventStream(640, 480)
    with BagReader(Path(DATA) / "events_evt3") as reader:
        messages = [msg for _, _, msg in reader.messages(reader.topics())]
        measurements = [m for _, m in reader.measurements(rig)]
    for msg, measurement in zip(messages, measurements, strict=True):
        events = stream.feed(msg)
        assert np.array_equal(events.t_ns, measurement.payload.t_ns) and measurement.stamp_ns == stream.watermark_ns
        on += int(np.count_nonzero(measurement.payload.p))
        off += int(np.count_nonzero(measurement.payload.p == 0))
        times.append(events.t_ns)
    assert (len(messages), off, on) == (517, 218_291, 125_183)
    # The words begin and end with a rising edge: 2079 of them, 2078 falling.
    counters = stream.counters
    assert (counters.pop("triggers_rising"), counters.pop("triggers_falling"), counters.pop("packets")) == (
        2079,
        2078,
        517,
    )
    assert not any(counters.values())
    times = np.concatenate(times)
    assert np.all(np.diff(times) >= 0)
    assert 2.0e9 < times[-1] - times[0] < 2.15e9
