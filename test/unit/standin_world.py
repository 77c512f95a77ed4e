# SPDX-License-Identifier: Apache-2.0
"""A world whose answers are known on paper: flat ground, and a checkered wall ahead across the road."""

from types import SimpleNamespace

import numpy as np

GROUND, WALL, SKY = 0, 2, 10


class StandInWorld:
    """The vehicle drives along x at a constant speed towards the wall x = ``wall_x_m``."""

    def __init__(self, wall_x_m: float = 30.0, speed_mps: float = 0.0, wall_height_m: float = 8.0) -> None:
        self.wall_x_m, self.speed_mps, self.wall_height_m = wall_x_m, speed_mps, wall_height_m

    def pose(self, t_ns):
        t_s = np.asarray(t_ns, np.float64) * 1e-9
        pose = np.broadcast_to(np.eye(4), (*t_s.shape, 4, 4)).copy()
        pose[..., 0, 3] = self.speed_mps * t_s
        return pose

    def cast(self, origins, directions, t_ns):
        assert origins.dtype == np.float32 and directions.dtype == np.float32
        with np.errstate(divide="ignore", invalid="ignore"):
            ground = np.where(directions[:, 2] < 0, -origins[:, 2] / directions[:, 2], np.inf)
            wall = np.where(directions[:, 0] > 0, (self.wall_x_m - origins[:, 0]) / directions[:, 0], np.inf)
        height = origins[:, 2] + np.where(np.isfinite(wall), wall, 0) * directions[:, 2]
        wall = np.where((wall > 0) & (height >= 0) & (height < self.wall_height_m), wall, np.inf)
        range_m = np.minimum(ground, wall).astype(np.float32)
        on_wall, hit = wall < ground, np.isfinite(range_m)
        normal = np.where(on_wall[:, None], np.float32([-1, 0, 0]), np.float32([0, 0, 1])) * hit[:, None]
        position = origins + directions * np.where(hit, range_m, 0)[:, None]
        class_id = np.where(hit, np.where(on_wall, WALL, GROUND), SKY).astype(np.uint8)
        return SimpleNamespace(
            range_m=range_m,
            class_id=class_id,
            material=class_id.astype(np.uint16),
            instance=np.zeros(len(hit), np.int32),
            normal=normal.astype(np.float32),
            position=position.astype(np.float32),
            local=position.astype(np.float32),
        )

    def occluded(self, origins, directions, t_ns, max_range_m):
        return self.cast(origins, directions, t_ns).range_m < max_range_m

    def lights(self, t_ns):
        return np.float32([[15.0, 4.0, 6.0]]), np.float32([[20.0, 17.0, 12.0]])


class StandInSurfaces:
    """Ground of 20 % and a wall with squares of 10 and 60 %, one metre wide; nothing glows."""

    @staticmethod
    def albedo(hits, footprint_m):
        squares = np.floor(hits.position[:, 1]) + np.floor(hits.position[:, 2])
        wall = np.where(squares % 2 == 0, 0.6, 0.1)
        return np.repeat(np.where(hits.class_id == WALL, wall, 0.2)[:, None], 3, axis=1).astype(np.float32)

    @staticmethod
    def reflectivity(hits):
        return np.where(hits.class_id == WALL, 0.4, 0.15).astype(np.float32)

    @staticmethod
    def emission(hits, night):
        return np.zeros((len(hits.range_m), 3), np.float32)
