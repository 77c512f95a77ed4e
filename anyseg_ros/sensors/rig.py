# SPDX-License-Identifier: Apache-2.0
"""The rig: which sensors a vehicle carries, where they sit, and how their clocks run. Read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from anyseg_ros.modality import Modality
from anyseg_ros.sensors import rig_values
from anyseg_ros.sensors.calibration import CalibrationError, CameraModel
from anyseg_ros.sensors.poses import RigError, check_transform, pose_matrix
from anyseg_ros.types import DEFAULT_LOST_PERIODS, DEFAULT_STALE_PERIODS, DEFAULT_TOLERANCE_PERIODS

MS = 1_000_000
OPTICAL = (Modality.CAMERA, Modality.DEPTH, Modality.EVENT)
SENSOR_KEYS = {
    "name", "modality", "frame_id", "topic", "rate_hz", "offset_ms", "tolerance_ms", "stale_ms", "lost_ms",
    "required", "enabled", "intensity_scale", "pose", "camera",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sensor:
    """One sensor of a rig.

    Attributes:
        name: unique in the rig.
        frame_id: the frame that its payload is expressed in (the optical frame for cameras).
        base_from_sensor: float64 [4,4], takes a point of that frame into the rig's base frame.
        period_ns: time between two measurements; for events the output period (one due set per multiple of it).
        model: the camera model of a camera, event or depth sensor.
        offset_ns: the sensor's stamp minus the true time.
        tolerance_ns, stale_ns, lost_ns: for the synchroniser; 0 means 1, 2.25 and 30 periods (see ``types``).
        intensity_scale: lidar only, brings the driver's intensity to 0..1.
    """

    name: str
    modality: Modality
    frame_id: str
    base_from_sensor: np.ndarray
    period_ns: int = 100 * MS
    model: CameraModel | None = None
    offset_ns: int = 0
    tolerance_ns: int = 0
    stale_ns: int = 0
    lost_ns: int = 0
    required: bool = False
    enabled: bool = True
    intensity_scale: float = 1.0
    topic: str = ""

    def __post_init__(self) -> None:
        matrix = np.asarray(self.base_from_sensor, dtype=np.float64)
        object.__setattr__(self, "base_from_sensor", check_transform(matrix, f"sensor '{self.name}'"))
        if self.modality in OPTICAL and self.model is None:
            raise RigError(f"sensor '{self.name}' is a {self.modality.value} sensor and needs a camera calibration")
        if self.period_ns <= 0:
            raise RigError(f"sensor '{self.name}' has a period of {self.period_ns} ns, expected a positive one")
        for attribute, periods in (
            ("tolerance_ns", DEFAULT_TOLERANCE_PERIODS),
            ("stale_ns", DEFAULT_STALE_PERIODS),
            ("lost_ns", DEFAULT_LOST_PERIODS),
        ):
            if getattr(self, attribute) <= 0:
                object.__setattr__(self, attribute, round(periods * self.period_ns))


def optical_model(sensor: Sensor) -> CameraModel:
    """The camera model of a camera, depth or event sensor (``Sensor`` refuses one without)."""
    assert sensor.model is not None
    return sensor.model


@dataclass(frozen=True, eq=False)
class Rig:
    """The sensors of a vehicle, in order of preference as the reference.

    Attributes:
        base_frame: x forward, y left, z up (REP-103), its origin on the ground.
        image_plane: name of the camera or depth sensor whose optical frame and model define the image plane.
    """

    name: str
    base_frame: str
    sensors: tuple[Sensor, ...]
    image_plane: str

    def __post_init__(self) -> None:
        names = [s.name for s in self.sensors]
        if len(set(names)) != len(names):
            raise RigError(f"rig '{self.name}' names a sensor twice: {', '.join(names)}")
        if self.sensor(self.image_plane).model is None:
            raise RigError(f"the image plane '{self.image_plane}' of rig '{self.name}' has no camera calibration")

    def sensor(self, name: str) -> Sensor:
        """The sensor of that name.

        Raises:
            RigError: there is none; the message lists those there are.
        """
        for sensor in self.sensors:
            if sensor.name == name:
                return sensor
        raise RigError(f"rig '{self.name}' has no sensor '{name}', only: {', '.join(s.name for s in self.sensors)}")

    def plane_from(self, name: str) -> np.ndarray:
        """Float64 [4,4], from a sensor's frame into the optical frame of the image plane."""
        return np.linalg.inv(self.sensor(self.image_plane).base_from_sensor) @ self.sensor(name).base_from_sensor

    def replace_calibration(
        self, name: str, model: CameraModel | None = None, base_from_sensor: np.ndarray | None = None
    ) -> Rig:
        """The rig with another camera model and/or pose for one sensor (from CameraInfo, TF)."""
        old = self.sensor(name)
        pose = old.base_from_sensor if base_from_sensor is None else base_from_sensor
        new = replace(old, model=model or old.model, base_from_sensor=pose)
        return replace(self, sensors=tuple(new if s is old else s for s in self.sensors))


