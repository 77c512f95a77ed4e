# SPDX-License-Identifier: Apache-2.0
"""Measurements to image-plane tensors: the one place that says what the network is fed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import Z_MIN_M, CameraModel, Grid
from anyseg_ros.sensors.camera import camera_to_planes, rotation_maps
from anyseg_ros.sensors.depth import depth_to_points
from anyseg_ros.sensors.event_warp import event_lookup
from anyseg_ros.sensors.events import SATURATION, accumulate
from anyseg_ros.sensors.evt3 import Evt3Decoder, encode_evt3
from anyseg_ros.sensors.lidar import MIN_RANGE_M, densify, project_cloud
from anyseg_ros.sensors.poses import BODY_FROM_OPTICAL
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Absence, Events, Measurement, Points

ENCODING_VERSION = "v1"
MIN_POINTS_IN_VIEW = 20
MIN_GREY_STD = 1.0


class RejectedPayload(ValueError):
    """A payload that must not reach the network; ``absence`` is the reason, the message says what was found."""

    def __init__(self, absence: Absence, message: str):
        super().__init__(message)
        self.absence = absence


@dataclass(frozen=True)
class Encoded:
    """What one measurement becomes.

    Attributes:
        image: float32 [3,H,W] on the grid, before normalisation.
        pixel_index: lidar only, int32 [N], flat grid pixel of each point, -1 where it is not in view.
    """

    image: np.ndarray
    pixel_index: np.ndarray | None = None


class Encoder:
    """Encodes the measurements of a rig onto the grid; keeps the lookup tables of each sensor.

    Attributes:
        grid: the network's grid and the camera image's place on it.
    """

    def __init__(self, rig: Rig, grid_height: int, grid_width: int):
        self.rig = rig
        plane = rig.sensor(rig.image_plane).model
        assert plane is not None  # Rig refuses an image plane without a model
        self.grid = Grid.fit(plane, grid_height, grid_width)
        self._tables: dict[str, Any] = {}

    def __call__(self, measurement: Measurement, reference_ns: int) -> Encoded:
        """Encode one measurement.

        Args:
            measurement: of a sensor of the rig, payload as in ``types.Measurement``.
            reference_ns: corrected stamp of the frame set; ends the events' window.

        Raises:
            RejectedPayload: the payload is empty, blind, or not what the rig says; the message says which.
        """
        sensor = self.rig.sensor(measurement.sensor)
        if sensor.modality is Modality.CAMERA:
            return self._camera(sensor, measurement.payload)
        if sensor.modality is Modality.EVENT:
            return self._event(sensor, measurement.payload, reference_ns)
        if sensor.modality is Modality.DEPTH:
            return self._depth(sensor, measurement.payload)
        return self._lidar(sensor, measurement.payload)

    def _camera(self, sensor: Sensor, image: Any) -> Encoded:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise _rejected(sensor, f"is {_describe(image)}, expected uint8 [H,W,3] RGB")
        _check_size(sensor, image.shape[1], image.shape[0])
        maps = None
        if sensor.name != self.rig.image_plane:
            maps = self._table(
                sensor, lambda: rotation_maps(_model(sensor), self.grid, self.rig.plane_from(sensor.name))
            )
        planes, std = camera_to_planes(image, self.grid, maps)
        if std < MIN_GREY_STD:
            raise RejectedPayload(
                Absence.BLIND,
                f"the image of '{sensor.name}' is of one colour (standard deviation {std:.2f} grey levels, mean "
                f"{float(image.mean()):.0f}): covered, dark or overexposed",
            )
        return Encoded(planes)

    def _lidar(self, sensor: Sensor, points: Any) -> Encoded:
        if not isinstance(points, Points):
            raise _rejected(sensor, f"is {_describe(points)}, expected Points")
        if len(points.intensity) != len(points.xyz):
            raise _rejected(sensor, f"has {len(points.xyz)} points but {len(points.intensity)} intensities")
        return self._cloud(sensor, points.xyz, points.intensity)

    def _depth(self, sensor: Sensor, depth: Any) -> Encoded:
        if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.ndim != 2:
            raise _rejected(sensor, f"is {_describe(depth)}, expected float32 [H,W] in metres")
        _check_size(sensor, depth.shape[1], depth.shape[0])
        rays = self._table(sensor, lambda: _model(sensor).pixel_rays())
        xyz = depth_to_points(depth, rays)
        return Encoded(self._cloud(sensor, xyz, np.zeros(len(xyz), dtype=np.float32)).image)

    def _cloud(self, sensor: Sensor, xyz: np.ndarray, intensity: np.ndarray) -> Encoded:
        projected = project_cloud(
            xyz,
            intensity,
            self.grid,
            self._table(sensor, lambda: self.rig.plane_from(sensor.name), "pose"),
            sensor.base_from_sensor,
            sensor.intensity_scale,
            sensor.max_range_m,
        )
        if projected.in_view < MIN_POINTS_IN_VIEW:
            raise RejectedPayload(
                Absence.BLIND,
                f"{projected.in_view} of {len(xyz)} points of '{sensor.name}' are in view, expected at least "
                f"{MIN_POINTS_IN_VIEW}: covered, or its pose in the rig is wrong",
            )
        return Encoded(densify(projected.image, self.grid.content), projected.pixel_index)

    def _event(self, sensor: Sensor, events: Any, reference_ns: int) -> Encoded:
        if not isinstance(events, Events):
            raise _rejected(sensor, f"is {_describe(events)}, expected Events")
        if events.width or events.height:  # 0 x 0: the message does not say
            _check_size(sensor, events.width, events.height)
        lookup = self._table(sensor, lambda: event_lookup(_model(sensor), self.grid, self.rig.plane_from(sensor.name)))
        until_ns = reference_ns + sensor.offset_ns
        image, used, outside = accumulate(events, lookup, self.grid.height, self.grid.width, until_ns, sensor.window_ns)
        if outside:
            raise _rejected(sensor, f"has {outside} events outside the {lookup.shape[1]} x {lookup.shape[0]} sensor")
        if used == 0:
            raise RejectedPayload(
                Absence.EMPTY, f"'{sensor.name}' has no event in view in the {sensor.window_ns / 1e6:g} ms window"
            )
        return Encoded(image)

    def _table(self, sensor: Sensor, make, kind: str = "lookup") -> Any:
        """What ``make`` returns, made once per sensor."""
        key = f"{sensor.name}/{kind}"
        if key not in self._tables:
            self._tables[key] = make()
        return self._tables[key]


def _model(sensor: Sensor) -> CameraModel:
    assert sensor.model is not None  # Sensor refuses an optical sensor without a model
    return sensor.model


def _check_size(sensor: Sensor, width: int, height: int) -> None:
    model = _model(sensor)
    if (width, height) != (model.width, model.height):
        raise _rejected(
            sensor,
            f"is {width} x {height} pixels, but its calibration is for {model.width} x {model.height}: "
            "calibrate that size, or correct the rig",
        )


def _rejected(sensor: Sensor, what: str) -> RejectedPayload:
    return RejectedPayload(Absence.REJECTED, f"the payload of '{sensor.name}' {what}")


def _describe(payload: Any) -> str:
    if isinstance(payload, np.ndarray):
        return f"{payload.dtype} {list(payload.shape)}"
    return f"a {type(payload).__name__}"


def fingerprint() -> str:
    """SHA-256 (hex) of the encoding's parameters: a checkpoint trained on other encodings is refused."""
    cloud = {
        "channels": ["range_m", "intensity", "height_m"],
        "min_range_m": MIN_RANGE_M,
        "z_min_m": Z_MIN_M,
        "winner": "least depth, then first",
        "densify": "least range, 3x3",
    }
    parameters = {
        "version": ENCODING_VERSION,
        "camera": {"channels": ["red", "green", "blue"], "scale": 255, "resize": "area, letterbox"},
        "depth": cloud,
        "event": {"channels": ["on", "off", "recency"], "saturation": SATURATION, "warp": "rotation"},
        "lidar": cloud,
    }
    canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def warm_up() -> None:
    """Compile every kernel (or load it from numba's cache), so that the first frame of a drive is not seconds late.

    Encodes one tiny measurement of each modality and decodes one event packet.
    """
    model = CameraModel(8, 8, np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]), "plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0))
    poses = {Modality.LIDAR: np.eye(4)}
    sensors = tuple(
        Sensor(m.value, m, m.value, poses.get(m, BODY_FROM_OPTICAL), model=None if m is Modality.LIDAR else model)
        for m in Modality
    )
    encoder = Encoder(Rig("warm_up", "base_link", sensors, Modality.CAMERA.value), 8, 8)
    ahead = np.tile(np.array([5, 0, 0], dtype=np.float32), (32, 1))
    packet = encode_evt3(np.array([4]), np.array([4]), np.array([1]), np.array([1]))
    x, y, p, t_us = Evt3Decoder(8, 8).decode(packet)
    payloads = {
        Modality.CAMERA: np.arange(192, dtype=np.uint8).reshape(8, 8, 3),
        Modality.DEPTH: np.full((8, 8), 5, dtype=np.float32),
        Modality.EVENT: Events(x, y, t_us * 1000, p, 8, 8),
        Modality.LIDAR: Points(ahead, np.zeros(32, dtype=np.float32)),
    }
    for modality, payload in payloads.items():
        encoder(Measurement(modality.value, modality, 1000, payload), 1000)
