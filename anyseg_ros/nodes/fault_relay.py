# SPDX-License-Identifier: Apache-2.0
"""Puts faults on topics: a node for one's own launch file, to see what a system does when its sensors fail.

Every route takes serialised messages from one topic and publishes them on another; a schedule in a YAML file says which
faults it puts on them and when (docs/faults.md has the kinds). Times count from the first message of any route, by the
steady clock. The same schedule and seed give the same faults.

Run it with ``python -m anyseg_ros.nodes.fault_relay --ros-args -p schedule:=my_faults.yaml``; it prints a line of JSON
for each fault that begins or ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import yaml
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message

from anyseg_ros.faults.line import Line
from anyseg_ros.faults.schedule import FOREVER_NS, NS_PER_S, Fault, Route, Schedule, schedule_from
from anyseg_ros.nodes import conversions, parameters, qos, runner
from anyseg_ros.nodes.episodes import Episodes

_TICK_S = 0.004
_DEPTH = 200


@dataclass
class _Track:
    """One route at work."""

    route: Route
    line: Line
    publisher: Any
    heard: bool = False
    unheard: int = 0


class FaultRelay(Node):
    """Relays the routes of a schedule."""

    def __init__(self) -> None:
        super().__init__("fault_relay")
        parameters.declare(self, parameters.RelayParameters)
        self._settings = parameters.read(self, parameters.RelayParameters)
        self._schedule = _load(self._settings.schedule)
        self._began_ns: int | None = self._settings.origin_ns or None
        self._told: dict[int, bool] = {}
        self._episodes = Episodes(self.get_logger().warning, self.get_logger().info)
        self._tracks = [self._track(route) for route in self._schedule.routes]
        self.create_timer(_TICK_S, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"relaying {', '.join(route.name for route in self._schedule.routes)}")

    @property
    def since_start_ns(self) -> int:
        """Time of the schedule; 0 until the first message."""
        if self._began_ns is None:
            return 0
        return round((time.monotonic_ns() - self._began_ns) * self._settings.rate)

    def _track(self, route: Route) -> _Track:
        kind = conversions.message_type(route.msgtype)
        if kind is None:
            raise ValueError(f"route '{route.name}' has the type {route.msgtype}, which is not installed")
        line = Line(
            self._schedule.of(route.name),
            lambda raw: deserialize_message(raw, kind),
            lambda message: bytes(serialize_message(message)),
            self._schedule.seed,
        )
        profile = qos.reliable(_DEPTH) if route.reliable else qos.sensor_data(_DEPTH)
        track = _Track(route, line, self.create_publisher(kind, route.target, profile))
        self.create_subscription(kind, route.source, lambda raw: self._on_message(track, raw), profile, raw=True)
        return track

    def _on_message(self, track: _Track, raw: Any) -> None:
        if self._began_ns is None:
            self._began_ns = time.monotonic_ns()
        now_ns = self.since_start_ns
        if any(one.line.dies(now_ns) for one in self._tracks):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            track.line.take(bytes(raw), now_ns)
        except ValueError as error:
            self._episodes.report(track.route.name, f"{error}; the message is lost")
        self._publish(track, now_ns)

    def _on_tick(self) -> None:
        if self._began_ns is None:
            return
        now_ns = self.since_start_ns
        for track in self._tracks:
            self._publish(track, now_ns)
        for place, fault in enumerate(self._schedule.faults):
            if fault.covers(now_ns) != self._told.get(place, False):
                self._told[place] = not self._told.get(place, False)
                self._tell(fault, self._told[place], now_ns)

    @staticmethod
    def _publish(track: _Track, now_ns: int) -> None:
        track.heard = track.heard or track.publisher.get_subscription_count() >= track.route.listeners
        for message in track.line.ready(now_ns):
            if track.heard:
                track.publisher.publish(message)
            else:
                track.unheard += 1

    def _tell(self, fault: Fault, begins: bool, now_ns: int) -> None:
        line: dict[str, Any] = {"event": "begin" if begins else "end", "at_s": now_ns / NS_PER_S, "route": fault.route}
        until_s = None if fault.until_ns == FOREVER_NS else fault.until_ns / NS_PER_S
        line |= {"kind": fault.kind, "until_s": until_s, **fault.arguments}
        track = next(track for track in self._tracks if track.route.name == fault.route)
        print(json.dumps({**line, "counts": {**track.line.counts, "unheard": track.unheard}}), flush=True)


def _load(path: str) -> Schedule:
    file = runner.find_file(path)
    try:
        return schedule_from(yaml.safe_load(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {error}") from error


def main(args: list[str] | None = None) -> int:
    """Entry point of the ``fault_relay`` command."""
    return runner.run(FaultRelay, args=args)


if __name__ == "__main__":
    sys.exit(main())
