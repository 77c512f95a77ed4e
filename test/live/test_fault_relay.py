# SPDX-License-Identifier: Apache-2.0
"""The fault relay as a process: what it lets through, what it changes, what it says, and how it dies."""

import json
import signal
import threading

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import MS, START_NS, Child, image, wait_until  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from anyseg_ros.nodes import conversions, qos  # noqa: E402

pytestmark = pytest.mark.live

ROUTE = {"name": "camera", "from": "/relay_test/raw", "to": "/relay_test/seen", "type": "sensor_msgs/msg/Image"}


class Tester:
    """Publishes images at 50 Hz until told to stop, and keeps what comes through."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("relay_tester", context=self.context)
        self.got = []
        self.publisher = self.node.create_publisher(Image, "/relay_test/raw", qos.reliable(50))
        self.node.create_subscription(Image, "/relay_test/seen", self.got.append, qos.reliable(200))
        self.sent = 0
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def as_a_driver(self):
        """Publishes and listens with best effort from now on."""
        self.node.destroy_publisher(self.publisher)
        self.publisher = self.node.create_publisher(Image, "/relay_test/raw", qos.sensor_data(50))
        self.node.create_subscription(Image, "/relay_test/seen", self.got.append, qos.sensor_data(200))

    def connected(self):
        return self.publisher.get_subscription_count() and self.node.count_publishers("/relay_test/seen")

    def send_until(self, condition):
        random, tick = np.random.default_rng(0), threading.Event()
        for _ in range(1000):
            if condition():
                return
            head = conversions.header(START_NS + self.sent * 20 * MS, "cam")
            self.publisher.publish(conversions.image(image(random), "rgb8", head))
            self.sent += 1
            tick.wait(0.02)
        raise AssertionError("the condition never held")

    def close(self):
        self.executor.shutdown()
        self.thread.join(10)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def relay(tmp_path):
    tester, children = Tester(), []

    def start(*faults, **route):
        file = tmp_path / "faults.yaml"
        file.write_text(yaml.safe_dump({"routes": [ROUTE | route], "faults": list(faults)}))
        children.append(Child("fault_relay", parameters={"schedule": str(file)}))
        children[-1].wait_for("relaying camera")
        wait_until(tester.connected)
        return tester, children[-1]

    yield start
    tester.close()
    for child in children:
        if child.process.poll() is None:
            child.end()


def test_images_go_on_are_cut_blackened_and_stamped(relay):
    cut = {"route": "camera", "kind": "cut", "from_s": 1.0, "until_s": 2.0}
    black = {"route": "camera", "kind": "black", "from_s": 2.0}
    tester, child = relay(cut, black, {"route": "camera", "kind": "shift_stamp", "from_s": 2.0, "by_s": 100.0})
    late = lambda: [m for m in tester.got if conversions.stamp_ns(m.header) > START_NS + 90_000 * MS]  # noqa: E731
    tester.send_until(lambda: len(late()) > 5)
    clean = [m for m in tester.got if m not in late()]
    assert clean and all(max(m.data) > 0 for m in clean) and all(max(m.data) == 0 for m in late())
    assert len(tester.got) < tester.sent - 20, "a second at 50 Hz is missing"
    said = [(line["event"], line["kind"]) for line in child.json_lines()]
    assert said[:2] == [("begin", "cut"), ("end", "cut")] and ("begin", "black") in said
    assert child.end() == 0


def test_it_waits_for_its_listeners(relay):
    tester, _ = relay(listeners=2)
    tester.send_until(lambda: tester.sent > 20)
    assert not tester.got
    second = []
    tester.node.create_subscription(Image, "/relay_test/seen", second.append, qos.reliable(200))
    tester.send_until(lambda: second and tester.got)


def test_a_driver_with_best_effort_is_heard(relay):
    tester, _ = relay(reliable=False)
    tester.as_a_driver()
    tester.send_until(lambda: len(tester.got) > 5)


def test_it_dies_on_schedule(relay):
    tester, child = relay({"route": "camera", "kind": "die", "from_s": 0.3})
    tester.send_until(lambda: child.process.poll() is not None)
    assert child.wait() == -signal.SIGKILL and tester.got


def test_a_schedule_that_cannot_work_ends_it_with_a_sentence(tmp_path):
    file = tmp_path / "faults.yaml"
    file.write_text(json.dumps({"routes": [ROUTE], "faults": [{"route": "radar", "kind": "cut"}]}))
    child = Child("fault_relay", parameters={"schedule": str(file)})
    assert child.wait(60) == 1
    assert "error: there is no route 'radar'; the schedule has camera" in child.text and "Traceback" not in child.text
