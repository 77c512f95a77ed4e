# SPDX-License-Identifier: Apache-2.0
"""What the segmentor does while it is active: a part for each rig, and what they share: worker, TF and timers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from anyseg_ros.nodes.calibration import TransformSource, transform_source
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.rig_session import RigParts, RigSession
from anyseg_ros.nodes.rounds import Due, answer
from anyseg_ros.nodes.sync_loop import MS, TICK_NS
from anyseg_ros.nodes.worker import Worker

_HOUSEKEEPING_S = 0.2


class Session:
    """One stretch of activity, from ``start`` to ``close``.

    Args:
        node: subscribes, publishes, logs.
        settings: its parameters.
        rigs: the rigs, all with the same network.
        clock: what ``now`` is.

    Attributes:
        rigs: their parts of the session.

    Raises:
        ValueError, RuntimeError: an input cannot be subscribed to as the parameters ask. Nothing is left behind then.
    """

    def __init__(self, node: Node, settings: SegmentorParameters, rigs: Sequence[RigParts], clock: NodeClock) -> None:
        self._node = node
        self._log = node.get_logger()
        self._worker: Worker[Due] = Worker(answer, rigs[0].processor.pipeline.engine.sets_at_once)
        self._timers: list[Any] = []
        self._next_tick_ns = 0
        self.rigs: list[RigSession] = []
        self._transforms: TransformSource | None = transform_source(node, settings.use_tf)
        try:
            for parts in rigs:
                self.rigs.append(
                    RigSession(node, settings, parts, self._worker, clock, self._transforms, self._plan_tick)
                )
        except Exception:
            self._close_inputs()
            for rig in self.rigs:
                rig.close()
            raise
        keys = [(rig, sensor) for rig in self.rigs for sensor in rig.sensors]
        self._sensors = {rig.names.key(sensor): (rig, sensor) for rig, sensor in keys}

    def start(self) -> None:
        """Starts the worker and the timers."""
        self._worker.start()
        # The pace of deadlines does not depend on /clock: a paused bag must still be noticed as paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            self._node.create_timer(TICK_NS / 1e9, self._on_tick, clock=steady),
            self._node.create_timer(_HOUSEKEEPING_S, self._on_housekeeping, clock=steady),
        ]

    def close(self) -> None:
        """Ends subscriptions, timers and the worker; what waits is dropped."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._timers = []
        self._close_inputs()
        if not self._worker.stop():
            self._log.error("the worker is still busy after 10 s; its last frame is left to itself")
        for rig in self.rigs:
            rig.close()

    @property
    def held_up(self) -> bool:
        """Whether the process stood still just now."""
        now_ns = time.monotonic_ns()
        return any(rig.loop.held_up(now_ns) for rig in self.rigs)

    @property
    def sensors(self) -> tuple[str, ...]:
        """The sensors of all rigs, by the names that parameters give them."""
        return tuple(self._sensors)

    def set_enabled(self, sensor: str, enabled: bool) -> None:
        """Uses a sensor or does not.

        Args:
            sensor: one of ``sensors``.
            enabled: whether it is used.
        """
        rig, name = self._sensors[sensor]
        rig.set_enabled(name, enabled)

    def reset(self, reason: str) -> None:
        """Forgets everything that depends on the clock, because it jumped."""
        for rig in self.rigs:
            rig.reset(reason)
        if self._transforms is not None:
            self._transforms.reset()

    def _close_inputs(self) -> None:
        for rig in self.rigs:
            rig.close_inputs()
        if self._transforms is not None:
            self._transforms.close()

    def _on_tick(self) -> None:
        for rig in self.rigs:
            rig.tick()
        self._plan_tick(min(rig.tick_in_ns() for rig in self.rigs), ticked=True)

    def _plan_tick(self, wait_ns: int, ticked: bool = False) -> None:
        """Lets the next tick come as soon as it is needed; a message can bring it forward, and never puts it off."""
        steady_ns = time.monotonic_ns()
        if self._timers and (ticked or steady_ns + wait_ns < self._next_tick_ns - MS):
            self._next_tick_ns = steady_ns + wait_ns
            self._timers[0].timer_period_ns = wait_ns
            self._timers[0].reset()

    def _on_housekeeping(self) -> None:
        for rig in self.rigs:
            rig.keep_house()