def load_rig(path: str | Path) -> Rig:
    """Read a rig file (see config/rigs).

    Raises:
        RigError: what is wrong, with the file's name.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return rig_from_dict(yaml.safe_load(file))
    except OSError as error:
        raise RigError(f"cannot read the rig file {path}: {error.strerror}") from error
    except (yaml.YAMLError, RigError, CalibrationError) as error:
        raise RigError(f"rig file {path}: {error}") from error


def rig_from_dict(data: Any) -> Rig:
    """A rig from the nested dictionaries of its file.

    Raises:
        RigError: a key is missing or unknown, or a value cannot be used.
    """
    known = {"name", "base_frame", "image_plane", "sensors"}
    rig_values.check_keys(data, known, {"name", "image_plane", "sensors"}, "the rig")
    if not isinstance(data["sensors"], list) or not data["sensors"]:
        raise RigError("'sensors' is empty, expected a list of sensors")
    sensors = tuple(_sensor_from_dict(entry) for entry in data["sensors"])
    name, base_frame = rig_values.text(data, "name"), rig_values.text(data, "base_frame", "base_link")
    return Rig(name, base_frame, sensors, rig_values.text(data, "image_plane"))


def _sensor_from_dict(entry: Any) -> Sensor:
    rig_values.check_keys(entry, SENSOR_KEYS, {"name", "modality", "pose"}, "a sensor")
    name = rig_values.text(entry, "name")
    try:
        values: dict[str, Any] = {
            "modality": rig_values.modality(entry),
            "frame_id": rig_values.text(entry, "frame_id", name),
            "base_from_sensor": rig_values.pose(entry["pose"]),
            "period_ns": rig_values.period_ns(entry),
            "model": rig_values.camera(entry["camera"]) if "camera" in entry else None,
            "required": rig_values.flag(entry, "required", False),
            "enabled": rig_values.flag(entry, "enabled", True),
            "intensity_scale": rig_values.intensity_scale(entry),
            "topic": rig_values.text(entry, "topic", ""),
        }
        for key in ("offset", "tolerance", "stale", "lost"):
            values[f"{key}_ns"] = round(rig_values.number(entry, f"{key}_ms", 0.0) * MS)
    except (RigError, CalibrationError) as error:
        raise RigError(f"sensor '{name}': {error}") from error
    return Sensor(name, **values)  # names the sensor itself in what it refuses


def save_rig(rig: Rig, path: str | Path) -> None:
    """Write a rig so that ``load_rig`` reads the same rig."""
    data = {
        "name": rig.name,
        "base_frame": rig.base_frame,
        "image_plane": rig.image_plane,
        "sensors": [_sensor_to_dict(sensor) for sensor in rig.sensors],
    }
    Path(path).write_text(yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120), encoding="utf-8")


def _sensor_to_dict(sensor: Sensor) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": sensor.name,
        "modality": sensor.modality.value,
        "frame_id": sensor.frame_id,
        "topic": sensor.topic,
        "rate_hz": 1e9 / sensor.period_ns,
        "required": sensor.required,
        "enabled": sensor.enabled,
        "intensity_scale": float(sensor.intensity_scale),
        "pose": {"matrix": sensor.base_from_sensor.tolist()},
    }
    for key in ("offset", "tolerance", "stale", "lost"):
        entry[f"{key}_ms"] = getattr(sensor, f"{key}_ns") / MS
    if sensor.model is not None:
        model = sensor.model
        entry["camera"] = {
            "width": model.width,
            "height": model.height,
            "K": model.K.tolist(),
            "distortion": model.distortion,
            "D": list(model.D),
        }
        if model.rectified:
            entry["camera"] |= {"rectified": True, "R": model.R.tolist()}
    return entry


def rig_from_muses_calib(
    calib: dict[str, Any],
    camera_size: tuple[int, int] = (1920, 1080),
    event_size: tuple[int, int] = (1280, 720),
    lidar_height_m: float = 1.9,
) -> Rig:
    """The rig of a MUSES ``calib.json``, with sensors camera, lidar and event.

    MUSES gives no pose of the vehicle: the base frame is put on the ground under the lidar, unless
    ``extrinsics.lidar2base`` (written by our simulator) says where it is.

    Args:
        calib: ``intrinsics.{rgb,event}.K`` and ``extrinsics.{lidar2rgb,event2rgb}``; the images are undistorted.
        camera_size: (width, height) of the images that ``intrinsics.rgb.K`` describes.
        event_size: (width, height) of the sensor that ``intrinsics.event.K`` describes.
        lidar_height_m: height of the lidar above the ground.

    Raises:
        RigError: an entry is missing.
    """
    try:
        intrinsics, extrinsics = calib["intrinsics"], calib["extrinsics"]
        models = [
            CameraModel(*size, np.asarray(intrinsics[key]["K"], dtype=np.float64)[:3, :3])
            for key, size in (("rgb", camera_size), ("event", event_size))
        ]
        rgb_from_lidar, rgb_from_event = (
            np.asarray(extrinsics[key], dtype=np.float64) for key in ("lidar2rgb", "event2rgb")
        )
    except (KeyError, TypeError) as error:
        raise RigError(
            f"calib.json does not hold {error}; expected intrinsics and extrinsics as MUSES has them"
        ) from error
    default = pose_matrix((0.0, 0.0, lidar_height_m))
    base_from_lidar = np.asarray(extrinsics.get("lidar2base", default), dtype=np.float64)
    base_from_rgb = base_from_lidar @ np.linalg.inv(rgb_from_lidar)
    sensors = (
        Sensor("camera", Modality.CAMERA, "camera_optical_frame", base_from_rgb, model=models[0]),
        Sensor("lidar", Modality.LIDAR, "lidar", base_from_lidar),
        Sensor("event", Modality.EVENT, "event_camera_optical_frame", base_from_rgb @ rgb_from_event, model=models[1]),
    )
    return Rig("muses", "base_link", sensors, "camera")
