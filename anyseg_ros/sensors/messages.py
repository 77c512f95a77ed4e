# SPDX-License-Identifier: Apache-2.0
"""The one door for ROS messages: duck-typed payloads in, arrays out (see the modules named here)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.compressed_messages import compressed_image_from
from anyseg_ros.sensors.event_messages import EventStream
from anyseg_ros.sensors.image_messages import image_from
from anyseg_ros.sensors.payload import PayloadError, stamp_ns
from anyseg_ros.sensors.point_messages import events_from_points, points_from
from anyseg_ros.types import Events, Measurement, Points

__all__ = [
    "EventStream",
    "PayloadError",
    "compressed_image_from",
    "converted",
    "events_from_points",
    "image_from",
    "points_from",
    "stamp_ns",
]


def converted(measurement: Measurement) -> Measurement:
    """The measurement with its payload read from the message that it may still be.

    Raises:
        ValueError: the message is malformed or of an encoding that is not understood.
        TypeError: an event payload is not ``Events`` (its decoder has state and runs before this).
    """
    payload = measurement.payload
    if isinstance(payload, (np.ndarray, Points, Events)):
        return measurement
    if measurement.modality is Modality.EVENT:
        raise TypeError(f"events of '{measurement.sensor}' came as {type(payload).__name__}, expected Events")
    if measurement.modality is Modality.LIDAR:
        return replace(measurement, payload=points_from(payload))
    compressed = hasattr(payload, "format") and not hasattr(payload, "encoding")
    return replace(measurement, payload=compressed_image_from(payload) if compressed else image_from(payload))
