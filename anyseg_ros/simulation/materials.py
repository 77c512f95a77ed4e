# SPDX-License-Identifier: Apache-2.0
"""How surfaces look to a camera and to a lidar: procedural textures, reflectivity, emission.

Colours are linear RGB. Textures are functions of the local coordinates and the instance alone, so they
stay on a moving object, and fade out where they are finer than a pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.facades import facade, masonry, window
from anyseg_ros.simulation.geometry import COLOUR_MASK, MATERIAL_COLOUR_BITS
from anyseg_ros.simulation.noise import unit
from anyseg_ros.simulation.surfaces import body, ground, plant, sign
from anyseg_ros.simulation.world import Hits

_GROUND_LOW, _GROUND_HIGH = k.ASPHALT, k.SOIL
_FACADE = np.zeros(k.KIND_COUNT, np.bool_)
_FACADE[[k.PLASTER, k.BRICK, k.CURTAIN, k.SHOP, k.ROUGHCAST, k.WOOD]] = True
_MASONRY = np.zeros(k.KIND_COUNT, np.bool_)
_MASONRY[[k.TILES, k.CONCRETE, k.STONE]] = True
_BUILDING, _LAMPS, _HEADLIGHT, _TAILLIGHT = k.BUILDING, k.LAMPS, k.HEADLIGHT, k.TAILLIGHT
_SIGN_LOW, _SIGN_HIGH, _BARK, _LEAF = k.SIGN_ROUND, k.SIGN_SQUARE, k.BARK, k.LEAF
_LAMP_HEAD, _COACH, _BUS = k.LAMP_HEAD, k.COACH, k.BUS
_PALETTE = k.PALETTE

# Lidar reflectivity by kind: what every surface returns, and what its brightness adds.
_BASE = np.full(k.KIND_COUNT, 0.1, np.float32)
_GAIN = np.full(k.KIND_COUNT, 0.5, np.float32)
for _kind, _base, _gain in (
    (k.ASPHALT, 0.05, 0.6), (k.LINE, 0.3, 0.3), (k.DASHES, 0.05, 0.6), (k.ZEBRA, 0.05, 0.6), (k.RAIL, 0.3, 0.2),
    (k.PAVING, 0.1, 0.5), (k.GRASS, 0.2, 0.6), (k.LEAF, 0.2, 0.7), (k.BARK, 0.15, 0.5), (k.CURTAIN, 0.08, 0.3),
    (k.METAL, 0.15, 0.5), (k.PAINT, 0.06, 0.6), (k.GLASS, 0.02, 0.1), (k.RUBBER, 0.03, 0.3), (k.CLOTH, 0.15, 0.6),
    (k.SIGN_ROUND, 0.75, 0.3), (k.SIGN_TRIANGLE, 0.75, 0.3), (k.SIGN_SQUARE, 0.7, 0.3), (k.PLATE, 0.85, 0.1),
    (k.HEADLIGHT, 0.5, 0.2), (k.TAILLIGHT, 0.6, 0.4), (k.LAMPS, 0.1, 0.4), (k.HAIR, 0.1, 0.4),
):  # fmt: skip
    _BASE[_kind], _GAIN[_kind] = _base, _gain


@njit(cache=True)
def _colour(kind, base, class_id, instance, x, y, z, fp, up):
    """Linear RGB of one hit."""
    if kind <= _GROUND_HIGH:
        return ground(kind, base, class_id, instance, x, y, fp)
    if kind in (_LEAF, _BARK):
        return plant(kind, base, instance, x, y, z, fp)
    if _SIGN_LOW <= kind <= _SIGN_HIGH:
        return sign(kind, base, instance, y, z)
    if _FACADE[kind] and class_id == _BUILDING:
        part, number, factor, joints = facade(kind, instance, x, y, z, fp, up)
        if part == 1:
            shade = 0.04 + 0.12 * unit(number, 3)
            if unit(number, 7) < 0.3:
                shade += 0.35 * unit(number, 8)
            return shade, shade * 1.02, shade * 1.08
        if part >= 2:
            other = _PALETTE[int(unit(instance, 21 + part) * 64)]
            return other[0], other[1], other[2]
        factor *= 1.0 - 0.35 * joints
        return base[0] * factor, base[1] * factor, base[2] * factor
    if _MASONRY[kind] or _FACADE[kind]:
        factor, joints = masonry(kind, instance, x, y, z, fp)
        factor *= 1.0 - 0.4 * joints
        return base[0] * factor, base[1] * factor, base[2] * factor
    return body(kind, base, class_id, instance, x, y, z, fp)


@njit(cache=True)
def _albedo(class_id, material, instance, local, normal, footprint, out):
    for i in range(len(class_id)):
        if instance[i] < 0:
            continue
        kind, number = int(material[i]) >> MATERIAL_COLOUR_BITS, int(instance[i])
        base = _PALETTE[material[i] & COLOUR_MASK]
        fp = max(float(footprint[i]), 1e-3)
        p = local[i]
        r, g, b = _colour(kind, base, class_id[i], number, p[0], p[1], p[2], fp, normal[i, 2])
        out[i, 0] = min(max(r, 0.005), 0.95)
        out[i, 1] = min(max(g, 0.005), 0.95)
        out[i, 2] = min(max(b, 0.005), 0.95)


def albedo(hits: Hits, footprint_m: np.ndarray) -> np.ndarray:
    """Linear RGB 0..1 of each hit, float32 [N,3]; 0 for the sky.

    Args:
        hits: what the rays met.
        footprint_m: float32 [N], size of a pixel at the hit.
    """
    out = np.zeros((len(hits.class_id), 3), np.float32)
    footprint = np.ascontiguousarray(np.broadcast_to(footprint_m, hits.range_m.shape), dtype=np.float32)
    _albedo(hits.class_id, hits.material, hits.instance, hits.local, hits.normal, footprint, out)
    return out


def reflectivity(hits: Hits) -> np.ndarray:
    """What a lidar's light of 905 nm finds: float32 [N] in 0..1; 0 for the sky."""
    kind = hits.material >> MATERIAL_COLOUR_BITS
    colours = albedo(hits, np.float32(0.03))
    brightness = colours @ np.array([0.6, 0.3, 0.1], np.float32)
    out = np.clip(_BASE[kind] + _GAIN[kind] * brightness, 0.0, 1.0).astype(np.float32)
    out[hits.instance < 0] = 0.0
    return out


