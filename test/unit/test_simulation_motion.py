# SPDX-License-Identifier: Apache-2.0
"""The simulated vehicle's twist; and that it brings swept points to where they are at another time."""

import numpy as np
import pytest
from standin_world import StandInWorld

from anyseg_ros.sensors.motion import compensate
from anyseg_ros.simulation import lidar
from anyseg_ros.simulation.drive import Drive, DriveConfig
from anyseg_ros.simulation.motion import twist_at
from anyseg_ros.types import Points

MS = 1_000_000


class Roundabout:
    """Around a circle of 15 m to the left, once in 12 s."""

    def pose(self, t_ns):
        angle = np.asarray(t_ns) / 12e9 * 2 * np.pi
        poses = np.tile(np.eye(4), (*angle.shape, 1, 1))
        poses[..., 0, 0] = poses[..., 1, 1] = np.cos(angle)
        poses[..., 1, 0], poses[..., 0, 1] = np.sin(angle), -np.sin(angle)
        poses[..., 0, 3], poses[..., 1, 3] = 15 * np.sin(angle), 15 - 15 * np.cos(angle)
        return poses


def test_twists_that_are_known():
    straight = twist_at(StandInWorld(speed_mps=12.5), 3_000 * MS, 77)
    assert straight.stamp_ns == 77 and straight.linear_m_s == pytest.approx([12.5, 0, 0], abs=1e-6)
    assert not straight.angular_rad_s.any()
    for t_ms in (0, 2_500, 9_990):
        turning = twist_at(Roundabout(), t_ms * MS, 0)
        rate = 2 * np.pi / 12
        assert turning.linear_m_s == pytest.approx([15 * rate, 0, 0], abs=1e-5)
        assert turning.angular_rad_s == pytest.approx([0, 0, rate], abs=1e-6)


def apply(matrix, xyz):
    return xyz @ matrix[:3, :3].T + matrix[:3, 3]


def share_of_right_labels(drive, xyz, class_id, t_ns):
    """Among the points that fall into the picture at a time: how many lie on a pixel of their own class."""
    labels, rig = drive.labels(t_ns), drive.rig
    uv, seen = rig.sensor("camera").model.project(apply(rig.plane_from("lidar"), xyz.astype(np.float64)))
    height, width = labels.shape
    seen &= (uv[:, 0] >= 0) & (uv[:, 0] < width - 1) & (uv[:, 1] >= 0) & (uv[:, 1] < height - 1)
    column, row = np.floor(uv[seen] + 0.5).astype(int).T
    return float((labels[row, column] == class_id[seen]).mean())


@pytest.fixture(scope="module")
def drive():
    pytest.importorskip("open3d", reason="open3d is not installed")
    return Drive(DriveConfig(seed=2, duration_s=6.0))


@pytest.mark.simulator
@pytest.mark.parametrize("skew_ms", [-50, 0, 50])
def test_a_simulated_sweep_is_brought_to_the_reference_time(drive, skew_ms):
    t_ns = 4_050 * MS
    world, base_from_lidar = drive.instruments.world, drive.rig.sensor("lidar").base_from_sensor
    sweep = lidar.sweep_pattern(100 * MS)
    poses = world.pose(t_ns + sweep.t_ns) @ base_from_lidar
    directions = np.einsum("tij,trj->tri", poses[:, :3, :3], sweep.directions).reshape(-1, 3)
    origins = np.repeat(poses[:, :3, 3], lidar.RINGS, axis=0)
    hits = world.cast(origins, directions, t_ns)
    near = hits.range_m < 60
    where = (origins + directions * hits.range_m[:, None])[near]
    seen = Points(
        (sweep.directions.reshape(-1, 3) * hits.range_m[:, None])[near].astype(np.float32),
        np.zeros(near.sum(), np.float32),
        np.repeat(sweep.t_ns, lidar.RINGS)[near],
    )

    reference_ns = t_ns + skew_ms * MS
    true = apply(np.linalg.inv(world.pose(reference_ns) @ base_from_lidar), where)
    moved = compensate(seen, t_ns, reference_ns, drive.twist(reference_ns), base_from_lidar)
    before, after = (np.sqrt(((p.xyz - true) ** 2).sum(axis=1).mean()) for p in (seen, moved))
    assert before > 0.2 and after < 0.002 and before / after > 100, f"{before:.3f} m before, {after:.4f} m after"

    class_id = hits.class_id[near]
    raw, done, best = (share_of_right_labels(drive, p, class_id, reference_ns) for p in (seen.xyz, moved.xyz, true))
    assert best - done < 0.2 * (best - raw), f"{raw:.4f} right before, {done:.4f} after, {best:.4f} at best"
