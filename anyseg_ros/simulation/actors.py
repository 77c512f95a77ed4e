# SPDX-License-Identifier: Apache-2.0
"""Everything that moves: where each mover is at a time, as a function of the time alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation import people
from anyseg_ros.simulation.geometry import Mesh
from anyseg_ros.simulation.street import BIKE_LANE_M, KERB_M, LANE_HALF_M, Plan
from anyseg_ros.simulation.templates import Templates

VIEW_BACK_M, VIEW_AHEAD_M = 45.0, 170.0


@dataclass(frozen=True)
class Mover:
    """A body that follows the street.

    Attributes:
        body: its mesh, or a ``Walker`` whose limbs swing.
        instance: its number.
        along: time in seconds -> s in metres.
        across: time -> d in metres.
        yaw: turn from the street's direction (pi for oncoming), radians.
        height_m: of the ground under it.
        cadence: phase of the stride in radians per metre walked (0: limbs do not swing).
    """

    body: Mesh | people.Walker
    instance: int
    along: Callable[[float], float]
    across: Callable[[float], float]
    yaw: float = 0.0
    height_m: float = 0.0
    cadence: float = 0.0

    def posed(self, plan: Plan, time_s: float) -> Mesh:
        """The mover's mesh in the world."""
        s, d = self.along(time_s), self.across(time_s)
        if isinstance(self.body, people.Walker):
            travelled = s + (d if self.cadence < 0 else 0.0)
            mesh = self.body.posed(abs(self.cadence) * travelled + self.instance) if self.cadence else self.body.mesh
        else:
            mesh = self.body
        return plan.path.place(mesh, s, d, self.height_m, self.yaw).named(self.instance)


def _steady(start: float, speed: float) -> Callable[[float], float]:
    return lambda t: start + speed * t


def _fixed(d: float) -> Callable[[float], float]:
    return lambda t: d


