# SPDX-License-Identifier: Apache-2.0
"""What every message reader needs: the error, the stamp, the bytes.

Messages are read by their fields, so that rclpy's, rosbags' and plain test classes all do; nothing imports ROS.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class PayloadError(ValueError):
    """A message that cannot be read; the text says what was found and what was expected."""


def stamp_ns(header: Any) -> int:
    """The stamp of a std_msgs/Header in integer nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def byte_view(data: Any) -> np.ndarray:
    """The bytes of a uint8[] field as uint8 [N], without a copy where the type allows.

    Raises:
        PayloadError: the field holds something else.
    """
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8:
            raise PayloadError(f"the data field is an array of {data.dtype}, expected uint8")
        return np.ascontiguousarray(data).reshape(-1)
    try:
        if isinstance(data, (list, tuple)):
            return np.frombuffer(bytes(data), dtype=np.uint8)
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError) as error:
        raise PayloadError(f"the data field is a {type(data).__name__} that holds no bytes ({error})") from error
