# SPDX-License-Identifier: Apache-2.0
"""Houses: walls whose windows are drawn by the material, roofs, balconies, awnings, chimneys.

Walls have local coordinates (metres along the wall, storey height code, metres above ground).
"""

from __future__ import annotations

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, box, boxes, make, material_id, merge, quads

_FACADES = (k.PLASTER, k.PLASTER, k.BRICK, k.ROUGHCAST, k.CURTAIN)


def _walls(width: float, depth: float, low: float, high: float, material: int) -> Mesh:
    """Four walls around x 0..width, y 0..depth."""
    corners = np.array([[0, 0], [width, 0], [width, depth], [0, depth], [0, 0]], float)
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    faces, local = [], []
    for i in range(4):
        (ax, ay), (bx, by) = corners[i], corners[i + 1]
        faces.append([[ax, ay, low], [bx, by, low], [bx, by, high], [ax, ay, high]])
        local.append([[run[i], 0, low], [run[i + 1], 0, low], [run[i + 1], 0, high], [run[i], 0, high]])
    return quads(np.array(faces), k.BUILDING, material, np.array(local))


def _gable(width: float, depth: float, eaves: float, ridge: float, along: bool, wall: int, roof: int) -> Mesh:
    """A saddle roof with an overhang of 0.35 m; its ridge runs along x, or along y."""
    o = 0.35
    if along:
        m = depth / 2
        a, b = [[-o, -o, eaves - 0.2], [width + o, -o, eaves - 0.2]], [[width + o, depth + o, eaves - 0.2]]
        top = [[-o, m, ridge], [width + o, m, ridge]]
        slopes = [[a[0], a[1], top[1], top[0]], [b[0], [-o, depth + o, eaves - 0.2], top[0], top[1]]]
        ends = [
            [[0, 0, eaves], [0, depth, eaves], [0, m, ridge]],
            [[width, 0, eaves], [width, depth, eaves], [width, m, ridge]],
        ]
    else:
        m = width / 2
        top = [[m, -o, ridge], [m, depth + o, ridge]]
        slopes = [
            [[-o, -o, eaves - 0.2], top[0], top[1], [-o, depth + o, eaves - 0.2]],
            [[width + o, -o, eaves - 0.2], [width + o, depth + o, eaves - 0.2], top[1], top[0]],
        ]
        ends = [
            [[0, 0, eaves], [width, 0, eaves], [m, 0, ridge]],
            [[0, depth, eaves], [width, depth, eaves], [m, depth, ridge]],
        ]
    roofs = quads(np.array(slopes), k.BUILDING, roof)
    gables = make(np.array(ends).reshape(-1, 3), np.arange(6).reshape(2, 3), k.BUILDING, wall)
    return merge([roofs, gables])


def _colours(rng: np.random.Generator) -> tuple[int, int, int]:
    """Wall, roof and trim colours."""
    return int(rng.choice(k.FACADES)), int(rng.choice([2, 3, 4, 5, 19, 20, 26, 27, 30, 59])), int(rng.integers(0, 64))


def town_house(rng: np.random.Generator, width: float) -> Mesh:
    """A house in a closed row, 2 to 7 storeys; x along the street, the front at y = 0, y away from the street."""
    wall_colour, roof_colour, trim = _colours(rng)
    kind = int(rng.choice(_FACADES))
    storeys = int(rng.integers(3, 8))
    depth, height = rng.uniform(9.0, 14.0), 0.6 + storeys * 3.1
    wall, roof = material_id(kind, wall_colour), material_id(k.TILES, roof_colour)
    parts = []
    low = 0.0
    if rng.random() < 0.5:
        low = 3.7
        parts.append(_walls(width, depth, 0.0, low, material_id(k.SHOP, trim)))
        if rng.random() < 0.6:
            parts += _awnings(rng, width, trim)
    parts.append(_walls(width, depth, low, height, wall))
    if kind != k.CURTAIN and rng.random() < 0.65:
        parts.append(_gable(width, depth, height, height + rng.uniform(2.0, 4.5), True, wall, roof))
        x = rng.uniform(0.1, 0.8) * width
        y = 0.35 * depth
        parts.append(box([x, y, height], [x + 0.8, y + 0.6, height + 4.6], k.BUILDING, material_id(k.BRICK, 27)))
    else:
        parts.append(
            box(
                [-0.1, -0.15, height - 0.1],
                [width + 0.1, depth, height + 0.5],
                k.BUILDING,
                material_id(k.CONCRETE, trim),
            )
        )
    if kind != k.CURTAIN:
        if rng.random() < 0.45:
            parts.append(_balconies(rng, width, storeys, trim))
        sills = np.arange(3.7 if low else 3.5, height - 1, 3.1)
        low_corner = np.stack([0 * sills - 0.02, 0 * sills - 0.08, sills - 0.12], 1)
        high_corner = np.stack([0 * sills + width + 0.02, 0 * sills, sills], 1)
        parts.append(boxes(low_corner, high_corner, k.BUILDING, material_id(k.PLASTER, trim)))
        if rng.random() < 0.5:
            pipe = material_id(k.METAL, int(rng.choice([4, 6, 19])))
            parts.append(box([0.1, -0.14, 0.1], [0.22, -0.02, height], k.BUILDING, pipe))
    return merge(parts)


