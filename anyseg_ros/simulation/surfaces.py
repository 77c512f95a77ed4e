# SPDX-License-Identifier: Apache-2.0
"""Textures of the ground, of plants, of signs and of bodies (vehicles, clothes, metal)."""

from __future__ import annotations

import numpy as np
from numba import njit

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.noise import fade, grain2, grain3, joint, line, mix, noise2, unit

_LINE, _DASHES, _ZEBRA, _RAIL, _PAVING, _KERB = k.LINE, k.DASHES, k.ZEBRA, k.RAIL, k.PAVING, k.KERB
_GRASS, _SOIL, _BARK, _ROUND, _TRIANGLE = k.GRASS, k.SOIL, k.BARK, k.SIGN_ROUND, k.SIGN_TRIANGLE
_PAINT, _GLASS, _CLOTH, _LAMPS, _COACH, _CARGO, _METAL = k.PAINT, k.GLASS, k.CLOTH, k.LAMPS, k.COACH, k.CARGO, k.METAL
_HEADLIGHT, _TAILLIGHT, _PLATE, _BUS = k.HEADLIGHT, k.TAILLIGHT, k.PLATE, k.BUS
_PALETTE = k.PALETTE


@njit(cache=True)
def ground(kind, base, class_id, instance, x, y, fp):
    """Carriageway, markings, rails, paving, kerbs, grass and soil; x along the street, y across."""
    wide = grain2(x, y, 7.0, fp, instance)
    middle = grain2(x, y, 0.9, fp, instance + 1)
    fine = grain2(x, y, 0.07, fp, instance + 2)
    if kind in (_GRASS, _SOIL):
        dry = min(max(0.5 + 1.4 * wide + 0.5 * middle, 0.0), 1.0)
        tall = 1.0 + 0.5 * middle + 0.7 * fine + 0.5 * grain2(x, y, 0.25, fp, instance + 4)
        earth = 0.35 * dry if kind == _GRASS else 0.8
        r = (base[0] * (1 - earth) + 0.22 * earth) * tall
        g = (base[1] * (1 - earth) + 0.17 * earth) * tall
        return r, g, (base[2] * (1 - earth) + 0.09 * earth) * tall
    if kind in (_PAVING, _KERB):
        slab = 0.3 + 0.4 * unit(instance, 2)
        length = slab if kind == _PAVING else 1.0
        row = int(np.floor(y / slab))
        shift = 0.5 * length * (row & 1)
        tone = unit(mix(int(np.floor((x + shift) / length)), row), instance) - 0.5
        gaps = max(joint(x + shift, length, 0.012, fp), joint(y, slab, 0.012, fp) if kind == _PAVING else 0.0)
        level = (1.0 + 0.25 * wide + 0.3 * middle + 0.2 * fine + 0.22 * fade(slab, fp) * tone) * (1 - 0.45 * gaps)
        return base[0] * level, base[1] * level, base[2] * level
    if kind == _RAIL:
        return 0.2 + 0.2 * middle, 0.17 + 0.2 * middle, 0.15 + 0.2 * middle
    return _asphalt(kind, base, instance, x, y, fp, wide, middle, fine)


@njit(cache=True)
def _asphalt(kind, base, instance, x, y, fp, wide, middle, fine):
    level = 1.0 + 0.35 * wide + 0.3 * middle + 0.5 * fine
    cell_x, cell_y = np.floor(x / 9.0), np.floor(y / 3.1)
    patch = mix(mix(int(cell_x), int(cell_y)), instance)
    if patch % 4 == 0:
        u, v = x - 9.0 * cell_x, y - 3.1 * cell_y
        if 1.0 < u < 2.0 + 6.0 * unit(patch, 1) and 0.3 < v < 1.2 + 1.6 * unit(patch, 2):
            level *= 0.6 + 0.7 * unit(patch, 3)
    crack = fade(0.1, fp) * max(0.0, 1.0 - 30.0 * abs(noise2(x / 2.3, y / 2.3, instance + 6) - 0.5))
    oil = max(0.0, noise2(x / 1.4, y / 0.9, instance + 7) - 0.72)
    level *= (1.0 - 0.35 * crack) * (1.0 - 1.2 * oil)
    painted = 0.0
    if kind == _LINE:
        painted = 1.0
    elif kind == _DASHES:
        painted = 1.0 if x - 7.5 * np.floor(x / 7.5) < 3.2 else 0.0
    elif kind == _ZEBRA:
        painted = line(y - np.round(y), 0.25, fp)
    if painted > 0.0:
        worn = min(max(1.6 * (noise2(x / 0.35, y / 0.35, instance + 8) - 0.2) + 0.4, 0.15), 1.0)
        painted *= 0.85 * worn
    paint = 0.62 * (1.0 + 0.2 * wide)
    r = base[0] * level * (1 - painted) + paint * painted
    g = base[1] * level * (1 - painted) + paint * painted
    return r, g, base[2] * level * (1 - painted) + 0.95 * paint * painted


