# SPDX-License-Identifier: Apache-2.0
"""What faults do to serialised messages: schedules, stamps, payloads, delivery, and the time of a drive."""

import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.bags import messages
from anyseg_ros.bags.definitions import typestore
from anyseg_ros.faults import cdr
from anyseg_ros.faults.delivery import Delivery
from anyseg_ros.faults.line import Line
from anyseg_ros.faults.payload import TRANSFORMS
from anyseg_ros.faults.schedule import KINDS, ScheduleError, fault, schedule_from, to_data
from anyseg_ros.faults.timeline import Timeline, parse_timeline
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.messages import events_from_points, image_from, points_from
from anyseg_ros.types import Events, Points

MS = 1_000_000
S = 1_000 * MS
STAMP_NS = 1_700_000_000 * S + 123_456_789
RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(1, 256, (6, 8, 3), np.uint8)
CLOUD = Points(RANDOM.uniform(2, 30, (50, 3)).astype(np.float32), RANDOM.random(50, np.float32))


def events():
    t_ns = STAMP_NS + np.sort(RANDOM.integers(0, 10_000, 40)) * 1000
    x, y = RANDOM.integers(0, 80, 40).astype("u2"), RANDOM.integers(0, 45, 40).astype("u2")
    return Events(x, y, t_ns, RANDOM.integers(0, 2, 40).astype("u1"), 80, 45)


def write(message):
    for name in ("data", "events"):
        if isinstance(getattr(message, name, None), array.array):  # as rclpy's messages have it
            setattr(message, name, np.frombuffer(getattr(message, name), np.uint8))
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


def reading(message):
    def read(raw):
        return typestore().deserialize_cdr(raw, message.__msgtype__)

    return read


def sent(message, *faults, at_ns=0):
    """What a line makes of one message."""
    line = Line(faults, reading(message), write)
    line.take(write(message), at_ns)
    return [reading(message)(raw) for raw in line.ready(at_ns + 10 * S)]


def image():
    return messages.image(STAMP_NS, "cam", PIXELS)


def cloud():
    return messages.points(STAMP_NS, "lidar", CLOUD)


def test_a_stamp_is_read_and_replaced_and_nothing_else_changes():
    raw = write(image())
    assert cdr.stamp_ns(raw) == STAMP_NS
    later = cdr.with_stamp(raw, STAMP_NS + 5 * S)
    assert reading(image())(later).header.stamp.sec == 1_700_000_005
    assert cdr.with_stamp(later, STAMP_NS) == raw and cdr.without_stamp(raw) == cdr.without_stamp(later)


def test_a_big_endian_stamp_is_read_as_one():
    raw = bytes([0, 0, 0, 0]) + (7).to_bytes(4, "big") + (9).to_bytes(4, "big")
    assert cdr.stamp_ns(raw) == 7 * S + 9 and cdr.stamp_ns(cdr.with_stamp(raw, 2 * S + 1)) == 2 * S + 1


@pytest.mark.parametrize("raw, to_ns", [(b"\0\1\0\0\0\0", 0), (bytes(12), -1), (bytes(12), 1 << 62)])
def test_what_has_no_room_for_a_stamp_is_refused(raw, to_ns):
    with pytest.raises(ValueError, match="header"):
        cdr.with_stamp(raw, to_ns)


def test_every_kind_of_fault_is_done_by_somebody():
    delivered = {"cut", "flap", "delay", "jitter", "reorder", "duplicate"}
    assert set(KINDS) == delivered | set(TRANSFORMS) | {"die", "zero_stamp", "shift_stamp"}


