# SPDX-License-Identifier: Apache-2.0
"""Rigid poses: position and angles to 4x4 matrices, and the step from a body frame to an optical one (REP-103)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Columns: the axes of an optical frame (x right, y down, z forward) seen in its body frame (REP-103).
BODY_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


class RigError(ValueError):
    """A rig that cannot be used; the message says what was found and what was expected."""


def check_transform(matrix: np.ndarray, whose: str) -> np.ndarray:
    """The matrix itself, if it is a rigid 4x4 transform.

    Raises:
        RigError: it is not; the message says whose it is and what is wrong.
    """
    if matrix.shape != (4, 4) or not np.all(np.isfinite(matrix)):
        raise RigError(f"the pose of {whose} has shape {matrix.shape}, expected a finite 4x4 matrix")
    error = np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max()
    if error > 1e-3 or np.linalg.det(matrix[:3, :3]) < 0 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise RigError(f"the pose of {whose} is not a rotation and a translation (off by {error:.1e})")
    return matrix


def pose_matrix(xyz_m, rpy_deg=(0.0, 0.0, 0.0), optical: bool = False) -> np.ndarray:
    """Float64 [4,4] from a position and roll, pitch, yaw about fixed axes (REP-103).

    Args:
        xyz_m: position in metres, in the base frame.
        rpy_deg: roll, pitch, yaw in degrees.
        optical: the angles are those of the body-aligned frame (0 0 0 looks forward); add the rotation to the
            optical frame.
    """
    roll, pitch, yaw = (math.radians(float(a)) for a in rpy_deg)
    cr, sr, cp, sp, cy, sy = (
        math.cos(roll),
        math.sin(roll),
        math.cos(pitch),
        math.sin(pitch),
        math.cos(yaw),
        math.sin(yaw),
    )
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    matrix[:3, 3] = xyz_m
    return matrix @ BODY_FROM_OPTICAL if optical else matrix


def matrix_from_transform(transform: Any) -> np.ndarray:
    """The 4x4 float64 matrix of a geometry_msgs Transform.

    Raises:
        ValueError: the rotation is not a unit quaternion.
    """
    r, t = transform.rotation, transform.translation
    q = np.array([r.x, r.y, r.z, r.w], np.float64)
    norm = float(np.linalg.norm(q))
    if not abs(norm - 1.0) < 1e-3:
        raise ValueError(f"a transform's quaternion has length {norm:.4g}; expected 1")
    x, y, z, w = q / norm
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix
