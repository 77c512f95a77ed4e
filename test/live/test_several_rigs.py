# SPDX-License-Identifier: Apache-2.0
"""Two rigs in one node: names, one network, a camera that is cut, stamps, switches, transitions."""

import threading
from dataclasses import replace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

import live_graph  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from live_graph import MS, Child, image, points, small_rig, wait_until, write_checkpoint  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402

from anyseg_ros.nodes import conversions, qos  # noqa: E402
from anyseg_ros.sensors.calibration import CameraModel  # noqa: E402
from anyseg_ros.sensors.rig import Rig, save_rig  # noqa: E402

pytestmark = pytest.mark.live

RIGS = ("front", "rear")
PERIOD_NS, STALE_NS = 200 * MS, 1000 * MS  # a busy machine that is late makes no sensor stale
SIZES = {"front": (160, 90), "rear": (96, 72)}


def write_rigs(folder):
    """Two rigs with cameras of different size, one lidar topic for both, and no events."""
    camera, lidar, _ = small_rig().sensors
    for name, (width, height) in SIZES.items():
        own = replace(camera, model=CameraModel.pinhole(width, height, 77), period_ns=PERIOD_NS, stale_ns=STALE_NS)
        sensors = (own, replace(lidar, period_ns=PERIOD_NS, stale_ns=STALE_NS))
        save_rig(Rig(name, "base_link", sensors, "camera"), folder / f"{name}.yaml")
    write_checkpoint(folder / "net.safetensors")


