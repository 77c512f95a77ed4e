# SPDX-License-Identifier: Apache-2.0
"""What goes into messages comes out of them, with field checks on and after serialisation."""

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from anyseg_ros.nodes import conversions  # noqa: E402
from anyseg_ros.nodes.outputs import PAINTED_POINT  # noqa: E402
from anyseg_ros.sensors.calibration import CameraModel  # noqa: E402
from anyseg_ros.sensors.messages import events_from_points, image_from, points_from  # noqa: E402
from anyseg_ros.sensors.poses import matrix_from_transform  # noqa: E402
from anyseg_ros.types import Events  # noqa: E402


def over_the_wire(msg):
    return deserialize_message(serialize_message(msg), type(msg))


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive_to_the_nanosecond(ns):
    assert conversions.stamp_ns(conversions.header(ns, "f")) == ns


def test_labels_survive():
    labels = np.random.default_rng(0).integers(0, 256, (7, 13), np.uint8)
    msg = over_the_wire(conversions.image(labels, "mono8", conversions.header(5, "cam")))
    assert isinstance(msg, Image) and conversions.stamp_ns(msg.header) == 5
    np.testing.assert_array_equal(conversions.labels_from(msg), labels)


def test_labels_from_a_colour_image_are_refused():
    msg = conversions.image(np.zeros((2, 2, 3), np.uint8), "rgb8", conversions.header(0, ""))
    with pytest.raises(ValueError, match="mono8"):
        conversions.labels_from(msg)


def test_an_image_is_what_the_sensors_room_reads():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    msg = over_the_wire(conversions.image(pixels, "rgb8", conversions.header(1, "cam")))
    np.testing.assert_array_equal(image_from(msg), pixels)


@pytest.mark.parametrize(("name", "d"), [("none", ()), ("plumb_bob", (0.1, -0.2, 0.01, 0.02, 0.0))])
def test_camera_info_gives_the_camera_back(name, d):
    model = CameraModel(640, 360, np.array([[400.5, 0, 319.5], [0, 401.25, 179.5], [0, 0, 1]]), name, d)
    msg = over_the_wire(conversions.camera_info(model, conversions.header(3, "cam")))
    assert isinstance(msg, CameraInfo) and msg.p[0] == 400.5 and msg.p[11] == 0.0
    back = CameraModel.from_camera_info(msg)
    np.testing.assert_array_equal(back.K, model.K)
    assert (back.width, back.height, back.D) == (640, 360, d)


def test_painted_points_survive_with_their_padding():
    table = np.zeros(4, PAINTED_POINT)
    table["x"], table["class_id"], table["probability"] = np.arange(4), [0, 1, 2, 255], 0.5
    msg = over_the_wire(conversions.cloud(table, conversions.header(2, "lidar")))
    assert isinstance(msg, PointCloud2) and msg.point_step == 24 and msg.width == 4
    assert [f.name for f in msg.fields] == ["x", "y", "z", "rgb", "probability", "class_id"]
    np.testing.assert_array_equal(points_from(msg).xyz[:, 0], np.arange(4))


def test_events_survive_as_points():
    t_ns = np.array([10**18, 10**18 + 1, 10**18 + 4_000_000_000], np.int64)
    events = Events(
        np.array([0, 5, 319], np.uint16),
        np.array([0, 7, 179], np.uint16),
        t_ns,
        np.array([0, 1, 1], np.uint8),
        320,
        180,
    )
    back = events_from_points(over_the_wire(conversions.event_cloud(events, "ev")))
    for field in ("x", "y", "t_ns", "p"):
        np.testing.assert_array_equal(getattr(back, field), getattr(events, field))


def test_events_that_do_not_fit_are_refused():
    none = np.zeros(0)
    with pytest.raises(ValueError, match="empty"):
        conversions.event_cloud(Events(none, none, none, none, 2, 2), "ev")
    two = np.zeros(2, np.uint16)
    with pytest.raises(ValueError, match="4.29 s"):
        conversions.event_cloud(Events(two, two, np.array([0, 5 * 10**9]), two, 2, 2), "ev")


def test_the_palette_is_json():
    parsed = json.loads(conversions.palette(["road", "sky"], [(1, 2, 3), (4, 5, 6)]).data)
    assert parsed == {
        "unlabelled": 255,
        "classes": [{"id": 0, "name": "road", "rgb": [1, 2, 3]}, {"id": 1, "name": "sky", "rgb": [4, 5, 6]}],
    }


def test_diagnostics_take_numpy_numbers_and_come_back_as_text():
    values = {"a": np.float32(1.5), "b": np.int64(7), "c": "x", "d": 0.1 + 0.2}
    status = conversions.status("warn", "n", "m", values, "cpu")
    back = conversions.statuses_from(over_the_wire(conversions.diagnostics([status], conversions.header(0, ""))))
    assert back == [
        {"level": "warn", "name": "n", "message": "m", "values": {"a": "1.5", "b": "7", "c": "x", "d": "0.3"}}
    ]


def test_transforms_turn_into_matrices():
    from geometry_msgs.msg import Quaternion, Transform, Vector3

    half = 0.5**0.5
    quarter_turn = Transform(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(z=half, w=half))
    matrix = matrix_from_transform(quarter_turn)
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    with pytest.raises(ValueError, match="quaternion"):
        matrix_from_transform(Transform(rotation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)))


def test_types_that_are_not_installed_are_none():
    assert conversions.message_type("sensor_msgs/msg/Image") is Image
    assert conversions.message_type("no_such_package_msgs/msg/Thing") is None
