# SPDX-License-Identifier: Apache-2.0
"""Road vehicles as low-poly templates: x forward, origin on the ground under the middle, painted with k.PAINT."""

from __future__ import annotations

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, box, boxes, loft, material_id, merge, tube

_DARK = material_id(k.RUBBER, 1)
_GLASS = material_id(k.GLASS, 1)
_PAINT = material_id(k.PAINT, 0)

# Stations along x from tail to nose: x, half width, underside, belt line, roof, half width of the roof.
_SHAPES = {
    "hatchback": (
        (-1.95, 0.78, 0.45, 0.85, 0.88, 0.70),
        (-1.88, 0.86, 0.28, 0.98, 1.05, 0.66),
        (-1.45, 0.88, 0.24, 0.98, 1.46, 0.60),
        (-0.2, 0.89, 0.22, 0.95, 1.50, 0.62),
        (0.35, 0.89, 0.22, 0.94, 1.44, 0.60),
        (1.05, 0.88, 0.24, 0.92, 0.96, 0.70),
        (1.80, 0.84, 0.28, 0.76, 0.80, 0.66),
        (1.98, 0.70, 0.38, 0.62, 0.64, 0.60),
    ),
    "saloon": (
        (-2.30, 0.76, 0.42, 0.90, 0.93, 0.68),
        (-2.22, 0.86, 0.28, 0.98, 1.02, 0.72),
        (-1.55, 0.89, 0.22, 0.98, 1.03, 0.74),
        (-0.85, 0.90, 0.20, 0.96, 1.42, 0.60),
        (0.30, 0.90, 0.20, 0.94, 1.43, 0.61),
        (1.10, 0.89, 0.22, 0.92, 0.97, 0.74),
        (2.05, 0.85, 0.26, 0.76, 0.80, 0.68),
        (2.28, 0.70, 0.36, 0.62, 0.64, 0.60),
    ),
    "estate": (
        (-2.32, 0.78, 0.40, 0.95, 0.98, 0.70),
        (-2.25, 0.87, 0.28, 1.02, 1.08, 0.68),
        (-1.95, 0.90, 0.24, 1.02, 1.52, 0.64),
        (-0.4, 0.92, 0.22, 1.00, 1.58, 0.66),
        (0.40, 0.92, 0.22, 0.98, 1.54, 0.64),
        (1.15, 0.90, 0.24, 0.98, 1.03, 0.74),
        (2.05, 0.87, 0.30, 0.84, 0.88, 0.68),
        (2.26, 0.72, 0.40, 0.66, 0.70, 0.62),
    ),
    "van": (
        (-2.60, 0.90, 0.40, 1.05, 1.95, 0.80),
        (-2.52, 0.96, 0.30, 1.10, 2.08, 0.86),
        (0.55, 0.97, 0.28, 1.10, 2.12, 0.88),
        (1.25, 0.97, 0.28, 1.06, 2.02, 0.84),
        (1.85, 0.95, 0.28, 1.04, 1.30, 0.80),
        (2.45, 0.90, 0.32, 0.84, 0.92, 0.74),
        (2.62, 0.76, 0.42, 0.66, 0.70, 0.66),
    ),
}
CAR_SHAPES = tuple(_SHAPES)


def _ring(x: float, half: float, low: float, belt: float, top: float, roof: float) -> list[list[float]]:
    sill = 0.92 * half
    return [
        [x, -sill, low],
        [x, sill, low],
        [x, half, 0.5 * (low + belt)],
        [x, 0.97 * half, belt],
        [x, roof, top],
        [x, -roof, top],
        [x, -0.97 * half, belt],
        [x, -half, 0.5 * (low + belt)],
    ]


def wheels(positions: np.ndarray, radius: float, width: float, class_id: int, sides: int = 10) -> list[Mesh]:
    """Wheels with axes along y, at positions [W,2] of their middles (x, y)."""
    out = []
    for x, y in positions:
        out.append(tube([x, y - width / 2, radius], [x, y + width / 2, radius], radius, class_id, _DARK, sides))
        hub = 0.52 * width
        metal = material_id(k.METAL, 9)
        out.append(tube([x, y - hub, radius], [x, y + hub, radius], 0.58 * radius, class_id, metal, 6))
    return out