class Graph:
    """A segmentor in a process of its own, and a tester with a thread that serves it."""

    def __init__(self, folder):
        rigs = "[" + ", ".join(f"'{folder / name}.yaml'" for name in RIGS) + "]"
        shared = [part for name in RIGS for part in ("-r", f"~/{name}/input/lidar:=/lidar/points")]
        given = {"rigs": rigs, "checkpoint": str(folder / "net.safetensors"), "threads": 1}
        self.child = Child("segmentor_node", *shared, parameters=given)
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.tester = rclpy.create_node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.tester)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()
        self.cameras = {n: self._publisher(Image, f"/segmentor/{n}/input/camera") for n in RIGS}
        self.lidar = self._publisher(PointCloud2, "/lidar/points")
        self.labels = {n: self._listen(Image, f"/segmentor/{n}/output/labels") for n in RIGS}
        self.status = {n: self._listen(DiagnosticArray, f"/segmentor/{n}/output/status") for n in RIGS}
        self.diagnostics = self._listen(DiagnosticArray, "/diagnostics")
        self.sent = {name: [] for name in RIGS}
        self._random, self._stamp_ns = np.random.default_rng(3), live_graph.START_NS

    def _publisher(self, kind, topic):
        return self.tester.create_publisher(kind, topic, qos.reliable())

    def _listen(self, kind, topic):
        got = []
        self.tester.create_subscription(kind, topic, got.append, qos.reliable(200))
        return got

    def close(self):
        self.executor.shutdown()
        self.thread.join(10)
        self.tester.destroy_node()
        rclpy.shutdown(context=self.context)
        return self.child.end()

    def send(self, rigs):
        """The next image of some rigs, rear's 30 ms after front's by its stamp; the lidar's cloud between them."""
        self._stamp_ns += PERIOD_NS
        for name in rigs:
            stamp_ns = self._stamp_ns + (30 * MS if name == "rear" else 0)
            picture = image(self._random)[: SIZES[name][1], : SIZES[name][0]]
            self.cameras[name].publish(conversions.image(picture.copy(), "rgb8", conversions.header(stamp_ns, "cam")))
            self.sent[name].append(stamp_ns)
        table = np.zeros(3000, np.dtype([(axis, "<f4") for axis in ("x", "y", "z", "intensity")]))
        table["x"], table["y"], table["z"] = points(self._random).xyz.T
        head = conversions.header(self._stamp_ns + 15 * MS, "lidar")
        self.lidar.publish(conversions.cloud(table, head))

    def send_until(self, condition, rigs=RIGS):
        tick = threading.Event()
        for _ in range(200):
            if condition():
                return
            self.send(rigs)
            tick.wait(PERIOD_NS / 1e9)
        raise AssertionError(f"the condition never held:\n{self.child.text}")

    def subset(self, name):
        return self.frames(name)[-1]["values"]["subset"] if self.status[name] else ""

    def frames(self, name):
        return [s for m in self.status[name] for s in conversions.statuses_from(m)]

    def said_of(self, what):
        found = [s for m in self.diagnostics for s in conversions.statuses_from(m) if s["name"] == f"segmentor: {what}"]
        return found[-1] if found else None


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Both rigs; then front without its camera; then both again."""
    folder = tmp_path_factory.mktemp("rigs")
    write_rigs(folder)
    graph = Graph(folder)
    try:
        graph.child.wait_for("active")
        publishers = [*graph.cameras.values(), graph.lidar]
        wait_until(lambda: all(p.get_subscription_count() for p in publishers))
        wait_until(lambda: graph.tester.count_publishers("/segmentor/rear/output/labels"))
        graph.send_until(lambda: all(graph.subset(name) == "CL" for name in RIGS))
        graph.cut_from = len(graph.frames("rear"))
        graph.send_until(lambda: graph.subset("front") == "L", ("rear",))
        cut = lambda: graph.said_of("front/camera")["values"]["state"] == "lost"  # noqa: E731
        graph.send_until(cut, ("rear",))
        graph.cut_to = len(graph.frames("rear"))
        graph.during = {what: graph.said_of(what) for what in ("front/output", "rear/camera", "rear/output")}
        graph.send_until(lambda: all(graph.subset(name) == "CL" for name in RIGS))
        yield graph
    finally:
        code = graph.close()
    assert code == 0, graph.child.text


def test_one_copy_of_the_network_serves_both(drive):
    assert drive.child.text.count("network on cpu: ") == 1
    assert "one copy of it serves the rigs front, rear" in drive.child.text


def test_labels_carry_the_stamps_of_their_own_rig(drive):
    for name in RIGS:
        stamps = [conversions.stamp_ns(m.header) for m in drive.labels[name]]
        assert stamps == sorted(set(stamps)) and len(stamps) > 5
        by_camera = [s["values"] for s in drive.frames(name) if s["values"]["reference"] == "camera"]
        assert {int(values["stamp_ns"]) for values in by_camera} <= set(drive.sent[name])
        assert {m.header.frame_id for m in drive.labels[name]} == {"cam"}
        assert {(m.height, m.width) for m in drive.labels[name]} == {live_graph.GRID}
    assert not set(drive.sent["front"]) & set(drive.sent["rear"])


def test_a_camera_that_is_cut_concerns_its_rig_alone(drive):
    during = [s["values"] for s in drive.frames("rear")[drive.cut_from : drive.cut_to]]
    assert len(during) >= 10 and {values["reference"] for values in during} == {"camera"}
    assert all("absent.camera" not in values for values in during)
    assert drive.during["front/output"]["level"] == "warn" and "camera" in drive.during["front/output"]["message"]
    assert drive.during["rear/camera"]["level"] == "ok"
    assert {s.hardware_id for m in drive.diagnostics for s in m.status} >= {"front/camera", "rear/camera", "cpu"}
    assert drive.during["rear/output"]["values"]["reference"] == "camera"
    assert drive.during["rear/output"]["values"]["worker.failed"] == "0"


def test_both_rigs_are_one_node_and_one_process(drive):
    for name in RIGS:
        writers = drive.tester.get_publishers_info_by_topic(f"/segmentor/{name}/output/labels")
        assert [(w.node_name, w.node_namespace) for w in writers] == [("segmentor", "/")]
    assert drive.child.text.count("]: active") == 1
    assert drive.child.process.poll() is None
