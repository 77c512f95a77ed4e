# SPDX-License-Identifier: Apache-2.0
"""The segmentor as a node: transitions, outputs on demand, bad input, parameters that change."""

import threading

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

import live_graph  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from live_graph import points, wait_until, write_inputs  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from segmentor_graph import Graph, cloud  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from anyseg_ros.nodes import conversions, qos  # noqa: E402
from anyseg_ros.sensors.calibration import CameraModel  # noqa: E402
from anyseg_ros.sensors.messages import image_from, points_from  # noqa: E402

pytestmark = pytest.mark.live

OUT = "/segmentor/output/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("node")
    write_inputs(made)
    return made


@pytest.fixture
def graph(folder):
    made = []

    def make(**changes):
        made.append(Graph(folder, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_transitions_lead_there_and_back(graph):
    g = graph()
    labels = g.listen(Image, OUT + "labels", qos.sensor_data())
    assert g.state == "unconfigured"
    assert g.change(Transition.TRANSITION_CONFIGURE) and g.state == "inactive"
    assert g.camera.get_subscription_count() == 0, "an inactive node costs nobody anything"
    assert g.change(Transition.TRANSITION_ACTIVATE) and g.state == "active"
    g.send_until(lambda: labels)
    assert g.change(Transition.TRANSITION_DEACTIVATE) and g.state == "inactive"
    wait_until(lambda: g.camera.get_subscription_count() == 0)
    assert g.change(Transition.TRANSITION_ACTIVATE)
    seen = len(labels)
    g.send_until(lambda: len(labels) > seen)
    assert g.change(Transition.TRANSITION_DEACTIVATE)
    assert g.change(Transition.TRANSITION_CLEANUP) and g.state == "unconfigured"
    assert g.change(Transition.TRANSITION_CONFIGURE) and g.state == "inactive"


@pytest.mark.parametrize(
    "changes",
    [{"rig": ""}, {"rig": "no/such/rig.yaml"}, {"checkpoint": "no/such.safetensors"}, {"device": "gpu"}],
)
def test_what_cannot_work_fails_configuration_with_a_sentence(graph, changes, capfd):
    g = graph(**changes)
    assert not g.change(Transition.TRANSITION_CONFIGURE)
    assert g.state == "unconfigured"
    said = capfd.readouterr().err
    assert "cannot configure: " in said and next(iter(changes.values())) in said and "Traceback" not in said


def test_outputs_are_consistent_and_made_on_demand(graph):
    g = graph(output_size="camera")
    labels = g.listen(Image, OUT + "labels", qos.sensor_data())
    g.start()
    kinds = {"camera_info": CameraInfo, "confidence": Image, "overlay": Image, "points": PointCloud2}
    others = {name: g.listen(kind, OUT + name) for name, kind in kinds.items()}
    others["debug"] = g.listen(Image, "/segmentor/debug/lidar_image")
    palette = g.listen(String, OUT + "palette", qos.latched())
    g.send_until(lambda: labels and palette and all(others.values()))
    assert (labels[-1].height, labels[-1].width, labels[-1].encoding) == (90, 160, "mono8")
    assert labels[-1].header.frame_id == "cam" and set(np.unique(labels[-1].data)) <= {*range(19), 255}
    info = CameraModel.from_camera_info(others["camera_info"][-1])
    np.testing.assert_allclose(info.K, live_graph.small_rig().sensor("camera").model.K)
    assert others["confidence"][-1].encoding == "32FC1"
    assert image_from(others["overlay"][-1]).shape == (90, 160, 3)
    assert image_from(others["debug"][-1]).any(), "the lidar picture is not black"
    painted = others["points"][-1]
    assert painted.header.frame_id == "lidar" and len(points_from(painted)) == 3000
    by_stamp = {conversions.stamp_ns(m.header) for m in labels}
    assert {conversions.stamp_ns(m.header) for m in others["camera_info"]} & by_stamp


def test_the_output_goes_on_without_a_sensor_and_says_so(graph):
    g = graph()
    g.start()
    status = g.listen(DiagnosticArray, OUT + "status")
    frames = lambda: [s for m in status for s in conversions.statuses_from(m)]  # noqa: E731
    subset = lambda: frames()[-1]["values"]["subset"] if status else ""  # noqa: E731
    g.send_until(lambda: subset() == "CL")
    g.send_until(lambda: subset() == "C", lidar=False)
    assert frames()[-1]["values"]["absent.lidar"] in ("late", "stale")
    g.send_until(lambda: subset() == "L", camera=False)
    g.send_until(lambda: subset() == "CL")
    stamps = [conversions.stamp_ns(m.header) for m in status]
    assert stamps == sorted(set(stamps))


def test_bad_messages_cost_only_their_sensor(graph, capfd):
    g = graph()
    g.start()
    status = g.listen(DiagnosticArray, OUT + "status")
    diagnostics = g.listen(DiagnosticArray, "/diagnostics")

    def send_bad():
        stamp_ns = g.send(lidar=False)
        bad = cloud(points(np.random.default_rng(0), 10), stamp_ns)
        bad.point_step = 7
        g.lidar.publish(bad)

    tick = threading.Event()
    rejected = lambda: [  # noqa: E731
        m for m in status for s in conversions.statuses_from(m) if s["values"].get("absent.lidar") == "rejected"
    ]
    for _ in range(200):
        send_bad()
        tick.wait(0.05)
        if len(rejected()) > 3:
            break
    assert len(rejected()) > 3
    counted = lambda: [  # noqa: E731
        s for m in diagnostics for s in conversions.statuses_from(m) if "turned_down.lidar" in s["values"]
    ]
    wait_until(counted)
    assert capfd.readouterr().err.count("a payload of 'lidar' is not used") == 1


def test_an_uncalibrated_camera_info_is_refused_and_a_new_one_is_taken(graph, capfd):
    g = graph()
    g.start()
    wait_until(lambda: g.info.get_subscription_count())
    infos = g.listen(CameraInfo, OUT + "camera_info")
    g.info.publish(CameraInfo(header=conversions.header(1, "cam")))
    g.send_until(lambda: infos)
    before = infos[-1].k[0]
    model = live_graph.small_rig().sensor("camera").model
    K = model.K.copy()
    K[0, 0] *= 1.5
    better = CameraModel(model.width, model.height, K)
    g.info.publish(conversions.camera_info(better, conversions.header(2, "cam")))
    g.send_until(lambda: infos[-1].k[0] > 1.4 * before)
    said = capfd.readouterr().err
    assert "the CameraInfo of 'camera' is not used" in said and "come from its CameraInfo now" in said


def test_a_sensor_can_be_switched_off_and_on_while_running(graph):
    g = graph()
    g.start()
    status = g.listen(DiagnosticArray, OUT + "status")
    last = lambda: conversions.statuses_from(status[-1])[0]["values"] if status else {}  # noqa: E731
    g.send_until(lambda: last().get("subset") == "CL")
    assert g.node.set_parameters([Parameter("sensors.lidar.enabled", value=False)])[0].successful
    g.send_until(lambda: last()["subset"] == "C" and last().get("absent.lidar") == "disabled")
    assert g.node.set_parameters([Parameter("sensors.lidar.enabled", value=True)])[0].successful
    g.send_until(lambda: last()["subset"] == "CL")


def test_packets_without_their_message_type_fail_activation_with_a_sentence(graph, capfd):
    if conversions.message_type("event_camera_msgs/msg/EventPacket") is not None:
        pytest.skip("event_camera_msgs is installed")
    g = graph(event_type="packet")
    assert g.change(Transition.TRANSITION_CONFIGURE)
    assert not g.change(Transition.TRANSITION_ACTIVATE) and g.state == "inactive"
    assert "event_camera_msgs is not installed" in capfd.readouterr().err
    assert g.camera.get_subscription_count() == 0
