# SPDX-License-Identifier: Apache-2.0
"""The messages of one frame set, as drivers publish them: a picture, a sweep of a lidar, packets of events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import Rig, Sensor
from benchmarks.events import START_US, synthetic
from benchmarks.lidar import BASE_FROM_CAMERA, BASE_FROM_LIDAR, DISTORTION, street_scan

WINDOW_US = 30_000
STAMP_NS = 1_700_000_000_000_000_000
POINT = np.dtype({"names": ["x", "y", "z", "intensity", "ring", "time"],
                  "formats": ["<f4", "<f4", "<f4", "<f4", "<u2", "<f4"], "offsets": [0, 4, 8, 12, 16, 18],
                  "itemsize": 22})  # fmt: skip
"""As the Velodyne driver lays out its points."""
CODES = {"f4": 7, "u2": 4}


@dataclass(frozen=True)
class FrameMessages:
    """What arrives for one frame set.

    Attributes:
        rig: camera (the image plane), lidar and event camera.
        image: sensor_msgs/Image.
        cloud: sensor_msgs/PointCloud2.
        packets: event_camera_msgs/EventPacket, of the window before the reference.
        reference_ns: stamp of the set; the window of events ends there.
        events: how many the packets hold, about.
    """

    rig: Rig
    image: Any
    cloud: Any
    packets: tuple[Any, ...]
    reference_ns: int
    events: int


def header(stamp_ns: int) -> Any:
    """A std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="")


def frame_messages(points: int, events: int) -> FrameMessages:
    """A picture of 1920x1080, a sweep of about ``points`` points, about ``events`` events of a 1280x720 sensor."""
    stream = synthetic(events, WINDOW_US)
    lens = {"distortion": "plumb_bob", "D": DISTORTION}
    base_from_event = pose_matrix((1.5, -0.1, 1.6), (0.2, -0.4, 0.5), optical=True)
    camera = replace(CameraModel.pinhole(1920, 1080, 77.0), **lens)
    event_camera = replace(CameraModel.pinhole(stream.width, stream.height, 64.0), **lens)
    sensors = (
        Sensor("camera", Modality.CAMERA, "camera", BASE_FROM_CAMERA, model=camera),
        Sensor("lidar", Modality.LIDAR, "lidar", BASE_FROM_LIDAR),
        Sensor("event", Modality.EVENT, "event", base_from_event, model=event_camera),
    )
    decoder = Evt3Decoder(stream.width, stream.height)
    firsts_us = [int(decoder.decode(packet)[3][0]) for packet in stream.packets]
    stamps_ns = [STAMP_NS + (first_us - firsts_us[0]) * 1000 for first_us in firsts_us]
    return FrameMessages(
        Rig("stage", "base_link", sensors, "camera"),
        picture(camera.width, camera.height),
        sweep(points),
        tuple(event_packet(stream, *packet) for packet in zip(stream.packets, count(), stamps_ns, strict=False)),
        STAMP_NS + (START_US + WINDOW_US - firsts_us[0]) * 1000,
        events,
    )


def picture(width: int, height: int) -> Any:
    """A sensor_msgs/Image of noise."""
    data = np.random.default_rng(2).integers(0, 256, height * width * 3, dtype=np.uint8).tobytes()
    return SimpleNamespace(
        header=header(STAMP_NS), height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width, data=data
    )


def sweep(points: int) -> Any:
    """A sensor_msgs/PointCloud2 of a full turn in a street, all points finite."""
    cloud = street_scan(points, 360.0)
    array = np.zeros(len(cloud.xyz), dtype=POINT)
    array["x"], array["y"], array["z"] = cloud.xyz.T
    array["intensity"], array["ring"] = cloud.intensity, np.arange(len(array)) % 64
    array["time"] = np.linspace(0, 0.1, len(array))
    fields = [
        SimpleNamespace(name=name, offset=POINT.fields[name][1], datatype=CODES[POINT[name].str[1:]], count=1)
        for name in POINT.names
    ]
    return SimpleNamespace(
        header=header(STAMP_NS), height=1, width=len(array), fields=fields, is_bigendian=False,
        point_step=POINT.itemsize, row_step=POINT.itemsize * len(array), data=array.tobytes(), is_dense=True,
    )  # fmt: skip


def event_packet(stream: Any, data: bytes, number: int, stamp_ns: int) -> Any:
    """An event_camera_msgs/EventPacket."""
    return SimpleNamespace(
        header=header(stamp_ns), height=stream.height, width=stream.width, seq=number, time_base=0, encoding="evt3",
        is_bigendian=False, events=data,
    )  # fmt: skip
