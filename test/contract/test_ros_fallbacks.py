# SPDX-License-Identifier: Apache-2.0
"""The ROS packages that the nodes use keep their contract, be they genuine or our own versions."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

import anyseg_ros.nodes as nodes  # noqa: E402  (puts the fallbacks on the path)

message_filters = pytest.importorskip("message_filters")
cv_bridge = pytest.importorskip("cv_bridge")
point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import PointField  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("contract", context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


def spin_until(node, done, timeout_s=10.0):
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = node.get_clock().now().nanoseconds + timeout_s * 1e9
    while not done() and node.get_clock().now().nanoseconds < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    assert done(), "nothing came within the time"


def test_subscriber_hands_messages_to_every_callback(node):
    got, tagged = [], []
    subscriber = message_filters.Subscriber(node, String, "talk", qos_profile=10)
    subscriber.registerCallback(got.append)
    subscriber.registerCallback(lambda msg, tag: tagged.append((msg.data, tag)), "x")
    publisher = node.create_publisher(String, "talk", 10)
    spin_until(node, lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="hello"))
    spin_until(node, lambda: got)
    assert got[0].data == "hello" and tagged == [("hello", "x")]
    assert node.destroy_subscription(subscriber.sub)


@pytest.mark.parametrize(
    ("encoding", "array"),
    [
        ("mono8", np.arange(12, dtype=np.uint8).reshape(3, 4)),
        ("rgb8", np.arange(36, dtype=np.uint8).reshape(3, 4, 3)),
        ("32FC1", np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)),
    ],
)
def test_images_keep_pixels_and_layout(encoding, array):
    head = Header(frame_id="cam")
    msg = cv_bridge.CvBridge().cv2_to_imgmsg(array, encoding=encoding, header=head)
    assert (msg.height, msg.width, msg.encoding, msg.header.frame_id) == (3, 4, encoding, "cam")
    assert msg.step == array.nbytes // 3
    assert bytes(msg.data) == array.tobytes()


def test_an_image_that_is_not_of_its_encoding_is_refused():
    with pytest.raises(Exception, match="(?i)encoding|type"):
        cv_bridge.CvBridge().cv2_to_imgmsg(np.zeros((2, 2, 3), np.uint8), encoding="mono8")


def test_a_non_contiguous_image_is_copied_in_order():
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2]
    msg = cv_bridge.CvBridge().cv2_to_imgmsg(array, encoding="mono8")
    assert bytes(msg.data) == array.tobytes() and msg.step == 3


def test_clouds_keep_fields_padding_and_bytes():
    layout = np.dtype({"names": ["x", "id"], "formats": ["<f4", "u1"], "offsets": [0, 4], "itemsize": 8})
    points = np.zeros(5, layout)
    points["x"], points["id"] = np.arange(5), np.arange(5)
    fields = [
        PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
        PointField(name="id", offset=4, datatype=PointField.UINT8, count=1),
    ]
    msg = point_cloud2.create_cloud(Header(frame_id="lidar"), fields, points, step=8)
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (1, 5, 8, 40)
    back = np.frombuffer(bytes(msg.data), layout)
    assert back["x"].tolist() == [0, 1, 2, 3, 4] and back["id"].tolist() == [0, 1, 2, 3, 4]


def test_a_cloud_of_other_fields_is_refused():
    fields = [PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1)]
    with pytest.raises((ValueError, AssertionError)):
        point_cloud2.create_cloud(Header(), fields, np.zeros(3, np.dtype([("x", "<f8")])))


def test_fallbacks_stand_last_and_are_named():
    import sys

    assert sys.path[-1].endswith("_ros_fallback") or sys.path.index(str(nodes._FALLBACK_DIR)) > 0
    assert set(nodes.fallbacks()) <= {"message_filters", "cv_bridge", "sensor_msgs_py"}


def test_the_broken_cv_bridge_of_pypi_is_refused(monkeypatch):
    monkeypatch.setattr(nodes, "fallbacks", lambda: ())
    monkeypatch.setattr(nodes.metadata, "version", lambda name: "1.13.0.post0")
    with pytest.raises(RuntimeError, match="pip uninstall cv-bridge"):
        nodes.refuse_broken_packages()
    monkeypatch.setattr(nodes.metadata, "version", lambda name: "4.1.0")
    nodes.refuse_broken_packages()
