# SPDX-License-Identifier: Apache-2.0
"""Draws payloads straight on the network's grid, as the default encoding does; keeps each sensor's lookup tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.sensors.camera import camera_to_planes, rotation_maps
from anyseg_ros.sensors.event_warp import event_lookup, event_positions
from anyseg_ros.sensors.events import accumulate, time_surface, voxel_grid
from anyseg_ros.sensors.lidar import Projected, densify, project_cloud
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig, Sensor, optical_model
from anyseg_ros.types import Events


@dataclass(frozen=True)
class DrawnEvents:
    """A window of events on the grid.

    Attributes:
        image: float32 [3,H,W].
        used: number of events that fell on it.
        outside: number of events outside the sensor.
    """

    image: np.ndarray
    used: int
    outside: int


class GridImages:
    """Draws by ``z_buffer`` and one of the representations of ``events``.

    Args:
        rig: sensors and calibration.
        grid: the grid.
        encoding: with parameters of this way of drawing.
    """

    def __init__(self, rig: Rig, grid: Grid, encoding: Encoding) -> None:
        self._rig, self._grid, self._encoding = rig, grid, encoding
        self._tables: dict[str, Any] = {}

    def camera(self, sensor: Sensor, image: np.ndarray) -> np.ndarray:
        """uint8 [h,w,3] RGB -> float32 [3,H,W]."""
        maps = None
        if sensor.name != self._rig.image_plane:
            maps = self._table(sensor, lambda pose: rotation_maps(optical_model(sensor), self._grid, pose))
        planes = camera_to_planes(image, self._grid, maps)
        full_scale = self._encoding.camera.full_scale
        return planes if full_scale == 1.0 else planes * np.float32(full_scale)

    def cloud(self, sensor: Sensor, xyz: np.ndarray, intensity: np.ndarray) -> Projected:
        """Points [N,3] in metres in the sensor's frame, and their raw intensity [N]."""
        encoding = self._encoding.cloud
        projected = project_cloud(
            xyz,
            intensity,
            self._grid,
            self._rig.plane_from(sensor.name),
            sensor.base_from_sensor,
            sensor.intensity_scale,
            float("inf") if encoding.max_range_m is None else encoding.max_range_m,
            encoding.min_range_m,
        )
        if encoding.fill == "none":
            return projected
        return Projected(densify(projected.image, self._grid.content), projected.pixel_index, projected.in_view)

    def events(self, sensor: Sensor, events: Events, until_ns: int) -> DrawnEvents:
        """The window of events that ends at ``until_ns``, in the sensor's own clock."""
        encoding, grid = self._encoding.event, self._grid
        window = (until_ns, encoding.window_ns, encoding.saturation, encoding.max_events)
        if encoding.representation == "voxel_grid":
            positions = self._table(sensor, lambda pose: event_positions(optical_model(sensor), grid, pose))
            return DrawnEvents(*voxel_grid(events, positions, grid, *window))
        lookup = self._table(sensor, lambda pose: event_lookup(optical_model(sensor), grid, pose))
        if encoding.representation == "time_surface":
            return DrawnEvents(*time_surface(events, lookup, grid.height, grid.width, *window, encoding.decay_ns))
        return DrawnEvents(*accumulate(events, lookup, grid.height, grid.width, *window))

    def _table(self, sensor: Sensor, make: Callable[[np.ndarray], Any]) -> Any:
        """What ``make`` returns for the sensor's pose in the image plane's frame, made once per sensor."""
        if sensor.name not in self._tables:
            self._tables[sensor.name] = make(self._rig.plane_from(sensor.name))
        return self._tables[sensor.name]
