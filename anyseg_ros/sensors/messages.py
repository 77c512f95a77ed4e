# SPDX-License-Identifier: Apache-2.0
"""The one door for ROS messages: duck-typed payloads in, arrays out (see the modules named here)."""

from anyseg_ros.sensors.event_messages import EventStream
from anyseg_ros.sensors.image_messages import compressed_image_from, image_from
from anyseg_ros.sensors.payload import PayloadError, stamp_ns
from anyseg_ros.sensors.point_messages import events_from_points, points_from

__all__ = [
    "EventStream",
    "PayloadError",
    "compressed_image_from",
    "events_from_points",
    "image_from",
    "points_from",
    "stamp_ns",
]
