# SPDX-License-Identifier: Apache-2.0
"""AnySync in a node of one's own, on a real graph: a sensor is cut, and the sets go on."""

import re
import threading
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import MS, wait_until  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402

from anyseg_ros.nodes import conversions, qos  # noqa: E402
from anyseg_ros.types import Absence  # noqa: E402

pytestmark = pytest.mark.live

PAGE = Path(__file__).resolve().parents[2] / "docs" / "synchroniser.md"
PERIOD_S = 0.05


def example():
    """The node of the documentation, whose camera and lidar come at 20 Hz here."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code.split("\nrclpy.init")[0], str(PAGE), "exec"), names)  # noqa: S102  our own page
    return names["Composer"]


class Graph:
    """The example and a talker that sends the camera and, as long as it is not cut, the lidar."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.cut = False
        self.talker = Node("talker", context=self.context)
        self.camera = self.talker.create_publisher(Image, "/camera/image_raw", qos.reliable())
        self.lidar = self.talker.create_publisher(PointCloud2, "/lidar/points", qos.reliable())
        self.talker.create_timer(PERIOD_S, self.send)
        self.sets = []
        self.node = example()(context=self.context)
        self.node.sync.registerCallback(self.sets.append)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.talker)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def send(self):
        head = conversions.header(self.talker.get_clock().now().nanoseconds, "frame")
        if not self.cut:
            self.lidar.publish(PointCloud2(header=head))
        self.camera.publish(Image(header=head))

    def close(self):
        self.executor.shutdown()
        self.thread.join(10)
        self.node.sync.close()
        self.node.destroy_node()
        self.talker.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def graph():
    made = Graph()
    yield made
    made.close()


def test_the_sets_go_on_when_a_sensor_is_cut_and_hold_it_again_when_it_is_back(graph):
    wait_until(lambda: sum(len(s.present) == 2 for s in list(graph.sets)) >= 10)
    graph.cut = True
    wait_until(lambda: sum(s.absent.get("lidar") is Absence.STALE for s in list(graph.sets)) >= 10)
    graph.cut = False
    before = len(graph.sets)
    wait_until(lambda: sum(len(s.present) == 2 for s in list(graph.sets)[before:]) >= 10)
    stamps = [s.stamp_ns for s in graph.sets]
    assert stamps == sorted(set(stamps))
    assert graph.sets[-1].reference == "camera"
    waits = sorted(s.closed_ns - s.due_ns for s in graph.sets if s.absent.get("lidar") is Absence.STALE)
    assert waits[len(waits) // 2] < 20 * MS  # nobody waits for what is stale


def test_the_example_of_the_page_is_short():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 26
