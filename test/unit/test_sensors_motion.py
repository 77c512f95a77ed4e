# SPDX-License-Identifier: Apache-2.0
"""Ego-motion compensation: against the matrix exponential, known answers, and a world that stands still."""

import math

import numpy as np
import pytest

from anyseg_ros.sensors.motion import MAX_SWEEP_NS, compensate, twist_in_base, untimed
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.types import Points, Twist

MS, SECOND = 1_000_000, 1_000_000_000
BASE_FROM_LIDAR = pose_matrix((1.4, -0.2, 1.9), (2.0, -3.0, 25.0))
FLOAT32 = 2.0**-24  # relative rounding of the points' coordinates


def matrix_exponential(matrix):
    """By scaling, the power series, and squaring."""
    scaled, total, term = matrix / 1024, np.eye(4), np.eye(4)
    for k in range(1, 16):
        term = term @ scaled / k
        total = total + term
    for _ in range(10):
        total = total @ total
    return total


def screw(twist, seconds):
    """How a vehicle with this twist is displaced: the pose after so many seconds, seen from the one before."""
    (a, b, c), v = twist.angular_rad_s, twist.linear_m_s
    generator = np.array([[0, -c, b, v[0]], [c, 0, -a, v[1]], [-b, a, 0, v[2]], [0, 0, 0, 0]], np.float64)
    return matrix_exponential(generator * seconds)


