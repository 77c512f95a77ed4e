# SPDX-License-Identifier: Apache-2.0
"""What a managed node leaves behind when transitions fail, repeat, or come with another rig."""

import importlib.util
import sys
from dataclasses import fields

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import small_rig, write_inputs  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from segmentor_graph import segmentors  # noqa: E402

from anyseg_ros.nodes import segmentor_node  # noqa: E402
from anyseg_ros.nodes.parameters import SegmentorParameters  # noqa: E402
from anyseg_ros.sensors.rig import Rig, save_rig  # noqa: E402

SUCCESS, FAILURE, ERROR = segmentor_node.SUCCESS, segmentor_node.FAILURE, segmentor_node.TransitionCallbackReturn.ERROR

# The part of tf2_ros that the node uses; like the genuine one, a Buffer with a node offers a service.
TF2 = """
from std_msgs.msg import Empty


class TransformException(Exception):
    pass


class Buffer:
    cleared = 0

    def __init__(self, cache_time=None, node=None):
        if node is not None:
            from std_srvs.srv import Trigger

            self.srv = node.create_service(Trigger, "tf2_frames", lambda request, response: response)

    def lookup_transform(self, target, source, time):
        raise TransformException(source)

    def clear(self):
        Buffer.cleared += 1


class TransformListener:
    def __init__(self, buffer, node):
        self.node = node
        self.subscriptions = [node.create_subscription(Empty, t, self.callback, 100) for t in ("/tf", "/tf_static")]

    def callback(self, message):
        pass

    def unregister(self):
        for subscription in self.subscriptions:
            self.node.destroy_subscription(subscription)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lifecycle")
    write_inputs(made)
    rig = small_rig()
    save_rig(Rig("smaller", "base_link", rig.sensors[:2], "camera"), made / "smaller.yaml")
    return made


@pytest.fixture
def segmentor(folder, monkeypatch):
    monkeypatch.setattr(segmentor_node, "warm_up", lambda pipeline: None)
    with segmentors(folder) as make:
        yield make


def holds(node):
    """How much of the graph a node takes part in."""
    return [len(list(held)) for held in (node.subscriptions, node.publishers, node.services, node.timers)]


def test_an_impossible_quality_of_service_fails_activation_and_leaves_nothing(segmentor, capfd):
    name = "qos_overrides./segmentor/input/lidar.subscription.reliability"
    node = segmentor(**{name: "nonsense"})
    assert node.trigger_configure() == SUCCESS
    before = holds(node)
    assert node.trigger_activate() == FAILURE
    assert "cannot activate" in capfd.readouterr().err and holds(node) == before
    assert node.trigger_cleanup() == SUCCESS


def test_a_transition_that_raises_leaves_nothing_and_the_node_can_start_again(segmentor, monkeypatch):
    node = segmentor()
    before = holds(node)
    assert node.trigger_configure() == SUCCESS

    def fail(*_):
        raise KeyError("a surprise")

    with monkeypatch.context() as patched:
        patched.setattr(segmentor_node.Outputs, "publish_label_set", fail)
        assert node.trigger_activate() == ERROR
    assert holds(node) == before
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS
    assert holds(node) == before


def test_transforms_are_listened_to_only_while_active(segmentor, monkeypatch, tmp_path):
    file = tmp_path / "tf2_ros.py"
    file.write_text(TF2)
    spec = importlib.util.spec_from_file_location("tf2_ros", file)
    monkeypatch.setitem(sys.modules, "tf2_ros", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(sys.modules["tf2_ros"])
    node = segmentor()
    assert node.trigger_configure() == SUCCESS
    before = holds(node)
    for _ in range(3):
        assert node.trigger_activate() == SUCCESS
        assert {"/tf", "/tf_static"} <= {s.topic_name for s in node.subscriptions}
        assert node.trigger_deactivate() == SUCCESS
        assert holds(node) == before


@pytest.mark.skipif(importlib.util.find_spec("nav_msgs") is None, reason="nav_msgs is not installed")
def test_motion_is_listened_to_only_while_active_and_only_if_asked_for(segmentor, capfd):
    node = segmentor(motion_compensation="odometry")
    assert node.trigger_configure() == SUCCESS
    before, pipeline = holds(node), node._configured.rigs[0].processor.pipeline
    for _ in range(2):
        assert pipeline.motion is None and node.trigger_activate() == SUCCESS
        assert "/segmentor/input/odometry" in {s.topic_name for s in node.subscriptions} and pipeline.motion is not None
        assert node.trigger_deactivate() == SUCCESS
        assert holds(node) == before
    broken = "qos_overrides./segmentor/input/odometry.subscription.reliability"
    other = segmentor(**{"motion_compensation": "twist", broken: "nonsense"})
    assert other.trigger_configure() == SUCCESS
    before = holds(other)
    assert other.trigger_activate() == FAILURE
    assert "cannot activate" in capfd.readouterr().err and holds(other) == before


def test_a_sensor_of_an_earlier_rig_cannot_be_switched(segmentor, folder):
    node = segmentor()
    assert node.trigger_configure() == SUCCESS and node.trigger_cleanup() == SUCCESS
    node.set_parameters([Parameter("rig", value=str(folder / "smaller.yaml"))])
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
    refused = node.set_parameters([Parameter("sensors.event.enabled", value=False)])[0]
    assert not refused.successful and "'event'" in refused.reason
    assert node.set_parameters([Parameter("sensors.lidar.enabled", value=False)])[0].successful


def write_two(folder):
    """Two rigs, the second with other sensors."""
    rig = small_rig()
    for name, sensors in (("front", rig.sensors), ("rear", rig.sensors[:2])):
        save_rig(Rig(name, "base_link", sensors, "camera"), folder / f"{name}.yaml")
    return [str(folder / f"{name}.yaml") for name in ("front", "rear")]


def test_two_rigs_share_one_network_and_nothing_else(segmentor, tmp_path):
    node = segmentor(rig="", rigs=write_two(tmp_path))
    before = holds(node)
    assert node.trigger_configure() == SUCCESS
    front, rear = (rig.processor.pipeline for rig in node._configured.rigs)
    assert front.engine is rear.engine and front.meta is rear.meta
    for own in ("encoder", "counters", "grid", "rig", "_frozen", "_encoded"):
        assert getattr(front, own) is not getattr(rear, own), own
    assert node.trigger_activate() == SUCCESS
    topics = {s.topic_name for s in node.subscriptions} | {p.topic_name for p in node.publishers}
    for name in ("front", "rear"):
        assert {f"/segmentor/{name}/{end}" for end in ("input/camera", "input/lidar", "output/labels")} <= topics
    assert "/segmentor/front/input/events" in topics and "/segmentor/rear/input/events" not in topics
    assert not [topic for topic in topics if topic.startswith(("/segmentor/input", "/segmentor/output"))]
    assert [len(node._session.rigs), len(set(node._session.sensors))] == [2, 5]
    assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS
    assert holds(node) == before


def test_a_sensor_of_one_rig_is_switched_and_the_others_stay(segmentor, tmp_path):
    node = segmentor(rig="", rigs=write_two(tmp_path))
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
    (done,) = node.set_parameters([Parameter("sensors.front.lidar.enabled", value=False)])
    assert done.successful
    states = [rig.loop.synchronizer.health(1)["lidar"].state.value for rig in node._session.rigs]
    assert states == ["disabled", "never_seen"]
    (same,) = node.set_parameters([Parameter("rigs", value=write_two(tmp_path))])
    (other,) = node.set_parameters([Parameter("rigs", value=[str(tmp_path / "front.yaml")])])
    assert same.successful and not other.successful


def test_an_input_of_the_second_rig_that_cannot_be_leaves_nothing_of_the_first(segmentor, tmp_path, capfd):
    name = "qos_overrides./segmentor/rear/input/lidar.subscription.reliability"
    node = segmentor(rig="", rigs=write_two(tmp_path), **{name: "nonsense"})
    assert node.trigger_configure() == SUCCESS
    before = holds(node)
    assert node.trigger_activate() == FAILURE
    assert "cannot activate" in capfd.readouterr().err and holds(node) == before


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("front", "front"), "parameter 'rigs' holds two rigs named 'front' ("),
        (("front", "rear left"), "is named 'rear left', which cannot be part of a topic's name"),
    ],
)
def test_rigs_whose_names_cannot_be_namespaces_are_refused(segmentor, tmp_path, capfd, names, sentence):
    files = [tmp_path / f"{number}.yaml" for number in range(2)]
    for name, file in zip(names, files, strict=True):
        save_rig(Rig(name, "base_link", small_rig().sensors, "camera"), file)
    node = segmentor(rig="", rigs=[str(file) for file in files])
    before = holds(node)
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert "cannot configure: " in said and sentence in said and str(files[1]) in said
    assert holds(node) == before


@pytest.mark.parametrize(("several", "head"), [(False, "overload"), (True, "front: overload")])
def test_a_trouble_begins_and_ends_in_the_log(segmentor, tmp_path, capfd, monkeypatch, several, head):
    node = segmentor(rig="", rigs=write_two(tmp_path)) if several else segmentor()
    assert node.trigger_configure() == SUCCESS
    episodes = node._configured.rigs[0].episodes
    monkeypatch.setattr(episodes, "_steady_ns", lambda: 0)
    episodes.report("overload", "it is behind")
    episodes.clear("overload")
    monkeypatch.setattr(episodes, "_steady_ns", lambda: 10**12)
    episodes.settle()
    said = capfd.readouterr().err
    assert f"{head}: well again after 1 occurrence" in said and said.count("it is behind") == 1


CHANGES = {
    "rig": "other.yaml",
    "rigs": ["left.yaml", "right.yaml"],
    "checkpoint": "other.safetensors",
    "backend": "onnxruntime",
    "precision": "bf16",
    "device": "cuda:1",
    "threads": 3,
    "output_size": "camera",
    "max_wait_ms": 90,
    "max_queue_ms": 90,
    "latency_budget_ms": 90,
    "camera_type": "raw",
    "event_type": "points",
    "motion_compensation": "odometry",
    "overlay_alpha": 0.25,
    "use_tf": False,
}


def test_what_is_read_at_configure_cannot_be_changed_until_cleanup(segmentor):
    assert set(CHANGES) == {f.name for f in fields(SegmentorParameters) if not f.metadata["read_only"]}
    node = segmentor()
    before = {name: node.get_parameter(name).value for name in CHANGES}
    wanted = [Parameter(name, value=value) for name, value in CHANGES.items()]
    for transition in (node.trigger_configure, node.trigger_activate, node.trigger_deactivate):
        assert transition() == SUCCESS
        for change, result in zip(wanted, node.set_parameters(wanted), strict=True):
            assert not result.successful, change.name
            assert f"'{change.name}'" in result.reason
            assert "deactivate and clean up first (ros2 lifecycle set /segmentor deactivate" in result.reason
        assert {name: node.get_parameter(name).value for name in CHANGES} == before
    assert all(r.successful for r in node.set_parameters([Parameter(n, value=v) for n, v in before.items()]))
    assert node.trigger_cleanup() == SUCCESS
    assert all(result.successful for result in node.set_parameters(wanted))


def test_what_only_the_start_reads_cannot_be_changed_at_all(segmentor):
    node = segmentor(autostart=False)
    (result,) = node.set_parameters([Parameter("autostart", value=True)])
    assert not result.successful and "read-only" in result.reason
    assert not node.autostart


def test_a_refused_change_takes_no_switch_along(segmentor, monkeypatch):
    switched = []
    node = segmentor()
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
    monkeypatch.setattr(segmentor_node.Session, "set_enabled", lambda self, *given: switched.append(given))
    off = Parameter("sensors.lidar.enabled", value=False)
    assert not node.set_parameters_atomically([off, Parameter("threads", value=3)]).successful
    assert switched == [] and node.get_parameter(off.name).value is True
    assert node.set_parameters_atomically([off, Parameter("use_sim_time", value=False)]).successful
    assert switched == [("lidar", False)]