def test_a_schedule_survives_the_way_through_its_file():
    data = {
        "seed": 3,
        "routes": [{"name": "camera", "from": "/a", "to": "/b", "type": "sensor_msgs/msg/Image", "listeners": 2}],
        "faults": [
            {"route": "camera", "kind": "delay", "from_s": 1.5, "until_s": 2.0, "by_ms": 50.0},
            {"route": "camera", "kind": "cut", "from_s": 4.0},
        ],
    }
    schedule = schedule_from(data)
    assert schedule_from(to_data(schedule)) == schedule
    assert [f.covers(1_600 * MS) for f in schedule.faults] == [True, False]
    assert schedule.faults[1].covers(10**15)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"kind": "explode"}, "no kind of fault"),
        ({"kind": "cut", "by_ms": 3}, "takes nothing"),
        ({"kind": "shift_stamp"}, "needs by_s"),
        ({"kind": "cut", "from_s": 2, "until_s": 2}, "expected 0 <= from < until"),
        ({"kind": "cut", "route": "radar"}, "no route 'radar'"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_with_a_sentence(changes, says):
    routes = [{"name": "camera", "from": "/a", "to": "/b", "type": "sensor_msgs/msg/Image"}]
    with pytest.raises(ScheduleError, match=says):
        schedule_from({"routes": routes, "faults": [{"route": "camera", **changes}]})


@pytest.mark.parametrize(
    "data", [None, {}, {"routes": []}, {"routes": [{"name": "a"}]}, {"routes": [], "fault": []}, [1]]
)
def test_what_is_no_schedule_is_refused_with_a_sentence(data):
    with pytest.raises(ScheduleError, match="schedule"):
        schedule_from(data)


@pytest.mark.parametrize("listeners", [-1, True, "two", 1.5])
def test_a_number_of_listeners_is_one(listeners):
    route = {"name": "camera", "from": "/a", "to": "/b", "type": "sensor_msgs/msg/Image", "listeners": listeners}
    with pytest.raises(ScheduleError, match="'camera' has listeners .*; expected a number from 0"):
        schedule_from({"routes": [route]})


def test_without_a_fault_bytes_pass_untouched():
    raw = write(image())
    line = Line([fault("camera", "black", 5.0)], lambda raw: pytest.fail("read"), lambda message: b"")
    line.take(raw, 0)
    assert line.ready(0) == [raw] and line.counts == {"in": 1, "out": 1}


def test_stamps_go_to_zero_and_leap():
    assert sent(image(), fault("camera", "zero_stamp"))[0].header.stamp.sec == 0
    assert sent(image(), fault("camera", "shift_stamp", by_s=-10.0))[0].header.stamp.sec == 1_699_999_990


def test_images_go_black_and_freeze_and_shrink():
    assert not image_from(sent(image(), fault("camera", "black"))[0]).any()
    np.testing.assert_array_equal(image_from(sent(image(), fault("camera", "swap_channels"))[0]), PIXELS)
    assert image_from(sent(image(), fault("camera", "resize"))[0]).shape == (3, 4, 3)
    assert sent(image(), fault("camera", "frame_id"))[0].header.frame_id == "nowhere"
    assert sent(image(), fault("camera", "encoding", to="rgb9"))[0].encoding == "rgb9"
    line = Line([fault("camera", "freeze", 1.0)], reading(image()), write)
    seen = []
    for second in range(4):
        message = messages.image(STAMP_NS + second * S, "cam", np.full((2, 2, 3), second, np.uint8))
        line.take(write(message), second * S)
        (raw,) = line.ready(second * S)
        seen.append((cdr.stamp_ns(raw) - STAMP_NS, int(image_from(reading(message)(raw)).max())))
    assert seen == [(0, 0), (S, 1), (2 * S, 1), (3 * S, 1)]


def test_clouds_lose_points_range_and_meaning():
    assert len(points_from(sent(cloud(), fault("lidar", "empty"))[0])) == 0
    near = points_from(sent(cloud(), fault("lidar", "blocked"))[0])
    np.testing.assert_allclose(np.linalg.norm(near.xyz, axis=1), 0.2, rtol=1e-5)
    broken = points_from(sent(cloud(), fault("lidar", "not_a_number", share=0.5))[0])
    assert 0.3 < np.isfinite(broken.xyz).mean() < 0.7
    np.testing.assert_array_equal(broken.intensity, CLOUD.intensity)
    assert sent(cloud(), fault("lidar", "point_step"))[0].point_step == 7
    with pytest.raises(ValueError):
        points_from(sent(cloud(), fault("lidar", "truncate"))[0])


def test_event_packets_fall_silent_and_leave_the_sensor():
    packet = messages.event_packet(STAMP_NS, "ev", events(), 0)
    assert not len(sent(packet, fault("event", "silent"))[0].events)
    decoder = Evt3Decoder(80, 45)
    decoded = decoder.decode(bytes(sent(packet, fault("event", "out_of_bounds"))[0].events))
    assert len(decoded.t_ns if hasattr(decoded, "t_ns") else decoded[0]) == 0
    assert len(sent(packet, fault("event", "truncate"))[0].events) % 2 == 1


def test_focal_lengths_change_and_the_centre_does_not():
    model = CameraModel.pinhole(160, 90, 77)
    before, after = (messages.camera_info(STAMP_NS, "cam", model) for _ in range(2))
    (after,) = sent(after, fault("camera_info", "recalibrate", scale=2.0))
    assert after.k[0] == 2 * before.k[0] and after.p[5] == 2 * before.p[5] and after.k[2] == before.k[2]


def test_a_fault_that_does_not_fit_is_told():
    with pytest.raises(ValueError, match="'black' does not fit route 'tf'"):
        message = messages.tf_static(STAMP_NS, "base", [])
        Line([fault("tf", "black")], reading(message), write).take(write(message), 0)


def test_messages_are_lost_late_doubled_and_shuffled():
    def given_out(*faults, count=6):
        delivery, out = Delivery(faults), []
        for number in range(count):
            now_ns = number * 100 * MS
            delivery.take(bytes([number]), now_ns)
            out += [(now_ns // MS, *raw) for raw in delivery.ready(now_ns)]
        return out

    assert [n for _, n in given_out(fault("a", "cut", 0.15, 0.35))] == [0, 1, 4, 5]
    assert [n for _, n in given_out(fault("a", "flap", hz=2.5))] == [2, 3, 6][:2]
    assert given_out(fault("a", "delay", by_ms=200.0)) == [(200, 0), (300, 1), (400, 2), (500, 3)]
    assert [n for _, n in given_out(fault("a", "duplicate"))] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [n for _, n in given_out(fault("a", "reorder"))] == [1, 0, 3, 2, 5, 4]


@given(st.lists(st.integers(0, 50 * MS), max_size=40), st.floats(0, 500), st.integers(0, 9))
def test_jitter_loses_nothing_and_is_the_same_again(steps, by_ms, seed):
    def run():
        delivery, out, now_ns = Delivery([fault("a", "jitter", by_ms=by_ms)], seed), [], 0
        for number, step in enumerate(steps):
            now_ns += step
            delivery.take(bytes([number]), now_ns)
            out += delivery.ready(now_ns)
        return out + delivery.ready(now_ns + round(by_ms * MS) + 1)

    first = run()
    assert sorted(first) == [bytes([number]) for number in range(len(steps))]
    assert first == run()


def test_a_message_that_nobody_overtakes_goes_on_in_the_end():
    delivery = Delivery([fault("a", "reorder")])
    delivery.take(b"1", 0)
    assert delivery.ready(S // 2) == [] and delivery.waiting == 1
    assert delivery.ready(2 * S) == [b"1"] and delivery.waiting == 0


def test_a_drive_pauses_and_jumps():
    time = parse_timeline(["jump@4-1.5", "pause@2+3", "jump@6+60"])
    assert time == Timeline(((2 * S, 3 * S),), ((4 * S, -3 * S // 2), (6 * S, 60 * S)))
    assert [time.progress_ns(t * S) // S for t in (1, 2, 3, 5, 6)] == [1, 2, 2, 2, 3]
    assert [time.elapsed_ns(t * S) // S for t in (1, 2, 3)] == [1, 2, 6]
    assert [time.shift_ns(t * S) / S for t in (3, 4, 6)] == [0, -1.5, 58.5]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=5), st.integers(0, 300))
def test_progress_and_elapsed_time_agree(pauses, at):
    time = Timeline(tuple(sorted((begin * 10, length) for begin, length in dict(pauses).items())))
    assert time.progress_ns(time.elapsed_ns(at)) == at
    assert 0 <= time.progress_ns(at + 1) - time.progress_ns(at) <= 1


@pytest.mark.parametrize("text", ["pause@-1+2", "jump@3", "stop@3+1", "pause@2-1"])
def test_a_timeline_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="cannot read"):
        parse_timeline([text])


def test_a_share_of_the_rows_of_a_packet_leaves_the_sensor():
    packet = messages.event_packet(STAMP_NS, "ev", events(), 0)
    (changed,) = sent(packet, fault("event", "out_of_bounds", share=0.3))
    before, after = (np.frombuffer(bytes(p.events), "<u2") for p in (packet, changed))
    rows = (before & 0xF000) == 0
    moved = before != after
    assert 0 < moved.sum() < rows.sum() and not moved[~rows].any() and (after[moved] == 0x07FF | before[moved]).all()


def test_event_clouds_leave_the_sensor_too():
    conversions = pytest.importorskip("anyseg_ros.nodes.conversions", reason="rclpy is not installed")
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import PointCloud2

    message = conversions.event_cloud(events(), "ev")
    line = Line(
        [fault("event", "out_of_bounds")],
        lambda raw: deserialize_message(raw, PointCloud2),
        lambda changed: bytes(serialize_message(changed)),
    )
    line.take(bytes(serialize_message(message)), 0)
    moved = deserialize_message(line.ready(0)[0], PointCloud2)
    assert len(events_from_points(message, 80, 45)) == 40
    with pytest.raises(ValueError, match="40 of 40 events lie outside"):
        events_from_points(moved, 80, 45)
    few = Line([fault("event", "out_of_bounds", share=0.2)], line._read, line._write)
    few.take(bytes(serialize_message(message)), 0)
    with pytest.raises(ValueError, match=r"^[1-9]\d? of 40 events lie outside"):
        events_from_points(deserialize_message(few.ready(0)[0], PointCloud2), 80, 45)
