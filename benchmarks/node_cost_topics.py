# SPDX-License-Identifier: Apache-2.0
"""What the processes of the benchmark of the node's cost have in common."""

from __future__ import annotations

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

IMAGE_SIZE = (1920, 1080)
EVENT_SIZE = (1280, 720)
KINDS = {"camera": Image, "camera_info": CameraInfo, "lidar": PointCloud2, "events": PointCloud2}
DEPTHS = {"camera": 30, "camera_info": 30, "lidar": 30, "events": 1000}
"""Of every subscription, so that a busy machine loses nothing: only equal numbers of messages can be compared."""
SENT_DEPTHS = {"camera": 8, "camera_info": 30, "lidar": 8, "events": 1000}
TOPICS = {name: f"/cost/{name}" for name in KINDS}


def quality(depth: int) -> QoSProfile:
    """Quality of service of both ends of a topic."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
