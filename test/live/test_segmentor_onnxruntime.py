# SPDX-License-Identifier: Apache-2.0
"""The segmentor with ONNX Runtime on a live graph: labels from all sensors, labels without the camera, and which."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from live_graph import GRID, MS, events, image, points, small_rig, write_inputs  # noqa: E402
from segmentor_graph import Graph, cloud  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402

from anyseg_ros.engine.onnx_export import export  # noqa: E402
from anyseg_ros.nodes import conversions, qos  # noqa: E402
from anyseg_ros.pipeline import Pipeline  # noqa: E402
from anyseg_ros.types import FrameSet, Measurement  # noqa: E402

pytestmark = pytest.mark.live

OUT = "/segmentor/output/"
LETTERS = {"camera": "C", "event": "E", "lidar": "L"}
AHEAD_NS = 10 * MS  # events are known this far after the image, so that no set waits for them


class Drive(Graph):
    """A graph whose tester sends events, too, and keeps what it sends."""

    def __init__(self, folder, **changes):
        super().__init__(folder, **changes)
        self.event = self.tester.create_publisher(PointCloud2, "/segmentor/input/events", qos.reliable())
        self.sent = {name: {} for name in LETTERS}

    def send(self, camera=True):
        self._stamp_ns += 100 * MS
        now, head = self._stamp_ns, conversions.header(self._stamp_ns, "cam")
        self.sent["event"][now] = events(self._random, now - 100 * MS + AHEAD_NS, now + AHEAD_NS)
        self.event.publish(conversions.event_cloud(self.sent["event"][now], "ev"))
        self.sent["lidar"][now] = points(self._random)
        self.lidar.publish(cloud(self.sent["lidar"][now], now))
        if camera:
            self.sent["camera"][now] = image(self._random)
            self.camera.publish(conversions.image(self.sent["camera"][now], "rgb8", head))

    def frame_set(self, status):
        """What a frame was made of, put together from what was sent."""
        stamp_ns, present = int(status["stamp_ns"]), {}
        for sensor in small_rig().sensors:
            if LETTERS[sensor.name] in status["subset"]:
                skew_ns = round(1e6 * float(status.get(f"skew_ms.{sensor.name}", 0)))
                own_ns = stamp_ns if sensor.name == "event" else stamp_ns + skew_ns
                payload = self.sent[sensor.name][own_ns]
                present[sensor.name] = Measurement(sensor.name, sensor.modality, own_ns, payload, sensor.frame_id)
        return FrameSet(stamp_ns, status["reference"], present)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("onnxruntime")
    write_inputs(made)
    export(made / "net.safetensors", made / "net.onnx", lambda _: None)
    return made


@pytest.fixture
def drive(folder):
    made = Drive(folder, checkpoint=str(folder / "net.onnx"), backend="onnxruntime", device="cpu")
    yield made
    made.close()


def test_labels_of_an_onnx_file_come_with_and_without_the_camera_and_are_those_of_the_pipeline(drive, folder):
    drive.start()
    labels, status = drive.listen(Image, OUT + "labels"), drive.listen(DiagnosticArray, OUT + "status")
    frames = lambda: [s["values"] for m in list(status) for s in conversions.statuses_from(m)]  # noqa: E731
    count = lambda subset: sum(frame["subset"] == subset for frame in frames())  # noqa: E731
    drive.send_until(lambda: count("CEL") >= 3)
    drive.send_until(lambda: count("EL") >= 3, camera=False)
    pipeline = Pipeline(small_rig(), folder / "net.onnx", "cpu", 1, "onnxruntime")
    seen, compared = {conversions.stamp_ns(m.header): m for m in list(labels)}, {"CEL": [], "EL": []}
    for frame in frames():
        if frame["subset"] in compared and int(frame["stamp_ns"]) in seen:
            found = conversions.labels_from(seen[int(frame["stamp_ns"])])
            expected = pipeline(drive.frame_set(frame))
            assert found.shape == GRID and expected.subset == frame["subset"]
            np.testing.assert_array_equal(found, expected.labels)
            compared[frame["subset"]].append(found.tobytes())
    for subset, found in compared.items():
        assert len(found) >= 2 and len(set(found)) == len(found), f"{subset}: labels that never change equal anything"
