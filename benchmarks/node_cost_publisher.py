# SPDX-License-Identifier: Apache-2.0
"""The sensors of the benchmark of the node's cost: 1080p images, clouds of 120,000 points, event packets.

Run as ``python -m benchmarks.node_cost_publisher --ros-args -p seconds:=20``. Prints a line of JSON when the first
message goes out, one in every second, and one at the end with what was sent.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node

from anyseg_ros.nodes import conversions, runner
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.types import Events
from benchmarks.node_cost_topics import EVENT_SIZE, IMAGE_SIZE, KINDS, SENT_DEPTHS, TOPICS, quality

RATES_HZ = {"camera": 30, "camera_info": 30, "lidar": 10, "events": 100}
POINTS = 120_000
EVENTS_PER_PACKET = 10_000
PICTURES = 7  # different ones in turn, or the camera would count as frozen
SETTLE_S = 1.0  # until the listeners know of the publishers, too; and until they have taken in what waits
POINT = np.dtype([("x", np.float32), ("y", np.float32), ("z", np.float32), ("intensity", np.float32)])


class Publisher(Node):
    """Publishes as a vehicle's drivers would, each at its own pace."""

    def __init__(self) -> None:
        super().__init__("sensors")
        self.seconds = float(self.declare_parameter("seconds", 10.0).value)
        self.listeners = int(self.declare_parameter("listeners", 2).value)
        self.outlets = {
            name: self.create_publisher(KINDS[name], topic, quality(SENT_DEPTHS[name]))
            for name, topic in TOPICS.items()
        }
        self.sent: Counter[str] = Counter()
        random = np.random.default_rng(1)
        self._pictures = [picture(random) for _ in range(PICTURES)]
        info, cloud, events = camera_info(), sweep(random), packet(random)
        self._made: dict[str, Callable[[int], Any]] = {
            "camera": lambda number: self._pictures[number % PICTURES],
            "camera_info": lambda number: info,
            "lidar": lambda number: cloud,
            "events": lambda number: events,
        }

    def wait_for_listeners(self) -> None:
        """Until every topic has as many subscribers as there are processes that listen."""
        while any(outlet.get_subscription_count() < self.listeners for outlet in self.outlets.values()):
            time.sleep(0.02)

    def play(self) -> None:
        """Sends everything, in the order of time; what comes late is sent late, and nothing is left out."""
        plan = sorted(
            (number / hz, name, number) for name, hz in RATES_HZ.items() for number in range(int(self.seconds * hz))
        )
        begin = time.monotonic()
        begin_ns = time.time_ns()
        said = -1
        for at_s, name, number in plan:
            if int(at_s) > said:
                said = int(at_s)
                say(at_s=said)
            time.sleep(max(0.0, begin + at_s - time.monotonic()))
            msg = self._made[name](number)
            msg.header.stamp = conversions.time_message(begin_ns + round(at_s * 1e9))
            self.outlets[name].publish(msg)
            self.sent[name] += 1
        say(late_s=round(time.monotonic() - begin - plan[-1][0], 3), sent=dict(self.sent))


def picture(random: np.random.Generator) -> Any:
    """A picture of noise."""
    pixels = random.integers(0, 256, (IMAGE_SIZE[1], IMAGE_SIZE[0], 3), np.uint8)
    return conversions.image(pixels, "rgb8", conversions.header(0, "camera_optical_frame"))


def camera_info() -> Any:
    """The CameraInfo of the benchmark's camera."""
    model = CameraModel.pinhole(*IMAGE_SIZE, 77.0)
    return conversions.camera_info(model, conversions.header(0, "camera_optical_frame"))


def sweep(random: np.random.Generator) -> Any:
    """A full turn of points at 3 to 60 m."""
    points = np.zeros(POINTS, POINT)
    angle, range_m = random.uniform(-np.pi, np.pi, POINTS), random.uniform(3.0, 60.0, POINTS)
    points["x"], points["y"] = range_m * np.cos(angle), range_m * np.sin(angle)
    points["z"], points["intensity"] = random.uniform(-2.0, 3.0, POINTS), random.random(POINTS)
    return conversions.cloud(points, conversions.header(0, "rslidar"))


def packet(random: np.random.Generator) -> Any:
    """The events of 10 ms."""
    count = EVENTS_PER_PACKET
    events = Events(
        random.integers(0, EVENT_SIZE[0], count).astype(np.uint16),
        random.integers(0, EVENT_SIZE[1], count).astype(np.uint16),
        np.linspace(0, 9_999_000, count).astype(np.int64),
        random.integers(0, 2, count).astype(np.uint8),
        *EVENT_SIZE,
    )
    return conversions.event_cloud(events, "event_camera_optical_frame")


def say(**what: Any) -> None:
    """One line of JSON for the benchmark."""
    print(json.dumps(what), flush=True)


def play(node: Publisher) -> None:
    """What the process does."""
    node.wait_for_listeners()
    time.sleep(SETTLE_S)
    node.play()
    time.sleep(SETTLE_S)


if __name__ == "__main__":
    sys.exit(runner.run(Publisher, play))