def _lights(front: float, back: float, half: float, z: float, class_id: int) -> list[Mesh]:
    """Head lights, tail lights and number plates."""
    w, out = 0.22, []
    for sign in (-1, 1):
        y = sign * (half - 0.18)
        low, high = [front - 0.25, y - w / 2, z - 0.07], [front + 0.02, y + w / 2, z + 0.07]
        out.append(box(low, high, class_id, material_id(k.HEADLIGHT, 12)))
        low, high = [back - 0.02, y - w / 2, z], [back + 0.2, y + w / 2, z + 0.22]
        out.append(box(low, high, class_id, material_id(k.TAILLIGHT, 28)))
    for x in (front, back):
        plate = material_id(k.PLATE, 12)
        out.append(box([x - 0.03, -0.26, z - 0.2], [x + 0.03, 0.26, z - 0.08], class_id, plate))
    return out


def car(shape: str) -> Mesh:
    """A car of one of ``CAR_SHAPES``; about 330 triangles."""
    stations = np.array(_SHAPES[shape])
    rings = np.array([_ring(*row) for row in stations])
    material = np.full((len(stations) - 1, 8), _PAINT)
    tall = stations[:, 4] - stations[:, 3] > 0.25
    for i in range(len(stations) - 1):
        if tall[i] or tall[i + 1]:
            material[i, [3, 5]] = _GLASS
        if tall[i] != tall[i + 1]:
            material[i, 4] = _GLASS
    if shape == "van":
        material[:2, [3, 5]] = _PAINT
    material[:, 0] = _DARK
    half, front, back = stations[:, 1].max(), stations[-1, 0], stations[0, 0]
    axle = 0.62 * front
    spots = np.array([[x, y] for x in (axle, 0.66 * back) for y in (half - 0.1, 0.1 - half)])
    parts = [
        loft(rings, k.CAR, material, (_PAINT, _PAINT)),
        *wheels(spots, 0.31, 0.22, k.CAR),
        *_lights(front, back, half, 0.66, k.CAR),
    ]
    mirror = [[0.55 * axle, half, 0.95], [0.55 * axle, -half - 0.16, 0.95]]
    parts.append(boxes(mirror, np.array(mirror) + [0.1, 0.16, 0.14], k.CAR, _PAINT))
    return merge(parts)


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry: cab in k.PAINT, cargo box, tank, tipper or tarpaulin in k.CARGO; 6 to 11 m."""
    length, height = rng.uniform(4.0, 8.0), rng.uniform(2.2, 2.9)
    front = 0.5 * (length + 2.2)
    cab_back, back = front - 2.0, front - 2.2 - length
    cab = np.array(
        [
            (cab_back, 1.12, 0.55, 1.75, 2.75, 1.02),
            (cab_back + 1.1, 1.15, 0.5, 1.7, 2.85, 1.05),
            (front - 0.25, 1.15, 0.45, 1.6, 2.5, 1.02),
            (front, 1.1, 0.45, 1.45, 1.55, 1.05),
        ]
    )
    material = np.full((3, 8), _PAINT)
    material[1:, [3, 5]] = _GLASS
    material[2, 4] = _GLASS
    parts = [loft(np.array([_ring(*row) for row in cab]), k.TRUCK, material, (_PAINT, _PAINT))]
    cargo = material_id(k.CARGO, 0)
    style = int(rng.integers(4))
    floor = 1.0
    if style == 0:
        parts.append(tube([back, 0, 2.05], [cab_back - 0.2, 0, 2.05], 1.05, k.TRUCK, cargo, 12))
    elif style == 1:
        lid = height * 0.55
        parts.append(box([back, -1.2, floor], [cab_back - 0.2, 1.2, floor + lid * 0.9], k.TRUCK, cargo))
        low, high = [back + 0.6, -0.9, floor + lid * 0.9], [cab_back - 0.9, 0.9, floor + lid * 1.2]
        parts.append(box(low, high, k.TRUCK, material_id(k.SOIL, 21)))
    else:
        parts.append(box([back, -1.25, floor], [cab_back - 0.15, 1.25, floor + height], k.TRUCK, cargo))
    parts.append(box([back + 0.1, -0.5, 0.6], [front - 0.6, 0.5, 1.0], k.TRUCK, _DARK))
    parts.append(box([back + 1.6, -1.15, 0.45], [cab_back - 1.0, 1.15, 0.8], k.TRUCK, material_id(k.METAL, 4)))
    axles = [front - 1.1, back + 1.2] + ([back + 2.3] if length > 6 else [])
    spots = np.array([[x, y] for x in axles for y in (1.0, -1.0)])
    parts += wheels(spots, 0.48, 0.3, k.TRUCK)
    return merge(parts + _lights(front, back, 1.1, 0.85, k.TRUCK))


def _coach(length: float, half: float, low: float, top: float, class_id: int, slope: float) -> Mesh:
    """The box of a bus or of a tram's section; windows are drawn by k.COACH between 1.1 m and top - 0.5."""
    e = length / 2
    rows = [
        (-e, half - 0.08, low + 0.1, 1.1, top - 0.15, half - 0.2),
        (-e + 0.12, half, low, 1.1, top, half - 0.12),
        (e - slope, half, low, 1.1, top, half - 0.12),
        (e, half - 0.1, low + 0.1, 1.0, top - 0.5, half - 0.25),
    ]
    material = np.full((3, 8), material_id(k.COACH, 0))
    material[:, 0] = _DARK
    if slope > 0.2:
        material[2, 4] = _GLASS
    livery = material_id(k.COACH, 0)
    return loft(np.array([_ring(*row) for row in rows]), class_id, material, (livery, livery))


