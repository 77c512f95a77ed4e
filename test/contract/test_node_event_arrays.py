# SPDX-License-Identifier: Apache-2.0
"""EventArrays into the segmentor: they stay bytes, and a package that is not there is named."""

from types import SimpleNamespace

import pytest
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
    assert asked["~/input/events_info"][1] is False
    callback(b"bytes")
    assert [(sensor.name, msg) for sensor, msg in got] == [("event", b"bytes")]


def test_arrays_without_their_packages_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="neither dvs_msgs nor prophesee_event_msgs is installed"):
        listen(monkeypatch, {}, "array")


def test_packets_and_points_are_messages(monkeypatch):
    for event_type in ("auto", "points", "packet"):
        asked = listen(monkeypatch, {inputs.EVENT_PACKET: Header}, event_type)
        assert not asked["~/input/events"][1]
