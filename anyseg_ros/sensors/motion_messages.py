# SPDX-License-Identifier: Apache-2.0
"""Where twists come from: odometry and twist messages, read by their fields, and the GNSS lines of MUSES."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from anyseg_ros.sensors.motion import twist_in_base
from anyseg_ros.sensors.motion_history import MotionError
from anyseg_ros.sensors.payload import stamp_ns
from anyseg_ros.types import Twist

# The numbers of a MUSES gnss line, in its order (MUSES SDK, read_gnss_file; simpleRTK2B Fusion).
GNSS_FIELDS = (
    "iTOW", "timestamp", "tAcc", "lon", "lat", "height", "hMSL", "fixType", "numSV", "hAcc", "vAcc",
    "roll", "pitch", "heading", "accRoll", "accPitch", "accHeading",
    "angular_rate_roll", "angular_rate_pitch", "angular_rate_heading",
    "velN", "velE", "velD", "gSpeed", "sAcc", "pDOP", "magDec", "magAcc",
)  # fmt: skip
_RATES = ("angular_rate_roll", "angular_rate_pitch", "angular_rate_heading")


def twist_from(msg: Any, base_frame: str, base_from: Callable[[str], np.ndarray | None] = lambda frame: None) -> Twist:
    """The vehicle's twist from a nav_msgs/Odometry, geometry_msgs/TwistStamped or TwistWithCovarianceStamped.

    Odometry gives its twist in ``child_frame_id``, the others in ``header.frame_id``. A message that names no frame is
    taken to mean the base frame.

    Args:
        msg: the message.
        base_frame: the rig's.
        base_from: gives the 4x4 matrix from a frame into the base frame, or None where it is not known.

    Raises:
        MotionError: the twist is of a frame whose place on the vehicle is not known, or the message holds none.
    """
    try:
        frame = str(getattr(msg, "child_frame_id", msg.header.frame_id)).lstrip("/")
        inner = getattr(msg.twist, "twist", msg.twist)
        linear, angular = (np.array([v.x, v.y, v.z], np.float64) for v in (inner.linear, inner.angular))
        when_ns = stamp_ns(msg.header)
    except AttributeError as error:
        raise MotionError(
            f"a {type(msg).__name__} holds no twist ({error}); expected Odometry, TwistStamped or "
            "TwistWithCovarianceStamped"
        ) from error
    if frame in ("", base_frame):
        return Twist(when_ns, linear, angular)
    base_from_frame = base_from(frame)
    if base_from_frame is None:
        raise MotionError(
            f"the twist is that of frame '{frame}', whose place in '{base_frame}' is not known: publish the transform, "
            "or give the rig that base_frame"
        )
    return twist_in_base(when_ns, linear, angular, base_from_frame)


def twist_from_gnss(line: str, when_ns: int, base_from_gnss: np.ndarray) -> Twist:
    """The vehicle's twist from the one line of a MUSES gnss file.

    As the MUSES SDK has it: ``gSpeed`` in mm/s along the x axis of the GNSS frame, and the angular rates in 1e-5
    degrees per second about its x, y and z axes.

    Args:
        line: 28 integers, see ``GNSS_FIELDS``.
        when_ns: the true time at which it holds.
        base_from_gnss: [4,4], from the GNSS frame into the base frame.

    Raises:
        MotionError: it is no such line.
    """
    try:
        values = dict(zip(GNSS_FIELDS, map(int, line.split()), strict=True))
    except ValueError as error:
        raise MotionError(f"'{line[:60]}' is no GNSS line ({error}); expected {len(GNSS_FIELDS)} integers") from error
    speed = np.array([values["gSpeed"] * 1e-3, 0.0, 0.0])
    rates = np.array([math.radians(values[name] * 1e-5) for name in _RATES])
    return twist_in_base(when_ns, speed, rates, base_from_gnss)
