# SPDX-License-Identifier: Apache-2.0
"""The vehicle's motion from a bag: which topic, what had arrived by when, and that replay uses it."""

import numpy as np
import pytest
from bag_kit import MS, START_NS, random_cloud, small_rig, tiny_checkpoint, write_bag

from anyseg_ros.bags.messages import odometry
from anyseg_ros.bags.odometry import OdometryFeed, odometry_topic
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay_command import replay
from anyseg_ros.bags.writer import BagError, BagWriter
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.motion import compensate
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import save_rig
from anyseg_ros.types import FrameSet, Measurement, Points, Twist

LATE_NS = 30 * MS


def moving(t_ms, speed=10.0, yaw_rate=0.2):
    return Twist(START_NS + t_ms * MS, np.array([speed, 0.0, 0.0]), np.array([0.0, 0.0, yaw_rate]))


def write(path, topics, frame="base_link", place=None):
    """A bag with odometry every 20 ms of one second on each topic, which arrives 30 ms late."""
    with BagWriter(path) as writer:
        if place is not None:
            writer.write_tf_static(START_NS, "base_link", [(frame, place)])
        for t_ms in range(0, 1000, 20):
            for topic in topics:
                message = odometry(np.eye(4), moving(t_ms), frame)
                writer.write(topic, START_NS + t_ms * MS + LATE_NS, message)
    return path


def test_the_only_odometry_is_found_and_several_are_to_be_named(tmp_path):
    with BagReader(write(tmp_path / "one", ["/wheels"])) as reader:
        assert odometry_topic(reader, "auto") == odometry_topic(reader, "/wheels") == "/wheels"
        with pytest.raises(BagError, match="has nothing on /odom; expected one of nav_msgs/msg/Odometry, geometry_"):
            odometry_topic(reader, "/odom")
    with BagReader(write(tmp_path / "two", ["/wheels", "/fused"])) as reader:
        assert odometry_topic(reader, "/fused") == "/fused"
        with pytest.raises(BagError, match="2 topics of nav_msgs/msg/Odometry: /fused, /wheels; expected one"):
            odometry_topic(reader, "auto")


def test_only_what_has_arrived_is_known(tmp_path):
    with BagReader(write(tmp_path / "bag", ["/odometry"])) as reader:
        feed = OdometryFeed(reader, "/odometry", "base_link")
        assert feed.history.at(START_NS) is None
        feed.until(START_NS + 200 * MS)
        assert feed.history.at(START_NS + 200 * MS).stamp_ns == START_NS + 160 * MS
        feed.until(START_NS + 10_000 * MS)
        assert feed.history.at(START_NS + 200 * MS).stamp_ns == START_NS + 200 * MS
        assert feed.summary()["received"] == 50 and feed.summary()["topic"] == "/odometry"


def test_a_frame_beside_the_base_frame_is_read_through_the_static_transforms(tmp_path):
    place = pose_matrix((2.0, 0, 0), (0, 0, 180))
    with BagReader(write(tmp_path / "known", ["/odometry"], "imu", place)) as reader:
        feed = OdometryFeed(reader, "/odometry", "base_link")
        feed.until(START_NS + 100 * MS)
        assert feed.history.at(START_NS).linear_m_s == pytest.approx([-10, -0.4, 0])
    with BagReader(write(tmp_path / "unknown", ["/odometry"], "imu")) as reader:
        feed = OdometryFeed(reader, "/odometry", "base_link")
        feed.until(START_NS + 5_000 * MS)
        assert reader.rejected == {"/odometry": 50} and feed.history.at(START_NS) is None


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    save_rig(small_rig(), folder / "rig.yaml")
    return folder, tiny_checkpoint(folder / "net.safetensors")


def test_the_pipeline_moves_clouds_by_the_history_that_it_is_given(kit, tmp_path):
    rig = small_rig()
    pipeline, sensor = Pipeline(rig, kit[1], device="cpu"), rig.sensor("lidar")
    cloud = random_cloud(np.random.default_rng(0))
    points = Points(cloud.xyz, cloud.intensity, np.full(len(cloud), -20 * MS), cloud.ring)
    lidar = Measurement("lidar", sensor.modality, START_NS + 50 * MS + sensor.offset_ns, points, sensor.frame_id)
    frame_set = FrameSet(START_NS + 100 * MS + rig.sensor("camera").offset_ns, "camera", {"lidar": lidar})
    as_it_is = pipeline.encode(frame_set).raw["lidar"]
    with BagReader(write(tmp_path / "bag", ["/odometry"])) as reader:
        feed = OdometryFeed(reader, "/odometry", rig.base_frame)
        pipeline.motion = feed.history
        assert np.array_equal(pipeline.encode(frame_set).raw["lidar"], as_it_is), "nothing is known yet"
        feed.until(START_NS + 150 * MS)
    moved = pipeline.encode(frame_set).raw["lidar"]
    by_hand = compensate(points, START_NS + 50 * MS, START_NS + 100 * MS, moving(100), sensor.base_from_sensor)
    pipeline.motion = None
    frame_set.present["lidar"] = Measurement("lidar", sensor.modality, lidar.stamp_ns, by_hand, sensor.frame_id)
    assert np.array_equal(moved, pipeline.encode(frame_set).raw["lidar"]) and not np.array_equal(moved, as_it_is)
    assert dict(feed.history.counts) == {
        "received": 7, "rejected": 0, "served": 1, "missing": 1, "untimed_points": 0,
    }  # fmt: skip


def test_replay_with_odometry_says_what_it_did(kit, tmp_path):
    folder, checkpoint = kit
    bag = write_bag(tmp_path / "bag", seconds=1.5, odometry=[moving(t) for t in range(0, 900, 20)])
    options = {"rig_path": folder / "rig.yaml", "checkpoint": checkpoint, "device": "cpu"}
    plain = replay(bag, tmp_path / "plain", **options)
    used = replay(bag, tmp_path / "used", odometry="auto", **options)
    assert plain["motion"] is None and used["motion"]["topic"] == "/odometry"
    assert plain["frames_out"] == used["frames_out"] == 15
    # The last twist is that of 0.88 s: it serves frames up to 1.38 s, and the one at 1.4 s has none.
    clouds = used["motion"]["served"] + used["motion"]["missing"]
    assert clouds >= 14 and used["motion"]["missing"] == 1
    assert used["motion"]["received"] == 45 and used["motion"]["rejected"] == 0
