# SPDX-License-Identifier: Apache-2.0
"""A segmentor of this process on a live graph, and a tester that drives it, speaks to it and listens to it."""

import threading
from contextlib import contextmanager

import live_graph
import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live_graph import MS, image, points, wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.segmentor_node import SegmentorNode


def make_segmentor(folder, **given):
    """A segmentor with a context of its own; its files are those of ``write_inputs`` where no others are given."""
    context = rclpy.Context()
    rclpy.init(context=context)
    given = {"rig": str(folder / "rig.yaml"), "checkpoint": str(folder / "net.safetensors"), **given}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    return SegmentorNode(context=context, parameter_overrides=overrides)


@contextmanager
def segmentors(folder):
    """A function that makes them; they end with the block."""
    made = []

    def make(**given):
        made.append(make_segmentor(folder, **given))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
        rclpy.shutdown(context=node.context)


class Graph:
    """A segmentor and a tester, each with a thread that serves it."""

    def __init__(self, folder, **changes):
        self.node = make_segmentor(folder, **{"threads": 1, **changes})
        self.context = self.node.context
        self.tester = rclpy.create_node("tester", context=self.context)
        self.got = {}
        self._executors = [SingleThreadedExecutor(context=self.context) for _ in range(2)]
        for executor, node in zip(self._executors, (self.node, self.tester), strict=True):
            executor.add_node(node)
        self._threads = [threading.Thread(target=executor.spin) for executor in self._executors]
        for thread in self._threads:
            thread.start()
        self.camera = self.tester.create_publisher(Image, "/segmentor/input/camera", qos.reliable())
        self.lidar = self.tester.create_publisher(PointCloud2, "/segmentor/input/lidar", qos.reliable())
        self.info = self.tester.create_publisher(CameraInfo, "/segmentor/input/camera_info", qos.reliable())
        self._clients = {
            kind: self.tester.create_client(kind, f"/segmentor/{name}")
            for kind, name in ((ChangeState, "change_state"), (GetState, "get_state"))
        }
        self._random = np.random.default_rng(3)
        self._stamp_ns = live_graph.START_NS

    def close(self):
        for executor, thread in zip(self._executors, self._threads, strict=True):
            executor.shutdown()
            thread.join(10)
        self.node.destroy_node()
        self.tester.destroy_node()
        rclpy.shutdown(context=self.context)

    def ask(self, kind, request):
        client = self._clients[kind]
        assert client.wait_for_service(timeout_sec=10)
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        assert answered.wait(90), f"no answer from {client.srv_name}"
        return future.result()

    def change(self, transition):
        return self.ask(ChangeState, ChangeState.Request(transition=Transition(id=transition))).success

    @property
    def state(self):
        return self.ask(GetState, GetState.Request()).current_state.label

    def start(self):
        assert self.change(Transition.TRANSITION_CONFIGURE) and self.change(Transition.TRANSITION_ACTIVATE)
        wait_until(lambda: self.camera.get_subscription_count() and self.lidar.get_subscription_count())

    def listen(self, kind, topic, profile=None):
        messages = self.got.setdefault(topic, [])
        self.tester.create_subscription(kind, topic, messages.append, profile or qos.reliable(50))
        if profile is None:
            wait_until(lambda: self.tester.count_publishers(topic) > 0)
        return messages

    def send(self, camera=True, lidar=True):
        """Publishes the next measurement of each; returns the stamp."""
        self._stamp_ns += 100 * MS
        head = conversions.header(self._stamp_ns, "cam")
        if camera:
            self.camera.publish(conversions.image(image(self._random), "rgb8", head))
        if lidar:
            self.lidar.publish(cloud(points(self._random), self._stamp_ns))
        return self._stamp_ns

    def send_until(self, condition, **which):
        """Publishes at 20 Hz until the condition holds."""
        tick = threading.Event()
        for _ in range(400):
            if condition():
                return
            self.send(**which)
            tick.wait(0.05)
        raise AssertionError("the condition never held")


def cloud(sample, stamp_ns):
    table = np.zeros(len(sample), np.dtype([(name, "<f4") for name in ("x", "y", "z", "intensity")]))
    for axis, name in enumerate("xyz"):
        table[name] = sample.xyz[:, axis]
    table["intensity"] = sample.intensity
    return conversions.cloud(table, conversions.header(stamp_ns, "lidar"))
