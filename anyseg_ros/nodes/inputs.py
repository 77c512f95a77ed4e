# SPDX-License-Identifier: Apache-2.0
"""The segmentor's subscriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import message_filters
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from anyseg_ros.faults.cdr import without_stamp
from anyseg_ros.modality import Modality
from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.parameters import ParameterError, SegmentorParameters
from anyseg_ros.nodes.rig_names import ONLY_RIG, RigNames
from anyseg_ros.sensors.rig import Rig, Sensor

EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
EVENT_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
_TOPICS = {Modality.CAMERA: "camera", Modality.DEPTH: "depth", Modality.EVENT: "events", Modality.LIDAR: "lidar"}


def input_topics(rig: Rig, names: RigNames = ONLY_RIG) -> dict[str, str]:
    """Topic by sensor name: ``~/input/camera`` and so on; ``~/input/<name>`` where a modality has several sensors."""
    sensors = Counter(sensor.modality for sensor in rig.sensors)
    ends = {s.name: _TOPICS[s.modality] if sensors[s.modality] == 1 else s.name for s in rig.sensors}
    return {name: names.topic(f"~/input/{end}") for name, end in ends.items()}


def message_type_of(node: Node, sensor: Sensor, topic: str, settings: SegmentorParameters) -> type:
    """The message type that a sensor is listened to with.

    Raises:
        ParameterError: event packets or arrays are asked for, and their package is not installed.
    """
    if sensor.modality is Modality.EVENT:
        if settings.event_type == "array":
            return _event_array_type()
        packet = conversions.message_type(EVENT_PACKET)
        if settings.event_type == "packet" and packet is None:
            raise ParameterError(
                "parameter 'event_type' is 'packet', but event_camera_msgs is not installed; "
                "install it, or publish events as PointCloud2 (x, y, t, p) and set event_type to points"
            )
        return packet if packet is not None and settings.event_type != "points" else PointCloud2
    if sensor.modality is Modality.LIDAR:
        return PointCloud2
    name = node.resolve_topic_name(topic)
    if sensor.modality is Modality.DEPTH:
        return CompressedImage if name.endswith("/compressedDepth") else Image
    compressed = settings.camera_type == "compressed" or (
        settings.camera_type == "auto" and name.endswith("/compressed")
    )
    return CompressedImage if compressed else Image


def _event_array_type() -> type:
    """EventArray of the first of its packages that is installed."""
    for name in EVENT_ARRAYS:
        kind = conversions.message_type(name)
        if kind is not None:
            return kind
    raise ParameterError(
        "parameter 'event_type' is 'array', but neither dvs_msgs nor prophesee_event_msgs is installed; "
        "install the one that your driver publishes, or publish event packets and set event_type to packet"
    )


class Inputs:
    """Subscribes to every sensor of a rig and to the CameraInfo of those that have a camera model.

    Args:
        node: the node.
        rig: the sensors.
        settings: says which message types are expected.
        on_message: takes (sensor, message).
        on_camera_info: takes (sensor, message); returns whether it could be used. One that was used is not handed on
            again while nothing but its stamp changes.
        on_incompatible_qos: takes (sensor, topic, policy) when a publisher cannot be heard.
        names: what the rig's topics are called.

    Raises:
        ParameterError: as ``message_type_of``.
        RuntimeError: a ``qos_overrides`` parameter cannot work. Nothing stays subscribed then.
    """

    def __init__(
        self,
        node: Node,
        rig: Rig,
        settings: SegmentorParameters,
        on_message: Callable[[Sensor, Any], None],
        on_camera_info: Callable[[Sensor, CameraInfo], bool],
        on_incompatible_qos: Callable[[Sensor, str, str], None],
        names: RigNames = ONLY_RIG,
    ) -> None:
        self._node = node
        self._on_incompatible_qos = on_incompatible_qos
        self._filters: list[message_filters.Subscriber] = []
        topics = input_topics(rig, names)
        kinds = {s.name: message_type_of(node, s, topics[s.name], settings) for s in rig.sensors}
        try:
            for sensor in rig.sensors:
                self._listen(sensor, topics[sensor.name], kinds[sensor.name], on_message, on_camera_info)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Ends all subscriptions."""
        for subscriber in self._filters:
            self._node.destroy_subscription(subscriber.sub)
        self._filters.clear()

    def _listen(
        self,
        sensor: Sensor,
        topic: str,
        kind: type,
        on_message: Callable[[Sensor, Any], None],
        on_camera_info: Callable[[Sensor, CameraInfo], bool],
    ) -> None:
        profile = qos.sensor_data(qos.EVENT_DEPTH if sensor.modality is Modality.EVENT else qos.SENSOR_DEPTH)
        self._subscribe(kind, topic, profile, on_message, sensor)
        if sensor.model is not None:
            self._subscribe(CameraInfo, f"{topic}_info", qos.sensor_data(), _NewsOnly(on_camera_info), sensor)

    def _subscribe(self, kind: type, topic: str, profile: Any, callback: Callable[..., None], sensor: Sensor) -> None:
        def incompatible(info: Any) -> None:
            policy = qos_policy_name_from_kind(info.last_policy_kind)
            self._on_incompatible_qos(sensor, self._node.resolve_topic_name(topic), policy)

        options = {
            "qos_profile": profile,
            "qos_overriding_options": qos.overridable(),
            "event_callbacks": SubscriptionEventCallbacks(incompatible_qos=incompatible),
            # One Python object per event would cost more than the camera's rate allows: arrays stay bytes. A CameraInfo
            # is the same again and again, which its bytes tell. (An image of megabytes takes longer as bytes.)
            "raw": kind is CameraInfo or kind.__name__ == "EventArray",
        }
        subscriber = message_filters.Subscriber(self._node, kind, topic, **options)
        subscriber.registerCallback(lambda msg: callback(sensor, msg))
        self._filters.append(subscriber)


class _NewsOnly:
    """Hands on serialised CameraInfo that differ in more than their stamp from the one that was last used."""

    def __init__(self, on_camera_info: Callable[[Sensor, CameraInfo], bool]) -> None:
        self._on_camera_info = on_camera_info
        self._used = b""

    def __call__(self, sensor: Sensor, raw: bytes) -> None:
        if without_stamp(raw) != self._used:
            used = self._on_camera_info(sensor, deserialize_message(raw, CameraInfo))
            self._used = without_stamp(raw) if used else b""
