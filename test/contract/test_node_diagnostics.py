# SPDX-License-Identifier: Apache-2.0
"""What a person reads of the node's troubles: the sensors' figures, poses that cannot be used, files not found."""

from collections import Counter
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from geometry_msgs.msg import Transform  # noqa: E402
from live_graph import MS, small_rig  # noqa: E402

from anyseg_ros.nodes import conversions, runner  # noqa: E402
from anyseg_ros.nodes.calibration import CalibrationKeeper  # noqa: E402
from anyseg_ros.nodes.diagnostics import Reporter  # noqa: E402
from anyseg_ros.nodes.episodes import HOLD_NS, Episodes, Latencies  # noqa: E402
from anyseg_ros.nodes.frame_processor import LastOutput  # noqa: E402
from anyseg_ros.nodes.rig_session import RigSession  # noqa: E402
from anyseg_ros.nodes.state_log import StateLog  # noqa: E402
from anyseg_ros.sensors.poses import matrix_from_transform  # noqa: E402
from anyseg_ros.sync.health import Level, SensorHealth, SensorState  # noqa: E402
from anyseg_ros.sync.output_health import OutputHealth, OutputState  # noqa: E402

NOW_NS = 1000 * MS


@pytest.fixture
def reporter():
    """A reporter of a node with three sensors, the lidar required; its parts can be set."""
    timings = [SimpleNamespace(name=name, required=name == "lidar") for name in ("camera", "lidar", "event")]
    losses = {"event": {"lost_packets": 3, "outside": 2}}
    loop = SimpleNamespace(
        synchronizer=SimpleNamespace(config=SimpleNamespace(sensors=timings)),
        event_losses=lambda name: losses.get(name, {}),
    )
    meta = SimpleNamespace(miou={"CEL": 60.0, "CE": 52.0})
    engine = SimpleNamespace(device="cpu", weights="0123456789ab")
    pipeline = SimpleNamespace(meta=meta, rig=small_rig(), engine=engine, motion=None, full_size=True)
    pipeline.grid = SimpleNamespace(width=128, height=64)
    processor = SimpleNamespace(
        pipeline=pipeline,
        last=None,
        rate_hz=lambda now_ns: 0.0,
        counters=Counter({"turned_down.lidar": 7}),
        latencies=Latencies(),
    )
    log = SimpleNamespace(warning=lambda line: None, info=lambda line: None)
    node = SimpleNamespace(create_publisher=lambda *args, **options: None, get_logger=lambda: log)
    lane = SimpleNamespace(dropped=0, failed=0)
    return Reporter(node, processor, lane, loop, Episodes(lambda s: None, lambda s: None, lambda: NOW_NS - 500 * MS))


def health_of(state=SensorState.OK, since_ns=0, level=Level.OK, reason=""):
    given = {"state": state, "reason": reason, "since_ns": since_ns, "level": level, "counts": {}}
    return SensorHealth(
        **{**{f.name: None for f in fields(SensorHealth)}, "rate_hz": 10.0, "expected_hz": 10.0, **given}
    )


def said_of(reporter, sensor, health):
    status = reporter._sensor_status("node", sensor, health, NOW_NS, NOW_NS)
    return conversions.statuses_from(conversions.diagnostics([status], conversions.header(0, "")))[0]


def output_of(reporter, state=OutputState.OK, level=Level.OK, reason=""):
    health = OutputHealth(state, reason, 0, level, "camera", 10.0, 0, {}, {})
    status = reporter._output_status("node", health, NOW_NS)
    return conversions.statuses_from(conversions.diagnostics([status], conversions.header(0, "")))[0]


def published(age_ns, subset="CE"):
    return LastOutput(1, subset, "camera", NOW_NS - age_ns, 0.5)


def test_a_sensor_says_how_long_it_has_been_in_its_state(reporter):
    stale = health_of(SensorState.STALE, NOW_NS - 250 * MS, Level.WARN)
    assert said_of(reporter, "lidar", stale)["values"]["since_s"] == "0.25"
    assert said_of(reporter, "lidar", health_of(since_ns=NOW_NS + 250 * MS))["values"]["since_s"] == "0"


def test_an_event_sensor_says_what_its_decoder_lost_and_others_do_not(reporter):
    found = said_of(reporter, "event", health_of())["values"]
    assert (found["events.lost_packets"], found["events.outside"]) == ("3", "2")
    assert not any(key.startswith("events.") for key in said_of(reporter, "lidar", health_of())["values"])


@pytest.mark.parametrize("sensor, level", [("camera", "warn"), ("lidar", "error")])
def test_a_sensor_that_delivers_nothing_of_use_is_not_ok(reporter, sensor, level):
    reporter._episodes.report(f"payload of {sensor}", "it sent the same image 3 times", sensor, unused=True)
    said = said_of(reporter, sensor, health_of())
    assert (said["level"], said["message"]) == (level, "it sent the same image 3 times")
    assert (said["values"]["troubles"], said["values"]["trouble_since_s"]) == ("1", "0.5")
    assert said_of(reporter, "event", health_of())["level"] == "ok"
    assert f"nothing usable from {sensor}" in output_of(reporter)["message"]


def test_a_sensor_that_is_switched_off_is_ok_whatever_it_sends(reporter):
    reporter._episodes.report("payload of camera", "it is black", "camera", unused=True)
    said = said_of(reporter, "camera", health_of(SensorState.DISABLED, reason="disabled"))
    assert (said["level"], said["message"]) == ("ok", "disabled")


