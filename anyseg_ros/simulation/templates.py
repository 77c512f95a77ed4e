# SPDX-License-Identifier: Apache-2.0
"""The meshes that many objects of one world share, and how single objects are painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation import people, vegetation, vehicles
from anyseg_ros.simulation.geometry import Mesh


@dataclass(frozen=True)
class Templates:
    """Meshes that many objects share."""

    cars: list[Mesh]
    trucks: list[Mesh]
    buses: list[Mesh]
    bicycle: Mesh
    motorcycles: list[Mesh]
    tram: dict[str, Mesh]
    trees: list[Mesh]
    street_trees: list[Mesh]
    bushes: list[Mesh]
    pedestrians: list[people.Walker]
    standing: list[people.Walker]
    cyclists: list[people.Walker]
    motorcyclists: list[people.Walker]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Templates:
        """Random templates for one world."""
        bicycle = vehicles.bicycle()
        machines = [vehicles.motorcycle(), vehicles.motorcycle(scooter=True)]
        return cls(
            cars=[vehicles.car(shape) for shape in vehicles.CAR_SHAPES],
            trucks=[vehicles.truck(rng) for _ in range(4)],
            buses=[vehicles.bus(), vehicles.bus(double_decker=True)],
            bicycle=bicycle,
            motorcycles=machines,
            tram={role: vehicles.tram_section(role) for role in ("head", "middle", "tail")},
            trees=[vegetation.tree(rng) for _ in range(8)],
            street_trees=[vegetation.tree(rng, ("round", "column", "bare")) for _ in range(5)],
            bushes=[vegetation.bush(rng) for _ in range(6)],
            pedestrians=[people.walker(rng, True) for _ in range(14)],
            standing=[people.walker(rng, False) for _ in range(8)],
            cyclists=[people.with_vehicle(people.rider(rng, False), bicycle) for _ in range(9)],
            motorcyclists=[people.with_vehicle(people.rider(rng, True), machines[i % 2]) for i in range(6)],
        )

    def painted_car(self, rng: np.random.Generator) -> Mesh:
        """A car of a random shape and colour."""
        return pick(rng, self.cars, (0.3, 0.28, 0.24, 0.18)).painted(k.PAINT, car_colour(rng))

    def painted_truck(self, rng: np.random.Generator) -> Mesh:
        """A lorry with a cab and a load of random colours."""
        mesh = pick(rng, self.trucks).painted(k.PAINT, int(rng.integers(0, 64)))
        return mesh.painted(k.CARGO, int(rng.integers(0, 64)))

    def painted_bus(self, rng: np.random.Generator) -> Mesh:
        """A bus of a random colour."""
        return pick(rng, self.buses, (0.8, 0.2)).painted(k.COACH, int(rng.integers(0, 64)))


def car_colour(rng: np.random.Generator) -> int:
    """Mostly greys, as cars are."""
    return int(rng.choice(k.GREYS)) if rng.random() < 0.6 else int(rng.integers(0, 64))


def pick(rng: np.random.Generator, items: list, weights: tuple[float, ...] | None = None):
    """One item at random."""
    return items[int(rng.choice(len(items), p=weights))]
