# SPDX-License-Identifier: Apache-2.0
"""The per-ray loops of light.py, compiled: one pass over the rays, nothing allocated."""

from __future__ import annotations

import math

import numba
import numpy as np

ROAD = 0
TRAFFIC_SIGN = 7
SIGN_GAIN = 6.0  # signs send a headlight's beam back to the driver
HEADLIGHTS = ((2.2, 0.65, 0.65), (2.2, -0.65, 0.65))  # in base_link, metres
FOG_TOP_M = 40.0  # the layer that dims the sky has this height

# Fast arithmetic, but an infinite range stays infinite: "nnan" and "ninf" are left out.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}

_inline = numba.njit(inline="always", fastmath=FAST)


@_inline
def _hash(i: int, j: int) -> float:
    h = (np.int64(i) * 374761393 + np.int64(j) * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@numba.njit(fastmath=FAST, cache=True)
def value_noise(x: float, y: float) -> float:
    """Smooth noise in 0..1 over the plane, one lattice cell per unit."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    low = _hash(i, j) * (1.0 - u) + _hash(i + 1, j) * u
    high = _hash(i, j + 1) * (1.0 - u) + _hash(i + 1, j + 1) * u
    return low * (1.0 - v) + high * v


@numba.njit(fastmath=FAST, cache=True)
def sky_kernel(range_m, directions, zenith, horizon, sun, sun_direction, clouds, cloud_seed, out):
    """Fill ``out`` float32 [N,3] where a ray hit nothing; see ``light.shade``."""
    sun_level = (sun[0] + sun[1] + sun[2]) / 3.0
    for k in range(directions.shape[0]):
        if math.isfinite(range_m[k]):
            continue
        dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
        up = max(dz, 0.0)
        blend = (1.0 - up) ** 5
        x, y = cloud_seed + dx / (up + 0.12), dy / (up + 0.12)
        cover = 0.6 * value_noise(1.3 * x, 1.3 * y) + 0.3 * value_noise(3.1 * x, 3.1 * y)
        cover += 0.1 * value_noise(7.3 * x, 7.3 * y)
        cover = min(max((cover + clouds - 0.75) * 3.0, 0.0), 1.0)
        cosine = dx * sun_direction[0] + dy * sun_direction[1] + dz * sun_direction[2]
        glare = 0.3 * sun_level * math.exp(-(1.0 - cosine) * 12.0)
        for c in range(3):
            clear = zenith[c] * (1.0 - blend) + horizon[c] * blend
            cloud = (0.8 * horizon[c] + 0.15 * sun[c]) * (0.75 + 0.5 * cover * cover)
            out[k, c] = clear * (1.0 - cover) + cloud * cover + glare
            if cosine > 0.9995 and cover < 0.5:
                out[k, c] += 20.0 * sun[c]


@_inline
def _headlight(base_from_world, px, py, pz, nx, ny, nz):
    """Irradiance factor of both low beams at a point, per unit of radiant intensity."""
    total = 0.0
    bx = base_from_world[0, 0] * px + base_from_world[0, 1] * py + base_from_world[0, 2] * pz + base_from_world[0, 3]
    by = base_from_world[1, 0] * px + base_from_world[1, 1] * py + base_from_world[1, 2] * pz + base_from_world[1, 3]
    bz = base_from_world[2, 0] * px + base_from_world[2, 1] * py + base_from_world[2, 2] * pz + base_from_world[2, 3]
    mx = base_from_world[0, 0] * nx + base_from_world[0, 1] * ny + base_from_world[0, 2] * nz
    my = base_from_world[1, 0] * nx + base_from_world[1, 1] * ny + base_from_world[1, 2] * nz
    mz = base_from_world[2, 0] * nx + base_from_world[2, 1] * ny + base_from_world[2, 2] * nz
    for hx, hy, hz in HEADLIGHTS:
        vx, vy, vz = bx - hx, by - hy, bz - hz
        if vx < 0.3:
            continue
        d2 = vx * vx + vy * vy + vz * vz
        d = math.sqrt(d2)
        cosine = -(mx * vx + my * vy + mz * vz) / d
        if cosine <= 0.0:
            continue
        sideways, upward = vy / vx / 0.45, vz / vx
        spread = 0.05 if upward > -0.02 else 0.14  # the cut-off of a low beam keeps it off the oncoming driver
        lift = (upward + 0.02) / spread
        total += (math.exp(-sideways * sideways - lift * lift) + 0.02) * cosine * 25.0 / (d2 + 4.0)
    return total


@_inline
def _lamps(position, colour, reach, px, py, pz, nx, ny, nz):
    """Irradiance (r, g, b) of the lamps within reach."""
    r = g = b = 0.0
    for k in range(position.shape[0]):
        vx, vy, vz = position[k, 0] - px, position[k, 1] - py, position[k, 2] - pz
        d2 = vx * vx + vy * vy + vz * vz
        if d2 > reach * reach:
            continue
        cosine = nx * vx + ny * vy + nz * vz
        if cosine <= 0.0:
            continue
        fade = 1.0 - d2 / (reach * reach)
        weight = cosine / math.sqrt(d2 + 1e-6) / (d2 + 1.0) * fade
        if vz < 0.0:
            weight *= 0.15  # street lamps shine down
        r, g, b = r + weight * colour[k, 0], g + weight * colour[k, 1], b + weight * colour[k, 2]
    return r, g, b


@_inline
def _snow(cover, class_id, px, py, nz):
    """How much of an upward face is white."""
    if cover <= 0.0 or nz < 0.25:
        return 0.0
    share = 0.55 * value_noise(0.45 * px, 0.45 * py) + 0.45 * value_noise(2.3 * px, 2.3 * py)
    limit = cover * (0.45 if class_id == ROAD else 1.0)  # traffic clears the road
    return min(max((share - 1.0 + 1.1 * limit) * 5.0, 0.0), 1.0) * min(max((nz - 0.25) * 2.0, 0.0), 1.0)


@numba.njit(fastmath=FAST, cache=True)
def shade_kernel(
    range_m, class_id, normal, position, directions, albedo, emission, sun_visible,
    sun_direction, sun, zenith, horizon, ground,
    lamp_position, lamp_colour, lamp_reach, base_from_world, headlight,
    extinction, airlight, wetness, snow_cover, out,
):  # fmt: skip
    """Turn ``out`` float32 [N,3] from sky radiance into arriving radiance; see ``light.shade``."""
    for k in range(range_m.shape[0]):
        if not math.isfinite(range_m[k]):
            path = FOG_TOP_M / max(directions[k, 2], 0.02)
            through = math.exp(-extinction * path)
            for c in range(3):
                out[k, c] = out[k, c] * through + airlight[c] * (1.0 - through)
            continue
        nx, ny, nz = normal[k, 0], normal[k, 1], normal[k, 2]
        px, py, pz = position[k, 0], position[k, 1], position[k, 2]
        lit = max(nx * sun_direction[0] + ny * sun_direction[1] + nz * sun_direction[2], 0.0) * sun_visible[k]
        lr, lg, lb = _lamps(lamp_position, lamp_colour, lamp_reach, px, py, pz, nx, ny, nz)
        beam = 0.0
        if headlight > 0.0:
            beam = headlight * _headlight(base_from_world, px, py, pz, nx, ny, nz)
            if class_id[k] == TRAFFIC_SIGN:
                beam *= SIGN_GAIN
        white = _snow(snow_cover, class_id[k], px, py, nz)
        wet = wetness * (1.0 - white) if nz > 0.7 else 0.0
        grazing = 1.0 + directions[k, 0] * nx + directions[k, 1] * ny + directions[k, 2] * nz
        mirror = wet * (0.02 + 0.6 * max(grazing, 0.0) ** 5)
        through = math.exp(-extinction * range_m[k])
        skyward = 0.5 + 0.5 * nz
        for c in range(3):
            lamp = lr if c == 0 else (lg if c == 1 else lb)
            around = math.pi * (skyward * (0.7 * zenith[c] + 0.3 * horizon[c]) + (1.0 - skyward) * ground[c])
            reflectance = albedo[k, c] * (1.0 - 0.45 * wet) * (1.0 - white) + 0.85 * white
            value = reflectance * (around + lit * sun[c] + lamp + beam) / math.pi
            value += mirror * horizon[c] + emission[k, c]
            out[k, c] = value * through + airlight[c] * (1.0 - through)
