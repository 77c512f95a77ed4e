# SPDX-License-Identifier: Apache-2.0
"""Ego-motion compensation: a cloud as the lidar would have seen it had all points been measured at one instant.

The twist is taken as constant from a point's time to the reference time. The vehicle then moves along a screw, and a
standing point measured at the time t lies at exp((t - reference) * twist) of what was measured (the exponential map of
SE(3); Lynch and Park, Modern Robotics, 3.3.3). What moves by itself is displaced as if it stood.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from anyseg_ros.types import Points, Twist

MAX_SWEEP_NS = 500_000_000
"""A point farther from its cloud's stamp was timed by another clock than the stamp."""

_SERIES_BELOW_RAD = 0.5


def compensate(
    points: Points, cloud_stamp_ns: int, reference_ns: int, twist: Twist, base_from_sensor: np.ndarray
) -> Points:
    """Move every point of a cloud from its own time to the reference time.

    A point without a time, or with one more than 0.5 s from the stamp (see ``untimed``), counts as measured at the
    stamp.

    Args:
        points: the cloud, N points in the sensor's frame.
        cloud_stamp_ns: the cloud's corrected stamp, to which ``points.t_ns`` is relative.
        reference_ns: the corrected stamp of the frame set.
        twist: of the vehicle, in the base frame.
        base_from_sensor: [4,4] into the base frame.

    Returns:
        N points in the same order, where the sensor would see them at the reference time; without times.

    Raises:
        ValueError: the points are not [N,3], or not every point has a time, though some have.
    """
    if points.xyz.ndim != 2 or points.xyz.shape[1] != 3:  # the kernel does not look where an array ends
        raise ValueError(f"a cloud has points of shape {list(points.xyz.shape)}, expected [N,3]")
    if points.t_ns is not None and len(points.t_ns) != len(points.xyz):
        raise ValueError(f"a cloud has {len(points.xyz)} points but {len(points.t_ns)} times, expected one for each")
    linear, angular = twist_of_sensor(twist, base_from_sensor)
    xyz = np.require(points.xyz, np.float32, ["C", "W"])  # a read-only array would be another kernel to compile
    t_ns = np.zeros(0, np.int64) if points.t_ns is None else np.require(points.t_ns, np.int64, ["C", "W"])
    moved = np.empty_like(xyz)
    _move(xyz, t_ns, int(cloud_stamp_ns) - int(reference_ns), linear, angular, moved)
    return Points(moved, points.intensity, None, points.ring)


def untimed(points: Points) -> int:
    """How many points bear a time that cannot belong to a sweep: driver and stamp use different clocks."""
    if points.t_ns is None:
        return 0
    strange = (points.t_ns > MAX_SWEEP_NS) | (points.t_ns < -MAX_SWEEP_NS)
    return int(np.count_nonzero(strange & np.isfinite(points.xyz[:, 0])))


def twist_of_sensor(twist: Twist, base_from_sensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity of a sensor's origin in m/s and angular velocity in rad/s, float64 [3] each, in the sensor's frame."""
    rotation, position = base_from_sensor[:3, :3], base_from_sensor[:3, 3]
    angular = np.asarray(twist.angular_rad_s, np.float64)
    linear = np.asarray(twist.linear_m_s, np.float64) + np.cross(angular, position)
    return rotation.T @ linear, rotation.T @ angular


def twist_in_base(stamp_ns: int, linear: np.ndarray, angular: np.ndarray, base_from_frame: np.ndarray) -> Twist:
    """The vehicle's twist from the one that a rigidly mounted frame measures.

    Args:
        stamp_ns: its true time.
        linear: [3], velocity of the frame's origin, seen in the frame, in m/s.
        angular: [3], angular velocity, seen in the frame, in rad/s.
        base_from_frame: [4,4] into the base frame.
    """
    rotation, position = base_from_frame[:3, :3], base_from_frame[:3, 3]
    turning = rotation @ np.asarray(angular, np.float64)
    return Twist(int(stamp_ns), rotation @ np.asarray(linear, np.float64) - np.cross(turning, position), turning)


@njit(cache=True, nogil=True, error_model="numpy")
def _move(xyz, t_ns, skew_ns, linear, angular, moved):
    """The exponential in closed form: q + (dt I + b dt^2 W + c dt^3 W^2) u with b, c of ``_factors`` at |w| dt.

    W is the matrix of the cross product with the angular velocity w, and u = w x q + linear the point's velocity.
    """
    wx, wy, wz = angular[0], angular[1], angular[2]
    rate2 = wx * wx + wy * wy + wz * wz
    for i in range(xyz.shape[0]):
        dt_ns = skew_ns
        if t_ns.shape[0] and -MAX_SWEEP_NS <= t_ns[i] <= MAX_SWEEP_NS:
            dt_ns += t_ns[i]
        dt = dt_ns * 1e-9
        b, c = _factors(rate2 * dt * dt)
        x, y, z = np.float64(xyz[i, 0]), np.float64(xyz[i, 1]), np.float64(xyz[i, 2])
        ux, uy, uz = wy * z - wz * y + linear[0], wz * x - wx * z + linear[1], wx * y - wy * x + linear[2]
        vx, vy, vz = wy * uz - wz * uy, wz * ux - wx * uz, wx * uy - wy * ux
        b *= dt
        c *= dt * dt
        moved[i, 0] = x + dt * (ux + b * vx + c * (wy * vz - wz * vy))
        moved[i, 1] = y + dt * (uy + b * vy + c * (wz * vx - wx * vz))
        moved[i, 2] = z + dt * (uz + b * vz + c * (wx * vy - wy * vx))


@njit(cache=True, nogil=True, error_model="numpy")
def _factors(angle2):
    """(1 - cos a) / a^2 and (a - sin a) / a^3 for an angle a, given its square.

    Their power series are exact to double precision below 0.5 rad, and have no 0 / 0.
    """
    if angle2 < _SERIES_BELOW_RAD * _SERIES_BELOW_RAD:
        s = angle2
        b = 1 / 2 - s * (1 / 24 - s * (1 / 720 - s * (1 / 40320 - s * (1 / 3628800 - s / 479001600))))
        c = 1 / 6 - s * (1 / 120 - s * (1 / 5040 - s * (1 / 362880 - s * (1 / 39916800 - s / 6227020800))))
        return b, c
    angle = math.sqrt(angle2)
    return (1 - math.cos(angle)) / angle2, (angle - math.sin(angle)) / (angle2 * angle)
