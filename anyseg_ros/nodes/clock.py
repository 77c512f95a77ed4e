# SPDX-License-Identifier: Apache-2.0
"""What ``now`` is: the steady clock when live, /clock under ``use_sim_time``."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import JumpThreshold, ROSClock
from rclpy.duration import Duration
from rclpy.node import Node

# A simulator's clock moves in steps; only a step that no running clock makes counts as a jump forward.
_FORWARD_JUMP = Duration(seconds=1)
_BACKWARD_JUMP = Duration(nanoseconds=-1)


class NodeClock:
    """The ``now`` of a node's synchroniser in integer nanoseconds.

    Live it is the steady clock: no daylight saving, no NTP step can age a sensor. Under ``use_sim_time`` it is
    /clock, so that a paused bag ages nothing; it is 0 until the first /clock message.

    Args:
        node: whose clock it is.
        on_jump: takes the reason when the clock has jumped.
        held_up: whether the process stood still just now. Of what /clock said meanwhile only the last is left: that
            leap forward is no jump, and what waits in the middleware is of use.
    """

    def __init__(self, node: Node, on_jump: Callable[[str], None], held_up: Callable[[], bool] = lambda: False) -> None:
        clock = node.get_clock()
        assert isinstance(clock, ROSClock)  # every node's is
        self._clock = clock
        self._on_jump = on_jump
        self._held_up = held_up
        self._last_ns = 0
        # The clock holds only a weak reference to the handler.
        self._handler = self._clock.create_jump_callback(
            JumpThreshold(min_forward=_FORWARD_JUMP, min_backward=_BACKWARD_JUMP, on_clock_change=True),
            post_callback=self._jumped,
        )

    @property
    def simulated(self) -> bool:
        """Whether time comes from /clock."""
        return bool(self._clock.ros_time_is_active)

    def now_ns(self) -> int:
        """The current time; only differences have a meaning when live."""
        self._last_ns = int(self._clock.now().nanoseconds) if self.simulated else time.monotonic_ns()
        return self._last_ns

    def _jumped(self, jump: object) -> None:
        if self._last_ns == 0:
            return  # the first /clock message: time starts, it does not jump
        if self.simulated:
            seconds = jump.delta.nanoseconds / 1e9  # type: ignore[attr-defined]
            if seconds > 0 and self._held_up():
                return
            self._on_jump(f"the clock jumped by {seconds:+.3f} s")
        else:
            self._on_jump("the clock changed")