@njit(cache=True)
def _emission(class_id, material, instance, local, normal, night, out):
    for i in range(len(class_id)):
        if instance[i] < 0:
            continue
        kind, number = int(material[i]) >> MATERIAL_COLOUR_BITS, int(instance[i])
        x, y, z = local[i]
        if kind == _LAMPS:
            lit = int(unit(number, 31) * 2.99)
            middle = 0.3 - 0.3 * lit
            if y * y + (z - middle) * (z - middle) < 0.0144:
                out[i, 0] = 2.5 if lit < 2 else 0.1
                out[i, 1] = 0.15 if lit == 0 else 1.7
                out[i, 2] = 0.1 if lit < 2 else 0.9
        elif kind == _TAILLIGHT:
            out[i, 0] = 1.2 if night else 0.15
            out[i, 1] = 0.06 if night else 0.0
        elif not night:
            continue
        elif kind == _LAMP_HEAD:
            out[i, 0], out[i, 1], out[i, 2] = 9.0, 6.8, 4.2
        elif kind == _HEADLIGHT:
            out[i, 0], out[i, 1], out[i, 2] = 5.0, 5.0, 5.2
        elif kind == _COACH:
            inside = 1.1 < z < 2.35 and abs(x - 1.45 * np.round(x / 1.45)) > 0.09
            if inside:
                out[i, 0], out[i, 1], out[i, 2] = 0.5, 0.48, 0.42
        elif _FACADE[kind] and class_id[i] == _BUILDING and abs(normal[i, 2]) < 0.5:
            part, pane = window(kind, number, x, z)
            if part == 1 and unit(pane, 41) < 0.32:
                level = 0.15 + 0.5 * unit(pane, 42)
                warm = unit(pane, 43)
                out[i, 0], out[i, 1], out[i, 2] = level, level * (0.7 + 0.25 * warm), level * (0.35 + 0.6 * warm)


def emission(hits: Hits, night: bool) -> np.ndarray:
    """Light that surfaces give off themselves, linear RGB float32 [N,3], on the scale of ``albedo`` in full light."""
    out = np.zeros((len(hits.class_id), 3), np.float32)
    _emission(hits.class_id, hits.material, hits.instance, hits.local, hits.normal, bool(night), out)
    return out