def apply(matrix, xyz):
    return np.asarray(xyz, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def cloud(xyz, t_ns=None):
    xyz = np.asarray(xyz, np.float32).reshape(-1, 3)
    intensity = np.arange(len(xyz), dtype=np.float32)
    return Points(xyz, intensity, None if t_ns is None else np.asarray(t_ns, np.int64), np.arange(len(xyz), dtype="u2"))


def twist(linear, angular, stamp_ns=0):
    return Twist(stamp_ns, np.array(linear, np.float64), np.array(angular, np.float64))


def close(found, expected):
    """Within 1e-6 m, and what float32 cannot hold."""
    error = np.abs(found.xyz - np.asarray(expected))
    assert (error <= 1e-6 + FLOAT32 * np.abs(expected)).all(), f"off by {error.max():.2e} m"


def random_sweep(count=4000, reach_m=80.0):
    rng = np.random.default_rng(5)
    return rng.uniform(-reach_m, reach_m, (count, 3)), rng.integers(-50 * MS, 50 * MS, count)


@pytest.mark.parametrize("angular", [(0, 0, 0), (0, 0, 1e-9), (0.02, -0.05, 0.4), (0.3, 1.0, -2.0), (4, -7, 3)])
def test_every_point_moves_by_the_exponential_of_its_own_time(angular):
    xyz, t_ns = random_sweep(300)
    moving = twist((13, -0.4, 0.2), angular)
    found = compensate(cloud(xyz, t_ns), 1_000 * MS, 1_040 * MS, moving, BASE_FROM_LIDAR)
    for i, t in enumerate(t_ns):
        step = np.linalg.inv(BASE_FROM_LIDAR) @ screw(moving, (t - 40 * MS) / SECOND) @ BASE_FROM_LIDAR
        close(cloud(found.xyz[i]), apply(step, np.float32(xyz[i])))


def test_what_is_ahead_comes_nearer_and_a_turn_to_the_left_moves_it_to_the_right():
    ahead = cloud([[20, 0, 0]])
    forward = compensate(ahead, 0, 100 * MS, twist((10, 0, 0), (0, 0, 0)), np.eye(4))
    assert forward.xyz.tolist() == [[19, 0, 0]]
    quarter = compensate(ahead, 0, SECOND, twist((0, 0, 0), (0, 0, math.pi / 2)), np.eye(4))
    close(quarter, [[0, -20, 0]])
    circle = compensate(ahead, 0, SECOND, twist((5 * math.pi, 0, 0), (0, 0, math.pi / 2)), np.eye(4))
    close(circle, [[-10, -10, 0]])  # a quarter of a circle of 10 m: the vehicle is at (10, 10) and looks along y


def test_a_lidar_ahead_of_the_axle_is_swung_sideways_by_a_turn():
    mounted = pose_matrix((2.0, 0, 0))
    moved = compensate(cloud([[0, 0, 0]]), 0, SECOND, twist((0, 0, 0), (0, 0, math.pi)), mounted)
    close(moved, [[-4, 0, 0]])


def test_a_vehicle_at_rest_changes_nothing():
    xyz, t_ns = random_sweep()
    before = cloud(xyz, t_ns)
    after = compensate(before, 7 * SECOND, 8 * SECOND, twist((0, 0, 0), (0, 0, 0)), BASE_FROM_LIDAR)
    assert np.array_equal(after.xyz, before.xyz) and after.t_ns is None
    assert after.intensity is before.intensity and after.ring is before.ring


@pytest.mark.parametrize("linear, angular", [((11, 0, 0), (0, 0, 0)), ((9, 0.3, -0.1), (0.03, -0.05, 0.6))])
def test_a_static_world_swept_from_a_moving_vehicle_is_recovered(linear, angular):
    world, t_ns = random_sweep()
    moving = twist(linear, angular)
    seen = np.empty_like(world)
    for i, t in enumerate(t_ns):
        world_from_lidar = screw(moving, t / SECOND) @ BASE_FROM_LIDAR
        seen[i] = apply(np.linalg.inv(world_from_lidar), world[i])
    reference_ns = 33 * MS
    world_from_lidar = screw(moving, reference_ns / SECOND) @ BASE_FROM_LIDAR
    expected = apply(np.linalg.inv(world_from_lidar), world)
    assert np.abs(seen - expected).max() > 0.8
    found = compensate(cloud(seen, t_ns), SECOND, SECOND + reference_ns, moving, BASE_FROM_LIDAR)
    # The sweep itself was rounded to float32, and a turn spreads this over the coordinates.
    assert np.abs(found.xyz - expected).max() <= 1e-6 + 4 * FLOAT32 * np.abs(seen).max()


def test_a_cloud_without_times_moves_as_a_whole_by_its_stamp():
    xyz, _ = random_sweep(50)
    moving = twist((10, 0, 0), (0, 0, 0.3))
    whole = compensate(cloud(xyz), 5 * MS, 45 * MS, moving, BASE_FROM_LIDAR)
    timed = compensate(cloud(xyz, np.full(50, -40 * MS)), 45 * MS, 45 * MS, moving, BASE_FROM_LIDAR)
    assert np.array_equal(whole.xyz, timed.xyz)


def test_times_of_another_clock_are_not_believed():
    far = [0, MAX_SWEEP_NS, MAX_SWEEP_NS + 1, -MAX_SWEEP_NS - 1, 2**63 - 1, -(2**63), -(2**63)]
    points = cloud([[10, 0, 0]] * 6 + [[np.nan] * 3], far)
    assert untimed(points) == 4 and untimed(cloud([[1, 2, 3]])) == 0
    moved = compensate(points, 0, 0, twist((2, 0, 0), (0, 0, 0)), np.eye(4))
    assert moved.xyz[:6, 0].tolist() == [10, 11, 10, 10, 10, 10]


def test_points_keep_their_order_and_broken_ones_stay_broken():
    points = cloud([[np.nan, 1, 2], [1, 2, 3], [np.inf, 0, 0], [3e38, 0, 0]], [0, 10, 20, 30])
    points.xyz.setflags(write=False)
    moved = compensate(points, 0, MS, twist((1, 0, 0), (0, 0, 1)), np.eye(4)).xyz
    assert len(moved) == 4 and not np.isfinite(moved[[0, 2]]).all(axis=1).any() and np.isfinite(moved[1]).all()
    assert len(compensate(cloud(np.zeros((0, 3)), []), 0, 5, twist((1, 0, 0), (0, 0, 1)), np.eye(4))) == 0


def test_times_for_only_some_of_the_points_are_refused():
    with pytest.raises(ValueError, match="2 points but 1 times"):
        compensate(cloud([[1, 2, 3], [4, 5, 6]], [0]), 0, MS, twist((1, 0, 0), (0, 0, 1)), np.eye(4))


def test_points_of_another_shape_are_refused():
    flat = Points(np.zeros((4, 2), np.float32), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"shape \[4, 2\], expected \[N,3\]"):
        compensate(flat, 0, MS, twist((1, 0, 0), (0, 0, 1)), np.eye(4))


def test_the_twist_of_a_mounted_frame_becomes_the_vehicles():
    vehicle = twist((8, 0.5, -0.2), (0.1, -0.2, 0.7))
    mounted = pose_matrix((-1.5, 0.4, 0.8), (3, -8, 170))
    step = np.linalg.inv(mounted) @ screw(vehicle, 1e-6) @ mounted  # a microsecond of motion, seen from the frame
    linear = step[:3, 3] / 1e-6
    angular = np.array([step[2, 1], step[0, 2], step[1, 0]]) / 1e-6
    found = twist_in_base(77, linear, angular, mounted)
    assert found.stamp_ns == 77
    assert found.linear_m_s == pytest.approx(vehicle.linear_m_s, abs=1e-5)
    assert found.angular_rad_s == pytest.approx(vehicle.angular_rad_s, abs=1e-5)
