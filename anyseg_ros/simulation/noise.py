# SPDX-License-Identifier: Apache-2.0
"""Hashed value noise for procedural textures: integer hashes, no tables, the same on every machine."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, inline="always")
def mix(a: int, b: int) -> int:
    """A 32-bit hash of two integers."""
    h = (a * 0x9E3779B1 + b * 0x85EBCA77) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return h ^ (h >> 15)


@njit(cache=True, inline="always")
def unit(a: int, b: int) -> float:
    """A hash of two integers in [0, 1)."""
    return mix(a, b) * (1.0 / 4294967296.0)


@njit(cache=True)
def noise2(x: float, y: float, seed: int) -> float:
    """Value noise in [0, 1] with cells of 1."""
    xf, yf = np.floor(x), np.floor(y)
    u, v = x - xf, y - yf
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = int(xf), int(yf)
    a, b = mix(i, seed), mix(i + 1, seed)
    low = unit(a, j) * (1 - u) + unit(b, j) * u
    high = unit(a, j + 1) * (1 - u) + unit(b, j + 1) * u
    return low * (1 - v) + high * v


@njit(cache=True)
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """Value noise in [0, 1] with cells of 1, in space."""
    zf = np.floor(z)
    w = z - zf
    w = w * w * (3 - 2 * w)
    k = int(zf)
    return noise2(x, y, mix(k, seed)) * (1 - w) + noise2(x, y, mix(k + 1, seed)) * w


@njit(cache=True, inline="always")
def fade(cell_m: float, footprint_m: float) -> float:
    """Weight of a texture of ``cell_m`` seen with pixels of ``footprint_m``: 1 when fine, 0 when it would alias."""
    return min(max(1.6 - 1.2 * footprint_m / cell_m, 0.0), 1.0)


@njit(cache=True)
def grain2(x: float, y: float, cell_m: float, footprint_m: float, seed: int) -> float:
    """Noise around 0 (within 0.5 either way), faded out where its cells are smaller than a pixel."""
    weight = fade(cell_m, footprint_m)
    return 0.0 if weight == 0.0 else weight * (noise2(x / cell_m, y / cell_m, seed) - 0.5)


@njit(cache=True)
def grain3(x: float, y: float, z: float, cell_m: float, footprint_m: float, seed: int) -> float:
    """As ``grain2``, in space."""
    weight = fade(cell_m, footprint_m)
    return 0.0 if weight == 0.0 else weight * (noise3(x / cell_m, y / cell_m, z / cell_m, seed) - 0.5)


@njit(cache=True, inline="always")
def line(distance_m: float, half_m: float, footprint_m: float) -> float:
    """Coverage 0..1 of a line of half width ``half_m`` at a distance from its middle, blurred by the pixel."""
    blur = max(footprint_m, 1e-4)
    cover = min(max((half_m - abs(distance_m)) / blur + 0.5, 0.0), 1.0)
    return cover * min(1.0, 2.0 * half_m / blur)


@njit(cache=True, inline="always")
def joint(x: float, period_m: float, half_m: float, footprint_m: float) -> float:
    """Coverage of lines that repeat with a period."""
    if footprint_m > period_m:
        return 2.0 * half_m / period_m
    return line(x - period_m * np.round(x / period_m), half_m, footprint_m)
