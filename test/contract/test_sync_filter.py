# SPDX-License-Identifier: Apache-2.0
"""AnySync with filters fed by hand: arguments, callbacks, bad messages, resets."""

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from anyseg_ros.nodes.sync_filter import AnySync  # noqa: E402, I001  first: it knows where message_filters is
import message_filters  # noqa: E402
from live_graph import MS, START_NS, small_rig  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from anyseg_ros.modality import Modality  # noqa: E402
from anyseg_ros.nodes import conversions  # noqa: E402
from anyseg_ros.sync.timing import SensorTiming, SyncConfig  # noqa: E402
from anyseg_ros.types import Absence, Measurement  # noqa: E402

CAMERA = SensorTiming.from_period("camera", Modality.CAMERA, 100 * MS)
LIDAR = SensorTiming.from_period("lidar", Modality.LIDAR, 100 * MS)
EVENT = SensorTiming.from_period("event", Modality.EVENT, 100 * MS)


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("composer", context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def inputs():
    return {"camera": message_filters.SimpleFilter(), "lidar": message_filters.SimpleFilter()}


def stamped(kind, ms):
    return kind(header=conversions.header(START_NS + ms * MS, "frame"))


def test_a_callback_gets_the_set_and_its_own_arguments(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR))), []
    sync.registerCallback(lambda *args: got.append(args), "mine", 7)
    image, cloud = stamped(Image, 100), stamped(PointCloud2, 100)
    inputs["lidar"].signalMessage(cloud)
    inputs["camera"].signalMessage(image)
    # The lidar came first and was answered alone; the camera, being preferred, has not been answered yet.
    (given, *rest) = got[-1]
    assert rest == ["mine", 7]
    assert given.reference in ("camera", "lidar") and given.stamp_ns == START_NS + 100 * MS


def test_the_payload_is_the_message_and_absence_has_a_reason(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR))), []
    sync.registerCallback(got.append)
    images = [stamped(Image, ms) for ms in (100, 200, 300)]
    for image in images:
        inputs["camera"].signalMessage(image)
    assert [s.present["camera"].payload for s in got] == images
    assert [s.present["camera"].frame_id for s in got] == ["frame"] * 3
    assert {s.absent["lidar"] for s in got} == {Absence.NEVER_SEEN}
    sync.set_enabled("lidar", False)
    inputs["camera"].signalMessage(stamped(Image, 400))
    assert got[-1].absent == {"lidar": Absence.DISABLED}
    sensors, output = sync.health()
    assert sensors["camera"].is_reference and output.reference == "camera"


def test_messages_can_be_added_by_hand(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR))), []
    sync.registerCallback(got.append)
    sync.add("camera", stamped(Image, 100))
    sync.add("camera", Measurement("camera", Modality.CAMERA, START_NS + 200 * MS, "anything"))
    assert [s.stamp_ns - START_NS for s in got] == [100 * MS, 200 * MS]
    with pytest.raises(ValueError, match="there is no sensor 'radar'; the configuration has camera, lidar"):
        sync.add("radar", stamped(Image, 300))
    with pytest.raises(ValueError, match="the measurement is of 'lidar'"):
        sync.add("camera", Measurement("lidar", Modality.LIDAR, START_NS, ""))
    with pytest.raises(ValueError, match="String has no header"):
        sync.add("camera", String())


def test_a_message_that_cannot_be_read_is_counted_and_the_next_one_is_taken(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR))), []
    sync.registerCallback(got.append)
    inputs["camera"].signalMessage(String())
    inputs["camera"].signalMessage(stamped(Image, 100))
    assert sync.rejected == {"camera": 1} and len(got) == 1


def test_a_callback_that_raises_costs_neither_the_next_set_nor_the_lock(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR))), []

    def fail_once(given):
        got.append(given.stamp_ns - START_NS)
        if len(got) == 1:
            raise ValueError("mine")

    sync.registerCallback(fail_once)
    with pytest.raises(ValueError, match="mine"):
        inputs["camera"].signalMessage(stamped(Image, 100))
    inputs["camera"].signalMessage(stamped(Image, 200))
    assert got == [100 * MS, 200 * MS]


def test_sets_behind_one_whose_callback_raised_still_come(node, inputs):
    sync, got = AnySync(node, inputs, SyncConfig((CAMERA, LIDAR), max_wait_ns=1000 * MS)), []
    for ms in (100, 200):
        inputs["camera"].signalMessage(stamped(Image, ms))
        inputs["lidar"].signalMessage(stamped(PointCloud2, ms))
    for ms in (300, 400):
        inputs["camera"].signalMessage(stamped(Image, ms))  # wait for the lidar

    def fail_first(given):
        got.append(given.stamp_ns - START_NS)
        if len(got) == 1:
            raise RuntimeError("mine")

    sync.registerCallback(fail_first)
    with pytest.raises(RuntimeError, match="mine"):
        inputs["lidar"].signalMessage(stamped(PointCloud2, 400))
    inputs["lidar"].signalMessage(stamped(PointCloud2, 410))
    assert got == [300 * MS, 400 * MS]


def test_event_decoders_are_made_anew_at_each_reset(node):
    made = []

    def make():
        made.append(object())
        return lambda msg: None

    source = message_filters.SimpleFilter()
    sync = AnySync(node, {"event": source}, SyncConfig((EVENT,)), {"event": make})
    source.signalMessage("a packet")
    assert len(made) == 1
    sync._on_jump("the clock jumped")
    assert len(made) == 2


def test_event_packets_are_decoded_by_the_rigs_own_feed(node):
    import numpy as np
    from live_graph import events

    from anyseg_ros.bags import messages
    from anyseg_ros.bags.event_feed import EventFeed

    sensor, source, got = small_rig().sensor("event"), message_filters.SimpleFilter(), []
    sync = AnySync(node, {"event": source}, SyncConfig((EVENT,)), {"event": lambda: EventFeed(sensor)})
    sync.registerCallback(got.append)
    for k in range(30):
        begin_ns = START_NS + k * 10 * MS
        chunk = events(np.random.default_rng(k), begin_ns, begin_ns + 10 * MS)
        source.signalMessage(messages.event_packet(begin_ns, "ev", chunk, k))
    assert [s.stamp_ns - START_NS for s in got] == [100 * MS, 200 * MS]
    assert all(len(s.present["event"].payload) > 300 for s in got)


@pytest.mark.parametrize(
    ("sensors", "names", "decoders", "sentence"),
    [
        ((CAMERA, LIDAR), ["camera"], {}, "the filters are for camera, the configuration has camera, lidar"),
        ((CAMERA,), ["camera", "radar"], {}, "the filters are for camera, radar, the configuration has camera"),
        ((EVENT,), ["event"], {}, "decoders are given for nothing, the event sensors are event"),
        ((CAMERA,), ["camera"], {"camera": list}, "decoders are given for camera, the event sensors are none"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(node, sensors, names, decoders, sentence):
    with pytest.raises(ValueError, match=sentence):
        AnySync(node, {name: message_filters.SimpleFilter() for name in names}, SyncConfig(sensors), decoders)
