# SPDX-License-Identifier: Apache-2.0
"""A small rig, a random network and bags without a simulator, for the tests of bags and pipeline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from anyseg_ros.bags import messages
from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Events, FrameSet, Measurement, Points

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
CLASSES = LabelSet(("road", "sky", "car"), ((128, 64, 128), (70, 130, 180), (0, 0, 142)))
GRID = (32, 64)
# Camera axes (x right, y down, z forward) in a body frame (x forward, y left, z up).
OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)


def at(x: float, z: float, optical: bool = False) -> np.ndarray:
    """A pose ahead of and above the base frame."""
    pose = OPTICAL.copy() if optical else np.eye(4)
    pose[0, 3], pose[2, 3] = x, z
    return pose


def small_rig() -> Rig:
    """Camera 64x36, lidar (clock 4 ms behind), event camera 32x18 (clock 3 ms ahead); all at 10 Hz."""
    camera = Sensor(
        "camera",
        Modality.CAMERA,
        "camera_optical_frame",
        at(1.5, 1.6, True),
        model=CameraModel.pinhole(64, 36, 77.0),
        topic="/camera/image_raw",
    )
    lidar = Sensor("lidar", Modality.LIDAR, "lidar", at(1.4, 1.9), offset_ns=-4 * MS, topic="/lidar/points")
    event = Sensor(
        "event",
        Modality.EVENT,
        "event_camera_optical_frame",
        at(1.5, 1.6, True),
        offset_ns=3 * MS,
        model=CameraModel.pinhole(32, 18, 64.0),
        topic="/event_camera/events",
    )
    return Rig("small", "base_link", (camera, lidar, event), "camera")


def random_image(rng: np.random.Generator) -> np.ndarray:
    """uint8 [36,64,3]."""
    return rng.integers(0, 256, (36, 64, 3), dtype=np.uint8)


def random_cloud(rng: np.random.Generator, count: int = 500) -> Points:
    """Points in front of the vehicle, most of them in the camera's view."""
    xyz = np.stack([rng.uniform(4, 40, count), rng.uniform(-4, 4, count), rng.uniform(-2, 2, count)], axis=1)
    return Points(
        xyz.astype(np.float32),
        rng.uniform(0, 1, count).astype(np.float32),
        np.sort(rng.integers(-50 * MS, 50 * MS, count)),
        rng.integers(0, 64, count).astype(np.uint16),
    )


def random_events(rng: np.random.Generator, after_ns: int, until_ns: int, count: int = 200) -> Events:
    """Events in (after, until], on whole microseconds, the last one at the end."""
    t_ns = np.sort(rng.integers(after_ns // 1000 + 1, until_ns // 1000 + 1, count)) * 1000
    t_ns[-1] = until_ns
    return Events(
        rng.integers(0, 32, count).astype(np.uint16),
        rng.integers(0, 18, count).astype(np.uint16),
        t_ns,
        rng.integers(0, 2, count).astype(np.uint8),
        32,
        18,
    )


def measurement(rig: Rig, name: str, stamp_ns: int, payload: object) -> Measurement:
    """A measurement of a rig's sensor."""
    sensor = rig.sensor(name)
    start_ns = stamp_ns - DEFAULT.event.window_ns if sensor.modality is Modality.EVENT else None
    return Measurement(name, sensor.modality, stamp_ns, payload, sensor.frame_id, start_ns)


def full_set(rig: Rig, rng: np.random.Generator, true_ns: int = START_NS, **payloads: object) -> FrameSet:
    """A frame set of all three sensors; payloads given by sensor name replace the random ones."""
    event_ns = true_ns + 3 * MS
    made = {
        "camera": random_image(rng),
        "lidar": random_cloud(rng),
        "event": random_events(rng, event_ns - 30 * MS, event_ns),
    } | payloads
    stamps = {"camera": true_ns, "lidar": true_ns - 4 * MS, "event": event_ns}
    present = {name: measurement(rig, name, stamps[name], payload) for name, payload in made.items()}
    return FrameSet(true_ns, "camera", present)


def tiny_checkpoint(
    path: Path,
    encoding: str | None = None,
    modalities: tuple[str, ...] = (),
    parameters: dict | None = None,
) -> Path:
    """A checkpoint of a small network with random weights for three classes."""
    torch.manual_seed(7)
    config = AnySegConfig(classes=len(CLASSES), backbone="b0-half", head_width=16)
    names = list(modalities) or [m.value for m in Modality]
    meta = CheckpointMeta(
        architecture=asdict(config),
        classes=list(CLASSES.names),
        palette=[list(rgb) for rgb in CLASSES.palette],
        modalities=names,
        encoding=DEFAULT.fingerprint if encoding is None else encoding,
        encoding_parameters=parameters or DEFAULT.parameters(),
        normalisation={name: {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.4, 0.3]} for name in names},
        grid=list(GRID),
    )
    save_checkpoint(path, AnySeg(config), meta)
    return path


def write_bag(
    path: Path, seconds: float = 4.0, storage: str = "mcap", truth: bool = True, seed: int = 3, odometry: tuple = ()
) -> Path:
    """A bag of random input: camera at k*100 ms, lidar at 50 ms + k*100 ms, events in chunks of 10 ms; twists."""
    rig, rng = small_rig(), np.random.default_rng(seed)
    camera, lidar, event = rig.sensors
    entries: list[tuple[int, str, tuple]] = []
    end_ns = round(seconds * 1e9)
    for t in range(0, end_ns, 100 * MS):
        true_ns = START_NS + t
        entries.append((true_ns + 15 * MS, "image", (true_ns, random_image(rng))))
        entries.append((true_ns + 105 * MS, "points", (true_ns + 46 * MS, random_cloud(rng))))
    for t in range(10 * MS, end_ns + 1, 10 * MS):
        stamp_ns = START_NS + t + 3 * MS
        entries.append((START_NS + t + 3 * MS, "events", (stamp_ns, random_events(rng, stamp_ns - 10 * MS, stamp_ns))))
    if truth:
        for t in range(0, end_ns + 1, 50 * MS):
            labels = np.broadcast_to(np.arange(64, dtype=np.uint8) // 22, (36, 64))
            entries.append((START_NS + t, "truth", (START_NS + t, np.ascontiguousarray(labels))))
    entries += [(twist.stamp_ns, "odometry", (twist.stamp_ns, twist)) for twist in odometry]
    with BagWriter(path, storage=storage) as writer:
        writer.write_tf_static(START_NS, "base_link", [(s.frame_id, s.base_from_sensor) for s in rig.sensors])
        for arrival_ns, kind, (stamp_ns, payload) in sorted(entries, key=lambda entry: entry[0]):
            if kind == "image":
                writer.write_image(camera.topic, arrival_ns, stamp_ns, camera.frame_id, payload)
                writer.write_camera_info("/camera/camera_info", arrival_ns, stamp_ns, camera.frame_id, camera.model)
            elif kind == "points":
                writer.write_points(lidar.topic, arrival_ns, stamp_ns, lidar.frame_id, payload)
            elif kind == "events":
                writer.write_events(event.topic, arrival_ns, stamp_ns, event.frame_id, payload)
            elif kind == "odometry":
                writer.write("/odometry", arrival_ns, messages.odometry(np.eye(4), payload, "base_link"))
            else:
                writer.write_image("/ground_truth/labels", arrival_ns, stamp_ns, camera.frame_id, payload)
    return path
