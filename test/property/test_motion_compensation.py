# SPDX-License-Identifier: Apache-2.0
"""Whatever twist and times: what was moved forward comes back, distances stay, and nothing crashes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.motion import compensate
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.types import Points, Twist

EXAMPLES = settings(max_examples=150, deadline=None)
SECOND = 1_000_000_000
BASE_FROM_LIDAR = pose_matrix((1.4, 0.1, 1.9), (1.0, 2.0, -30.0))
XYZ = np.random.default_rng(0).uniform(-60, 60, (40, 3)).astype(np.float32)

vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)
twists = st.builds(lambda v, w: Twist(0, 40 * v, 5 * w), vectors, vectors)
skews = st.integers(-SECOND, SECOND)


@EXAMPLES
@given(twists, skews)
def test_forward_and_back_again(twist, skew_ns):
    there = compensate(Points(XYZ, XYZ[:, 0]), 0, skew_ns, twist, BASE_FROM_LIDAR)
    back = compensate(there, skew_ns, 0, twist, BASE_FROM_LIDAR)
    assert np.abs(back.xyz - XYZ).max() < 5e-5  # two roundings to float32 at up to 250 m


@EXAMPLES
@given(twists, skews)
def test_points_of_one_instant_move_as_one_body(twist, skew_ns):
    moved = compensate(Points(XYZ, XYZ[:, 0]), 0, skew_ns, twist, BASE_FROM_LIDAR).xyz.astype(np.float64)
    before, after = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in (XYZ.astype(np.float64), moved))
    assert np.abs(before - after).max() < 1e-4


@EXAMPLES
@given(twists, st.integers(-SECOND // 2, SECOND // 2), skews)
def test_a_points_own_time_and_the_stamp_are_the_same_thing(twist, t_ns, skew_ns):
    timed = compensate(Points(XYZ, XYZ[:, 0], np.full(40, t_ns)), 0, skew_ns, twist, BASE_FROM_LIDAR)
    stamped = compensate(Points(XYZ, XYZ[:, 0]), t_ns, skew_ns, twist, BASE_FROM_LIDAR)
    assert np.array_equal(timed.xyz, stamped.xyz)


@EXAMPLES
@given(
    st.lists(st.tuples(*[st.floats(width=32)] * 3), max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=20, max_size=20),
    twists,
)
def test_any_points_and_any_times(xyz, t_ns, twist):
    xyz = np.array(xyz, np.float32).reshape(-1, 3)
    points = Points(xyz, xyz[:, 0], np.array(t_ns[: len(xyz)], np.int64))
    moved = compensate(points, 0, SECOND // 10, twist, BASE_FROM_LIDAR)
    broken = ~np.isfinite(xyz).all(axis=1)
    assert len(moved) == len(xyz) and not np.isfinite(moved.xyz[broken]).all(axis=1).any()
