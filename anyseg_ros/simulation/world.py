# SPDX-License-Identifier: Apache-2.0
"""A street that can be looked at: rays are cast against what stands and against what moves."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numba import njit

from anyseg_ros.simulation.actors import Traffic
from anyseg_ros.simulation.geometry import Mesh, merge
from anyseg_ros.simulation.kinds import SKY
from anyseg_ros.simulation.scenery import Scenery
from anyseg_ros.simulation.street import draw_plan
from anyseg_ros.simulation.templates import Templates

__all__ = ["SKY", "Hits", "World"]

START_NS = 1_700_000_000 * 10**9
_BEHIND_M, _AHEAD_M = 50.0, 220.0
_SCENES_KEPT = 8


@dataclass(frozen=True)
class Hits:
    """What N rays met.

    Attributes:
        range_m: float32 [N], inf where nothing was hit (sky).
        class_id: uint8 [N], trainId, 10 where nothing was hit.
        material: uint16 [N].
        instance: int32 [N], number of the object, stable over time; -1 for the sky.
        normal: float32 [N,3] in the world, facing the ray.
        position: float32 [N,3] in the world.
        local: float32 [N,3], position in the object's own frame in metres; street coordinates for the ground.
    """

    range_m: np.ndarray
    class_id: np.ndarray
    material: np.ndarray
    instance: np.ndarray
    normal: np.ndarray
    position: np.ndarray
    local: np.ndarray


class _Body:
    """A mesh with its acceleration structure."""

    def __init__(self, mesh: Mesh) -> None:
        o3d = _open3d()
        self.mesh, self.normals = mesh, mesh.normals()
        self.scene = o3d.t.geometry.RaycastingScene()
        vertices = o3d.core.Tensor(np.ascontiguousarray(mesh.vertices))
        self.scene.add_triangles(vertices, o3d.core.Tensor(mesh.triangles.astype(np.uint32)))


def _open3d():
    try:
        import open3d
    except ImportError as error:
        raise ImportError(
            f"the simulator casts rays with Open3D, which could not be imported ({error}); install anyseg_ros[sim]"
        ) from error
    return open3d


class World:
    """A procedural street with traffic; the same seed and duration give the same world.

    Args:
        seed: of everything random.
        duration_s: how long the ego can drive.
        start_ns: true time at which the drive begins.
    """

    def __init__(self, seed: int, duration_s: float, start_ns: int = START_NS) -> None:
        self.seed, self.duration_s, self.start_ns = int(seed), float(duration_s), int(start_ns)
        rng = np.random.default_rng([self.seed, 7919])
        self._draw_speed(rng)
        self.plan = draw_plan(rng, -_BEHIND_M, self.ego_s(self.duration_s) + _AHEAD_M)
        templates = Templates.draw(rng)
        first = int(rng.integers(1, 1 << 20)) * 512
        scenery = Scenery(self.plan, rng, templates, first)
        scenery.build()
        self._static = _Body(merge(scenery.meshes))
        self._lamps = np.array(scenery.lamps, np.float32).reshape(-1, 3)
        movers_first = first + len(scenery.meshes)
        self.traffic = Traffic(self.plan, templates, rng, self.ego_s, self.duration_s, movers_first)
        self._movers: OrderedDict[int, _Body | None] = OrderedDict()

    def _draw_speed(self, rng: np.random.Generator) -> None:
        """Speed = mean + two slow waves, between 5 and 14 m/s."""
        self._mean = rng.uniform(8.0, 11.0)
        self._waves = [(rng.uniform(0.4, 1.4), rng.uniform(0.1, 0.5), rng.uniform(0, 6.28)) for _ in range(2)]
        self._sway = (rng.uniform(0.03, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0, 6.28))

    def ego_s(self, time_s):
        """Where the ego is along the street, metres (scalar or array of seconds since the start)."""
        s = self._mean * time_s
        for amplitude, rate, phase in self._waves:
            s = s + amplitude / rate * (np.cos(phase) - np.cos(rate * time_s + phase))
        return s

    def seconds(self, t_ns: np.ndarray | int) -> np.ndarray | float:
        """Seconds since the start of the drive."""
        return (np.asarray(t_ns, np.int64) - self.start_ns) / 1e9

    def pose(self, t_ns: np.ndarray | int) -> np.ndarray:
        """world_from_base at a time, float64 [4,4], or [T,4,4] for an array of times."""
        time_s = np.atleast_1d(self.seconds(t_ns))
        s = self.ego_s(time_s)
        amplitude, rate, phase = self._sway
        x, y, heading = self.plan.path.at(s, amplitude * np.sin(rate * time_s + phase))
        out = np.zeros((len(time_s), 4, 4))
        c, n = np.cos(heading), np.sin(heading)
        out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = c, -n, n, c
        out[:, 2, 2] = out[:, 3, 3] = 1.0
        out[:, 0, 3], out[:, 1, 3] = x, y
        return out if np.ndim(t_ns) else out[0]

    def _moving(self, t_ns: int) -> _Body | None:
        """The movers at a time; the last few times are kept."""
        key = int(t_ns)
        if key not in self._movers:
            meshes = self.traffic.near(float(self.seconds(key)))
            self._movers[key] = _Body(merge(meshes)) if meshes else None
            if len(self._movers) > _SCENES_KEPT:
                self._movers.popitem(last=False)
        return self._movers[key]

    def cast(self, origins: np.ndarray, directions: np.ndarray, t_ns: int) -> Hits:
        """Cast rays (origins [N,3], unit directions [N,3], world) against the world as it is at ``t_ns``."""
        origins = np.ascontiguousarray(origins, np.float32).reshape(-1, 3)
        directions = np.ascontiguousarray(directions, np.float32).reshape(-1, 3)
        count = len(origins)
        out = Hits(
            np.full(count, np.inf, np.float32),
            np.full(count, SKY, np.uint8),
            np.zeros(count, np.uint16),
            np.full(count, -1, np.int32),
            -directions,
            np.zeros((count, 3), np.float32),
            np.zeros((count, 3), np.float32),
        )
        rays = np.concatenate([origins, directions], axis=1)
        for body in (self._static, self._moving(t_ns)):
            if body is not None and count:
                _look_up(body, rays, out)
        hit = np.isfinite(out.range_m)
        out.position[hit] = origins[hit] + directions[hit] * out.range_m[hit, None]
        return out

    def occluded(
        self, origins: np.ndarray, directions: np.ndarray, t_ns: int, max_range_m: float = 200.0
    ) -> np.ndarray:
        """Whether something stands in each ray's way within ``max_range_m``: bool [N]."""
        o3d = _open3d()
        rays = np.concatenate([np.asarray(origins, np.float32), np.asarray(directions, np.float32)], axis=1)
        tensor = o3d.core.Tensor(rays)
        out = np.zeros(len(rays), bool)
        for body in (self._static, self._moving(t_ns)):
            if body is not None and len(rays):
                out |= body.scene.test_occlusions(tensor, 0.0, float(max_range_m)).numpy()
        return out

    def lights(self, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Street lamps within 90 m of the ego and its own head lights: positions [L,3] and colours [L,3]."""
        pose = self.pose(int(t_ns))
        ego = pose[:3, 3]
        near = self._lamps[np.linalg.norm(self._lamps - ego, axis=1) < 90.0] if len(self._lamps) else self._lamps
        beam = (pose @ np.array([[3.0, 0.6, 0.7, 1], [3.0, -0.6, 0.7, 1]]).T).T[:, :3]
        positions = np.concatenate([near, beam]).astype(np.float32)
        colours = np.tile(np.array([1.0, 0.78, 0.5], np.float32), (len(positions), 1))
        colours[len(near) :] = [0.5, 0.52, 0.55]
        return positions, colours


def _look_up(body: _Body, rays: np.ndarray, out: Hits) -> None:
    """Cast and keep what is nearer than what ``out`` already holds."""
    o3d = _open3d()
    answer = body.scene.cast_rays(o3d.core.Tensor(rays))
    mesh = body.mesh
    _keep_nearest(
        answer["t_hit"].numpy(), answer["primitive_ids"].numpy(), answer["primitive_uvs"].numpy(), rays,
        mesh.triangles, mesh.local, body.normals, mesh.class_id, mesh.material, mesh.instance,
        out.range_m, out.class_id, out.material, out.instance, out.normal, out.local,
    )  # fmt: skip


@njit(cache=True)
def _keep_nearest(
    t_hit, primitive, uv, rays, triangles, local, normals, class_id, material, instance,
    out_range, out_class, out_material, out_instance, out_normal, out_local,
):  # fmt: skip
    for i in range(len(t_hit)):
        if not t_hit[i] < out_range[i]:
            continue
        p = primitive[i]
        out_range[i] = t_hit[i]
        out_class[i] = class_id[p]
        out_material[i] = material[p]
        out_instance[i] = instance[p]
        facing = 0.0
        for j in range(3):
            facing += normals[p, j] * rays[i, 3 + j]
        sign = -1.0 if facing > 0 else 1.0
        u, v = uv[i, 0], uv[i, 1]
        a, b, c = triangles[p, 0], triangles[p, 1], triangles[p, 2]
        for j in range(3):
            out_normal[i, j] = sign * normals[p, j]
            out_local[i, j] = (1 - u - v) * local[a, j] + u * local[b, j] + v * local[c, j]
