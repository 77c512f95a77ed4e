# SPDX-License-Identifier: Apache-2.0
"""Cast the rays of an optical sensor into the world and shade what they hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.simulation import light as lighting
from anyseg_ros.simulation.light import Light
from anyseg_ros.simulation.weather import Weather

SKY = 10
SHADOW_REACH_M = 120.0


def unit_rays(model) -> np.ndarray:
    """Unit directions float32 [H*W,3] of all pixel centres of a camera model, in its optical frame."""
    u, v = np.meshgrid(np.arange(model.width, dtype=np.float64), np.arange(model.height, dtype=np.float64))
    rays = model.rays(np.stack([u.ravel(), v.ravel()], axis=1))
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Rendering:
    """A picture of the world without any sensor in it.

    Attributes:
        radiance: float32 [H,W,3], linear.
        class_id: uint8 [H,W], trainIds.
        range_m: float32 [H,W], distance along each ray, inf for the sky.
    """

    radiance: np.ndarray
    class_id: np.ndarray
    range_m: np.ndarray


class Renderer:
    """Renders one drive's world in one drive's light.

    Args:
        world: ``world.World`` or anything with its ``pose``, ``cast``, ``occluded`` and ``lights``.
        surfaces: the module ``materials`` or anything with its ``albedo`` and ``emission``.
        light: the drive's light.
        weather: the drive's weather.
    """

    def __init__(self, world: Any, surfaces: Any, light: Light, weather: Weather) -> None:
        self.world = world
        self.surfaces = surfaces
        self.light = light
        self.weather = weather

    def rays_in_world(self, rays: np.ndarray, base_from_sensor: np.ndarray, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Origins and unit directions, float32 [N,3] each, of a sensor's rays at an instant."""
        world_from_sensor = self.world.pose(t_ns) @ base_from_sensor
        directions = rays @ world_from_sensor[:3, :3].T.astype(np.float32)
        origins = np.broadcast_to(world_from_sensor[:3, 3].astype(np.float32), directions.shape)
        return np.ascontiguousarray(origins), directions

    def render(self, model, rays: np.ndarray, base_from_sensor: np.ndarray, t_ns: int, shadow_step: int) -> Rendering:
        """Render one instant.

        Args:
            model: the ``CameraModel``; gives size and focal length.
            rays: ``unit_rays(model)``.
            base_from_sensor: float64 [4,4].
            t_ns: true time since the start of the drive.
            shadow_step: cast shadow rays for every n-th pixel of every n-th row; the rest is interpolated.
        """
        world_from_base = self.world.pose(t_ns)
        origins, directions = self.rays_in_world(rays, base_from_sensor, t_ns)
        hits = self.world.cast(origins, directions, t_ns)
        radiance = lighting.shade(
            self.light,
            self.weather,
            hits,
            directions,
            self.surfaces.albedo(hits, self._footprint(hits, directions, model)),
            self.surfaces.emission(hits, self.light.night),
            self._sun_visible(hits, (model.height, model.width), t_ns, shadow_step),
            lighting.near_lamps(self.world, self.light, world_from_base, t_ns),
            world_from_base,
        )
        shape = (model.height, model.width)
        return Rendering(
            radiance.reshape(*shape, 3),
            np.asarray(hits.class_id).reshape(shape),
            np.asarray(hits.range_m, np.float32).reshape(shape),
        )

    @staticmethod
    def _footprint(hits, directions: np.ndarray, model) -> np.ndarray:
        """How much surface one pixel sees, float32 [N] metres: textures finer than that average out."""
        cosine = np.abs(np.einsum("ij,ij->i", directions, np.asarray(hits.normal, np.float32)))
        span = np.where(np.isfinite(hits.range_m), hits.range_m, 1.0) / np.float32(model.K[0, 0])
        return (span / np.sqrt(np.maximum(cosine, 0.05))).astype(np.float32)

    def _sun_visible(self, hits, shape: tuple[int, int], t_ns: int, step: int) -> np.ndarray:
        """float32 [N]: 1 where the sun reaches the surface, 0 in shadow."""
        visible = np.ones(shape, np.float32)
        if float(self.light.sun.max()) <= 0.02:
            return visible.ravel()
        rows, cols = np.arange(0, shape[0], step), np.arange(0, shape[1], step)
        picked = (rows[:, None] * shape[1] + cols[None, :]).ravel()
        normal = np.asarray(hits.normal, np.float32)[picked]
        facing = np.isfinite(np.asarray(hits.range_m)[picked]) & (normal @ self.light.sun_direction > 0.0)
        coarse = np.ones(len(picked), np.float32)
        origins = np.asarray(hits.position, np.float32)[picked][facing] + 0.02 * normal[facing]
        if len(origins):
            towards = np.broadcast_to(self.light.sun_direction, origins.shape)
            coarse[facing] = ~self.world.occluded(origins, np.ascontiguousarray(towards), t_ns, SHADOW_REACH_M)
        coarse = coarse.reshape(len(rows), len(cols))
        near = (
            np.minimum(np.arange(shape[0]) // step, len(rows) - 1),
            np.minimum(np.arange(shape[1]) // step, len(cols) - 1),
        )
        return coarse[near[0]][:, near[1]].ravel()
