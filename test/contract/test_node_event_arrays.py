# SPDX-License-Identifier: Apache-2.0
"""EventArrays into the segmentor: they stay bytes, and a package that is not there is named."""

from types import SimpleNamespace

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from anyseg_ros.nodes import conversions, inputs
from anyseg_ros.nodes.parameters import ParameterError, SegmentorParameters
from anyseg_ros.real import event_rig


class EventArray:
    """Stands in for the class of a package that is not installed here."""


class FakeNode:
    def __init__(self):
        self.asked = {}

    def create_subscription(self, kind, topic, callback, **options):
        self.asked[topic] = (kind, options["raw"], callback)
        return SimpleNamespace()

    def resolve_topic_name(self, topic):
        return topic


def listen(monkeypatch, there, event_type, got=None):
    monkeypatch.setattr(conversions, "message_type", lambda name: there.get(name))
    node, settings = FakeNode(), SegmentorParameters(rig="x", event_type=event_type)
    take = (lambda *received: None) if got is None else (lambda *received: got.append(received))
    inputs.Inputs(node, event_rig(640, 480), settings, take, lambda *_: None, lambda *_: None)
    return node.asked


@pytest.mark.parametrize("package", ["dvs_msgs", "prophesee_event_msgs"])
def test_arrays_are_taken_as_bytes(monkeypatch, package):
    got = []
    asked = listen(monkeypatch, {f"{package}/msg/EventArray": EventArray}, "array", got)
    kind, raw, callback = asked["~/input/events"]
    assert kind is EventArray and raw is True
    assert asked["~/input/events_info"][1] is True
    callback(b"bytes")
    assert [(sensor.name, msg) for sensor, msg in got] == [("event", b"bytes")]


def test_arrays_without_their_packages_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="neither dvs_msgs nor prophesee_event_msgs is installed"):
        listen(monkeypatch, {}, "array")


def test_packets_and_points_are_messages(monkeypatch):
    for event_type in ("auto", "points", "packet"):
        asked = listen(monkeypatch, {inputs.EVENT_PACKET: Header}, event_type)
        assert not asked["~/input/events"][1]


def test_a_camera_info_is_handed_on_when_more_than_its_stamp_is_new(monkeypatch):
    def serialised(focal, sec, frame_id="camera"):
        info = CameraInfo(header=Header(frame_id=frame_id), width=640, height=480)
        info.header.stamp.sec, info.k = sec, [focal, 0.0, 320.0, 0.0, focal, 240.0, 0.0, 0.0, 1.0]
        return serialize_message(info)

    got, usable = [], [True]

    def take(sensor, msg):
        got.append((sensor.name, msg.k[0], msg.header.stamp.sec))
        return usable[0]

    monkeypatch.setattr(conversions, "message_type", lambda name: None)
    node, settings = FakeNode(), SegmentorParameters(rig="x", event_type="points")
    inputs.Inputs(node, event_rig(640, 480), settings, lambda *_: None, take, lambda *_: None)
    callback = node.asked["~/input/events_info"][2]
    for raw in (serialised(500.0, 1), serialised(500.0, 2), serialised(600.0, 3), serialised(500.0, 4)):
        callback(raw)
    assert got == [("event", 500.0, 1), ("event", 600.0, 3), ("event", 500.0, 4)]
    usable[0] = False  # one that is refused is looked at again, so that the trouble stays reported
    for sec in (5, 6):
        callback(serialised(0.0, sec))
    assert got[3:] == [("event", 0.0, 5), ("event", 0.0, 6)]
