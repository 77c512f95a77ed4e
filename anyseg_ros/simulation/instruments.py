# SPDX-License-Identifier: Apache-2.0
"""The sensors of a rig in one drive's world, each at one instant.

All randomness comes from (seed, purpose, time), never from the order of calls: an instant gives the same bytes
in any process and however a drive is read.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.simulation import camera, events, lidar
from anyseg_ros.simulation.light import sample_light
from anyseg_ros.simulation.render import Renderer, Rendering, unit_rays
from anyseg_ros.simulation.weather import draw_drops, sample_weather
from anyseg_ros.types import Measurement

START_NS = 1_700_000_000 * 10**9
CORNERS = ("motion_blur", "overexposure", "underexposure", "lidar_jitter", "event_low_resolution")
DEPTH_RANGE_M = 60.0
LIDAR_RANGE_M = 100.0
LABELS_KEPT = 8


@dataclass(frozen=True)
class DriveConfig:
    """Which drive.

    Attributes:
        seed: everything that is random follows from it.
        duration_s: length of the drive.
        time_of_day: day or night.
        weather: clear, fog, rain or snow.
        corner: a fault of one sensor after DELIVER (``CORNERS``), or None.
        start_ns: true time at the start; sensor stamps are ``start_ns`` + time in the drive + clock offset.
    """

    seed: int
    duration_s: float = 30.0
    time_of_day: str = "day"
    weather: str = "clear"
    corner: str | None = None
    start_ns: int = START_NS

    def __post_init__(self) -> None:
        """Check what can be checked before a world is built.

        Raises:
            ValueError: the corner case is unknown, or the drive has no length.
        """
        if self.corner is not None and self.corner not in CORNERS:
            raise ValueError(f"corner case '{self.corner}' is unknown; give one of {', '.join(CORNERS)}, or none")
        if self.duration_s <= 0:
            raise ValueError(f"a drive of {self.duration_s} s has no length; give a positive duration_s")


class Instruments:
    """The rig's sensors in the world, light and weather of one drive.

    Times are true times in ns since the start of the drive.

    Args:
        config: which drive.
        rig: the sensors.
        world: ``world.World`` or anything with its methods; made from the seed when left out.
        surfaces: the module ``materials`` or anything with its functions.
    """

    def __init__(self, config: DriveConfig, rig: Rig, world: Any = None, surfaces: Any = None) -> None:
        self.config = config
        self.rig = rig
        self.weather = sample_weather(self.rng("weather"), config.weather)
        self.light = sample_light(self.rng("light"), config.time_of_day, self.weather)
        if world is None:
            from anyseg_ros.simulation.world import World  # needs Open3D, an optional dependency

            world = World(config.seed, config.duration_s, start_ns=0)
        if surfaces is None:
            from anyseg_ros.simulation import materials as surfaces
        self.world = world
        self._surfaces = surfaces
        self._renderer = Renderer(world, surfaces, self.light, self.weather)
        self._look = camera.sample_look(self.rng("camera"), config.corner)
        self._pattern = {s.name: lidar.sweep_pattern(s.period_ns) for s in rig.sensors if s.modality is Modality.LIDAR}
        self._rays = {s.name: unit_rays(s.model) for s in rig.sensors if s.model is not None}
        self._labels: OrderedDict[int, np.ndarray] = OrderedDict()

    def rng(self, purpose: str, t_ns: int = 0) -> np.random.Generator:
        """The random numbers of one purpose at one instant."""
        # The window before the first instant has negative times; a seed must not be negative.
        return np.random.default_rng([self.config.seed, zlib.crc32(purpose.encode()), t_ns + 10**12])

    def stamp(self, sensor: Sensor, t_ns: int) -> int:
        """What the sensor's clock says at a true time."""
        return self.config.start_ns + t_ns + sensor.offset_ns

    def measurement(self, sensor: Sensor, t_ns: int, payload: Any, start_ns: int | None = None) -> Measurement:
        """A payload with the sensor's name, stamp and frame."""
        stamp_ns = self.stamp(sensor, t_ns)
        return Measurement(sensor.name, sensor.modality, stamp_ns, payload, sensor.frame_id, start_ns)

    def render(self, name: str, t_ns: int, shadow_step: int = 2) -> Rendering:
        """The world as an optical sensor's pixels see it, before any sensor effect."""
        sensor = self.rig.sensor(name)
        return self._renderer.render(sensor.model, self._rays[name], sensor.base_from_sensor, t_ns, shadow_step)

    def picture(self, name: str, t_ns: int) -> tuple[Measurement, np.ndarray]:
        """A camera's picture, and the classes of its pixels (uint8 [H,W])."""
        times = camera.blur_times(t_ns, self.config.corner)
        moments = [self.render(name, t) for t in times]
        radiance = sum(moment.radiance for moment in moments) / np.float32(len(moments))
        rng = self.rng(name, t_ns)
        radiance = draw_drops(radiance, self.weather, self.light.airlight, rng)
        payload = camera.expose(radiance, self._look, rng)
        labels = moments[0].class_id if len(moments) == 1 else self._cast_labels(name, t_ns)
        return self.measurement(self.rig.sensor(name), t_ns, payload), labels

    def depth(self, name: str, t_ns: int) -> Measurement:
        """What a depth camera measures in the place of the named optical sensor."""
        sensor = self.rig.sensor(name)
        rendering = self.render(name, t_ns, 8)
        payload = camera.depth_picture(rendering, self._rays[name], DEPTH_RANGE_M, self.rng(f"{name} depth", t_ns))
        own = name if sensor.modality is Modality.DEPTH else "depth"
        return Measurement(own, Modality.DEPTH, self.stamp(sensor, t_ns), payload, sensor.frame_id)

    def sweep(self, name: str, t_ns: int) -> Measurement:
        """A lidar's sweep whose middle is at ``t_ns``."""
        sensor, pattern = self.rig.sensor(name), self._pattern[name]
        returns = lidar.fire(self.world, self._surfaces, pattern, sensor.base_from_sensor, t_ns)
        payload = lidar.measure(
            returns, pattern, self.weather, LIDAR_RANGE_M, sensor.intensity_scale,
            self.config.corner == "lidar_jitter", self.rng(name, t_ns),
        )  # fmt: skip
        return self.measurement(sensor, t_ns, payload)

    def log_frame(self, name: str, t_ns: int) -> np.ndarray:
        """float32 [H,W]: log intensity on an event camera's pixels."""
        radiance = self.render(name, t_ns).radiance
        drops = self.rng(f"{name} drops", t_ns)
        return events.log_intensity(draw_drops(radiance, self.weather, self.light.airlight, drops))

    def event_pixels(self, name: str) -> events.EventPixels:
        """The pixel array of an event camera on this drive."""
        model, coarse = self.rig.sensor(name).model, self.config.corner == "event_low_resolution"
        rng = self.rng(f"{name} pixels")
        return events.EventPixels.sample(rng, model.height, model.width, self.light.night, coarse)

    def labels(self, t_ns: int) -> np.ndarray:
        """uint8 [H,W]: trainIds on the rig's image plane."""
        if t_ns in self._labels:
            return self._labels[t_ns]
        return self._cast_labels(self.rig.image_plane, t_ns)

    def keep_labels(self, t_ns: int, labels: np.ndarray) -> None:
        """Remember labels that came with a picture, so that they need not be cast again."""
        self._labels[t_ns] = labels
        if len(self._labels) > LABELS_KEPT:
            self._labels.popitem(last=False)

    def _cast_labels(self, name: str, t_ns: int) -> np.ndarray:
        sensor = self.rig.sensor(name)
        origins, directions = self._renderer.rays_in_world(self._rays[name], sensor.base_from_sensor, t_ns)
        hits = self.world.cast(origins, directions, t_ns)
        return np.asarray(hits.class_id).reshape(sensor.model.height, sensor.model.width)
