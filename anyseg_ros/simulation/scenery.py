# SPDX-License-Identifier: Apache-2.0
"""Sets the static objects along a planned street."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from anyseg_ros.simulation import buildings, furniture, vegetation
from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, yaw_matrix
from anyseg_ros.simulation.ground import build_ground
from anyseg_ros.simulation.street import CITY, KERB_M, PARK, PARKING_M, SUBURB, Plan, Zone
from anyseg_ros.simulation.templates import Templates, pick


@dataclass
class Scenery:
    """The static objects of a world while they are being set down.

    Attributes:
        plan: the street.
        rng: source of all that is random.
        templates: shared meshes.
        first_instance: number of the first object.
        meshes: what has been set down so far.
        lamps: world positions of the lamp heads.
    """

    plan: Plan
    rng: np.random.Generator
    templates: Templates
    first_instance: int
    meshes: list[Mesh] = field(default_factory=list)
    lamps: list[np.ndarray] = field(default_factory=list)

    def put(self, mesh: Mesh, s: float, d: float, z: float = KERB_M, yaw: float = 0.0, scale: float = 1.0) -> None:
        """Set one object down."""
        placed = self.plan.path.place(mesh, s, d, z, yaw, scale)
        self.meshes.append(placed.named(self.first_instance + len(self.meshes)))

    def put_parts(self, parts: list[tuple[Mesh, np.ndarray]], s: float, d: float, yaw: float = 0.0) -> None:
        """Set an object of several parts down, each an instance of its own."""
        for mesh, offset in parts:
            shifted = mesh.moved(np.eye(3), offset)
            self.put(shifted, s, d, KERB_M, yaw)

    def build(self) -> None:
        """Set everything down."""
        for mesh in build_ground(self.plan, self.rng):
            self.meshes.append(mesh.named(self.first_instance + len(self.meshes)))
        for sign in (-1, 1):
            _, _, zones = self.plan.side(sign)
            for zone in zones:
                {CITY: self._city, SUBURB: self._suburb, PARK: self._park}[zone.kind](zone, sign)
            self._kerbside(sign)
            self._background(sign)
        self._junctions()
        if self.plan.section.tram != "shared":
            self._masts()

    def _city(self, zone: Zone, sign: int) -> None:
        """A closed row of houses at the property line."""
        _, line, _ = self.plan.side(sign)
        s = zone.begin
        setback = self.rng.choice([0.0, 0.0, 1.5, 4.0])
        while s < zone.end - 5.0:
            width = min(self.rng.uniform(9.0, 20.0), zone.end - s)
            if not all(
                abs(s + width / 2 - j.s) > j.half_width + 1.5 + width / 2 or sign not in j.sides
                for j in self.plan.junctions
            ):
                s += 2.0
                continue
            self._front(buildings.town_house(self.rng, width), s, width, line + sign * (0.3 + setback), sign)
            s += width + (0.0 if self.rng.random() < 0.8 else self.rng.uniform(1.5, 5.0))
        if setback > 1.0:
            self._border(zone, sign, 0.7)

    def _front(self, mesh: Mesh, s: float, width: float, d: float, sign: int) -> None:
        """A house whose front (x 0..width at y = 0) faces the street."""
        yaw = 0.0 if sign > 0 else np.pi
        middle_x, middle_y, heading = self.plan.path.at(s + width / 2, d)
        heading = float(heading) + yaw
        shift = -0.5 * width * np.array([np.cos(heading), np.sin(heading)])
        placed = mesh.moved(yaw_matrix(heading), np.array([middle_x + shift[0], middle_y + shift[1], 0.0]))
        self.meshes.append(placed.named(self.first_instance + len(self.meshes)))

    def _suburb(self, zone: Zone, sign: int) -> None:
        """Detached houses in gardens behind fences, walls and hedges."""
        _, line, _ = self.plan.side(sign)
        self._border(zone, sign, 0.9)
        s = zone.begin + self.rng.uniform(1.0, 6.0)
        while s < zone.end - 10.0:
            d = line + sign * self.rng.uniform(5.0, 10.0)
            if self._clear(s + 6.0, sign, 8.0):
                self._front(buildings.cottage(self.rng), s, 12.0, d, sign)
            s += self.rng.uniform(13.5, 20.0)
        for s in self._spots(zone.begin, zone.end, 3.5):
            if self._clear(s, sign, 2.0):
                d = line + sign * self.rng.uniform(1.5, 4.5)
                if self.rng.random() < 0.4:
                    self.put(pick(self.rng, self.templates.trees), s, d, yaw=self.rng.uniform(0, 6.28), scale=0.7)
                else:
                    self.put(pick(self.rng, self.templates.bushes), s, d, yaw=self.rng.uniform(0, 6.28))

    def _park(self, zone: Zone, sign: int) -> None:
        """Meadow with trees, bushes and a wood behind."""
        _, line, _ = self.plan.side(sign)
        self._border(zone, sign, 0.5)
        for s in self._spots(zone.begin, zone.end, 3.5):
            d = line + sign * self.rng.uniform(3.0, 30.0)
            if self._clear(s, sign, 2.5):
                item = pick(self.rng, self.templates.trees if self.rng.random() < 0.6 else self.templates.bushes)
                self.put(item, s, d, 0.0, self.rng.uniform(0, 6.28), self.rng.uniform(0.8, 1.3))
        if self.rng.random() < 0.6:
            length = zone.end - zone.begin
            self.put(vegetation.wood(self.rng, length), zone.begin, line + sign * 42.0)

    def _border(self, zone: Zone, sign: int, share: float) -> None:
        """Fences, walls and hedges along the property line on a share of the zone."""
        _, line, _ = self.plan.side(sign)
        makers = (furniture.bar_fence, furniture.mesh_fence, furniture.board_fence, furniture.garden_wall)
        makers += (furniture.garden_wall, vegetation.hedge)
        s = zone.begin + 0.5
        while s < zone.end - 4.0:
            length = self.rng.uniform(5.0, 12.0)
            middle = s + length / 2
            if self.rng.random() < share and s + length < zone.end and self._clear(middle, sign, length / 2 + 0.5):
                maker = makers[int(self.rng.integers(len(makers)))]
                self._along(maker(self.rng, length), s, length, line + sign * 0.25)
            s += length + (0.0 if self.rng.random() < 0.7 else 3.0)

    def _along(self, mesh: Mesh, s: float, length: float, d: float) -> None:
        """A thing that runs along x from 0 to ``length``, set between (s, d) and (s + length, d), at true scale."""
        x0, y0, _ = self.plan.path.at(s, d)
        x1, y1, _ = self.plan.path.at(s + length, d)
        heading = np.arctan2(y1 - y0, x1 - x0)
        stretch = np.hypot(x1 - x0, y1 - y0) / length
        placed = mesh.moved(yaw_matrix(heading) @ np.diag([stretch, 1, 1]), np.array([x0, y0, KERB_M]))
        self.meshes.append(placed.named(self.first_instance + len(self.meshes)))

    def _spots(self, begin: float, end: float, spacing: float) -> np.ndarray:
        """Random positions, one per ``spacing`` on average."""
        count = max(0, int((end - begin) / spacing))
        return np.sort(self.rng.uniform(begin, end, count))

    def _clear(self, s: float, sign: int, margin: float) -> bool:
        return all(abs(s - j.s) > j.half_width + margin or sign not in j.sides for j in self.plan.junctions)

    def _kerbside(self, sign: int) -> None:
        """Parked vehicles, lamps, street trees, signs, bicycles, people who stand."""
        kerb, line, _ = self.plan.side(sign)
        begin, end = self.plan.path.begin_m + 5, self.plan.path.end_m - 5
        lane = kerb - sign * (PARKING_M / 2 - 0.1)
        s = begin
        while s < end:
            if self.rng.random() < {CITY: 0.9, SUBURB: 0.5, PARK: 0.25}[self.plan.kind_at(s, sign)]:
                s = self._park_one(s, lane, kerb, sign)
            else:
                s += self.rng.uniform(4.0, 9.0)
        verge = kerb + sign * max(0.45, 0.5 * self.plan.verge(sign))
        phase = self.rng.uniform(0, 10)
        spacing = self.rng.choice([9.0, 13.5, 13.5])
        for s in np.arange(begin + phase, end, 27.0):
            if self._clear(s, sign, 1.0):
                height, reach = self.rng.uniform(5.5, 8.5), self.rng.choice([0.0, 1.4, 2.2])
                yaw = 0.0 if sign < 0 else np.pi
                self.put(furniture.street_lamp(self.rng, height, reach), s, verge, yaw=yaw)
                x, y, heading = self.plan.path.at(s, verge - sign * reach)
                self.lamps.append(np.array([x, y, height + KERB_M], np.float32))
        trees = self.rng.random() < 0.75
        for s in np.arange(begin + phase + 9, end, 27.0 if not trees else spacing):
            if not self._clear(s, sign, 3.0):
                continue
            draw = self.rng.random()
            if trees and draw < 0.75:
                scale = self.rng.uniform(0.75, 1.15)
                self.put(
                    pick(self.rng, self.templates.street_trees),
                    s,
                    verge + sign * 0.3,
                    yaw=self.rng.uniform(0, 6.28),
                    scale=scale,
                )
            elif draw < 0.95:
                yaw = 0.0 if sign < 0 else np.pi
                self.put_parts(furniture.traffic_sign(self.rng), s, verge, yaw + self.rng.normal(0, 0.1))

    def _park_one(self, s: float, lane: float, kerb: float, sign: int) -> float:
        """Park one vehicle (or leave a gap) at ``s`` and return where the next one may begin."""
        draw = self.rng.random()
        yaw = 0.0 if sign < 0 else np.pi
        length, mesh = 4.8, None
        if not self.plan.parking(sign):
            draw = 0.6 + 0.4 * draw
        if draw < 0.52:
            mesh = self.templates.painted_car(self.rng)
        elif draw < 0.56:
            length, mesh = 11.5, self.templates.painted_truck(self.rng)
        elif draw < 0.59:
            length, mesh = 12.5, self.templates.painted_bus(self.rng)
        if not self._clear(s + length / 2, -1, length / 2 + 2.0) or not self._clear(
            s + length / 2, 1, length / 2 + 2.0
        ):
            return s + 2.0
        if mesh is not None:
            self.put(mesh, s + length / 2, lane + self.rng.normal(0, 0.08), 0.0, yaw + self.rng.normal(0, 0.015))
            return s + length + self.rng.uniform(0.5, 1.4)
        if draw < 0.7:
            for i in range(int(self.rng.integers(2, 7))):
                two_wheeler = self.templates.bicycle.painted(k.PAINT, int(self.rng.integers(0, 64)))
                spot = kerb + sign * self.rng.uniform(0.95, 1.15)
                self.put(two_wheeler, s + 0.7 * i + 0.5, spot, KERB_M, np.pi / 2 + self.rng.normal(0, 0.15))
            return s + 4.0
        if draw < 0.8:
            for i in range(int(self.rng.integers(1, 4))):
                machine = pick(self.rng, self.templates.motorcycles).painted(k.PAINT, int(self.rng.integers(0, 64)))
                spot, z = (lane, 0.0) if self.plan.parking(sign) else (kerb + sign * 1.3, KERB_M)
                self.put(machine, s + 1.1 * i + 0.5, spot, z, -sign * np.pi / 2 + self.rng.normal(0, 0.2))
            return s + 4.0
        return s + self.rng.uniform(3.0, 12.0)

    def _background(self, sign: int) -> None:
        """Tall blocks and woods in the second row."""
        _, line, zones = self.plan.side(sign)
        for s in self._spots(self.plan.path.begin_m + 20, self.plan.path.end_m - 20, 22.0):
            kind = next((z.kind for z in zones if z.begin <= s < z.end), CITY)
            if kind != PARK and self._clear(s, sign, 18.0):
                self._front(buildings.tower_block(self.rng), s, 20.0, line + sign * self.rng.uniform(26.0, 45.0), sign)
            elif self._clear(s, sign, 10.0):
                self.put(
                    vegetation.wood(self.rng, 25.0),
                    s,
                    line + sign * self.rng.uniform(45.0, 60.0),
                    0.0,
                    self.rng.normal(0, 0.3),
                )

    def _junctions(self) -> None:
        """Signals or signs, and somebody who waits in the side street."""
        for j in self.plan.junctions:
            stop = j.s - j.half_width - 2.0
            if j.signals:
                kerb = self.plan.section.right_kerb
                self.put_parts(furniture.traffic_light(self.rng, self.rng.choice([0.0, 5.2])), stop, kerb - 0.5)
                self.put_parts(furniture.traffic_light(self.rng, 0.0), stop, self.plan.section.left_kerb + 0.5)
                far = j.s + j.half_width + 1.5
                self.put_parts(furniture.traffic_light(self.rng, 0.0), far, kerb - 0.5, self.rng.normal(0, 0.1))
                self.put_parts(furniture.traffic_light(self.rng, 0.0), far, self.plan.section.left_kerb + 0.5, np.pi)
            else:
                self.put_parts(furniture.traffic_sign(self.rng), stop, self.plan.section.right_kerb - 0.6)
            if self.rng.random() < 0.5:
                board = furniture.direction_board(self.rng, self.rng.uniform(1.4, 2.6))
                self.put_parts(board, stop - self.rng.uniform(8, 20), self.plan.section.right_kerb - 1.4)
            for sign in j.sides:
                self._waiting(j.s, j.half_width, sign)

    def _waiting(self, s: float, half: float, sign: int) -> None:
        """Vehicles in a side street that wait to turn in."""
        kerb, line, _ = self.plan.side(sign)
        on_bed = sign > 0 and self.plan.section.tram == "verge"
        d = (line if on_bed else kerb) + sign * self.rng.uniform(4.0, 6.0)
        lane = s + sign * 0.5 * half
        for _ in range(int(self.rng.integers(1, 4))):
            draw = self.rng.random()
            if draw < 0.25:
                mesh, length = self.templates.painted_truck(self.rng), 11.0
            elif draw < 0.5:
                mesh, length = self.templates.painted_bus(self.rng), 12.0
            else:
                mesh, length = self.templates.painted_car(self.rng), 4.6
            self.put(mesh, lane, d + sign * length / 2, 0.0, -sign * np.pi / 2)
            d += sign * (length + 1.2)

    def _masts(self) -> None:
        """Masts of the overhead line."""
        c = self.plan.section
        for s in np.arange(self.plan.path.begin_m + 15, self.plan.path.end_m - 10, 32.0):
            if self.plan.free_of_junction(s, 1.0):
                middle = 0.5 * (c.tracks[0] + c.tracks[1])
                self.put(furniture.catenary_mast(self.rng, 1.6), s, middle, 0.0, np.pi * int(self.rng.integers(2)))
