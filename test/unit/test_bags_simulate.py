# SPDX-License-Identifier: Apache-2.0
"""A drive as a bag: topics, order of arrival, ground truth. The drive is a stand-in without a simulator."""

from __future__ import annotations

import heapq
from types import SimpleNamespace

import numpy as np
import pytest
from bag_kit import MS, START_NS, measurement, random_cloud, random_events, random_image, small_rig

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import GroundTruth
from anyseg_ros.bags.simulate import LATENCY_NS, arrivals, write_drive
from anyseg_ros.bags.writer import BagError
from anyseg_ros.sensors.messages import stamp_ns
from anyseg_ros.sensors.motion_messages import twist_from
from anyseg_ros.sensors.poses import matrix_from_transform, pose_matrix
from anyseg_ros.types import Events, Twist


class StandInDrive:
    """Random measurements at the times at which a simulated drive has them."""

    def __init__(self, seconds=1.0, empty_chunk=None):
        self.rig, self.start_ns, self.end_ns = small_rig(), START_NS, round(seconds * 1e9)
        self.empty_chunk = empty_chunk

    def measurements(self):
        rng = np.random.default_rng(9)
        camera, lidar, event = ([], [], [])
        for t in range(0, self.end_ns + 1, 100 * MS):
            camera.append(measurement(self.rig, "camera", START_NS + t, random_image(rng)))
        for t in range(50 * MS, self.end_ns, 100 * MS):
            lidar.append(measurement(self.rig, "lidar", START_NS + t - 4 * MS, random_cloud(rng)))
        for k, t in enumerate(range(10 * MS, self.end_ns + 1, 10 * MS)):
            stamp = START_NS + t + 3 * MS
            events = random_events(rng, stamp - 10 * MS, stamp)
            event.append(
                measurement(self.rig, "event", stamp, events.between(0, 0) if k == self.empty_chunk else events)
            )
        return heapq.merge(camera, lidar, event, key=lambda m: m.stamp_ns)

    def labels(self, t_ns):
        return np.full((36, 64), t_ns // (50 * MS) % 19, np.uint8)

    def pose(self, t_ns):
        return pose_matrix((t_ns * 1e-8, 2.0, 0.0), (0, 0, 30))

    def twist(self, t_ns):
        return Twist(START_NS + t_ns, np.array([10.0, 0, 0]), np.array([0, 0, t_ns * 1e-9]))


def test_measurements_arrive_in_order_and_after_their_latency():
    drive = StandInDrive(0.5)
    found = list(arrivals(drive.measurements(), drive.rig))
    times = [arrival for arrival, _ in found]
    assert times == sorted(times) and len(found) == 6 + 5 + 50
    for arrival, m in found:
        true_ns = m.stamp_ns - drive.rig.sensor(m.sensor).offset_ns
        assert arrival - true_ns == LATENCY_NS[m.modality]


def test_bag_holds_the_topics_of_the_drive(tmp_path):
    drive = StandInDrive(1.0, empty_chunk=7)
    counts = write_drive(drive, tmp_path / "bag")
    assert counts == {
        "/tf_static": 1, "/camera/image_raw": 11, "/camera/camera_info": 11, "/lidar/points": 10,
        "/event_camera/events": 99, "/ground_truth/labels": 21, "/odometry": 51,
    }  # fmt: skip
    with BagReader(tmp_path / "bag") as reader:
        assert reader.counts() == counts and reader.start_ns == START_NS
        truth = [(arrival, stamp_ns(m.header)) for arrival, _, m in reader.messages(["/ground_truth/labels"])]
        assert truth == [(START_NS + k * 50 * MS,) * 2 for k in range(21)]
        labels = GroundTruth(reader)
        for k in range(21):
            assert (labels.at(START_NS + k * 50 * MS) == k % 19).all()
        latched = next(c for c in reader._reader.connections if c.topic == "/tf_static")
        assert "TRANSIENT_LOCAL" in str(latched.ext.offered_qos_profiles)


def test_odometry_of_the_bag_is_the_drives(tmp_path):
    drive = StandInDrive(0.3)
    write_drive(drive, tmp_path / "bag")
    with BagReader(tmp_path / "bag") as reader:
        found = list(reader.messages(["/odometry"]))
    for k, (arrival_ns, _, msg) in enumerate(found):
        expected, twist = drive.twist(k * 20 * MS), twist_from(msg, drive.rig.base_frame)
        assert arrival_ns == twist.stamp_ns == expected.stamp_ns
        assert twist.linear_m_s.tolist() == expected.linear_m_s.tolist()
        assert twist.angular_rad_s.tolist() == expected.angular_rad_s.tolist()
        pose = SimpleNamespace(translation=msg.pose.pose.position, rotation=msg.pose.pose.orientation)
        assert matrix_from_transform(pose) == pytest.approx(drive.pose(k * 20 * MS))
    assert len(found) == 16


def test_events_of_the_bag_are_the_drives(tmp_path):
    drive = StandInDrive(0.3)
    write_drive(drive, tmp_path / "bag")
    with BagReader(tmp_path / "bag") as reader:
        got = [m.payload for _, m in reader.measurements(drive.rig) if isinstance(m.payload, Events)]
    sent = [m.payload for m in drive.measurements() if m.sensor == "event"]
    for name in ("x", "y", "t_ns", "p"):
        assert np.array_equal(
            np.concatenate([getattr(e, name) for e in got]), np.concatenate([getattr(e, name) for e in sent])
        )


def test_an_existing_bag_is_not_overwritten_by_accident(tmp_path):
    write_drive(StandInDrive(0.2), tmp_path / "bag")
    with pytest.raises(BagError, match="--force"):
        write_drive(StandInDrive(0.2), tmp_path / "bag")
    assert write_drive(StandInDrive(0.1), tmp_path / "bag", overwrite=True)["/ground_truth/labels"] == 3
