# SPDX-License-Identifier: Apache-2.0
"""The segmentor's subscription to the vehicle's motion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import message_filters
import numpy as np
from rclpy.node import Node

from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.parameters import ParameterError
from anyseg_ros.nodes.rig_names import ONLY_RIG, RigNames
from anyseg_ros.sensors.motion import compensate
from anyseg_ros.sensors.motion_history import MotionHistory
from anyseg_ros.sensors.motion_messages import twist_from
from anyseg_ros.types import Points, Twist

TOPIC = "~/input/odometry"
MESSAGE_TYPES = {
    "odometry": "nav_msgs/msg/Odometry",
    "twist": "geometry_msgs/msg/TwistStamped",
    "twist_with_covariance": "geometry_msgs/msg/TwistWithCovarianceStamped",
}
_DEPTH = 50  # up to 200 Hz, and the executor may be busy with a cloud for a while


class Odometry:
    """Listens to the vehicle's motion and keeps the latest twists.

    Args:
        node: subscribes.
        kind: a key of ``MESSAGE_TYPES``.
        base_frame: the rig's.
        base_from: gives the 4x4 matrix from a frame into the base frame, or None where TF does not know it.
        episodes: troubles are told here.
        names: what the rig's topics are called.

    Raises:
        ParameterError: the message's package is not installed.
    """

    def __init__(
        self,
        node: Node,
        kind: str,
        base_frame: str,
        base_from: Callable[[str], np.ndarray | None],
        episodes: Episodes,
        names: RigNames = ONLY_RIG,
    ) -> None:
        message_type = conversions.message_type(MESSAGE_TYPES[kind])
        if message_type is None:
            raise ParameterError(
                f"parameter 'motion_compensation' is '{kind}', but {MESSAGE_TYPES[kind]} is not installed; "
                "install its package, or set motion_compensation to off"
            )
        self.history = MotionHistory()
        self._node, self._base_frame, self._base_from, self._episodes = node, base_frame, base_from, episodes
        self._topic = names.topic(TOPIC)
        self._missing = 0
        # Compiles, so that the first frame does not.
        compensate(Points(np.ones((1, 3), np.float32), np.ones(1)), 0, 0, Twist(0, np.zeros(3), np.zeros(3)), np.eye(4))
        self._subscriber = message_filters.Subscriber(
            node,
            message_type,
            self._topic,
            qos_profile=qos.sensor_data(_DEPTH),
            qos_overriding_options=qos.overridable(),
        )
        self._subscriber.registerCallback(self.take)

    def take(self, msg: Any) -> None:
        """Takes in one message."""
        try:
            self.history.add(twist_from(msg, self._base_frame, self._base_from))
        except ValueError as error:
            self._episodes.report("odometry", f"a message on {self._topic} is not used: {error}")
        else:
            self._episodes.clear("odometry")

    def check(self) -> None:
        """Says when clouds have to be used as they are, because no twist belongs to their time."""
        missing = self.history.counts["missing"]
        if self.history.age_ns is not None:
            self._episodes.clear("motion compensation")
        elif missing > self._missing:
            self._episodes.report(
                "motion compensation",
                f"no twist came on {self._topic} within 0.5 s of a frame; clouds are used as they are",
            )
        self._missing = missing

    def close(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscriber.sub)