class Traffic:
    """All movers of a world."""

    def __init__(
        self, plan: Plan, templates: Templates, rng: np.random.Generator, ego: Callable, duration_s: float, first: int
    ) -> None:
        self._plan, self._templates, self._rng, self._ego, self._duration_s = plan, templates, rng, ego, duration_s
        self.movers: list[Mover] = []
        self._next = first
        begin, end = plan.path.begin_m + 5, plan.path.end_m - 5
        self._lead()
        self._oncoming(begin, end)
        self._trams(begin, end)
        for sign in (-1, 1):
            self._riders(sign, begin, end)
            self._pedestrians(sign, begin, end)
        self._crossing()

    def near(self, time_s: float) -> list[Mesh]:
        """Meshes of the movers within view of the ego at a time."""
        ego = self._ego(time_s)
        low = max(ego - VIEW_BACK_M, self._plan.path.begin_m + 6)
        high = min(ego + VIEW_AHEAD_M, self._plan.path.end_m - 6)
        return [m.posed(self._plan, time_s) for m in self.movers if low < m.along(time_s) < high]

    def _add(self, body, along, across, yaw=0.0, height_m=0.0, cadence=0.0) -> None:
        self.movers.append(Mover(body, self._next, along, across, yaw, height_m, cadence))
        self._next += 1

    def _vehicle(self) -> Mesh | people.Walker:
        draw = self._rng.random()
        if draw < 0.55:
            return self._templates.painted_car(self._rng)
        if draw < 0.65:
            return self._templates.painted_truck(self._rng)
        if draw < 0.78:
            return self._templates.painted_bus(self._rng)
        return self._rider_on(motor=True)

    def _rider_on(self, motor: bool) -> people.Walker:
        """A rider together with what is ridden."""
        pool = self._templates.motorcyclists if motor else self._templates.cyclists
        return pool[int(self._rng.integers(len(pool)))].painted(k.PAINT, int(self._rng.integers(0, 64)))

    def _lead(self) -> None:
        """Vehicles ahead of the ego in its lane, at a gap that breathes; a tram among them where lanes have rails."""
        gap = self._rng.uniform(14.0, 28.0)
        for _ in range(3):
            sway, rate, phase = self._rng.uniform(1.0, 4.0), self._rng.uniform(0.1, 0.3), self._rng.uniform(0, 6.28)

            def along(t: float, gap=gap, sway=sway, rate=rate, phase=phase) -> float:
                return self._ego(t) + gap + sway * np.sin(rate * t + phase)

            if self._plan.section.tram == "shared" and self._rng.random() < 0.35:
                self._tram(lambda t, along=along: along(t) + 26.0, True, 0.0, 3)
                gap += 26.0
            else:
                self._add(self._vehicle(), along, _fixed(float(self._rng.normal(0, 0.15))))
            gap += self._rng.uniform(26.0, 50.0)

    def _oncoming(self, begin: float, end: float) -> None:
        """A stream in the opposite lane at one speed."""
        speed = self._rng.uniform(7.0, 11.0)
        s = begin
        while s < end + speed * self._duration_s:
            across = _fixed(self._plan.section.opposite + float(self._rng.normal(0, 0.12)))
            if self._plan.section.tram == "shared" and self._rng.random() < 0.16:
                self._tram(_steady(s + 15, -speed), False, self._plan.section.opposite, int(self._rng.integers(2, 4)))
                s += self._rng.uniform(40.0, 60.0)
                continue
            self._add(self._vehicle(), _steady(s, -speed), across, np.pi)
            s += self._rng.uniform(15.0, 38.0)

    def _tram(self, along: Callable[[float], float], forward: bool, track: float, sections: int) -> None:
        """An articulated tram whose head is at ``along``; its sections follow the track one by one."""
        colour = int(self._rng.integers(0, 64))
        for i in range(sections):
            role = "head" if i == 0 else "tail" if i == sections - 1 else "middle"
            mesh = self._templates.tram[role].painted(k.COACH, colour)
            behind = -9.1 * i if forward else 9.1 * i

            def section(t: float, behind=behind) -> float:
                return along(t) + behind

            self._add(mesh, section, _fixed(track), 0.0 if forward else np.pi)

    def _trams(self, begin: float, end: float) -> None:
        """Trams on their own tracks, in both directions."""
        section = self._plan.section
        if section.tram == "shared":
            return
        mean = (self._ego(self._duration_s) - self._ego(0.0)) / max(self._duration_s, 1e-3)
        for track, speed in zip(
            section.tracks, (mean * self._rng.uniform(0.8, 1.1), -self._rng.uniform(6, 10)), strict=True
        ):
            s = begin + self._rng.uniform(10.0, 60.0) - (speed * self._duration_s if speed > 0 else 0.0)
            while s < end - min(speed, 0.0) * self._duration_s:
                sections = int(self._rng.integers(2, 4))
                self._tram(_steady(s, speed), speed > 0, track, sections)
                s += 9.1 * sections + self._rng.uniform(70.0, 200.0)

    def _riders(self, sign: int, begin: float, end: float) -> None:
        """Cyclists in the bicycle lane."""
        section = self._plan.section
        edge = -LANE_HALF_M if sign < 0 else section.opposite + LANE_HALF_M
        across = edge + sign * BIKE_LANE_M * 0.55
        speed = -sign * self._rng.uniform(3.5, 5.5)
        s = begin - max(speed, 0.0) * self._duration_s
        while s < end - min(speed, 0.0) * self._duration_s:
            drift = _fixed(across + float(self._rng.normal(0, 0.12)))
            yaw = 0.0 if sign < 0 else np.pi
            self._add(self._rider_on(motor=False), _steady(s, speed), drift, yaw, 0.0, 1.1)
            s += self._rng.uniform(12.0, 45.0)

    def _pedestrians(self, sign: int, begin: float, end: float) -> None:
        """People on the sidewalk, walking both ways or standing."""
        section = self._plan.section
        kerb = section.left_kerb if sign > 0 else section.right_kerb
        limit = section.left_walk if sign > 0 else section.right_line
        s = begin
        while s < end:
            group = int(self._rng.choice([1, 1, 1, 2, 3]))
            forward = self._rng.random() < 0.5
            standing = self._rng.random() < 0.22
            speed = 0.0 if standing else self._rng.uniform(0.9, 1.6) * (1 if forward else -1)
            for _ in range(group):
                pool = self._templates.standing if standing else self._templates.pedestrians
                body = pool[int(self._rng.integers(len(pool)))]
                near = kerb + sign * max(self._plan.verge(sign), 1.0)
                d = near + (limit - near) * self._rng.uniform(0.1, 0.9)
                yaw = self._rng.uniform(0, 6.28) if standing else (0.0 if forward else np.pi)
                start = s + self._rng.normal(0, 0.5)
                self._add(body, _steady(start, speed), _fixed(float(d)), yaw, KERB_M, 0.0 if standing else 4.2)
            s += self._rng.uniform(3.0, 16.0)

    def _crossing(self) -> None:
        """People who cross the road far ahead of the ego and are over before it comes."""
        c = self._plan.section
        for j in self._plan.junctions:
            s = j.s - j.half_width - 4.7
            times = np.linspace(0, self._duration_s, 200)
            arrival = float(np.interp(s, [self._ego(t) for t in times], times, left=0.0, right=self._duration_s + 9))
            for _ in range(int(self._rng.integers(0, 4))):
                body = self._templates.pedestrians[int(self._rng.integers(len(self._templates.pedestrians)))]
                speed = self._rng.uniform(1.2, 1.6)
                leave = arrival - self._rng.uniform(3.0, 6.0)
                start, stop = c.left_kerb + 1.0, c.right_kerb - 1.0

                def across(t: float, leave=leave, speed=speed, start=start, stop=stop) -> float:
                    return float(np.clip(-LANE_HALF_M - 1.0 - speed * (t - leave), stop, start))

                self._add(body, _steady(s + self._rng.uniform(-1.2, 1.2), 0.0), across, -np.pi / 2, KERB_M, -4.2)