def test_the_output_says_what_the_subset_costs(reporter):
    reporter._processor.last = published(100 * MS)
    said = output_of(reporter)
    assert (said["level"], said["message"]) == ("ok", "publishing CE")
    assert (said["values"]["device"], said["values"]["weights"]) == ("cpu", "0123456789ab")
    assert (said["values"]["validated_miou"], said["values"]["validated_miou_change"]) == ("52", "-8")
    reporter._processor.pipeline.full_size = False
    assert output_of(reporter)["values"]["validated_miou"] == "unknown", "nobody validated a smaller grid"
    reporter._processor.pipeline.full_size = True
    reporter._processor.last = published(100 * MS, "E")
    assert output_of(reporter)["values"]["validated_miou_change"] == "unknown"


def test_sets_that_are_due_and_never_answered_are_an_error_with_the_reason(reporter):
    reporter._processor.last = published(1500 * MS)
    reporter._episodes.report("output", "a frame failed (RuntimeError: out of memory); the next one is tried")
    said = output_of(reporter)
    assert said["level"] == "error" and "nothing was published for 1.5 s" in said["message"]
    assert "out of memory" in said["message"]


def test_sets_that_never_led_to_any_output_are_an_error(reporter):
    reporter._began_ns = reporter._owed_ns = NOW_NS - 1500 * MS
    said = output_of(reporter)
    assert said["level"] == "error" and "nothing was published for 1.5 s" in said["message"]
    reporter._owed_ns = NOW_NS - 500 * MS
    assert output_of(reporter)["level"] == "warn", "the first frame may take a while"


def test_what_was_in_use_before_a_silence_is_not_said_to_be_in_use(reporter):
    reporter._processor.last = published(1500 * MS)
    values = output_of(reporter)["values"]
    assert (values["subset"], values["validated_miou"], values["age_s"]) == ("", "unknown", "1.5")


def test_the_log_has_a_line_for_the_begin_and_the_end_of_each_state():
    warned, well = [], []
    log = StateLog(warned.append, well.append)
    for ms, level in (
        (0, "ok"),
        (200, "warn"),
        (400, "warn"),
        (600, "ok"),
        (800, "warn"),
        (1000, "error"),
        (1200, "warn"),
    ):
        log.tell("lidar", level, f"silent since {ms}", ms * MS)
    assert warned == ["lidar: silent since 200", "lidar: silent since 1000"] and not well
    for ms in (1400, 2000, 2300, 2600):
        log.tell("lidar", "ok", "", ms * MS)
    assert well == ["lidar: well again after 1.0 s"]


def test_dropped_sets_are_told_while_they_are_dropped(reporter):
    reporter._processor.last = published(100 * MS)
    reporter._lane.dropped = 3
    reporter._watch_drops()
    said = output_of(reporter)
    assert said["level"] == "warn" and "the network is behind" in said["message"]
    reporter._watch_drops()
    assert all(trouble.over for trouble in reporter._episodes.about("output"))


def test_a_frame_that_is_not_the_rigs_is_told_and_used_all_the_same():
    episodes = Episodes(lambda s: None, lambda s: None)
    session = SimpleNamespace(_episodes=episodes)
    lidar = small_rig().sensor("lidar")
    RigSession._look_at_frame(session, lidar, "/lidar")
    assert not episodes.about("lidar")
    RigSession._look_at_frame(session, lidar, "velodyne")
    (trouble,) = episodes.about("lidar")
    assert "'velodyne'" in trouble.sentence and "'lidar'" in trouble.sentence and not trouble.unused


class Tf:
    """Stands in for TF: one transform of the lidar."""

    def __init__(self):
        self.transform = Transform()

    def base_from(self, base_frame, frame_id):
        return matrix_from_transform(self.transform) if frame_id == "lidar" else None


@pytest.mark.parametrize("breakage", [{"w": 0.0}, {"w": float("nan")}, {"x": float("nan")}])
def test_a_pose_that_is_none_is_told_once_and_the_rig_keeps_its_own(breakage):
    warned, well, moved, now = [], [], [], [0]
    tf, keeper = Tf(), CalibrationKeeper(small_rig())
    episodes = Episodes(warned.append, well.append, lambda: now[0])
    session = SimpleNamespace(_transforms=tf, _keeper=keeper, _episodes=episodes, _recalibrate=moved.append)
    before = keeper.rig.sensor("lidar").base_from_sensor
    for name, value in breakage.items():
        setattr(tf.transform.rotation if name == "w" else tf.transform.translation, name, value)
    for _ in range(2):
        RigSession._look_up_poses(session)
    assert len(warned) == 1 and "the pose of 'lidar' in TF is not used: " in warned[0]
    assert not moved and keeper.rig.sensor("lidar").base_from_sensor is before
    tf.transform = Transform()
    RigSession._look_up_poses(session)
    now[0] += HOLD_NS
    episodes.settle()
    assert len(well) == 1 and len(moved) == 1
    np.testing.assert_array_equal(keeper.rig.sensor("lidar").base_from_sensor, np.eye(4))


def test_a_mistyped_path_is_told_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        runner.find_file("my_rgi.yaml")
    assert f"'my_rgi.yaml' is neither a path (seen from {tmp_path}) nor below" in str(error.value)
    assert "Install" not in str(error.value)
    (tmp_path / "my_rig.yaml").touch()
    assert str(runner.find_file("my_rig.yaml")) == "my_rig.yaml"
    assert runner.find_file("config/rigs/sim.yaml").is_file()