@njit(cache=True)
def plant(kind, base, instance, x, y, z, fp):
    """Leaves in light and shade, and bark."""
    if kind == _BARK:
        streak = fade(0.05, fp) * (noise2((x + y) / 0.05, z / 0.5, instance) - 0.5)
        level = 1.0 + 0.8 * streak + 0.4 * grain3(x, y, z, 0.4, fp, instance)
        return base[0] * level, base[1] * level, base[2] * level
    clump = grain3(x, y, z, 0.45, fp, instance)
    leaf = grain3(x, y, z, 0.11, fp, instance + 1)
    level = max(0.95 + 1.1 * clump + 1.3 * leaf, 0.12)
    tint = 0.7 + 0.6 * unit(instance, 5)
    yellow = 1.0 + 0.5 * leaf
    return base[0] * level * tint * yellow, base[1] * level * (0.85 + 0.15 * tint), base[2] * level


@njit(cache=True)
def sign(kind, base, instance, y, z):
    """A traffic sign's picture; y to the left, z up, in units of its size."""
    pattern = mix(instance, 77)
    white, black = (0.75, 0.75, 0.75), (0.03, 0.03, 0.03)
    red, blue = (0.5, 0.03, 0.03), (0.03, 0.12, 0.42)
    own = (float(base[0]), float(base[1]), float(base[2]))
    glyph = _glyph(pattern, y, z)
    if kind == _ROUND:
        ring = np.sqrt(y * y + z * z) > 0.38
        if pattern % 3 == 0:
            return white if glyph else blue
        if pattern % 7 == 1:
            return white if abs(z) < 0.09 and abs(y) < 0.34 else red
        return red if ring else (black if glyph else white)
    if kind == _TRIANGLE:
        inner = z > -0.21 and z + 1.75 * abs(y) < 0.4
        return (black if _glyph(pattern, 1.4 * y, 1.4 * z + 0.05) else white) if inner else red
    if abs(y) > 0.45 or abs(z) > 0.45:
        return white
    return (white if own[0] + own[1] + own[2] < 1.2 else black) if glyph else own


@njit(cache=True)
def _glyph(pattern, y, z):
    """Arrows, digits or letters, roughly: blocks on a 6x7 grid chosen by a hash, mirrored half the time."""
    if abs(y) > 0.26 or abs(z) > 0.28:
        return False
    if pattern % 2 == 0:
        y = abs(y)
    column, row = int(np.floor((y + 0.26) / 0.087)), int(np.floor((z + 0.28) / 0.08))
    return mix(mix(column, row), pattern) % 100 < 48


