# SPDX-License-Identifier: Apache-2.0
"""Measurements to image-plane tensors: the one place that says what the network is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.checks import RejectedPayload, check_cloud, check_image
from anyseg_ros.sensors.depth import depth_to_points
from anyseg_ros.sensors.event_clock import SensorClock
from anyseg_ros.sensors.evt3 import Evt3Decoder, encode_evt3
from anyseg_ros.sensors.grid_images import GridImages
from anyseg_ros.sensors.muses_images import MusesImages
from anyseg_ros.sensors.poses import BODY_FROM_OPTICAL
from anyseg_ros.sensors.presets import DEFAULT, Encoding
from anyseg_ros.sensors.rig import Rig, Sensor, optical_model
from anyseg_ros.sensors.rvl import decode_rvl
from anyseg_ros.types import Absence, Events, Measurement, Points


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
    """Encodes the measurements of a rig onto the grid; checks them on the way.

    Attributes:
        grid: the network's grid and the camera image's place on it.
        encoding: what the payloads become.
    """

    def __init__(self, rig: Rig, grid_height: int, grid_width: int, encoding: Encoding = DEFAULT):
        self.rig = rig
        self.encoding = encoding
        self.grid = Grid.fit(optical_model(rig.sensor(rig.image_plane)), grid_height, grid_width, encoding.fit)
        self._images = (MusesImages if encoding.of_muses_sdk else GridImages)(rig, self.grid, encoding)
        self._rays: dict[str, np.ndarray] = {}

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
        planes = self._images.camera(sensor, image)
        check_image(sensor.name, planes, self.grid.content, self.encoding.camera.full_scale)
        return Encoded(planes)

    def _lidar(self, sensor: Sensor, points: Any) -> Encoded:
        if not isinstance(points, Points):
            raise _rejected(sensor, f"is {_describe(points)}, expected Points")
        if points.xyz.ndim != 2 or points.xyz.shape[1] != 3:  # the kernels do not look where an array ends
            raise _rejected(sensor, f"has points of shape {list(points.xyz.shape)}, expected [N,3]")
        if len(points.intensity) != len(points.xyz):
            raise _rejected(sensor, f"has {len(points.xyz)} points but {len(points.intensity)} intensities")
        return self._cloud(sensor, points.xyz, points.intensity)

    def _depth(self, sensor: Sensor, depth: Any) -> Encoded:
        if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.ndim != 2:
            raise _rejected(sensor, f"is {_describe(depth)}, expected float32 [H,W] in metres")
        _check_size(sensor, depth.shape[1], depth.shape[0])
        if sensor.name not in self._rays:
            self._rays[sensor.name] = optical_model(sensor).pixel_rays()
        xyz = depth_to_points(depth, self._rays[sensor.name])
        return Encoded(self._cloud(sensor, xyz, np.zeros(len(xyz), dtype=np.float32)).image)

    def _cloud(self, sensor: Sensor, xyz: np.ndarray, intensity: np.ndarray) -> Encoded:
        drawn = self._images.cloud(sensor, xyz, intensity)
        check_cloud(sensor.name, drawn.in_view, len(xyz))
        return Encoded(drawn.image, drawn.pixel_index)

    def _event(self, sensor: Sensor, events: Any, reference_ns: int) -> Encoded:
        if not isinstance(events, Events):
            raise _rejected(sensor, f"is {_describe(events)}, expected Events")
        lengths = [len(column) for column in (events.x, events.y, events.t_ns, events.p)]
        if len(set(lengths)) > 1:
            raise _rejected(sensor, f"has columns x, y, t, p of {lengths} entries, expected equal numbers")
        if events.width or events.height:  # 0 x 0: the message does not say
            _check_size(sensor, events.width, events.height)
        drawn = self._images.events(sensor, events, reference_ns + sensor.offset_ns)
        if drawn.outside:
            model = optical_model(sensor)
            raise _rejected(sensor, f"has {drawn.outside} events outside the {model.width} x {model.height} sensor")
        if drawn.used == 0:
            window_ms = self.encoding.event.window_ns / 1e6
            raise RejectedPayload(Absence.EMPTY, f"'{sensor.name}' has no event in view in the {window_ms:g} ms window")
        return Encoded(drawn.image)


def _check_size(sensor: Sensor, width: int, height: int) -> None:
    model = optical_model(sensor)
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


def warm_up() -> None:
    """Compile every kernel (or load it from numba's cache), so that the first frame of a drive is not seconds late.

    Encodes one tiny measurement of each modality, and decodes one event packet and one depth image.
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
    t_ns = SensorClock().to_host(t_us * 1000, None, 1000)
    payloads = {
        Modality.CAMERA: np.arange(192, dtype=np.uint8).reshape(8, 8, 3),
        Modality.DEPTH: np.full((8, 8), 5, dtype=np.float32),
        Modality.EVENT: Events(x, y, t_ns, p, 8, 8),
        Modality.LIDAR: Points(ahead, np.zeros(32, dtype=np.float32)),
    }
    for modality, payload in payloads.items():
        encoder(Measurement(modality.value, modality, 1000, payload), 1000)
    decode_rvl(np.zeros(4, dtype=np.uint8), 1)
