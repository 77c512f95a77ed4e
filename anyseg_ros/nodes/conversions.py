# SPDX-License-Identifier: Apache-2.0
"""The only file that reads or fills ROS messages (payloads are read by ``anyseg_ros.sensors.messages``).

Message fields get Python's own int and float: a numpy scalar in a message serialises as garbage or fails late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import create_cloud
from std_msgs.msg import Header, String

from anyseg_ros.nodes import installed
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.types import UNLABELLED, Events

NS_PER_S = 1_000_000_000
LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
_BRIDGE = CvBridge()
_FIELD_TYPES = {
    np.dtype(np.uint8): PointField.UINT8,
    np.dtype(np.uint16): PointField.UINT16,
    np.dtype(np.uint32): PointField.UINT32,
    np.dtype(np.float32): PointField.FLOAT32,
}
EVENT_POINT = np.dtype([("x", np.uint16), ("y", np.uint16), ("t", np.uint32), ("p", np.uint8)])


def message_type(name: str) -> type | None:
    """The class of a message type such as ``sensor_msgs/msg/Image``; None where its package is not installed."""
    package, _, rest = name.partition("/")
    if not installed(package):
        return None
    return getattr(import_module(f"{package}.msg"), rest.rpartition("/")[2], None)


def time_message(stamp_ns: int) -> Time:
    """A Time message of integer nanoseconds."""
    return Time(sec=int(stamp_ns // NS_PER_S), nanosec=int(stamp_ns % NS_PER_S))


def header(stamp_ns: int, frame_id: str) -> Header:
    """A Header."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def stamp_ns(head: Any) -> int:
    """The stamp of a header in integer nanoseconds."""
    return int(head.stamp.sec) * NS_PER_S + int(head.stamp.nanosec)


def clock(now_ns: int) -> Clock:
    """A Clock message."""
    return Clock(clock=time_message(now_ns))


def image(pixels: np.ndarray, encoding: str, head: Header) -> Image:
    """An Image with a copy of the pixels.

    Args:
        pixels: uint8 [H,W] for mono8, uint8 [H,W,3] for rgb8, float32 [H,W] for 32FC1.
        encoding: one of these three.
        head: its header.
    """
    return _BRIDGE.cv2_to_imgmsg(np.ascontiguousarray(pixels), encoding=encoding, header=head)


def labels_from(msg: Image) -> np.ndarray:
    """The uint8 [H,W] array of a mono8 image, a view of the message.

    Raises:
        ValueError: the image is not mono8.
    """
    if msg.encoding != "mono8":
        raise ValueError(f"a label image is mono8, this one is '{msg.encoding}'")
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)[:, : msg.width]


def camera_info(model: CameraModel, head: Header) -> CameraInfo:
    """The CameraInfo of an image: P repeats K, for what is raw stays so; of a rectified image, both describe it."""
    k = [float(v) for v in model.K.reshape(-1)]
    # sensor_msgs/distortion_models has no "none": an ideal camera is plumb_bob with zeros.
    name, d = ("plumb_bob", (0.0,) * 5) if model.distortion == "none" else (model.distortion, model.D)
    return CameraInfo(
        header=head,
        height=model.height,
        width=model.width,
        distortion_model=name,
        d=[float(v) for v in d],
        k=k,
        r=[float(v) for v in model.R.reshape(-1)],
        p=[*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0],
    )


def cloud(points: np.ndarray, head: Header) -> PointCloud2:
    """An unorganised cloud from a structured array [N] of uint8, uint16, uint32 and float32 fields."""
    layout = points.dtype.fields
    assert layout is not None
    fields = [
        PointField(name=name, offset=int(offset), datatype=_FIELD_TYPES[dtype], count=1)
        for name, (dtype, offset, *_) in layout.items()
    ]
    padded = points.dtype.itemsize != sum(dtype.itemsize for dtype, *_ in layout.values())
    return create_cloud(head, fields, points, step=points.dtype.itemsize if padded else None)


def event_cloud(events: Events, frame_id: str) -> PointCloud2:
    """Events as a cloud of x, y (uint16), t (uint32, nanoseconds after the header's stamp), p (uint8).

    Args:
        events: at least one event, spanning less than 4.29 s; the first one's time becomes the stamp.
        frame_id: the event camera's optical frame.

    Raises:
        ValueError: there is no event, or the span does not fit 32 bits.
    """
    if not len(events):
        raise ValueError("an empty packet has no time to stamp a cloud with")
    base_ns = int(events.t_ns[0])
    if int(events.t_ns[-1]) - base_ns > np.iinfo(np.uint32).max:
        raise ValueError("events span more than the 4.29 s that 32-bit nanoseconds hold; split them")
    points = np.empty(len(events), EVENT_POINT)
    points["x"], points["y"], points["p"] = events.x, events.y, events.p
    points["t"] = events.t_ns - base_ns
    return cloud(points, header(base_ns, frame_id))


def label_info(names: Sequence[str], head: Header) -> Any | None:
    """A vision_msgs/LabelInfo of the class names; None where vision_msgs is not installed."""
    label_info_type, vision_class_type = (
        message_type("vision_msgs/msg/LabelInfo"),
        message_type("vision_msgs/msg/VisionClass"),
    )
    if label_info_type is None or vision_class_type is None:
        return None
    classes = [vision_class_type(class_id=i, class_name=name) for i, name in enumerate(names)]
    return label_info_type(header=head, class_map=classes, threshold=0.0)


def palette(names: Sequence[str], colours: Sequence[Sequence[int]]) -> String:
    """The label set as JSON: ``{"unlabelled": 255, "classes": [{"id", "name", "rgb"}, ...]}``."""
    classes = [
        {"id": i, "name": name, "rgb": [int(c) for c in rgb]}
        for i, (name, rgb) in enumerate(zip(names, colours, strict=True))
    ]
    return String(data=json.dumps({"unlabelled": UNLABELLED, "classes": classes}))


def status(level: str, name: str, text: str, values: Mapping[str, Any], hardware_id: str = "") -> DiagnosticStatus:
    """A DiagnosticStatus.

    Args:
        level: ok, warn or error.
        name: who speaks, such as ``segmentor: lidar``.
        text: one line for people.
        values: figures by name.
        hardware_id: the sensor or device.
    """
    pairs = [KeyValue(key=str(k), value=_text(v)) for k, v in values.items()]
    return DiagnosticStatus(level=LEVELS[level], name=name, message=text, hardware_id=hardware_id, values=pairs)


def diagnostics(statuses: Sequence[DiagnosticStatus], head: Header) -> DiagnosticArray:
    """A DiagnosticArray."""
    return DiagnosticArray(header=head, status=list(statuses))


def statuses_from(msg: DiagnosticArray) -> list[dict[str, Any]]:
    """The statuses of an array as plain dictionaries: level, name, message, values."""
    names = {raw: name for name, raw in LEVELS.items()}
    return [
        {
            "level": names.get(s.level, "stale"),
            "name": s.name,
            "message": s.message,
            "values": {pair.key: pair.value for pair in s.values},
        }
        for s in msg.status
    ]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
