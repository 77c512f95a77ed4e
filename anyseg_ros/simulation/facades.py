# SPDX-License-Identifier: Apache-2.0
"""Textures of buildings and masonry: where the windows are, and how plaster, brick, stone and tiles look."""

from __future__ import annotations

import numpy as np
from numba import njit

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.noise import fade, grain2, joint, mix, noise2, unit

_CURTAIN, _SHOP, _BRICK, _TILES, _STONE = k.CURTAIN, k.SHOP, k.BRICK, k.TILES, k.STONE
_WOOD, _ROUGHCAST, _CONCRETE = k.WOOD, k.ROUGHCAST, k.CONCRETE


@njit(cache=True)
def window(kind: int, instance: int, x: float, z: float):
    """What a point of a facade belongs to.

    Returns:
        (part, number): part 0 wall, 1 pane, 2 frame, 3 door; number: hash of the window.
    """
    if kind == _SHOP:
        pane = 1.6 + 1.6 * unit(instance, 11)
        column = np.floor(x / pane)
        u = x - pane * column
        number = mix(mix(int(column), instance), 5)
        if z > 3.0:
            return 0, number
        if z < 0.35 and number % 4:
            return 0, number
        if u < 0.09 or u > pane - 0.09 or z > 2.9:
            return 2, number
        return (3 if number % 4 == 0 else 1), number
    storey = 3.1
    row = np.floor((z - 0.6) / storey)
    v = z - 0.6 - storey * row
    if kind == _CURTAIN:
        pane = 1.2 + 1.0 * unit(instance, 12)
        column = np.floor(x / pane)
        u = x - pane * column
        number = mix(mix(int(column), instance), int(row))
        if v > 2.45 + 0.5 * unit(instance, 13):
            return 0, number
        return (2 if u < 0.07 or v < 0.1 else 1), number
    bay = 1.9 + 1.9 * unit(instance, 14)
    width = bay * (0.34 + 0.26 * unit(instance, 15))
    column = np.floor(x / bay)
    u = abs(x - bay * (column + 0.5))
    number = mix(mix(int(column), instance), int(row))
    if row == 0 and number % 5 == 0:
        if u < 0.55 and v < 2.2 or z < 0.6 and u < 0.55:
            return 3, number
        return 0, number
    low = 0.75 + 0.4 * unit(instance, 16)
    high = 2.2 + 0.4 * unit(instance, 17)
    if row < 0 or u > 0.5 * width or v < low or v > high or number % 23 == 0:
        return 0, number
    edge = min(0.5 * width - u, min(v - low, high - v))
    cross = unit(instance, 18) < 0.6 and u < 0.035
    return (2 if edge < 0.07 or cross else 1), number


@njit(cache=True)
def masonry(kind: int, instance: int, x: float, y: float, z: float, fp: float):
    """Brightness factor and joint coverage of a wall's or roof's surface: (factor, joints)."""
    a = x + 0.73 * y
    large = 1.0 + 0.3 * grain2(a, z, 2.3, fp, instance) + 0.16 * grain2(a, z, 0.5, fp, instance + 3)
    streak = 0.25 * fade(0.3, fp) * max(noise2(a / 0.3, z / 6.0, instance + 1) - 0.6, 0.0)
    large -= streak
    if kind == _BRICK:
        row = np.floor(z / 0.085)
        shift = 0.125 * (int(row) & 1)
        joints = max(joint(z, 0.085, 0.008, fp), joint(a + shift, 0.25, 0.008, fp))
        tone = unit(mix(int(np.floor((a + shift) / 0.25)), int(row)), instance)
        return large * (1.0 + 0.5 * fade(0.2, fp) * (tone - 0.5)), joints
    if kind == _STONE:
        row = np.floor(z / 0.28)
        shift = unit(int(row), instance)
        joints = max(joint(z, 0.28, 0.02, fp), joint(a + shift, 0.45, 0.02, fp))
        tone = unit(mix(int(np.floor((a + shift) / 0.45)), int(row)), instance)
        return large * (1.0 + 0.6 * fade(0.35, fp) * (tone - 0.5)), joints
    if kind == _TILES:
        run = z + 0.4 * y
        tone = unit(mix(int(np.floor(x / 0.3)), int(np.floor(run / 0.33))), instance)
        return large * (1.0 + 0.3 * fade(0.3, fp) * (tone - 0.5)), joint(run, 0.33, 0.03, fp)
    if kind == _WOOD:
        board = np.floor(z / 0.18)
        tone = unit(int(board), instance) + 0.6 * fade(0.05, fp) * (noise2(a / 0.5, z / 0.03, instance) - 0.5)
        return large * (0.85 + 0.3 * tone), joint(z, 0.18, 0.008, fp)
    if kind == _CONCRETE:
        return large, 0.6 * joint(a, 2.4, 0.012, fp)
    if kind == _ROUGHCAST:
        return large * (1.0 + 0.5 * grain2(a, z, 0.06, fp, instance + 9)), 0.0
    return large, 0.0


@njit(cache=True)
def facade(kind: int, instance: int, x: float, y: float, z: float, fp: float, up: float):
    """How a point of a facade looks.

    Returns:
        (part, number, factor, joints), see ``window`` and ``masonry``; surfaces that look up have no windows.
    """
    factor, joints = masonry(kind, instance, x, y, z, fp)
    if up > 0.5:
        return 0, 0, factor, joints
    part, number = window(kind, instance, x, z)
    return part, number, factor, joints
