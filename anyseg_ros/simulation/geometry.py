# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes that carry a class, a material and an instance per triangle, and the solids they are made of.

A mesh also has a *local* coordinate per vertex (metres in the object's own frame), which textures are
drawn in: it moves with the object. Frames are right-handed, z up; lengths in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

MATERIAL_COLOUR_BITS = 6
COLOUR_MASK = (1 << MATERIAL_COLOUR_BITS) - 1


def material_id(kind: int, colour: int = 0) -> int:
    """The material number of a kind of surface in a colour of the palette (0..63)."""
    return (int(kind) << MATERIAL_COLOUR_BITS) | (int(colour) & COLOUR_MASK)


@dataclass(frozen=True)
class Mesh:
    """Triangles with what a ray needs to know about them.

    Attributes:
        vertices: float32 [V,3].
        local: float32 [V,3], texture coordinates in metres.
        triangles: int32 [T,3].
        class_id: uint8 [T], trainId.
        material: uint16 [T], see ``material_id``.
        instance: int32 [T].
    """

    vertices: np.ndarray
    local: np.ndarray
    triangles: np.ndarray
    class_id: np.ndarray
    material: np.ndarray
    instance: np.ndarray

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> Mesh:
        """The mesh turned by ``rotation`` [3,3] (which may scale) and shifted; local coordinates stay."""
        vertices = self.vertices @ np.asarray(rotation, np.float32).T + np.asarray(translation, np.float32)
        return replace(self, vertices=vertices)

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """Moved by a yaw about z and a shift, with local coordinates that follow (for parts of one object)."""
        out = self.moved(yaw_matrix(yaw) * scale, np.array([x, y, z]))
        return replace(out, local=out.vertices)

    def named(self, instance: int) -> Mesh:
        """The same mesh as the object ``instance``."""
        return replace(self, instance=np.full(len(self.triangles), instance, np.int32))

    def painted(self, kind: int, colour: int) -> Mesh:
        """Every triangle of material kind ``kind`` gets the palette colour."""
        chosen = (self.material >> MATERIAL_COLOUR_BITS) == kind
        return replace(self, material=np.where(chosen, material_id(kind, colour), self.material).astype(np.uint16))

    def normals(self) -> np.ndarray:
        """Unit normal of each triangle, float32 [T,3] (zero where degenerate)."""
        a, b, c = (self.vertices[self.triangles[:, k]] for k in range(3))
        n = np.cross(b - a, c - a)
        return (n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def yaw_matrix(yaw: float) -> np.ndarray:
    """Rotation by ``yaw`` radians about z, float64 [3,3]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def make(vertices, triangles, class_id: int, material, local=None) -> Mesh:
    """A mesh of one class from arrays; ``material`` is one number or one per triangle."""
    vertices = np.asarray(vertices, np.float32).reshape(-1, 3)
    triangles = np.asarray(triangles, np.int32).reshape(-1, 3)
    count = len(triangles)
    local = vertices if local is None else np.asarray(local, np.float32).reshape(-1, 3)
    material = np.broadcast_to(np.asarray(material, np.uint16), (count,)).copy()
    return Mesh(vertices, local, triangles, np.full(count, class_id, np.uint8), material, np.zeros(count, np.int32))


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of many.

    Raises:
        ValueError: when there is none.
    """
    if not meshes:
        raise ValueError("merge found no mesh; it needs at least one")
    counts = np.array([len(m.vertices) for m in meshes])
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
    triangles = np.concatenate([m.triangles + np.int32(o) for m, o in zip(meshes, offsets, strict=True)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.local for m in meshes]),
        triangles,
        np.concatenate([m.class_id for m in meshes]),
        np.concatenate([m.material for m in meshes]),
        np.concatenate([m.instance for m in meshes]),
    )


def quads(corners: np.ndarray, class_id: int, material, local: np.ndarray | None = None) -> Mesh:
    """Quadrilaterals from their corners [Q,4,3] in turn; ``material`` is one number or one per quad [Q]."""
    corners = np.asarray(corners, np.float32).reshape(-1, 4, 3)
    base = 4 * np.arange(len(corners))[:, None]
    triangles = np.stack([base + [0, 1, 2], base + [0, 2, 3]], axis=1).reshape(-1, 3)
    per_triangle = np.repeat(np.broadcast_to(np.asarray(material, np.uint16), (len(corners),)), 2)
    return make(corners.reshape(-1, 3), triangles, class_id, per_triangle, local)


_BOX_TRIANGLES = np.array(
    [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4]]
    + [[1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]
)


def boxes(low: np.ndarray, high: np.ndarray, class_id: int, material) -> Mesh:
    """Axis-aligned boxes between ``low`` [B,3] and ``high`` [B,3]."""
    low, high = np.atleast_2d(np.asarray(low, float)), np.atleast_2d(np.asarray(high, float))
    unit = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    vertices = low[:, None] + unit * (high - low)[:, None]
    triangles = (_BOX_TRIANGLES + 8 * np.arange(len(low))[:, None, None]).reshape(-1, 3)
    return make(vertices, triangles, class_id, material)


def box(low, high, class_id: int, material) -> Mesh:
    """One axis-aligned box."""
    return boxes([low], [high], class_id, material)


def tube(start, end, radius: float, class_id: int, material, sides: int = 6, end_radius: float | None = None) -> Mesh:
    """A capped cylinder (or cone) from ``start`` to ``end``."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle = 2 * np.pi * np.arange(sides) / sides
    circle = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
    tip = radius if end_radius is None else end_radius
    return loft(np.stack([start + circle * radius, end + circle * tip]), class_id, material)


def loft(rings: np.ndarray, class_id: int, material, caps: tuple[int, int] | None = None) -> Mesh:
    """A closed skin over successive rings [R,K,3].

    Args:
        rings: the outlines, each with K points in turn.
        class_id: trainId.
        material: one number or one per face [R-1,K].
        caps: materials of the first and the last outline's faces (default: those of face 0).
    """
    rings = np.asarray(rings, float)
    count, points = rings.shape[:2]
    i, k = np.meshgrid(np.arange(count - 1), np.arange(points), indexing="ij")
    a, b = i * points + k, i * points + (k + 1) % points
    c, d = b + points, a + points
    sides = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    per_face = np.broadcast_to(np.asarray(material, np.uint16), (count - 1, points))
    per_triangle = np.repeat(per_face.reshape(-1), 2)
    first, last = caps if caps is not None else (per_face[0, 0], per_face[-1, 0])
    fan = np.stack([np.zeros(points - 2, int), np.arange(1, points - 1), np.arange(2, points)], -1)
    sides = np.concatenate([sides, fan[:, ::-1], fan + (count - 1) * points])
    per_triangle = np.concatenate([per_triangle, np.repeat([first, last], points - 2)])
    return make(rings, sides, class_id, per_triangle)


@lru_cache(maxsize=4)
def icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] on the unit sphere and triangles [T,3]: 20, 80, 320 triangles."""
    g = (1 + 5**0.5) / 2
    v = np.array([[-1, g, 0], [1, g, 0], [-1, -g, 0], [1, -g, 0], [0, -1, g], [0, 1, g], [0, -1, -g], [0, 1, -g]])
    v = np.concatenate([v, [[g, 0, -1], [g, 0, 1], [-g, 0, -1], [-g, 0, 1]]])
    t = "0 11 5 0 5 1 0 1 7 0 7 10 0 10 11 1 5 9 5 11 4 11 10 2 10 7 6 7 1 8 3 9 4 3 4 2 3 2 6 3 6 8 3 8 9 4 9 5"
    t = np.array((t + " 2 4 11 6 2 10 8 6 7 9 8 1").split(), int).reshape(-1, 3)
    for _ in range(subdivisions):
        edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
        unique, inverse = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = inverse.reshape(3, -1) + len(v)
        v = np.concatenate([v, v[unique].mean(axis=1)])
        a, b, c = t.T
        t = np.concatenate([np.stack(x, 1) for x in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return v / np.linalg.norm(v, axis=1, keepdims=True), t


def ellipsoid(centre, radii, class_id: int, material, subdivisions: int = 1, bump: np.ndarray | None = None) -> Mesh:
    """An ellipsoid; ``bump`` [V] scales each vertex's distance from the centre."""
    v, t = icosphere(subdivisions)
    if bump is not None:
        v = v * np.asarray(bump)[:, None]
    return make(v * np.asarray(radii, float) + np.asarray(centre, float), t, class_id, material)
