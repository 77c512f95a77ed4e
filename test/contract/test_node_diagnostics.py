# SPDX-License-Identifier: Apache-2.0
"""What a person reads of the node's troubles: the sensors' figures, poses that cannot be used, files not found."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from geometry_msgs.msg import Transform  # noqa: E402
from live_graph import MS, small_rig  # noqa: E402

from anyseg_ros.nodes import runner  # noqa: E402
from anyseg_ros.nodes.calibration import CalibrationKeeper  # noqa: E402
from anyseg_ros.nodes.diagnostics import Reporter  # noqa: E402
from anyseg_ros.nodes.episodes import Episodes  # noqa: E402
from anyseg_ros.nodes.session import Session  # noqa: E402
from anyseg_ros.sensors.poses import matrix_from_transform  # noqa: E402
from anyseg_ros.sync.health import Level, SensorHealth, SensorState  # noqa: E402

NOW_NS = 1000 * MS


def values_of(sensor, since_ns):
    health = SensorHealth(SensorState.STALE, "", since_ns, Level.WARN, False, 0.0, 10.0, None, None, None, 1, {})
    losses = {"event": {"lost_packets": 3, "outside": 2}}
    loop = SimpleNamespace(event_losses=lambda name: losses.get(name, {}))
    status = Reporter._sensor_status(SimpleNamespace(_loop=loop), "node: it", sensor, health, NOW_NS)
    return {pair.key: pair.value for pair in status.values}


def test_a_sensor_says_how_long_it_has_been_in_its_state():
    assert values_of("lidar", NOW_NS - 250 * MS)["since_s"] == "0.25"
    assert values_of("lidar", NOW_NS + 250 * MS)["since_s"] == "0"


def test_an_event_sensor_says_what_its_decoder_lost_and_others_do_not():
    found = values_of("event", 0)
    assert (found["events.lost_packets"], found["events.outside"]) == ("3", "2")
    assert not any(key.startswith("events.") for key in values_of("lidar", 0))


class Tf:
    """Stands in for TF: one transform of the lidar."""

    def __init__(self):
        self.transform = Transform()

    def base_from(self, base_frame, frame_id):
        return matrix_from_transform(self.transform) if frame_id == "lidar" else None


@pytest.mark.parametrize("breakage", [{"w": 0.0}, {"w": float("nan")}, {"x": float("nan")}])
def test_a_pose_that_is_none_is_told_once_and_the_rig_keeps_its_own(breakage):
    warned, well, moved = [], [], []
    tf, keeper = Tf(), CalibrationKeeper(small_rig())
    episodes = Episodes(warned.append, well.append)
    session = SimpleNamespace(_transforms=tf, _keeper=keeper, _episodes=episodes, _recalibrate=moved.append)
    before = keeper.rig.sensor("lidar").base_from_sensor
    for name, value in breakage.items():
        setattr(tf.transform.rotation if name == "w" else tf.transform.translation, name, value)
    for _ in range(2):
        Session._look_up_poses(session)
    assert len(warned) == 1 and "the pose of 'lidar' in TF is not used: " in warned[0]
    assert not moved and keeper.rig.sensor("lidar").base_from_sensor is before
    tf.transform = Transform()
    Session._look_up_poses(session)
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
