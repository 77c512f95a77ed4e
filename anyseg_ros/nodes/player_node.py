# SPDX-License-Identifier: Apache-2.0
"""Plays a simulated or recorded rosbag2 into a ROS graph, with cuts: what the simulator saw, sensor by sensor.

Messages keep their stamps; they are published at the bag's pace times ``rate``. A cut such as ``lidar@4-8`` keeps a
sensor silent for bag seconds 4 to 8. Events go out as EventPacket where event_camera_msgs is installed, else as
PointCloud2 (x, y, t, p) on ``<namespace of the topic>/points``. With ``rate`` other than 1, let the segmentor
``use_sim_time`` and give ``clock_hz``. With ``loop`` and ``onward`` a short bag becomes a long drive; ``timeline``
makes time stand still and jump.

Prints JSON lines: ``{"event": "start" | "progress" | "end", "bag_s", "wall_s", "published", "cut", "late_ms"}``.

Run it with ``python -m anyseg_ros.nodes.player_node --ros-args -p bag:=out/drive -p drop:="['lidar@4-8']"``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from anyseg_ros.faults import cdr
from anyseg_ros.faults.timeline import parse_timeline
from anyseg_ros.nodes import conversions, parameters, qos, runner
from anyseg_ros.nodes.laps import onward
from anyseg_ros.nodes.playlist import Item, Playlist
from anyseg_ros.sensors.rig import load_rig

_PROGRESS_S = 1.0
_POLL_S = 0.02
_DEPTH = 100
_FLUSH = Duration(seconds=2)


class PlayerNode(Node):
    """Publishes what a playlist holds, when it is due."""

    def __init__(self) -> None:
        super().__init__("player")
        parameters.declare(self, parameters.PlayerParameters)
        self._settings = parameters.read(self, parameters.PlayerParameters)
        self._rig = load_rig(runner.find_file(self._settings.rig))
        self._timeline = parse_timeline(self._settings.timeline)
        self._playlist = Playlist(Path(self._settings.bag).expanduser(), self._rig, self._settings)
        self._moved_ns = self._settings.begin_ns - self._playlist.start_ns if self._settings.begin_ns else 0
        for topic, why in self._playlist.skipped.items():
            self.get_logger().info(f"{topic} is not played: {why}")
        self._out = {
            track.topic: self.create_publisher(
                track.kind, track.published_as, (qos.latched if track.latched else qos.reliable)(_DEPTH)
            )
            for track in self._playlist.tracks.values()
        }
        self._clock_out = (
            self.create_publisher(Clock, "/clock", qos.reliable(1)) if self._settings.clock_hz > 0 else None
        )
        self._began_ns: int | None = None  # steady clock; None: not started, bag time stands still
        self._stop = threading.Event()
        self.context.on_shutdown(self._stop.set)
        self._published: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self._late_ns = 0

    def play(self) -> None:
        """Waits for subscribers, plays the bag (again and again with ``loop``), and lets the last message arrive."""
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(Path(self._settings.log).open("w")) if self._settings.log else None
            ticker = threading.Thread(target=self._tick, name="clock", daemon=True)
            ticker.start()
            self._wait_for_subscribers()
            once = False
            while not self._stop.is_set() and (self._settings.loop or not once):
                self._play_once(log)
                once = True
            if not self._stop.is_set():
                for publisher in self._out.values():
                    publisher.wait_for_all_acked(_FLUSH)
            self._stop.set()
            ticker.join()

    def _wait_for_subscribers(self) -> None:
        wanted = [self._out[t.topic] for t in self._playlist.tracks.values() if t.sensor is not None]
        deadline_ns = time.monotonic_ns() + int(self._settings.wait_s * 1e9)
        while not self._stop.is_set():
            missing = [p.topic_name for p in wanted if p.get_subscription_count() < self._settings.subscribers]
            if not missing:
                return
            if time.monotonic_ns() > deadline_ns:
                self.get_logger().warning(
                    f"fewer than {self._settings.subscribers} subscriber(s) on {', '.join(missing)} after "
                    f"{self._settings.wait_s:g} s; playing all the same"
                )
                return
            self._stop.wait(_POLL_S)

    def _play_once(self, log: Any) -> None:
        endless = self._settings.loop and self._settings.onward
        items = onward(self._playlist, self._rig, self._stop) if endless else self._playlist.items(self._stop)
        first = next(items, None)
        self._began_ns = time.monotonic_ns()
        said_ns = self._began_ns
        self._say("start")
        while first is not None and not self._stop.is_set():
            item, first = first, next(items, None)
            self._wait_until_due(item)
            if self._stop.is_set():
                return
            if 0 < self._settings.duration_s * 1e9 <= item.bag_ns - self._playlist.start_ns:
                self._stop.set()  # whatever else is to be looped
                break
            self._publish(item, log)
            if time.monotonic_ns() - said_ns > _PROGRESS_S * 1e9:
                said_ns = time.monotonic_ns()
                self._say("progress")
        self._say("end")

    def _due_ns(self, item: Item) -> int:
        assert self._began_ns is not None
        elapsed_ns = self._timeline.elapsed_ns(item.bag_ns - self._playlist.start_ns)
        return self._began_ns + int(elapsed_ns / self._settings.rate)

    def _wait_until_due(self, item: Item) -> None:
        ahead_ns = self._due_ns(item) - time.monotonic_ns()
        if ahead_ns > 0:
            self._stop.wait(ahead_ns / 1e9)

    def _publish(self, item: Item, log: Any) -> None:
        name = item.track.sensor.name if item.track.sensor else item.track.topic
        if item.message is None:
            self._cut[name] += 1
            return
        moved_ns = item.moved_ns + self._shift_ns(item.bag_ns - self._playlist.start_ns)
        movable = moved_ns and item.track.stamped
        message = cdr.with_stamp(item.message, cdr.stamp_ns(item.message) + moved_ns) if movable else item.message
        # Taken before: who listens may have answered before publish returns, when this process loses the processor.
        published_ns = time.monotonic_ns()
        self._out[item.track.topic].publish(message)
        self._late_ns = max(self._late_ns, published_ns - self._due_ns(item))
        self._published[name] += 1
        if log is not None and item.track.sensor:
            row = {"sensor": name, "topic": item.track.published_as, "stamp_ns": item.stamp_ns + moved_ns}
            log.write(json.dumps({**row, "bag_ns": item.bag_ns, "published_ns": published_ns}) + "\n")

    def _shift_ns(self, progress_ns: int) -> int:
        """By how much stamps and /clock are moved at a point of the drive."""
        return self._moved_ns + self._timeline.shift_ns(progress_ns)

    def _progress_ns(self) -> int:
        """How far the drive is, from the bag's start."""
        if self._began_ns is None:
            return 0
        return self._timeline.progress_ns(int((time.monotonic_ns() - self._began_ns) * self._settings.rate))

    def _tick(self) -> None:
        while self._clock_out is not None and not self._stop.is_set():
            progress_ns = self._progress_ns()
            now_ns = self._playlist.start_ns + progress_ns + self._shift_ns(progress_ns)
            self._clock_out.publish(conversions.clock(now_ns))
            self._stop.wait(1.0 / self._settings.clock_hz)

    def _say(self, event: str) -> None:
        bag_s = self._progress_ns() / 1e9
        line = {"event": event, "bag_s": round(bag_s, 3), "duration_s": self._duration_s, "rate": self._settings.rate}
        line |= {"bag_start_ns": self._playlist.start_ns, "began_ns": self._began_ns}
        line |= {"published": dict(self._published), "cut": dict(self._cut)}
        print(json.dumps({**line, "late_ms": round(self._late_ns / 1e6, 3)}), flush=True)
        self._late_ns = 0

    @property
    def _duration_s(self) -> float:
        return round((self._playlist.end_ns - self._playlist.start_ns) / 1e9, 3)


def main(args: list[str] | None = None) -> int:
    """Entry point of the ``player`` command."""
    return runner.run(PlayerNode, lambda node: node.play(), args)


if __name__ == "__main__":
    sys.exit(main())