@njit(cache=True)
def body(kind, base, class_id, instance, x, y, z, fp):
    """Vehicles, clothes, metal and the rest."""
    level = 1.0 + 0.12 * grain3(x, y, z, 0.6, fp, instance)
    r, g, b = float(base[0]), float(base[1]), float(base[2])
    if kind == _PAINT:
        dirt = 0.4 * max(0.0, 0.55 - z) * (1.0 + grain3(x, y, z, 0.25, fp, instance))
        seam = 1.0 - 0.4 * fade(0.05, fp) * line(x - 1.05 * np.round(x / 1.05), 0.012, fp)
        level *= seam
        return (
            r * level * (1 - dirt) + 0.2 * dirt,
            g * level * (1 - dirt) + 0.18 * dirt,
            b * level * (1 - dirt) + 0.15 * dirt,
        )
    if kind == _GLASS:
        shade = 0.05 + 0.1 * max(0.0, z - 0.9) + 0.06 * grain3(x, y, z, 0.7, fp, instance)
        return shade, shade * 1.05, shade * 1.15
    if kind == _COACH:
        return _coach(r, g, b, class_id, instance, x, y, z, fp, level)
    if kind == _CARGO:
        return _cargo(r, g, b, instance, x, y, z, fp, level)
    if kind == _CLOTH:
        level = 1.0 + 0.7 * grain3(x, y, z, 0.13, fp, instance)
        if unit(instance, 52) < 0.25:
            other = _PALETTE[int(unit(instance, 53) * 64)]
            if joint(z, 0.12, 0.03, fp) > 0.5:
                return other[0] * level, other[1] * level, other[2] * level
    elif kind == _LAMPS:
        for lamp in range(3):
            v = z - 0.3 + 0.3 * lamp
            if y * y + v * v < 0.0121:
                return (0.25 if lamp < 2 else 0.02), (0.2 if lamp > 0 else 0.02), (0.1 if lamp == 2 else 0.02)
        return 0.02, 0.02, 0.02
    elif kind == _TAILLIGHT:
        return 0.45, 0.03, 0.03
    elif kind == _HEADLIGHT:
        return 0.7, 0.72, 0.75
    elif kind == _PLATE:
        dark = abs(y) < 0.22 and _glyph(mix(instance, 5), 2.0 * (y - 0.12 * np.round(y / 0.12)), 0.0)
        return (0.05, 0.05, 0.05) if dark and fp < 0.05 else (0.75, 0.74, 0.66)
    elif kind == _METAL:
        level += 0.5 * max(0.0, grain3(x, y, z, 0.3, fp, instance + 4))
    return r * level, g * level, b * level


@njit(cache=True)
def _coach(r, g, b, class_id, instance, x, y, z, fp, level):
    """Livery and windows of a bus or tram; ends (|x| large) have one wide pane."""
    end = abs(x) > (5.6 if class_id == _BUS else 4.3)
    pillar = abs(y) > 1.0 if end else abs(x - 1.45 * np.round(x / 1.45)) < 0.09
    glass = 1.1 < z < 2.35 or (class_id == _BUS and 2.9 < z < 3.8)
    if glass and not pillar:
        shade = 0.04 + 0.05 * unit(mix(int(np.round(x / 1.45)), instance), 3)
        return shade, shade * 1.05, shade * 1.1
    other = _PALETTE[int(unit(instance // 4, 61) * 64)]
    band = 0.55 + 0.4 * unit(instance // 4, 62)
    style = unit(instance // 4, 63)
    second = z < band if style < 0.4 else (z > 2.4 if style < 0.6 else abs(z - band) < 0.12)
    level *= 1.0 - 0.35 * line(x - 1.45 * np.round(x / 1.45), 0.015, fp)
    if second:
        return other[0] * level, other[1] * level, other[2] * level
    return r * level, g * level, b * level


@njit(cache=True)
def _cargo(r, g, b, instance, x, y, z, fp, level):
    """Ribs, stripes or lettering on a lorry's box."""
    style = unit(instance, 65)
    level *= 1.0 - 0.25 * joint(x + y, 0.6, 0.03, fp)
    other = _PALETTE[int(unit(instance, 66) * 64)]
    if style < 0.3:
        mark = (
            abs(z - 2.1) < 0.45
            and abs(x) < 2.4
            and mix(mix(int(np.floor(x / 0.22)), int(np.floor(z / 0.3))), instance) % 2 == 0
        )
    elif style < 0.5:
        mark = abs(z - 1.6 - 0.3 * x) < 0.35
    else:
        mark = style < 0.6 and z < 1.5
    return (other[0] * level, other[1] * level, other[2] * level) if mark else (r * level, g * level, b * level)
