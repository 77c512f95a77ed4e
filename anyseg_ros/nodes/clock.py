# SPDX-License-Identifier: Apache-2.0
"""What ``now`` is: the steady clock when live, /clock under ``use_sim_time``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

from rclpy.clock import ClockChange, JumpThreshold, ROSClock, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

# /clock moves in steps, as large as playback is fast (a bag at 100 times its speed with a clock of 40 Hz: 2.5 s). A
# step forward is a jump when it is larger than both of these.
_JUMP_NS = 1_000_000_000
_JUMP_STEPS = 3  # times the median of the last steps, which neither one leap nor a late message moves
_RECENT_STEPS = 5


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
        self._moved_ns = time.monotonic_ns()
        self._steps_ns: deque[int] = deque(maxlen=_RECENT_STEPS)
        # The clock holds only a weak reference to the handler.
        self._handler = self._clock.create_jump_callback(
            JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1)),
            post_callback=self._jumped,
        )

    @property
    def simulated(self) -> bool:
        """Whether time comes from /clock."""
        return bool(self._clock.ros_time_is_active)

    def now_ns(self) -> int:
        """The current time; only differences have a meaning when live."""
        now_ns = int(self._clock.now().nanoseconds) if self.simulated else time.monotonic_ns()
        if now_ns != self._last_ns:
            self._moved_ns = time.monotonic_ns()
        self._last_ns = now_ns
        return now_ns

    @property
    def still_ns(self) -> int:
        """For how long the time has not moved, by the steady clock, as far as somebody asked for it."""
        return time.monotonic_ns() - self._moved_ns

    def _jumped(self, jump: TimeJump) -> None:
        """Takes every step of /clock, and the change to another kind of clock."""
        if self._last_ns == 0:
            return  # the first /clock message: time starts, it does not jump
        moved_ns = jump.delta.nanoseconds
        if not self.simulated:
            self._on_jump("the clock changed")
        elif jump.clock_change != ClockChange.ROS_TIME_NO_CHANGE or not self._is_step(moved_ns):
            self._on_jump(f"the clock jumped by {moved_ns / 1e9:+.3f} s")

    def _is_step(self, moved_ns: int) -> bool:
        """Whether /clock moved as a running clock does; the first step of all says what is usual."""
        if moved_ns < 0:
            return False
        if self._held_up():
            return True
        usual_ns = median(self._steps_ns or [moved_ns])
        self._steps_ns.append(moved_ns)
        return moved_ns <= max(_JUMP_NS, _JUMP_STEPS * usual_ns)