def bus(double_decker: bool = False) -> Mesh:
    """A city bus of 11.5 m, painted with k.COACH."""
    top = 4.2 if double_decker else 3.05
    parts = [_coach(11.5, 1.26, 0.32, top, k.BUS, 0.35)]
    parts += wheels(np.array([[x, y] for x in (3.4, -2.9) for y in (1.13, -1.13)]), 0.48, 0.28, k.BUS)
    parts.append(box([-5.0, -0.9, top - 0.05], [-2.2, 0.9, top + 0.25], k.BUS, material_id(k.METAL, 8)))
    parts.append(box([5.4, -0.85, top - 0.42], [5.72, 0.85, top - 0.12], k.BUS, material_id(k.HEADLIGHT, 33)))
    return merge(parts + _lights(5.75, -5.75, 1.2, 0.75, k.BUS))


def tram_section(role: str) -> Mesh:
    """One section of 9 m of an articulated tram: "head", "middle" or "tail" (its nose backwards)."""
    slope = 0.08 if role == "middle" else 1.1
    parts = [_coach(8.9, 1.2, 0.22, 3.35, k.TRAIN, slope)]
    for x in (-2.4, 2.4):
        parts.append(box([x - 0.9, -1.0, 0.02], [x + 0.9, 1.0, 0.5], k.TRAIN, _DARK))
    parts.append(box([-2.6, -0.8, 3.3], [1.8, 0.8, 3.62], k.TRAIN, material_id(k.METAL, 7)))
    parts.append(tube([-4.9, 0, 1.7], [-4.3, 0, 1.7], 1.1, k.TRAIN, _DARK, 6))
    if role != "middle":
        parts += [p for p in _lights(4.35, -60.0, 1.15, 0.8, k.TRAIN) if p.vertices[:, 0].min() > 0]
    else:
        metal = material_id(k.METAL, 4)
        parts.append(tube([-1.2, 0, 3.6], [0.2, 0, 4.3], 0.05, k.TRAIN, metal, 4))
        parts.append(tube([0.2, 0, 4.3], [-0.9, 0, 5.0], 0.05, k.TRAIN, metal, 4))
        parts.append(box([-1.1, -0.8, 4.98], [-0.8, 0.8, 5.05], k.TRAIN, metal))
    mesh = merge(parts)
    return mesh.at(yaw=np.pi) if role == "tail" else mesh


