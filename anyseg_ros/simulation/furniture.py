# SPDX-License-Identifier: Apache-2.0
"""Street furniture: lamp posts, traffic lights, signs, bollards, fences, walls, shelters, masts."""

from __future__ import annotations

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, box, boxes, make, material_id, merge, quads, tube

SIGN_KINDS = (k.SIGN_ROUND, k.SIGN_TRIANGLE, k.SIGN_SQUARE)


def post(height: float, radius: float, colour: int, kind: int = k.METAL, top: float | None = None) -> Mesh:
    """A plain pole."""
    return tube([0, 0, -0.05], [0, 0, height], radius, k.POLE, material_id(kind, colour), 8, top)


def street_lamp(rng: np.random.Generator, height: float, reach: float) -> Mesh:
    """A lamp post whose arm points along +y; its head is part of the pole, as in Cityscapes."""
    colour = int(rng.choice([1, 2, 5, 6, 7, 8, 41, 19]))
    steel = material_id(k.METAL, colour)
    parts = [post(height, 0.11, colour, top=0.065), tube([0, 0, 0], [0, 0, 0.9], 0.15, k.POLE, steel, 8)]
    if reach < 0.3:
        parts.append(tube([0, 0, height], [0, 0, height + 0.45], 0.12, k.POLE, material_id(k.LAMP_HEAD, 12), 8, 0.22))
        return merge(parts)
    tip = np.array([0, reach, height + 0.35])
    parts.append(tube([0, 0, height - 0.1], tip, 0.055, k.POLE, steel, 6))
    parts.append(box(tip - [0.14, 0.1, 0.06], tip + [0.14, 0.6, 0.06], k.POLE, steel))
    parts.append(box(tip - [0.11, 0.05, 0.09], tip + [0.11, 0.55, -0.055], k.POLE, material_id(k.LAMP_HEAD, 12)))
    return merge(parts)


def signal_head(colour: int) -> Mesh:
    """A traffic light's box of three lamps that faces -x, its middle at the origin; lamps are drawn by k.LAMPS."""
    shell = box([-0.1, -0.17, -0.48], [0.14, 0.17, 0.48], k.TRAFFIC_LIGHT, material_id(k.METAL, colour))
    face = quads(
        np.array([[[-0.105, 0.15, -0.46], [-0.105, -0.15, -0.46], [-0.105, -0.15, 0.46], [-0.105, 0.15, 0.46]]]),
        k.TRAFFIC_LIGHT,
        material_id(k.LAMPS, 1),
    )
    z = np.array([-0.3, 0.0, 0.3])
    low = np.stack([0 * z - 0.28, 0 * z - 0.13, z + 0.1], 1)
    visors = boxes(low, low + [0.18, 0.26, 0.03], k.TRAFFIC_LIGHT, material_id(k.METAL, colour))
    return merge([shell, face, visors])


def traffic_light(rng: np.random.Generator, mast_arm_m: float) -> list[tuple[Mesh, np.ndarray]]:
    """Parts of a signal (pole, heads) with each part's offset; heads face -x, an arm reaches along +y."""
    colour = int(rng.choice([0, 1, 2, 5, 41, 33]))
    height = 5.6 if mast_arm_m else 3.3
    parts = [(post(height, 0.08 if not mast_arm_m else 0.12, int(rng.choice([5, 6, 7, 8, 2]))), np.zeros(3))]
    heads = [np.array([-0.26, 0, 2.75])]
    if mast_arm_m:
        arm = tube([0, 0, 5.5], [0, mast_arm_m, 5.7], 0.07, k.POLE, material_id(k.METAL, 7), 6)
        parts.append((arm, np.zeros(3)))
        heads.append(np.array([-0.15, mast_arm_m - 0.4, 5.5]))
    parts += [(signal_head(colour), at) for at in heads]
    return parts


