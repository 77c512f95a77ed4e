# SPDX-License-Identifier: Apache-2.0
"""A simulated drive: what every sensor of the rig measures in time, and the class of every pixel."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.simulation.ahead import Ahead
from anyseg_ros.simulation.events import EventSimulator
from anyseg_ros.simulation.instruments import CORNERS, START_NS, DriveConfig, Instruments
from anyseg_ros.simulation.motion import twist_at
from anyseg_ros.simulation.rig import sim_rig
from anyseg_ros.types import Events, Measurement, Twist

__all__ = ["CORNERS", "MS", "START_NS", "Drive", "DriveConfig", "Sample"]

MS = 1_000_000
SUBFRAME_NS = 10 * MS  # between two rendered sub-frames of an event camera, and the length of its chunks


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
    """One drive through one world; the same configuration and rig give the same bytes.

    Args:
        config: which drive.
        rig: the sensors; the simulator's own when left out.
        world: for tests: anything with the methods of ``world.World``.
        surfaces: for tests: anything with the functions of ``materials``.
    """

    def __init__(self, config: DriveConfig, rig: Rig | None = None, world: Any = None, surfaces: Any = None) -> None:
        self.config = config
        self.rig = rig or sim_rig()
        self._handed_in = world is not None or surfaces is not None
        self.instruments = Instruments(config, self.rig, world, surfaces)

    @property
    def start_ns(self) -> int:
        """True time at the start of the drive."""
        return self.config.start_ns

    @property
    def end_ns(self) -> int:
        """Length of the drive in ns: the last instant that can be asked for."""
        return int(self.config.duration_s * 1e9)

    def labels(self, t_ns: int) -> np.ndarray:
        """uint8 [H,W]: trainIds on the rig's image plane at a true time since the start.

        Raises:
            ValueError: the time is outside the drive.
        """
        self._check(t_ns)
        return self.instruments.labels(t_ns)

    def pose(self, t_ns: int) -> np.ndarray:
        """Float64 [4,4]: from the base frame into the street's, at a true time since the start.

        Raises:
            ValueError: the time is outside the drive.
        """
        self._check(t_ns)
        return self.instruments.world.pose(t_ns)

    def twist(self, t_ns: int) -> Twist:
        """How the vehicle moves at a true time since the start; stamped with the true time.

        Raises:
            ValueError: the time is outside the drive.
        """
        self._check(t_ns)
        return twist_at(self.instruments.world, t_ns, self.start_ns + t_ns)

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
        found: dict[str, Measurement] = {}
        labels = None
        for sensor in self.rig.sensors:
            if sensor.modality is Modality.CAMERA:
                found[sensor.name], seen = self.instruments.picture(sensor.name, t_ns)
                labels = seen if sensor.name == self.rig.image_plane else labels
            elif sensor.modality is Modality.LIDAR:
                found[sensor.name] = self.instruments.sweep(sensor.name, t_ns if lidar_t_ns is None else lidar_t_ns)
            elif sensor.modality is Modality.EVENT:
                found[sensor.name] = self._window(sensor, t_ns)
            elif sensor.modality is Modality.DEPTH:
                found[sensor.name] = self.instruments.depth(sensor.name, t_ns)
        if depth and "depth" not in found:
            found["depth"] = self.instruments.depth(self.rig.image_plane, t_ns)
        return Sample(t_ns, found, self.instruments.labels(t_ns) if labels is None else labels)

    def measurements(self, workers: int = 0) -> Iterator[Measurement]:
        """Everything the sensors deliver, in the order of their stamps.

        Args:
            workers: processes that render ahead; 0 renders in this one. The bytes are the same. With workers, the
                program must be importable (``if __name__ == "__main__"``), as for multiprocessing.

        Raises:
            ValueError: workers for a drive whose world was handed in.
        """
        if workers and self._handed_in:
            raise ValueError("other processes cannot have the world that was handed to this drive; use workers=0")
        ahead = (
            Ahead(Instruments, (self.config, self.rig), workers) if workers else nullcontext(_Here(self.instruments))
        )
        with ahead as renderer:
            streams = [self._stream(sensor, renderer) for sensor in self.rig.sensors]
            yield from heapq.merge(*streams, key=lambda measurement: measurement.stamp_ns)

    def _check(self, t_ns: int) -> None:
        if not 0 <= t_ns <= self.end_ns:
            raise ValueError(f"time {t_ns} ns is outside the drive; it lasts from 0 to {self.end_ns} ns")

    def _stream(self, sensor: Sensor, renderer: Ahead | _Here) -> Iterator[Measurement]:
        if sensor.modality is Modality.EVENT:
            yield from self._chunks(sensor, 0, self.end_ns, renderer)
            return
        # A sweep is stamped in its middle, so the first one is stamped half a period after the start.
        first_ns = sensor.period_ns // 2 if sensor.modality is Modality.LIDAR else 0
        times = range(first_ns, self.end_ns - first_ns + 1, sensor.period_ns)
        if sensor.modality is Modality.CAMERA:
            for t_ns, (measurement, labels) in zip(times, renderer.map("picture", sensor.name, times), strict=True):
                if sensor.name == self.rig.image_plane:
                    self.instruments.keep_labels(t_ns, labels)
                yield measurement
            return
        yield from renderer.map("sweep" if sensor.modality is Modality.LIDAR else "depth", sensor.name, times)

    def _chunks(self, sensor: Sensor, first_ns: int, last_ns: int, renderer: Ahead | _Here) -> Iterator[Measurement]:
        """Chunks (t - 10 ms, t] of events for t after ``first_ns`` up to ``last_ns``."""
        at, model, offset_ns = self.instruments, sensor.model, self.instruments.stamp(sensor, 0)
        times = range(first_ns, last_ns + 1, SUBFRAME_NS)
        frames = renderer.map("log_frame", sensor.name, times)
        phase = at.rng(f"{sensor.name} phase", first_ns)
        simulator = EventSimulator(at.event_pixels(sensor.name), next(frames), first_ns // 1000, phase)
        for t_ns, frame in zip(times[1:], frames, strict=True):
            x, y, t_us, p = simulator.step(frame, t_ns // 1000, at.rng(sensor.name, t_ns))
            payload = Events(x, y, t_us * 1000 + offset_ns, p, model.width, model.height)
            yield at.measurement(sensor, t_ns, payload, at.stamp(sensor, t_ns - SUBFRAME_NS))

    def _window(self, sensor: Sensor, t_ns: int) -> Measurement:
        steps = -(-DEFAULT.event.window_ns // SUBFRAME_NS)
        chunks = self._chunks(sensor, t_ns - steps * SUBFRAME_NS, t_ns, _Here(self.instruments))
        payloads = [chunk.payload for chunk in chunks]
        start_ns = self.instruments.stamp(sensor, t_ns - DEFAULT.event.window_ns)
        joined = (np.concatenate([getattr(payload, name) for payload in payloads]) for name in ("x", "y", "t_ns", "p"))
        window = Events(*joined, sensor.model.width, sensor.model.height)
        window = window.between(start_ns, self.instruments.stamp(sensor, t_ns))
        return self.instruments.measurement(sensor, t_ns, window, start_ns)


@dataclass(frozen=True)
class _Here:
    """``Ahead`` without processes."""

    instruments: Instruments

    def map(self, method: str, sensor: str, times_ns: range) -> Iterator[Any]:
        return (getattr(self.instruments, method)(sensor, t_ns) for t_ns in times_ns)
