# SPDX-License-Identifier: Apache-2.0
"""People: limbs that swing at the hips and shoulders, clothes of every colour, riders on two wheels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, box, ellipsoid, loft, material_id, merge, tube

_SHOULDER_M, _HIP_M = 1.4, 0.92


@dataclass(frozen=True)
class Walker:
    """A person whose limbs swing.

    Attributes:
        mesh: the person standing, x forward, feet at z = 0.
        swing: float32 [V], amplitude in radians of each vertex's limb (sign: left or right).
        pivot: float32 [V], height of the joint that it swings about.
    """

    mesh: Mesh
    swing: np.ndarray
    pivot: np.ndarray

    def painted(self, kind: int, colour: int) -> Walker:
        """As ``Mesh.painted``."""
        return replace(self, mesh=self.mesh.painted(kind, colour))

    def posed(self, phase: float) -> Mesh:
        """The mesh at a phase of the stride (radians)."""
        angle = self.swing * np.float32(np.sin(phase))
        c, s = np.cos(angle), np.sin(angle)
        v = self.mesh.vertices
        below = v[:, 2] - self.pivot
        x, z = c * v[:, 0] + s * -below, s * v[:, 0] + c * below + self.pivot
        return replace(self.mesh, vertices=np.stack([x, v[:, 1], z], axis=1).astype(np.float32))


def _torso(class_id: int, width: float, coat: float, cloth: int, skin: int, hair: int) -> list[Mesh]:
    """Trunk, neck, head and hair; ``coat`` is the height where the upper garment ends."""

    def ring(z: float, half_x: float, half_y: float) -> list[list[float]]:
        angle = np.pi / 4 * np.arange(8)
        return [[half_x * np.cos(a), half_y * np.sin(a), z] for a in angle]

    w = width
    rows = [
        (coat, 0.14, 0.17 * w),
        (1.0, 0.13, 0.16 * w),
        (1.25, 0.14, 0.2 * w),
        (1.42, 0.11, 0.22 * w),
        (1.48, 0.06, 0.08),
    ]
    parts = [loft(np.array([ring(*row) for row in rows]), class_id, cloth)]
    parts.append(tube([0, 0, 1.46], [0.01, 0, 1.56], 0.055, class_id, skin, 6))
    parts.append(ellipsoid([0.02, 0, 1.64], [0.1, 0.085, 0.125], class_id, skin))
    parts.append(ellipsoid([-0.015, 0, 1.67], [0.105, 0.095, 0.115], class_id, hair, 0))
    return parts


def walker(rng: np.random.Generator, walking: bool) -> Walker:
    """A person of random build and clothes, walking or standing."""
    colours = rng.integers(0, 64, 4)
    upper, lower = material_id(k.CLOTH, colours[0]), material_id(k.CLOTH, colours[1])
    skin = material_id(k.SKIN, rng.choice([19, 20, 21, 22, 23, 24]))
    hair = material_id(k.HAIR, rng.choice([0, 1, 18, 19, 20, 22, colours[2]]))
    coat = float(rng.choice([0.9, 0.88, 0.55]))
    sleeve = upper if rng.random() < 0.75 else skin
    leg = skin if rng.random() < 0.12 else lower
    shoe = material_id(k.RUBBER, rng.choice([0, 1, 2, 11, 18, 28]))
    stride = rng.uniform(0.35, 0.55) if walking else rng.uniform(0.0, 0.08)
    width = rng.uniform(0.9, 1.25)
    groups = [(merge(_torso(k.PERSON, width, coat, upper, skin, hair)), 0.0, 0.0)]
    for side in (-1, 1):
        y = 0.1 * side
        limb = [tube([0, y, _HIP_M], [0, y, 0.48], 0.085 * width, k.PERSON, lower, 6, 0.065)]
        limb.append(tube([0, y, 0.48], [0, y, 0.06], 0.062, k.PERSON, leg, 6, 0.05))
        limb.append(box([-0.09, y - 0.045, 0.0], [0.18, y + 0.045, 0.09], k.PERSON, shoe))
        groups.append((merge(limb), side * stride, _HIP_M))
        y = (0.22 * width + 0.04) * side
        arm = [tube([0, y, _SHOULDER_M], [0.02, 1.08 * y, 1.1], 0.055, k.PERSON, sleeve, 5)]
        arm.append(tube([0.02, 1.08 * y, 1.1], [0.08, 1.1 * y, 0.84], 0.042, k.PERSON, sleeve, 5))
        arm.append(box([0.05, 1.1 * y - 0.035, 0.76], [0.11, 1.1 * y + 0.035, 0.86], k.PERSON, skin))
        groups.append((merge(arm), -0.8 * side * stride, _SHOULDER_M))
    if rng.random() < 0.4:
        bag = material_id(k.CLOTH, colours[3])
        groups.append((box([-0.33, -0.15, 1.0], [-0.13, 0.15, 1.42], k.PERSON, bag), 0.0, 0.0))
    scale = rng.uniform(0.9, 1.08) if rng.random() < 0.85 else rng.uniform(0.6, 0.8)
    mesh = merge([g[0] for g in groups])
    swing = np.concatenate([np.full(len(g[0].vertices), g[1]) for g in groups]).astype(np.float32)
    pivot = np.concatenate([np.full(len(g[0].vertices), g[2]) for g in groups]).astype(np.float32)
    scaled = replace(mesh, vertices=mesh.vertices * np.float32(scale))
    return Walker(scaled, swing, pivot * np.float32(scale))


def rider(rng: np.random.Generator, motor: bool) -> Walker:
    """Somebody on a saddle: on a motorcycle (still, with a helmet) or pedalling a bicycle."""
    colours = rng.integers(0, 64, 4)
    upper, lower = material_id(k.CLOTH, colours[0]), material_id(k.CLOTH, colours[1])
    skin = material_id(k.SKIN, rng.choice([19, 20, 21, 22, 23, 24]))
    helmet = motor or rng.random() < 0.5
    hair = material_id(k.METAL if helmet else k.HAIR, colours[2] if helmet else rng.choice([0, 1, 18, 19, 20]))
    seat, lean, grip = (0.86, 0.25, [0.36, 1.02]) if motor else (0.98, rng.uniform(0.2, 0.6), [0.3, 1.05])
    torso = merge(_torso(k.RIDER, 1.05, 0.9, upper, skin, hair))
    c, s = np.cos(lean), np.sin(lean)
    tilt = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    base = np.array([-0.32 if motor else -0.24, 0, seat])
    torso = torso.moved(tilt, base - tilt @ np.array([0, 0, 0.9]))
    shoulder = tilt @ np.array([0, 0, 0.5]) + base
    groups = [(torso, 0.0, 0.0)]
    for side in (-1, 1):
        knee = np.array([0.2, 0.16 * side, seat - 0.22 if motor else seat - 0.3])
        foot = np.array([-0.05, 0.18 * side, 0.3 if motor else 0.25])
        leg = [tube(base + [0, 0.1 * side, 0], knee, 0.085, k.RIDER, lower, 6, 0.065)]
        leg.append(tube(knee, foot, 0.06, k.RIDER, lower, 6, 0.05))
        leg.append(
            box(foot - [0.06, 0.04, 0.06], foot + [0.18, 0.04, 0.03], k.RIDER, material_id(k.RUBBER, colours[3] % 20))
        )
        groups.append((merge(leg), 0.0 if motor else 0.22 * side, seat))
        start = shoulder + [0, 0.2 * side, -0.04]
        elbow = 0.5 * (start + [grip[0], 0.26 * side, grip[1]]) + [0, 0.06 * side, -0.08]
        arm = [
            tube(start, elbow, 0.055, k.RIDER, upper, 5),
            tube(elbow, [grip[0], 0.26 * side, grip[1]], 0.042, k.RIDER, upper, 5),
        ]
        groups.append((merge(arm), 0.0, 0.0))
    mesh = merge([g[0] for g in groups])
    swing = np.concatenate([np.full(len(g[0].vertices), g[1]) for g in groups]).astype(np.float32)
    pivot = np.concatenate([np.full(len(g[0].vertices), g[2]) for g in groups]).astype(np.float32)
    return Walker(mesh, swing, pivot)


def with_vehicle(person: Walker, vehicle: Mesh) -> Walker:
    """Rider and vehicle as one thing that moves."""
    still = np.zeros(len(vehicle.vertices), np.float32)
    return Walker(
        merge([person.mesh, vehicle]), np.concatenate([person.swing, still]), np.concatenate([person.pivot, still])
    )