def sign_plate(kind: int, size: float, colour: int) -> Mesh:
    """A sign that faces -x with its middle at the origin; the local frame (y, z) carries its picture."""
    count = {k.SIGN_ROUND: 14, k.SIGN_TRIANGLE: 3, k.SIGN_SQUARE: 4}[kind]
    angle = 2 * np.pi * np.arange(count) / count + (np.pi / 2 if kind == k.SIGN_TRIANGLE else np.pi / 4)
    radius = size * {k.SIGN_ROUND: 0.5, k.SIGN_TRIANGLE: 0.62, k.SIGN_SQUARE: 0.66}[kind]
    ring = np.stack([0 * angle, radius * np.cos(angle), radius * np.sin(angle)], 1)
    fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], 1)
    front = make(ring - [0.015, 0, 0], fan, k.TRAFFIC_SIGN, material_id(kind, colour), ring / size)
    back = make(ring + [0.015, 0, 0], fan[:, ::-1], k.TRAFFIC_SIGN, material_id(k.SIGN_BACK, 8))
    return merge([front, back])


def traffic_sign(rng: np.random.Generator) -> list[tuple[Mesh, np.ndarray]]:
    """A post with one or two signs, each part with its offset."""
    height = rng.uniform(2.2, 3.0)
    parts = [(post(height + 0.25, 0.045, int(rng.choice([6, 7, 8, 9]))), np.zeros(3))]
    z = height
    for _ in range(int(rng.integers(1, 3))):
        size = rng.uniform(0.6, 0.95)
        plate = sign_plate(int(rng.choice(SIGN_KINDS)), size, int(rng.choice([12, 28, 29, 33, 47, 48, 0, 12])))
        parts.append((plate, np.array([-0.07, 0, z - 0.2])))
        z -= size + 0.1
    return parts


def direction_board(rng: np.random.Generator, width: float) -> list[tuple[Mesh, np.ndarray]]:
    """A wide direction sign on two posts."""
    colour = int(rng.choice([47, 48, 38, 33, 12]))
    height = width * 0.55
    plate = quads(
        np.array([[[0, 0.5, -0.5], [0, -0.5, -0.5], [0, -0.5, 0.5], [0, 0.5, 0.5]]]) * [1, width, height],
        k.TRAFFIC_SIGN,
        material_id(k.SIGN_SQUARE, colour),
        np.array([[0, 0.5, -0.5], [0, -0.5, -0.5], [0, -0.5, 0.5], [0, 0.5, 0.5]]),
    )
    back = box(
        [0.01, -width / 2, -height / 2], [0.04, width / 2, height / 2], k.TRAFFIC_SIGN, material_id(k.SIGN_BACK, 8)
    )
    z = 2.3 + height / 2
    posts = [(post(z + 0.4 * height, 0.06, 7), np.array([0.1, y, 0])) for y in (-0.35 * width, 0.35 * width)]
    return [*posts, (merge([plate, back]), np.array([0.0, 0, z]))]


def bar_fence(rng: np.random.Generator, length: float) -> Mesh:
    """A fence of upright bars or pickets between posts, along x from 0 to ``length``."""
    wooden = rng.random() < 0.4
    colour = int(rng.choice([0, 1, 2, 12, 19, 20, 21, 37, 38, 41, 8, 22]))
    material = material_id(k.WOOD if wooden else k.METAL, colour)
    height = rng.uniform(0.9, 1.7)
    half, step = (0.045, 0.15) if wooden else (0.014, 0.13)
    x = np.arange(0.05, length - 0.05, step)
    n = len(x)
    low = np.stack([x - half, np.full(n, -0.012), np.full(n, 0.08)], 1)
    high = np.stack([x + half, np.full(n, 0.012), np.full(n, height)], 1)
    rails = [[0, -0.025, z] for z in (0.15, height - 0.2)]
    tops = [[length, 0.025, z + 0.06] for z in (0.15, height - 0.2)]
    spots = np.arange(0, length + 0.1, 2.4)
    feet = np.stack([spots - 0.05, 0 * spots - 0.05, 0 * spots], 1)
    parts = [boxes(low, high, k.FENCE, material), boxes(rails, tops, k.FENCE, material)]
    parts.append(boxes(feet, feet + [0.1, 0.1, height + 0.1], k.FENCE, material))
    return merge(parts)


