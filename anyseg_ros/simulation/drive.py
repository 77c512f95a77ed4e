# SPDX-License-Identifier: Apache-2.0
"""A simulated drive: what every sensor of the rig measures, and the class of every pixel.

All randomness comes from (seed, purpose, time), never from the order of calls: a drive gives the same bytes
however it is read.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.simulation import camera, events, lidar
from anyseg_ros.simulation.light import sample_light
from anyseg_ros.simulation.render import Renderer, Rendering, unit_rays
from anyseg_ros.simulation.rig import sim_rig
from anyseg_ros.simulation.weather import draw_drops, sample_weather
from anyseg_ros.types import Events, Measurement

MS = 1_000_000
SUBFRAME_NS = 10 * MS  # between two rendered sub-frames of the event camera, and the length of its chunks
START_NS = 1_700_000_000 * 1_000 * MS
CORNERS = ("motion_blur", "overexposure", "underexposure", "lidar_jitter", "event_low_resolution")


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
        if self.corner is not None and self.corner not in CORNERS:
            raise ValueError(f"corner case '{self.corner}' is unknown; give one of {', '.join(CORNERS)}, or none")
        if self.duration_s <= 0:
            raise ValueError(f"a drive of {self.duration_s} s has no length; give a positive duration_s")


@dataclass(frozen=True)
class Sample:
    """Everything at one instant.

    Attributes:
        t_ns: true time since the start of the drive.
        measurements: by sensor name.
        labels: uint8 [H,W] trainIds on the rig's image plane.
    """

    t_ns: int
    measurements: dict[str, Measurement]
    labels: np.ndarray


class Drive:
    """One drive through one world.

    Args:
        config: which drive.
        rig: the sensors; the simulator's own when left out.
        world: for tests: anything with the methods of ``world.World``.
        surfaces: for tests: anything with the functions of ``materials``.
    """

    def __init__(self, config: DriveConfig, rig: Rig | None = None, world: Any = None, surfaces: Any = None) -> None:
        self.config = config
        self.rig = rig or sim_rig()
        self.weather = sample_weather(self._rng("weather"), config.weather)
        self.light = sample_light(self._rng("light"), config.time_of_day, self.weather)
        if world is None:
            from anyseg_ros.simulation.world import World  # needs Open3D, an optional dependency

            world = World(config.seed, config.duration_s, start_ns=0)
        if surfaces is None:
            from anyseg_ros.simulation import materials as surfaces
        self.world = world
        self._surfaces = surfaces
        self._renderer = Renderer(world, surfaces, self.light, self.weather)
        self._look = camera.sample_look(self._rng("camera"), config.corner)
        self._rays: dict[str, np.ndarray] = {}
        self._pixels: dict[str, events.EventPixels] = {}

    @property
    def start_ns(self) -> int:
        """True time at the start of the drive."""
        return self.config.start_ns

    @property
    def end_ns(self) -> int:
        """Length of the drive in ns: the last instant that can be asked for."""
        return int(self.config.duration_s * 1e9)

    def sample(self, t_ns: int, depth: bool = False, lidar_t_ns: int | None = None) -> Sample:
        """What each sensor has at one instant, without simulating what came before.

        Args:
            t_ns: true time since the start; the event window ends there.
            depth: also give what a depth camera in the image plane measures (``measurements["depth"]``).
            lidar_t_ns: the middle of the lidar's sweep when it is not ``t_ns``.

        Raises:
            ValueError: the time is outside the drive.
        """
        self._check(t_ns)
        measurements, labels = {}, None
        for sensor in self.rig.sensors:
            if sensor.modality is Modality.CAMERA:
                measurement, rendering = self._picture(sensor, t_ns)
                measurements[sensor.name] = measurement
                if sensor.name == self.rig.image_plane:
                    labels = rendering.class_id
            elif sensor.modality is Modality.LIDAR:
                measurements[sensor.name] = self._sweep(sensor, t_ns if lidar_t_ns is None else lidar_t_ns)
            elif sensor.modality is Modality.EVENT:
                measurements[sensor.name] = self._window(sensor, t_ns)
            elif sensor.modality is Modality.DEPTH:
                measurements[sensor.name] = self._depth(sensor, t_ns, sensor.name)
        if depth and "depth" not in measurements:
            measurements["depth"] = self._depth(self._plane, t_ns, "depth")
        return Sample(t_ns, measurements, self.labels(t_ns) if labels is None else labels)

    def measurements(self) -> Iterator[Measurement]:
        """Everything the sensors deliver, in the order of their stamps."""
        streams = [self._stream(sensor) for sensor in self.rig.sensors]
        return heapq.merge(*streams, key=lambda measurement: measurement.stamp_ns)

    def labels(self, t_ns: int) -> np.ndarray:
        """uint8 [H,W]: trainIds on the rig's image plane at a true time since the start."""
        self._check(t_ns)
        world_from_sensor = self.world.pose(t_ns) @ self._plane.base_from_sensor
        directions = self._unit_rays(self._plane) @ world_from_sensor[:3, :3].T.astype(np.float32)
        origins = np.broadcast_to(world_from_sensor[:3, 3].astype(np.float32), directions.shape)
        hits = self.world.cast(np.ascontiguousarray(origins), directions, t_ns)
        return np.asarray(hits.class_id).reshape(self._plane.model.height, self._plane.model.width)

    @property
    def _plane(self) -> Sensor:
        return self.rig.sensor(self.rig.image_plane)

    def _check(self, t_ns: int) -> None:
        if not 0 <= t_ns <= self.end_ns:
            raise ValueError(f"time {t_ns} ns is outside the drive; it lasts from 0 to {self.end_ns} ns")

    def _rng(self, purpose: str, t_ns: int = 0) -> np.random.Generator:
        # The window before the first instant has negative times; a seed must not be negative.
        return np.random.default_rng([self.config.seed, zlib.crc32(purpose.encode()), t_ns + 10**12])

    def _unit_rays(self, sensor: Sensor) -> np.ndarray:
        if sensor.name not in self._rays:
            self._rays[sensor.name] = unit_rays(sensor.model)
        return self._rays[sensor.name]

    def _stamp(self, sensor: Sensor, t_ns: int) -> int:
        return self.config.start_ns + t_ns + sensor.offset_ns

    def _measurement(self, sensor: Sensor, t_ns: int, payload: Any, start_ns: int | None = None) -> Measurement:
        return Measurement(
            sensor.name, sensor.modality, self._stamp(sensor, t_ns), payload, sensor.frame_id, start_ns
        )  # fmt: skip

    def _render(self, sensor: Sensor, t_ns: int, shadow_step: int) -> Rendering:
        rays = self._unit_rays(sensor)
        return self._renderer.render(sensor.model, rays, sensor.base_from_sensor, t_ns, shadow_step)

    def _picture(self, sensor: Sensor, t_ns: int) -> tuple[Measurement, Rendering]:
        times = camera.blur_times(t_ns, self.config.corner)
        moments = [self._render(sensor, t, 2) for t in times]
        radiance = sum(moment.radiance for moment in moments) / np.float32(len(moments))
        rng = self._rng(sensor.name, t_ns)
        radiance = draw_drops(radiance, self.weather, self.light.airlight, rng)
        payload = camera.expose(radiance, self._look, rng)
        return self._measurement(sensor, t_ns, payload), moments[len(moments) // 2]

    def _depth(self, sensor: Sensor, t_ns: int, name: str) -> Measurement:
        rng = self._rng(f"{sensor.name} depth", t_ns)
        payload = camera.depth_picture(
            self._render(sensor, t_ns, 8), self._unit_rays(sensor), min(sensor.max_range_m, 60.0), rng
        )
        return Measurement(name, Modality.DEPTH, self._stamp(sensor, t_ns), payload, sensor.frame_id)

    def _sweep(self, sensor: Sensor, t_ns: int) -> Measurement:
        pattern = lidar.sweep_pattern(sensor.period_ns)
        returns = lidar.fire(self.world, self._surfaces, pattern, sensor.base_from_sensor, t_ns)
        payload = lidar.measure(
            returns, pattern, self.weather, sensor.max_range_m, sensor.intensity_scale,
            self.config.corner == "lidar_jitter", self._rng(sensor.name, t_ns),
        )  # fmt: skip
        return self._measurement(sensor, t_ns, payload)

    def _log_frame(self, sensor: Sensor, t_ns: int) -> np.ndarray:
        radiance = self._render(sensor, t_ns, 2).radiance
        rng = self._rng(f"{sensor.name} drops", t_ns)
        return events.log_intensity(draw_drops(radiance, self.weather, self.light.airlight, rng))

    def _event_pixels(self, sensor: Sensor) -> events.EventPixels:
        if sensor.name not in self._pixels:
            self._pixels[sensor.name] = events.EventPixels.sample(
                self._rng(f"{sensor.name} pixels"), sensor.model.height, sensor.model.width,
                self.light.night, self.config.corner == "event_low_resolution",
            )  # fmt: skip
        return self._pixels[sensor.name]

    def _event_chunks(self, sensor: Sensor, first_ns: int, last_ns: int) -> Iterator[Measurement]:
        """Chunks (t - 10 ms, t] for t after ``first_ns`` up to ``last_ns``."""
        model, offset = sensor.model, self._stamp(sensor, 0)
        simulator = events.EventSimulator(
            self._event_pixels(sensor), self._log_frame(sensor, first_ns), first_ns // 1000,
            self._rng(f"{sensor.name} phase", first_ns),
        )  # fmt: skip
        for t_ns in range(first_ns + SUBFRAME_NS, last_ns + 1, SUBFRAME_NS):
            frame = self._log_frame(sensor, t_ns)
            x, y, t_us, p = simulator.step(frame, t_ns // 1000, self._rng(sensor.name, t_ns))
            payload = Events(x, y, t_us * 1000 + offset, p, model.width, model.height)
            yield self._measurement(sensor, t_ns, payload, self._stamp(sensor, t_ns - SUBFRAME_NS))

    def _window(self, sensor: Sensor, t_ns: int) -> Measurement:
        steps = -(-sensor.window_ns // SUBFRAME_NS)
        chunks = [chunk.payload for chunk in self._event_chunks(sensor, t_ns - steps * SUBFRAME_NS, t_ns)]
        model, start_ns = sensor.model, self._stamp(sensor, t_ns - sensor.window_ns)
        joined = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("x", "y", "t_ns", "p"))
        payload = Events(*joined, model.width, model.height).between(start_ns, self._stamp(sensor, t_ns))
        return self._measurement(sensor, t_ns, payload, start_ns)

    def _stream(self, sensor: Sensor) -> Iterator[Measurement]:
        if sensor.modality is Modality.EVENT:
            yield from self._event_chunks(sensor, 0, self.end_ns)
            return
        # A sweep is stamped in its middle, so the first one is stamped half a period after the start.
        first_ns = sensor.period_ns // 2 if sensor.modality is Modality.LIDAR else 0
        for t_ns in range(first_ns, self.end_ns - first_ns + 1, sensor.period_ns):
            if sensor.modality is Modality.CAMERA:
                yield self._picture(sensor, t_ns)[0]
            elif sensor.modality is Modality.LIDAR:
                yield self._sweep(sensor, t_ns)
            elif sensor.modality is Modality.DEPTH:
                yield self._depth(sensor, t_ns, sensor.name)
