# SPDX-License-Identifier: Apache-2.0
"""Trees, bushes, hedges and grass tufts: irregular leaf masses with loose leaf cards around them."""

from __future__ import annotations

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, ellipsoid, icosphere, loft, material_id, merge, quads, tube

_SPHERE_1 = icosphere(1)[0]
_SPHERE_2 = icosphere(2)[0]


def _bumps(rng: np.random.Generator, points: np.ndarray, amount: float) -> np.ndarray:
    """Smooth random factors around 1 for the vertices of a sphere."""
    waves = rng.normal(size=(6, 3)) * 2.6
    phase = rng.uniform(0, 6.28, 6)
    return (
        1.0 + amount * np.sin(points @ waves.T + phase).mean(axis=1) * 1.8 + amount * 0.5 * rng.normal(size=len(points))
    )


def _blob(rng: np.random.Generator, centre, radii, leaf: int, fine: bool = False) -> Mesh:
    points = _SPHERE_2 if fine else _SPHERE_1
    return ellipsoid(centre, radii, k.VEGETATION, leaf, 2 if fine else 1, _bumps(rng, points, 0.16))


def _cards(rng: np.random.Generator, centre, radii, count: int, size: float, leaf: int) -> Mesh:
    """Small random quads near the surface of an ellipsoid: the ragged outline of foliage."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middle = np.asarray(centre) + direction * np.asarray(radii) * rng.uniform(0.75, 1.15, (count, 1))
    u = rng.normal(size=(count, 3)) * size
    v = rng.normal(size=(count, 3)) * size
    corners = np.stack([middle - u, middle - 0.5 * v, middle + u, middle + 0.5 * v], axis=1)
    return quads(corners, k.VEGETATION, leaf)


_STYLES = {"round": 0.6, "column": 0.14, "fir": 0.14, "bare": 0.12}


def tree(rng: np.random.Generator, styles: tuple[str, ...] = tuple(_STYLES)) -> Mesh:
    """A street or park tree of 5 to 11 m: round, columnar, conical (a fir), or bare in winter."""
    leaf = material_id(k.LEAF, rng.choice([38, 39, 40, 40, 41, 43, 44, 44, 37, 22, 21]))
    bark = material_id(k.BARK, rng.choice([2, 3, 4, 19, 20]))
    weights = np.array([_STYLES[name] for name in styles])
    style = rng.choice(styles, p=weights / weights.sum())
    height = rng.uniform(5.0, 10.5)
    radius = 0.09 + 0.014 * height
    lean = rng.normal(0, 0.15, 2)
    if style == "fir":
        return _fir(rng, height, leaf, bark)
    crown = rng.uniform(2.1, 3.0)
    fork = np.array([lean[0], lean[1], crown])
    parts = [tube([0, 0, -0.1], fork, radius, k.VEGETATION, bark, 7, 0.75 * radius)]
    spread = 0.26 * height if style != "column" else 0.13 * height
    for _ in range(4 if style != "bare" else 9):
        tip = fork + [*rng.normal(0, 0.55 * spread, 2), rng.uniform(0.3, 0.62) * (height - crown)]
        parts.append(tube(fork, tip, 0.5 * radius, k.VEGETATION, bark, 4, 0.03))
        if style == "bare":
            for _ in range(5):
                twig = tip + [*rng.normal(0, 0.3 * spread, 2), rng.uniform(0.1, 0.4) * (height - crown)]
                parts.append(tube(0.5 * (fork + tip), twig, 0.03, k.VEGETATION, bark, 3, 0.008))
    if style != "bare":
        for i in range(int(rng.integers(4, 7))):
            level = (i + rng.random()) / 6
            offset = rng.normal(0, 0.42 * spread, 2) * (1.1 - level)
            centre = [lean[0] + offset[0], lean[1] + offset[1], crown + (0.18 + 0.72 * level) * (height - crown)]
            r = spread * rng.uniform(0.5, 0.8) * (1.1 - 0.4 * level)
            radii = np.array([r, r, r * rng.uniform(0.6, 0.95)])
            parts.append(_blob(rng, centre, 0.82 * radii, leaf))
            parts.append(_cards(rng, centre, 0.95 * radii, 60, 0.17, leaf))
    return merge(parts)


def _fir(rng: np.random.Generator, height: float, leaf: int, bark: int) -> Mesh:
    parts = [tube([0, 0, -0.1], [0, 0, 0.8 * height], 0.16, k.VEGETATION, bark, 6, 0.04)]
    base, layers = rng.uniform(0.4, 1.4), 6
    for i in range(layers):
        z = base + (height - base) * i / layers
        r = 0.24 * height * (1 - i / (layers + 0.5))
        top = z + 1.6 * (height - base) / layers
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        wobble = r * (1 + 0.22 * (-1.0) ** np.arange(12) + rng.normal(0, 0.06, 12))
        ring = np.stack([wobble * np.cos(angle), wobble * np.sin(angle), z + rng.normal(0, 0.1, 12)], 1)
        tip = np.stack([0.02 * np.cos(angle), 0.02 * np.sin(angle), np.full(12, top)], 1)
        parts.append(loft(np.stack([ring, tip]), k.VEGETATION, leaf))
    parts.append(_cards(rng, [0, 0, 0.45 * height], [0.2 * height, 0.2 * height, 0.35 * height], 70, 0.13, leaf))
    return merge(parts)


def bush(rng: np.random.Generator) -> Mesh:
    """A bush of 0.6 to 2 m."""
    leaf = material_id(k.LEAF, rng.choice([38, 39, 40, 41, 43, 44, 42, 37, 28]))
    parts = []
    size = rng.uniform(0.4, 1.0)
    for _ in range(int(rng.integers(2, 5))):
        centre = [*rng.normal(0, 0.5 * size, 2), 0.65 * size]
        radii = size * rng.uniform(0.5, 1.0, 3)
        parts += [_blob(rng, centre, radii, leaf), _cards(rng, centre, radii, 16, 0.1, leaf)]
    return merge(parts)


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """A clipped hedge along x from 0 to ``length``, 0.6 to 1.8 m tall."""
    leaf = material_id(k.LEAF, rng.choice([38, 39, 43, 44, 40]))
    height, half = rng.uniform(0.7, 1.9), rng.uniform(0.25, 0.5)
    x = np.linspace(0, length, max(2, int(length / 0.7)))
    ring = np.array([[-half, 0], [half, 0], [1.05 * half, 0.5], [0.95 * half, 0.95], [0.4 * half, 1.02]])
    ring = np.concatenate([ring, [[-0.4 * half, 1.02], [-0.95 * half, 0.95], [-1.05 * half, 0.5]]])
    rings = np.array([[[xi, y, z * height] for y, z in ring] for xi in x])
    rings[:, 2:] += rng.normal(0, 0.05, rings[:, 2:].shape)
    parts = [loft(rings, k.VEGETATION, leaf)]
    count = int(10 * length)
    middle = np.stack(
        [rng.uniform(0, length, count), rng.choice([-half, half, 0], count), rng.uniform(0.2, 1, count) * height], 1
    )
    middle[np.abs(middle[:, 1]) < 0.01, 2] = height
    u, v = rng.normal(size=(2, count, 3)) * 0.08
    parts.append(quads(np.stack([middle - u, middle - v, middle + u, middle + v], axis=1), k.VEGETATION, leaf))
    return merge(parts)


def wood(rng: np.random.Generator, length: float) -> Mesh:
    """The edge of a distant wood along x from 0 to ``length``: large overlapping leaf masses."""
    parts = []
    for x in np.arange(0, length, 4.5):
        leaf = material_id(k.LEAF, rng.choice([38, 39, 43, 44, 40]))
        r = rng.uniform(2.5, 4.5)
        centre = [x, rng.normal(0, 2.0), rng.uniform(1.0, 5.0)]
        parts.append(_blob(rng, centre, [r, r, r * rng.uniform(0.8, 1.6)], leaf))
    return merge(parts)
