# SPDX-License-Identifier: Apache-2.0
"""Which twist holds at a time, which are not believed, and the messages that they come in."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from anyseg_ros.sensors.motion_history import CAPACITY, TOLERANCE_NS, MotionError, MotionHistory
from anyseg_ros.sensors.motion_messages import GNSS_FIELDS, twist_from, twist_from_gnss
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.types import Points, Twist

MS, START_NS = 1_000_000, 1_700_000_000_000_000_000


def twist(t_ms, speed=10.0, yaw_rate=0.0):
    return Twist(START_NS + t_ms * MS, np.array([speed, 0.0, 0.0]), np.array([0.0, 0.0, yaw_rate]))


def filled(*twists):
    history = MotionHistory()
    for each in twists:
        history.add(each)
    return history


def test_the_nearest_twist_serves_on_either_side_and_none_beyond_the_tolerance():
    history = filled(twist(0, 1), twist(20, 2), twist(40, 3))
    for t_ms, speed in ((-100, 1), (9, 1), (11, 2), (29, 2), (31, 3), (540, 3)):
        assert history.at(START_NS + t_ms * MS).linear_m_s[0] == speed
        assert history.age_ns == (t_ms - {1: 0, 2: 20, 3: 40}[speed]) * MS
    assert history.at(START_NS + 40 * MS + TOLERANCE_NS + 1) is None and history.age_ns is None
    assert history.at(START_NS - TOLERANCE_NS - 1) is None
    assert history.figures() == {
        "motion.twist_age_ms": "none", "motion.received": 3, "motion.rejected": 0, "motion.served": 6,
        "motion.missing": 2, "motion.untimed_points": 0,
    }  # fmt: skip


def test_an_empty_history_has_nothing_and_a_long_one_forgets():
    assert MotionHistory().at(START_NS) is None
    history = filled(*(twist(k) for k in range(CAPACITY + 5)))
    assert history.at(START_NS).stamp_ns == START_NS + 5 * MS
    history.reset()
    assert history.at(START_NS) is None and history.counts["received"] == CAPACITY + 5


@pytest.mark.parametrize(
    "broken, sentence",
    [
        (Twist(START_NS + 50 * MS, np.array([np.nan, 0, 0]), np.zeros(3)), "velocity of nan m/s"),
        (Twist(START_NS + 50 * MS, np.zeros(3), np.array([0, np.inf, 0])), "angular velocity of inf rad/s"),
        (Twist(START_NS + 50 * MS, np.array([300.0, 0, 0]), np.zeros(3)), "at most 100"),
        (Twist(START_NS + 50 * MS, np.zeros(3), np.array([0, 0, 11.0])), "at most 10"),
        (Twist(0, np.zeros(3), np.zeros(3)), "stamp 0 ns"),
        (twist(-20), "20.0 ms older"),
        (twist(0), "0.0 ms older"),
        (twist(50, 25.0), "velocity jumped by 15 m/s within 50 ms"),
        (twist(50, 10.0, 5.0), "angular velocity jumped by 5 rad/s"),
    ],
)
def test_twists_that_no_vehicle_has(broken, sentence):
    history = filled(twist(0))
    with pytest.raises(MotionError, match=sentence):
        history.add(broken)
    assert history.counts["rejected"] == 1
    assert history.at(START_NS + 50 * MS).stamp_ns == START_NS


def test_a_cloud_is_moved_where_a_twist_is_known_and_left_alone_elsewhere():
    history = filled(twist(0, 10.0))
    points = Points(np.float32([[20, 0, 0]] * 2), np.zeros(2, np.float32), np.array([0, 10**10]))
    moved = history.compensated(points, START_NS, START_NS + 100 * MS, np.eye(4))
    assert moved.xyz[:, 0].tolist() == [19, 19] and history.counts["untimed_points"] == 1
    assert history.figures()["motion.twist_age_ms"] == 100.0
    assert history.compensated(points, START_NS, START_NS + 2 * TOLERANCE_NS, np.eye(4)) is points
    assert (history.counts["served"], history.counts["missing"]) == (1, 1)


def accepted(history, *twists):
    results = []
    for each in twists:
        try:
            history.add(each)
            results.append(True)
        except MotionError:
            results.append(False)
    return results


def test_a_spike_is_left_out_and_a_lasting_step_is_believed_at_its_second_twist():
    spike = [twist(0), twist(20), twist(40, 60.0), twist(60), twist(80)]
    assert accepted(MotionHistory(), *spike) == [True, True, False, False, True]
    step = [twist(0), twist(20, 60.0), twist(40, 60.0), twist(60, 60.0)]
    assert accepted(MotionHistory(), *step) == [True, False, True, True]
    braking = [twist(k * 20, 30.0 - 0.2 * k) for k in range(100)]  # 10 m/s2
    assert all(accepted(MotionHistory(), *braking))


def test_a_bag_that_starts_over_begins_a_new_history():
    history = filled(twist(5000, 20.0), twist(0, 3.0))
    assert history.at(START_NS + 4900 * MS) is None
    assert history.at(START_NS).linear_m_s[0] == 3.0


def vector(x, y, z):
    return SimpleNamespace(x=x, y=y, z=z)


def message(kind, frame):
    inner = SimpleNamespace(linear=vector(5.0, 0.0, 0.0), angular=vector(0.0, 0.0, 0.5))
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=4), frame_id="odom" if kind == "odometry" else frame)
    if kind == "stamped":
        return SimpleNamespace(header=header, twist=inner)
    held = SimpleNamespace(header=header, twist=SimpleNamespace(twist=inner, covariance=[0.0] * 36))
    if kind == "odometry":
        held.child_frame_id, held.pose = frame, None
    return held


KINDS = ("odometry", "stamped", "with_covariance")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", ["base_link", "/base_link", ""])
def test_messages_in_the_base_frame(kind, frame):
    found = twist_from(message(kind, frame), "base_link")
    assert found.stamp_ns == 3_000_000_004
    assert found.linear_m_s.tolist() == [5, 0, 0] and found.angular_rad_s.tolist() == [0, 0, 0.5]


@pytest.mark.parametrize("kind", KINDS)
def test_messages_in_another_frame_need_its_place(kind):
    poses = {"imu": pose_matrix((1.0, 0, 0), (0, 0, 180))}
    found = twist_from(message(kind, "imu"), "base_link", poses.get)
    # The IMU looks backwards and sits 1 m ahead: it moves along -x, and the turn about z stays what it is.
    assert found.linear_m_s == pytest.approx([-5, -0.5, 0]) and found.angular_rad_s == pytest.approx([0, 0, 0.5])
    with pytest.raises(MotionError, match="frame 'gps', whose place in 'base_link' is not known"):
        twist_from(message(kind, "gps"), "base_link", poses.get)


def test_a_message_without_a_twist():
    with pytest.raises(MotionError, match="holds no twist"):
        twist_from(SimpleNamespace(header=message("stamped", "").header), "base_link")


def test_a_gnss_line_of_muses():
    values = dict.fromkeys(GNSS_FIELDS, 7) | {
        "gSpeed": 12_345, "angular_rate_roll": -100_000, "angular_rate_pitch": 200_000, "angular_rate_heading": 900_000,
    }  # fmt: skip
    line = " ".join(map(str, values.values())) + "\n"
    found = twist_from_gnss(line, START_NS, np.eye(4))
    assert found.stamp_ns == START_NS and found.linear_m_s.tolist() == [12.345, 0, 0]
    assert np.degrees(found.angular_rad_s) == pytest.approx([-1, 2, 9])
    mounted = pose_matrix((0, 0, 0), (180, 0, 0))  # x forward, y right, z down
    assert twist_from_gnss(line, 0, mounted).angular_rad_s[2] == pytest.approx(-math.radians(9))
    for broken in ("", "1 2 3", line + " 5", line.replace("12345", "12.5")):
        with pytest.raises(MotionError, match="is no GNSS line"):
            twist_from_gnss(broken, 0, np.eye(4))
