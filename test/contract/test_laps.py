# SPDX-License-Identifier: Apache-2.0
"""A short bag as a long drive: the pace does not stumble from lap to lap."""

import itertools
import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import MS, START_NS, small_rig, write_bag  # noqa: E402

from anyseg_ros.faults import cdr  # noqa: E402
from anyseg_ros.nodes.laps import onward  # noqa: E402
from anyseg_ros.nodes.parameters import PlayerParameters  # noqa: E402
from anyseg_ros.nodes.playlist import Playlist  # noqa: E402


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("laps") / "bag"
    write_bag(path, 1)
    return path


def test_stamps_go_on_in_period_and_constants_come_once(bag):
    stop = threading.Event()
    playlist = Playlist(bag, small_rig(), PlayerParameters(bag="x"))
    items = list(itertools.takewhile(lambda i: i.bag_ns < START_NS + 3500 * MS, onward(playlist, small_rig(), stop)))
    assert [item.bag_ns for item in items] == sorted(item.bag_ns for item in items)
    for sensor, first_ns in (("camera", 0), ("lidar", 50 * MS)):
        mine = [i for i in items if i.track.sensor and i.track.sensor.name == sensor]
        stamps = [cdr.stamp_ns(i.message) + i.moved_ns for i in mine]
        assert stamps == [START_NS + first_ns + k * 100 * MS for k in range(35)]
        assert [i.stamp_ns + i.moved_ns for i in mine] == stamps
    constants = [track for track in playlist.tracks.values() if track.latched]  # none where tf2_msgs is not installed
    assert sum(item.track.latched for item in items) == len(constants)
    assert {item.track.topic for item in items if item.track.stamped} >= {"/camera/image_raw", "/camera/camera_info"}
    assert not any(track.stamped for track in constants)


def test_it_ends_when_it_is_told_to(bag):
    stop = threading.Event()
    drive = onward(Playlist(bag, small_rig(), PlayerParameters(bag="x")), small_rig(), stop)
    next(drive)
    stop.set()
    assert len(list(drive)) < 500


def test_a_bag_too_short_for_a_lap_is_refused(tmp_path):
    write_bag(tmp_path / "bag", 0.1)
    with pytest.raises(ValueError, match="fewer than two measurements"):
        next(onward(Playlist(tmp_path / "bag", small_rig(), PlayerParameters(bag="x")), small_rig(), threading.Event()))