def _awnings(rng: np.random.Generator, width: float, trim: int) -> list[Mesh]:
    material = material_id(k.CLOTH, int(rng.integers(0, 64)))
    start, end, out = 0.4, width - 0.4, rng.uniform(0.8, 1.3)
    slope = [[start, -0.02, 3.2], [end, -0.02, 3.2], [end, -out, 2.6], [start, -out, 2.6]]
    valance = [[start, -out, 2.6], [end, -out, 2.6], [end, -out, 2.35], [start, -out, 2.35]]
    sign = box([0.15 * width, -0.12, 3.25], [0.8 * width, 0.0, 3.65], k.BUILDING, material_id(k.PAINT, trim))
    return [quads(np.array([slope, valance]), k.BUILDING, material), sign]


def _balconies(rng: np.random.Generator, width: float, storeys: int, trim: int) -> Mesh:
    x = rng.uniform(0.1, 0.5) * width
    w = min(rng.uniform(2.2, 4.0), width - x - 0.2)
    z = 0.6 + 3.1 * np.arange(1, storeys)
    n = len(z)
    slab_low = np.stack([np.full(n, x), np.full(n, -1.1), z - 0.15], 1)
    slab = boxes(slab_low, slab_low + [w, 1.1, 0.15], k.BUILDING, material_id(k.CONCRETE, 8))
    rail = boxes(slab_low + [0, 0, 0.15], slab_low + [w, 0.05, 1.1], k.BUILDING, material_id(k.METAL, trim))
    return merge([slab, rail])


def cottage(rng: np.random.Generator) -> Mesh:
    """A detached house of one or two storeys with a saddle roof; the front at y = 0."""
    wall_colour, roof_colour, trim = _colours(rng)
    width, depth = rng.uniform(8.0, 13.0), rng.uniform(7.0, 10.0)
    eaves = rng.choice([2.9, 5.6])
    wall = material_id(int(rng.choice([k.PLASTER, k.BRICK, k.ROUGHCAST, k.WOOD])), wall_colour)
    roof = material_id(k.TILES, roof_colour)
    ridge = eaves + rng.uniform(2.4, 4.2)
    parts = [
        _walls(width, depth, 0.0, eaves, wall),
        _gable(width, depth, eaves, ridge, bool(rng.random() < 0.6), wall, roof),
    ]
    x = rng.uniform(0.2, 0.7) * width
    parts.append(
        box([x, 0.3 * depth, eaves], [x + 0.7, 0.3 * depth + 0.6, ridge + 0.7], k.BUILDING, material_id(k.BRICK, 26))
    )
    if rng.random() < 0.5:
        garage = _walls(3.4, 5.5, 0.0, 2.6, material_id(k.SHOP, trim))
        parts.append(garage.at(width + 0.3, 1.0))
        lid = box([width + 0.2, 0.8, 2.6], [width + 3.9, 6.6, 2.8], k.BUILDING, material_id(k.CONCRETE, 8))
        parts.append(lid)
    return merge(parts)


def tower_block(rng: np.random.Generator) -> Mesh:
    """A tall block for the background, 10 to 34 m; the front at y = 0."""
    width, depth, height = rng.uniform(14.0, 30.0), rng.uniform(10.0, 16.0), rng.uniform(10.0, 34.0)
    wall = material_id(int(rng.choice(_FACADES)), int(rng.choice(k.FACADES)))
    parts = [_walls(width, depth, -0.5, height, wall)]
    parts.append(
        box([-0.1, -0.1, height], [width + 0.1, depth + 0.1, height + 0.6], k.BUILDING, material_id(k.CONCRETE, 8))
    )
    parts.append(box([0.3 * width, 0.3 * depth, height], [0.6 * width, 0.7 * depth, height + 2.8], k.BUILDING, wall))
    return merge(parts)