def mesh_fence(rng: np.random.Generator, length: float) -> Mesh:
    """A chain-link or guard fence: crossing thin slats, along x from 0 to ``length``."""
    material = material_id(k.METAL, int(rng.choice([2, 6, 7, 8, 37, 38, 41])))
    height = rng.uniform(1.1, 2.1)
    x = np.arange(0.2, length, 0.2)
    z = np.arange(0.1, height, 0.2)
    low = np.concatenate([np.stack([x - 0.012, 0 * x, 0 * x], 1), np.stack([0 * z, 0 * z, z - 0.012], 1)])
    high = np.concatenate(
        [np.stack([x + 0.012, 0 * x, 0 * x + height], 1), np.stack([0 * z + length, 0 * z, z + 0.012], 1)]
    )
    corners = np.stack([low, [0, 0, 0] + low * [1, 1, 0] + (high - low) * [1, 0, 0] + low * [0, 0, 1], high], 1)
    fourth = low + (high - low) * [0, 0, 1]
    slats = quads(np.concatenate([corners, fourth[:, None]], axis=1), k.FENCE, material)
    spots = np.arange(0, length + 0.1, 2.5)
    feet = np.stack([spots - 0.04, 0 * spots - 0.04, 0 * spots], 1)
    return merge([slats, boxes(feet, feet + [0.08, 0.08, height + 0.05], k.FENCE, material)])


def board_fence(rng: np.random.Generator, length: float) -> Mesh:
    """A closed wooden fence of horizontal boards with narrow gaps."""
    material = material_id(k.WOOD, int(rng.choice([18, 19, 20, 21, 22, 6, 8, 38])))
    z = np.arange(0.1, rng.uniform(1.3, 2.0), 0.2)
    low = np.stack([0 * z, 0 * z - 0.015, z], 1)
    spots = np.arange(0, length + 0.1, 2.0)
    feet = np.stack([spots - 0.06, 0 * spots - 0.06, 0 * spots], 1)
    posts = boxes(feet, feet + [0.12, 0.12, z[-1] + 0.25], k.FENCE, material)
    return merge([boxes(low, low + [length, 0.03, 0.17], k.FENCE, material), posts])


def garden_wall(rng: np.random.Generator, length: float) -> Mesh:
    """A wall of stone, brick, concrete or plaster with a coping, along x from 0 to ``length``."""
    kind = int(rng.choice([k.STONE, k.BRICK, k.CONCRETE, k.ROUGHCAST]))
    material = material_id(kind, int(rng.choice(k.FACADES)))
    height = rng.uniform(0.8, 2.6)
    parts = [box([0, -0.14, 0], [length, 0.14, height], k.WALL, material)]
    parts.append(box([-0.02, -0.19, height], [length + 0.02, 0.19, height + 0.08], k.WALL, material_id(k.CONCRETE, 8)))
    if rng.random() < 0.4:
        spots = np.arange(0, length + 0.1, 4.0)
        feet = np.stack([spots - 0.22, 0 * spots - 0.22, 0 * spots], 1)
        parts.append(boxes(feet, feet + [0.44, 0.44, height + 0.25], k.WALL, material))
    return merge(parts)


def catenary_mast(rng: np.random.Generator, reach: float) -> Mesh:
    """A mast beside the tram's tracks with a bracket over them along +y."""
    steel = material_id(k.METAL, int(rng.choice([2, 5, 7, 37])))
    mast = tube([0, 0, 0], [0, 0, 6.6], 0.13, k.POLE, steel, 8, 0.1)
    bracket = tube([0, 0, 6.2], [0, reach, 5.7], 0.04, k.POLE, steel, 5)
    return merge([mast, bracket, tube([0, 0, 6.55], [0, reach, 5.8], 0.02, k.POLE, steel, 4)])
