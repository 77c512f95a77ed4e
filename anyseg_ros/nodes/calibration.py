# SPDX-License-Identifier: Apache-2.0
"""Keeps the rig's calibration up to date: CameraInfo and TF go before the rig file, and are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.time import Time

from anyseg_ros.nodes import installed
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.poses import matrix_from_transform
from anyseg_ros.sensors.rig import Rig

# Below these a calibration counts as the same: intrinsics in pixels, poses in metres and direction cosines.
_INTRINSICS_TOLERANCE = 1e-6
_POSE_TOLERANCE = 1e-6


class CalibrationKeeper:
    """The rig as it is known now.

    A camera that is dead at boot does not silence the lidar: until its CameraInfo comes, the rig file's
    intrinsics serve, and what came once is kept.

    Args:
        rig: the rig as its file describes it.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def take_camera_info(self, sensor: str, msg: Any) -> bool:
        """Takes over intrinsics; True when they differ from those in use.

        Raises:
            CalibrationError: the message is no calibration.
        """
        known = self.rig.sensor(sensor).model
        model = CameraModel.from_camera_info(msg, rectified=known is not None and known.rectified)
        if _same_model(model, known):
            return False
        self.rig = self.rig.replace_calibration(sensor, model=model)
        return True

    def take_pose(self, sensor: str, base_from_sensor: np.ndarray) -> bool:
        """Takes over a pose (4x4, sensor frame into base frame); True when it differs from the one in use.

        Raises:
            ValueError: the matrix is no rigid transform.
        """
        if np.allclose(base_from_sensor, self.rig.sensor(sensor).base_from_sensor, rtol=0.0, atol=_POSE_TOLERANCE):
            return False
        self.rig = self.rig.replace_calibration(sensor, base_from_sensor=base_from_sensor)
        return True


class TransformSource:
    """Looks up sensor poses in TF. Needs tf2_ros.

    Args:
        node: the node that listens to /tf and /tf_static.
    """

    def __init__(self, node: Node) -> None:
        from tf2_ros import Buffer, TransformException, TransformListener

        self._unknown = TransformException
        # With the node it would offer a service for as long as the node lives, whenever the node is activated.
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def close(self) -> None:
        """Ends the subscriptions, which keep the listener alive by themselves."""
        self._listener.unregister()

    def reset(self) -> None:
        """Forgets all transforms: after a jump back in time, new ones would count as older than those."""
        self._buffer.clear()

    def base_from(self, base_frame: str, frame_id: str) -> np.ndarray | None:
        """The 4x4 matrix from a frame into the base frame; None while TF does not know it.

        Raises:
            ValueError: what TF holds is no rigid transform.
        """
        try:
            stamped = self._buffer.lookup_transform(base_frame, frame_id, Time())
        except self._unknown:
            return None
        return matrix_from_transform(stamped.transform)


def transform_source(node: Node, wanted: bool) -> TransformSource | None:
    """A TransformSource where one is wanted and tf2_ros is installed."""
    return TransformSource(node) if wanted and installed("tf2_ros") else None


def _same_model(a: CameraModel, b: CameraModel | None) -> bool:
    if b is None or (a.width, a.height) != (b.width, b.height):
        return False
    # Missing distortion and all-zero coefficients are the same lens.
    lens_a, lens_b = (m.distortion if any(m.D) else "none" for m in (a, b))
    d_a, d_b = (m.D if any(m.D) else () for m in (a, b))
    same_lens = lens_a == lens_b and d_a == d_b and np.allclose(a.R, b.R, rtol=0.0, atol=_POSE_TOLERANCE)
    return same_lens and np.allclose(a.K, b.K, rtol=0.0, atol=_INTRINSICS_TOLERANCE)