def bicycle() -> Mesh:
    """A bicycle: thin wheels (rings of 12 segments), frame in k.PAINT, saddle, handlebar."""
    parts = []
    for x in (-0.52, 0.52):
        angle = 2 * np.pi * np.arange(13) / 12
        ring = np.stack([x + 0.33 * np.cos(angle), 0 * angle, 0.34 + 0.33 * np.sin(angle)], 1)
        parts += [tube(ring[i], ring[i + 1], 0.024, k.BICYCLE, _DARK, 3) for i in range(12)]
        hub = np.array([x, 0, 0.34])
        parts += [tube(hub, ring[i], 0.006, k.BICYCLE, material_id(k.METAL, 8), 3) for i in range(0, 12, 2)]
    points = {
        "rear": (-0.52, 0.34),
        "front": (0.52, 0.34),
        "pedal": (-0.08, 0.3),
        "seat": (-0.22, 0.85),
        "head": (0.38, 0.82),
    }
    p = {name: np.array([x, 0.0, z]) for name, (x, z) in points.items()}
    for pair in ("rear seat", "rear pedal", "pedal seat", "pedal head", "seat head", "front head"):
        a, b = pair.split()
        parts.append(tube(p[a], p[b], 0.028, k.BICYCLE, _PAINT, 4))
    parts.append(tube([0.36, 0, 0.8], [0.34, 0, 1.02], 0.02, k.BICYCLE, _PAINT, 4))
    parts.append(tube([0.34, -0.28, 1.03], [0.34, 0.28, 1.03], 0.02, k.BICYCLE, _DARK, 4))
    parts.append(box([-0.38, -0.08, 0.9], [-0.1, 0.08, 0.97], k.BICYCLE, _DARK))
    parts.append(tube([-0.22, 0, 0.82], [-0.24, 0, 0.92], 0.018, k.BICYCLE, _DARK, 4))
    parts.append(box([-0.6, -0.02, 0.62], [-0.54, 0.02, 0.7], k.BICYCLE, material_id(k.TAILLIGHT, 28)))
    return merge(parts)


def motorcycle(scooter: bool = False) -> Mesh:
    """A motorcycle or a scooter with k.PAINT panels."""
    radius = 0.24 if scooter else 0.31
    parts = [tube([x, -0.07, radius], [x, 0.07, radius], radius, k.MOTORCYCLE, _DARK, 12) for x in (-0.66, 0.68)]
    metal = material_id(k.METAL, 5)
    parts.append(tube([0.68, 0, radius], [0.42, 0, 0.98], 0.06, k.MOTORCYCLE, metal, 5))
    parts.append(tube([0.4, -0.34, 1.0], [0.4, 0.34, 1.0], 0.025, k.MOTORCYCLE, _DARK, 4))
    if scooter:
        parts.append(box([-0.2, -0.17, 0.22], [0.45, 0.17, 0.32], k.MOTORCYCLE, _PAINT))
        parts.append(
            loft(_panel([(0.4, 0.2, 0.25, 0.5), (0.52, 0.2, 0.3, 1.0), (0.56, 0.14, 0.4, 0.95)]), k.MOTORCYCLE, _PAINT)
        )
        rear = [(-0.9, 0.14, 0.5, 0.74), (-0.5, 0.2, 0.3, 0.78), (-0.1, 0.17, 0.26, 0.72)]
        parts.append(loft(_panel(rear), k.MOTORCYCLE, _PAINT))
    else:
        tank = [(-0.25, 0.12, 0.6, 0.8), (0.05, 0.18, 0.55, 0.98), (0.35, 0.16, 0.6, 0.95), (0.45, 0.08, 0.7, 0.88)]
        parts.append(loft(_panel(tank), k.MOTORCYCLE, _PAINT))
        parts.append(box([-0.3, -0.2, 0.22], [0.32, 0.2, 0.58], k.MOTORCYCLE, metal))
        parts.append(loft(_panel([(-0.95, 0.07, 0.72, 0.84), (-0.6, 0.12, 0.6, 0.78)]), k.MOTORCYCLE, _PAINT))
        parts.append(tube([-0.85, -0.2, 0.34], [0.1, -0.2, 0.3], 0.06, k.MOTORCYCLE, material_id(k.METAL, 10), 6))
    parts.append(box([-0.75, -0.15, 0.76], [-0.15, 0.15, 0.84], k.MOTORCYCLE, _DARK))
    parts.append(box([0.5, -0.1, 0.8], [0.6, 0.1, 0.98], k.MOTORCYCLE, material_id(k.HEADLIGHT, 12)))
    parts.append(box([-1.0, -0.08, 0.66], [-0.94, 0.08, 0.74], k.MOTORCYCLE, material_id(k.TAILLIGHT, 28)))
    parts.append(box([-1.02, -0.1, 0.45], [-0.98, 0.1, 0.6], k.MOTORCYCLE, material_id(k.PLATE, 12)))
    return merge(parts)


def _panel(rows: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Rings (x, half width, low, high) with six points each."""
    return np.array(
        [
            [[x, -w, lo], [x, w, lo], [x, w, 0.6 * hi + 0.4 * lo], [x, 0.6 * w, hi], [x, -0.6 * w, hi]]
            + [[x, -w, 0.6 * hi + 0.4 * lo]]
            for x, w, lo, hi in rows
        ]
    )
