# SPDX-License-Identifier: Apache-2.0
"""The plan of a street: its course, its cross-section, and what lies on each side along the way.

Everything is placed in street coordinates: ``s`` metres along the ego's lane and ``d`` metres to the
left of its centre, so that traffic, kerbs and houses follow the bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyseg_ros.simulation.geometry import Mesh, yaw_matrix

LANE_HALF_M = 1.75
BIKE_LANE_M = 1.6
PARKING_M = 2.3
KERB_M = 0.12
CITY, SUBURB, PARK = "city", "suburb", "park"


class Path:
    """The centre line of the ego's lane: straight stretches and bends of alternating sense."""

    def __init__(self, rng: np.random.Generator, begin_m: float, end_m: float) -> None:
        self.begin_m, self.end_m = begin_m, end_m
        self.s = np.arange(begin_m, end_m + 0.5, 0.5)
        heading = np.zeros_like(self.s)
        at, side, current = begin_m + rng.uniform(20.0, 60.0), rng.choice([-1.0, 1.0]), 0.0
        while at < end_m:
            target = side * rng.uniform(0.3, 0.9)
            length = 1.6 * abs(target - current) * rng.uniform(48.0, 75.0)
            u = np.clip((self.s - at) / length, 0.0, 1.0)
            heading += (target - current) * u * u * (3.0 - 2.0 * u)
            at += length + rng.uniform(10.0, 60.0)
            side, current = -side, target
        self.heading = heading
        step = 0.5 * np.stack([np.cos(heading), np.sin(heading)], 1)
        xy = np.cumsum(0.5 * (step[1:] + step[:-1]), axis=0)
        self.xy = np.concatenate([np.zeros((1, 2)), xy])

    def at(self, s: np.ndarray | float, d: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x, y and heading of street coordinates (arrays broadcast)."""
        heading = np.interp(s, self.s, self.heading)
        x = np.interp(s, self.s, self.xy[:, 0]) - d * np.sin(heading)
        y = np.interp(s, self.s, self.xy[:, 1]) + d * np.cos(heading)
        return x, y, heading

    def place(self, mesh: Mesh, s: float, d: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """A template set down at (s, d, z), turned by ``yaw`` from the street's direction."""
        x, y, heading = self.at(s, d)
        return mesh.moved(yaw_matrix(float(heading) + yaw) * scale, np.array([x, y, z]))


@dataclass(frozen=True)
class CrossSection:
    """Lateral positions, d in metres (left positive), of what runs along the whole street.

    Attributes:
        tram: "middle" (own tracks between the directions), "shared" (rails in the lanes) or "verge" (own bed at left).
        opposite: centre of the opposite lane.
        right_kerb, left_kerb: edges of the carriageway.
        right_parking, left_parking: width of the parking lanes, 0 where there is none.
        right_verge, left_verge: width of the strip between kerb and sidewalk (grass outside the city).
        right_line, left_line: property lines, where sidewalks (and the tram's bed) end.
        left_walk: where the left sidewalk ends (equal to left_line without a bed).
        tracks: centres of the two tracks, for trams in the ego's sense and against it.
    """

    tram: str
    opposite: float
    right_kerb: float
    left_kerb: float
    right_parking: float
    left_parking: float
    right_verge: float
    left_verge: float
    right_line: float
    left_walk: float
    left_line: float
    tracks: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CrossSection:
        """A random cross-section."""
        tram = str(rng.choice(["middle", "shared", "verge"]))
        opposite = 9.9 if tram == "middle" else 3.5
        edge = LANE_HALF_M + BIKE_LANE_M
        right_parking, left_parking = (PARKING_M if rng.random() < 0.5 else 0.0 for _ in range(2))
        right_verge, left_verge = (rng.uniform(1.2, 2.6) if rng.random() < 0.6 else 0.7 for _ in range(2))
        right_walk, left_walk = rng.uniform(2.2, 3.8, 2)
        right_kerb, left_kerb = -edge - right_parking, opposite + edge + left_parking
        walk_end = left_kerb + left_verge + left_walk
        tracks = {"middle": (3.5, 6.6), "shared": (0.0, opposite), "verge": (walk_end + 1.9, walk_end + 5.2)}[tram]
        return cls(
            tram=tram,
            opposite=opposite,
            right_kerb=right_kerb,
            left_kerb=left_kerb,
            right_parking=right_parking,
            left_parking=left_parking,
            right_verge=right_verge,
            left_verge=left_verge,
            right_line=right_kerb - right_verge - right_walk,
            left_walk=walk_end,
            left_line=walk_end + (7.2 if tram == "verge" else 0.0),
            tracks=tracks,
        )


@dataclass(frozen=True)
class Zone:
    """One stretch of one side of the street: s from begin to end, and what stands there."""

    begin: float
    end: float
    kind: str


@dataclass(frozen=True)
class Junction:
    """A side street at ``s`` to the sides in ``sides`` (-1 right, +1 left), with or without signals."""

    s: float
    half_width: float
    sides: tuple[int, ...]
    signals: bool


@dataclass(frozen=True)
class Plan:
    """Course, cross-section, zones per side and junctions of one street."""

    path: Path
    section: CrossSection
    right: tuple[Zone, ...]
    left: tuple[Zone, ...]
    junctions: tuple[Junction, ...]

    def side(self, sign: int) -> tuple[float, float, tuple[Zone, ...]]:
        """(kerb, property line, zones) of the right (-1) or left (+1) side."""
        c = self.section
        return (c.left_kerb, c.left_line, self.left) if sign > 0 else (c.right_kerb, c.right_line, self.right)

    def verge(self, sign: int) -> float:
        """Width of the strip between kerb and sidewalk on a side."""
        return self.section.left_verge if sign > 0 else self.section.right_verge

    def parking(self, sign: int) -> float:
        """Width of the parking lane on a side, 0 without one."""
        return self.section.left_parking if sign > 0 else self.section.right_parking

    def kind_at(self, s: float, sign: int) -> str:
        """Kind of the zone at ``s`` on a side."""
        _, _, zones = self.side(sign)
        return next((z.kind for z in zones if z.begin <= s < z.end), zones[-1].kind)

    def free_of_junction(self, s: float, margin_m: float) -> bool:
        """Whether ``s`` is at least ``margin_m`` away from every side street's edge."""
        return all(abs(s - j.s) > j.half_width + margin_m for j in self.junctions)


def draw_plan(rng: np.random.Generator, begin_m: float, end_m: float) -> Plan:
    """Draw a street that covers ``begin_m`` to ``end_m``."""
    junctions, s = [], begin_m + rng.uniform(50.0, 95.0)
    while s < end_m - 20.0:
        sides = ((-1,), (1,), (-1, 1))[int(rng.integers(3))]
        junctions.append(Junction(float(s), float(rng.uniform(3.2, 4.5)), sides, bool(rng.random() < 0.8)))
        s += rng.uniform(60.0, 105.0)
    zones = [_draw_zones(rng, begin_m, end_m, junctions) for _ in range(2)]
    path = Path(rng, begin_m - 10.0, end_m + 10.0)
    return Plan(path, CrossSection.draw(rng), zones[0], zones[1], tuple(junctions))


def _draw_zones(rng: np.random.Generator, begin_m: float, end_m: float, junctions: list[Junction]) -> tuple[Zone, ...]:
    """Zones of 40 to 90 m; they change at junctions or in between, and never repeat thrice."""
    zones: list[Zone] = []
    begin = begin_m
    while begin < end_m:
        end = min(begin + rng.uniform(40.0, 90.0), end_m)
        near = [j.s for j in junctions if abs(j.s - end) < 20.0 and j.s > begin + 20.0]
        end = near[0] if near else end
        kinds = [k for k in (CITY, SUBURB, PARK) if not zones or k != zones[-1].kind or rng.random() < 0.3]
        zones.append(Zone(float(begin), float(end), str(rng.choice(kinds))))
        begin = end
    return tuple(zones)
