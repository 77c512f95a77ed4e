# SPDX-License-Identifier: Apache-2.0
"""The twist of the simulated vehicle, from the poses along its drive."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyseg_ros.types import Twist

STEP_NS = 1_000_000


def twist_at(world: Any, t_ns: int, stamp_ns: int) -> Twist:
    """The vehicle's twist at a time, from the poses a millisecond before and after.

    Args:
        world: ``world.World`` or anything with its ``pose``.
        t_ns: true time in ns since the start of the drive.
        stamp_ns: what the twist is stamped with.
    """
    before, after = world.pose(np.array([t_ns - STEP_NS, t_ns + STEP_NS]))
    step = np.linalg.inv(before) @ after
    seconds = 2 * STEP_NS / 1e9
    # Within 2 ms a vehicle turns by so little that a sine is its angle to 1e-7 of it, and a chord its arc to 1e-6.
    twice = step[:3, :3] - step[:3, :3].T
    angle = np.array([twice[2, 1], twice[0, 2], twice[1, 0]]) / 2
    # The step is seen from the first pose; the twist is to be seen from the middle, half of the turn on.
    linear = step[:3, 3] - np.cross(angle, step[:3, 3]) / 2
    return Twist(stamp_ns, linear / seconds, angle / seconds)
