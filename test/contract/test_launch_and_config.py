# SPDX-License-Identifier: Apache-2.0
"""Launch files, parameter file, RViz configuration and DDS profile name only what exists."""

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from launch_stand import loaded, stands

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))


def has(package):
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def test_the_launch_files_are_there():
    names = [path.name.removesuffix(".launch.py") for path in LAUNCH_FILES]
    assert names == ["demo", "fault_relay", "replay", "segmentor"]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_compile_and_make_a_description(path):
    code = compile(path.read_text(), str(path), "exec")
    assert "generate_launch_description" in code.co_names


@pytest.mark.skipif(not (has("launch") and has("launch_ros")), reason="launch and launch_ros are not installed")
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_load(path):
    assert loaded(path).generate_launch_description().entities


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_need_nothing_of_the_virtual_environment(path):
    name = path.name.removesuffix(".launch.py")
    subprocess.run([sys.executable, ROOT / "test" / "launch_stand.py", name], check=True, cwd=ROOT)


def test_several_rigs_say_what_ros2_launch_lacks():
    command = [sys.executable, ROOT / "test" / "launch_stand.py", "segmentor", "front.yaml"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"RuntimeError: 'rigs' needs .* has no '(torch|numba|rosbags)'\. .*export PYTHONPATH=", ran.stderr)


def launch_file(monkeypatch, name):
    for module, stand in stands().items():
        monkeypatch.setitem(sys.modules, module, stand)
    return loaded(ROOT / "launch" / f"{name}.launch.py")


def test_replay_hands_every_topic_on(monkeypatch):
    replay, segmentor = launch_file(monkeypatch, "replay"), launch_file(monkeypatch, "segmentor")
    assert set(segmentor.TOPICS) < set(replay.PASSED_ON) <= set(replay.ARGUMENTS)
    for name in set(segmentor.TOPICS) - {"events"}:
        assert replay.ARGUMENTS[name][0] == segmentor.ARGUMENTS[name][0]


def test_only_arguments_that_are_given_go_before_the_parameter_file(monkeypatch):
    module = launch_file(monkeypatch, "segmentor")
    defaults = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    assert Path(defaults["params_file"]).is_file()
    (node,) = module.start(defaults)
    (file,) = node.kwargs["parameters"]
    assert file.args == ("params_file",)
    (node,) = module.start({**defaults, "rig": "mine.yaml", "use_sim_time": "true"})
    file, overrides = node.kwargs["parameters"]
    assert file.args == ("params_file",) and set(overrides) == {"rig", "use_sim_time"}
    assert overrides["use_sim_time"].kwargs["value_type"] is bool


def test_several_rigs_take_their_topics_from_their_files(monkeypatch):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    module = launch_file(monkeypatch, "segmentor")
    defaults = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    rigs = ["config/rigs/two_cameras/front.yaml", "config/rigs/two_cameras/rear.yaml"]
    (node,) = module.start({**defaults, "rigs": ", ".join(rigs)})
    _, overrides = node.kwargs["parameters"]
    assert overrides == {"rig": "", "rigs": rigs}, "the parameter file's own rig gives way"
    heard = dict(node.kwargs["remappings"])
    assert heard["~/front/input/camera"] == "/front/image_raw"
    assert heard["~/front/input/camera_info"] == "/front/camera_info"
    assert heard["~/front/input/lidar"] == heard["~/rear/input/lidar"] == "/lidar/points"
    assert heard["~/rear/input/camera"] == "/rear/image_raw/compressed"
    assert heard["~/rear/input/camera_info"] == "/rear/camera_info"
    assert heard["~/rear/input/odometry"] == "/odometry" and "~/input/camera" not in heard


def test_the_launched_topics_are_inputs_of_the_segmentor():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from live_graph import small_rig

    from anyseg_ros.nodes.inputs import input_topics

    text = (ROOT / "launch" / "segmentor.launch.py").read_text()
    topics = set(re.search(r"TOPICS = \(([^)]*)\)", text).group(1).replace('"', "").replace(" ", "").split(","))
    assert {topic.removeprefix("~/input/") for topic in input_topics(small_rig()).values()} <= topics


def test_the_parameter_file_holds_the_parameters_and_their_defaults():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from anyseg_ros.nodes.parameters import SegmentorParameters

    given = yaml.safe_load((ROOT / "config" / "segmentor.yaml").read_text())["/**/segmentor"]["ros__parameters"]
    assert set(given) == {f.name for f in fields(SegmentorParameters)}
    assert given.pop("rigs") == [""], "rclpy takes an empty list for a list of bytes"
    assert given.pop("rig") == "", "a vehicle must not run on another's calibration without a word"
    assert SegmentorParameters(**given, rig="mine.yaml") == SegmentorParameters(rig="mine.yaml")


def test_rviz_shows_camera_overlay_and_painted_cloud():
    displays = yaml.safe_load((ROOT / "config" / "rviz" / "anyseg.rviz").read_text())["Visualization Manager"]
    topics = {d["Topic"]["Value"] for d in displays["Displays"] if "Topic" in d}
    assert {"/camera/image_raw", "/segmentor/output/overlay", "/segmentor/output/points"} <= topics


def test_the_dds_profile_holds_a_full_hd_image():
    space = {"f": "http://www.eprosima.com"}
    root = ET.parse(ROOT / "config" / "fastdds.xml").getroot()
    segment = int(root.findtext(".//f:segment_size", namespaces=space))
    message = int(root.findtext(".//f:maxMessageSize", namespaces=space))
    assert 1920 * 1080 * 3 < message <= segment
