# SPDX-License-Identifier: Apache-2.0
"""What is written into a bag is what is read from it, in both storages, and bad bags get sentences."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from bag_kit import MS, START_NS, random_cloud, random_events, random_image, small_rig, write_bag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anyseg_ros.bags import messages
from anyseg_ros.bags.calibration import calibrated, chain
from anyseg_ros.bags.definitions import EVENT_PACKET, typestore
from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.topics import camera_info_topic, match_topics
from anyseg_ros.bags.writer import BagError, BagWriter
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.messages import image_from, points_from
from anyseg_ros.sensors.poses import matrix_from_transform

IMAGE, CLOUD = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_payloads_survive_a_bag(tmp_path, storage):
    rig, rng = small_rig(), np.random.default_rng(0)
    image, cloud = random_image(rng), random_cloud(rng)
    chunks = [random_events(rng, START_NS + k * 10 * MS, START_NS + (k + 1) * 10 * MS) for k in range(5)]
    with BagWriter(tmp_path / "bag", storage=storage) as writer:
        writer.write_image("/camera/image_raw", START_NS + 1, START_NS, "camera_optical_frame", image)
        writer.write_points("/lidar/points", START_NS + 2, START_NS + 46 * MS, "lidar", cloud)
        for k, chunk in enumerate(chunks):
            writer.write_events("/event_camera/events", START_NS + 3 + k, START_NS, "event_camera_optical_frame", chunk)
    with BagReader(tmp_path / "bag") as reader:
        assert reader.counts() == {"/camera/image_raw": 1, "/lidar/points": 1, "/event_camera/events": 5}
        got = list(reader.measurements(rig))
    assert [arrival - START_NS for arrival, _ in got] == list(range(1, 8))
    camera, lidar, *events = [m for _, m in got]
    assert (camera.sensor, camera.stamp_ns, camera.frame_id) == ("camera", START_NS, "camera_optical_frame")
    assert np.array_equal(image_from(camera.payload), image)
    points = points_from(lidar.payload)
    assert lidar.stamp_ns == START_NS + 46 * MS
    assert np.array_equal(points.xyz, cloud.xyz) and np.array_equal(points.intensity, cloud.intensity)
    assert np.array_equal(points.ring, cloud.ring)
    assert np.abs(points.t_ns - cloud.t_ns).max() < 10  # float32 seconds within +-50 ms
    for measurement, chunk in zip(events, chunks, strict=True):
        for name in ("x", "y", "t_ns", "p"):
            assert np.array_equal(getattr(measurement.payload, name), getattr(chunk, name)), name
        assert measurement.stamp_ns == chunk.t_ns[-1]
    joints = [(a.stamp_ns, b.start_ns) for a, b in zip(events, events[1:], strict=False)]
    assert all(end == begin for end, begin in joints), "spans of events must join"


def test_point_layout_is_velodynes():
    msg = messages.points(START_NS, "lidar", random_cloud(np.random.default_rng(1), 7))
    assert [(f.name, f.offset, f.datatype) for f in msg.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7), ("ring", 16, 4), ("time", 18, 7),
    ]  # fmt: skip
    assert (msg.point_step, msg.row_step, len(msg.data), msg.height, msg.width) == (22, 154, 154, 1, 7)


def test_depth_image_and_strange_arrays(tmp_path):
    depth = np.linspace(0, 9, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(image_from(messages.image(START_NS, "d", depth)), depth)
    with pytest.raises(ValueError, match="float64"):
        messages.image(START_NS, "d", depth.astype(np.float64))
    with pytest.raises(ValueError, match=r"\[3, 4, 2\]"):
        messages.image(START_NS, "d", np.zeros((3, 4, 2), np.uint8))


def test_quaternion_matches_known_rotations_and_comes_back():
    assert np.allclose(messages.quaternion(np.eye(3)), [0, 0, 0, 1])
    half_turn = np.diag([-1.0, -1.0, 1.0])
    assert np.allclose(np.abs(messages.quaternion(half_turn)), [0, 0, 1, 0])
    for sensor in small_rig().sensors:
        msg = messages.tf_static(START_NS, "base_link", [(sensor.frame_id, sensor.base_from_sensor)])
        transform = msg.transforms[0].transform
        assert np.allclose(matrix_from_transform(transform), sensor.base_from_sensor, atol=1e-12)


def test_calibration_of_the_bag_goes_before_the_rig_file(tmp_path):
    true = small_rig()
    wrong_pose = np.eye(4)
    wrong = replace(
        true,
        sensors=tuple(
            replace(s, base_from_sensor=wrong_pose, model=s.model and CameraModel.pinhole(64, 36, 40.0))
            for s in true.sensors
        ),
    )
    with BagReader(write_bag(tmp_path / "bag", 0.3)) as reader:
        rig, notes = calibrated(wrong, reader)
    assert np.allclose(rig.sensor("camera").model.K, true.sensor("camera").model.K)
    for sensor in true.sensors:
        assert np.allclose(rig.sensor(sensor.name).base_from_sensor, sensor.base_from_sensor, atol=1e-9)
    assert "camera: intrinsics from /camera/camera_info" in notes
    assert "lidar: pose from /tf_static" in notes


def test_uncalibrated_camera_info_is_not_used(tmp_path):
    rig = small_rig()
    with BagWriter(tmp_path / "bag") as writer:
        info = messages.camera_info(START_NS, "camera_optical_frame", rig.sensor("camera").model)
        info.k[:] = 0.0
        writer.write("/camera/camera_info", START_NS, info)
        image = random_image(np.random.default_rng(0))
        writer.write_image("/camera/image_raw", START_NS, START_NS, "camera_optical_frame", image)
    with BagReader(tmp_path / "bag") as reader:
        kept, notes = calibrated(rig, reader)
    assert np.array_equal(kept.sensor("camera").model.K, rig.sensor("camera").model.K)
    assert any("is not used" in note and note.startswith("camera") for note in notes)
    assert any(note.startswith("lidar: the recording has nothing") for note in notes)


def test_chain_of_frames():
    step = messages.tf_static(0, "p", [("c", np.block([[np.eye(3), np.ones((3, 1))], [np.zeros((1, 3)), 1]]))])
    transform = step.transforms[0].transform
    tree = {"kit": ("base_link", transform), "lidar": ("kit", transform)}
    assert np.allclose(chain("base_link", "lidar", tree)[:3, 3], 2.0)
    assert chain("base_link", "elsewhere", tree) is None
    with pytest.raises(ValueError, match="loop"):
        chain("base_link", "a", {"a": ("b", transform), "b": ("a", transform)})


def test_topics_by_name_by_type_and_ambiguous():
    rig = small_rig()
    named = {"/camera/image_raw": IMAGE, "/lidar/points": CLOUD, "/ground_truth/labels": IMAGE}
    assert match_topics(rig, named) == {"camera": "/camera/image_raw", "lidar": "/lidar/points"}
    other = {"/front/image": IMAGE, "/top/points": CLOUD, "/ground_truth/labels": IMAGE, "/dvs": EVENT_PACKET}
    assert match_topics(rig, other) == {"camera": "/front/image", "lidar": "/top/points", "event": "/dvs"}
    with pytest.raises(ValueError, match="/left/image, /right/image would all do"):
        match_topics(rig, {"/left/image": IMAGE, "/right/image": IMAGE})
    with pytest.raises(ValueError, match=r"no sensor of rig 'small' is there.*std_msgs/msg/String"):
        match_topics(rig, {"/chatter": "std_msgs/msg/String"})
    with pytest.raises(ValueError, match=r"/lidar/points of sensor 'lidar' holds sensor_msgs/msg/Image"):
        match_topics(rig, {"/lidar/points": IMAGE})


def test_camera_info_lies_beside_the_image():
    info = "sensor_msgs/msg/CameraInfo"
    assert camera_info_topic("/cam/image_raw", {"/cam/camera_info": info}) == "/cam/camera_info"
    assert camera_info_topic("/cam/image/compressed", {"/cam/camera_info": info}) == "/cam/camera_info"
    assert camera_info_topic("/cam/image_raw", {"/other/camera_info": info}) is None


@pytest.mark.parametrize("lacking", ["event_camera_msgs/msg/EventPacket", "%"])
def test_bag_without_definitions_of_its_types(tmp_path, lacking):
    with BagReader(write_bag(tmp_path / "bag", 0.3, storage="sqlite3")) as reader:
        whole = [m.stamp_ns for _, m in reader.measurements(small_rig())]
    (database,) = (tmp_path / "bag").glob("*.db3")
    with sqlite3.connect(database) as connection:
        gone = connection.execute("DELETE FROM message_definitions WHERE topic_type LIKE ?", (lacking,)).rowcount
    assert gone >= 1
    with BagReader(tmp_path / "bag") as reader:
        assert [m.stamp_ns for _, m in reader.measurements(small_rig())] == whole


def test_event_packet_is_the_type_that_drivers_publish():
    """The hash is the one that ROS tools stored in the recording of a real event camera."""
    digest = typestore().hash_rihs01(EVENT_PACKET)
    assert digest == "RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa"


def test_event_packets_of_an_unknown_encoding_are_counted(tmp_path, caplog):
    rig, rng = small_rig(), np.random.default_rng(5)
    with BagWriter(tmp_path / "bag") as writer:
        for k in range(3):
            chunk = random_events(rng, START_NS + k * 10 * MS, START_NS + (k + 1) * 10 * MS)
            packet = messages.event_packet(START_NS, "e", chunk, k)
            packet.encoding = "evt3" if k == 1 else "evt9"
            writer.write("/event_camera/events", START_NS + k, packet)
    with BagReader(tmp_path / "bag") as reader:
        assert len(list(reader.measurements(rig))) == 1
        assert reader.rejected["event"] == 2
    assert caplog.text.count("evt9") == 1, "one sentence, not one per message"


def test_events_as_a_point_cloud_join_like_packets():
    sensor, layout = small_rig().sensor("event"), np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<u4"), ("p", "u1")])
    codes = {"x": 4, "y": 4, "t": 6, "p": 2}
    feed = EventFeed(sensor)

    def cloud(stamp, relative_ns):
        table = np.zeros(len(relative_ns), layout)
        table["x"], table["t"], table["p"] = 5, relative_ns, 1
        fields = [
            messages.message("sensor_msgs/msg/PointField", name=n, offset=layout.fields[n][1], datatype=c, count=1)
            for n, c in codes.items()
        ]
        return messages.message(
            CLOUD, header=messages.header(stamp, "e"), height=1, width=len(table), fields=fields, is_bigendian=False,
            point_step=9, row_step=9 * len(table), data=table.view(np.uint8).reshape(-1), is_dense=True,
        )  # fmt: skip

    first, second = feed(cloud(START_NS, [1000, 9000])), feed(cloud(START_NS + 10_000, [500, 8000]))
    assert (first.start_ns, first.stamp_ns) == (START_NS + 999, START_NS + 9000)
    assert (second.start_ns, second.stamp_ns) == (START_NS + 9000, START_NS + 18000)
    assert second.payload.t_ns.tolist() == [START_NS + 10_500, START_NS + 18_000]
    assert feed(cloud(START_NS + 20_000, [])) is None
    late = feed(cloud(START_NS + 5_000, [0, 700]))
    assert (late.start_ns, feed.watermark_ns) == (START_NS + 4_999, second.stamp_ns), "overtaken; time stays known"
    restarted = feed(cloud(START_NS - 5_000 * MS, [0, 700]))
    assert restarted.start_ns < START_NS - 5_000 * MS < restarted.stamp_ns, "a clock that ran back begins a new span"
    back_ns = restarted.stamp_ns + sensor.stale_ns + 1
    back = feed(cloud(back_ns, [0, 700]))
    assert (back.start_ns, back.stamp_ns) == (back_ns - 1, back_ns + 700), "a span does not vouch for an outage"


def test_paths_that_cannot_be_used(tmp_path):
    with pytest.raises(BagError, match="there is no bag at"):
        BagReader(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BagError, match="is no rosbag2"):
        BagReader(tmp_path / "folder")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: 7\n")
    with pytest.raises(BagError, match="cannot read the bag"), BagReader(tmp_path / "broken"):
        pass
    with pytest.raises(BagError, match="exists and is not a rosbag2 folder"):
        BagWriter(tmp_path / "folder", overwrite=True)
    bag = write_bag(tmp_path / "bag", 0.2)
    with pytest.raises(BagError, match="--force"):
        BagWriter(bag)
    with BagWriter(bag, overwrite=True):
        pass
    with pytest.raises(BagError, match="unknown bag storage 'zip'"):
        BagWriter(tmp_path / "other", storage="zip")


def test_depth_topics_are_not_taken_for_colour():
    rig = small_rig()
    topics = {"/front/image": IMAGE, "/front/depth": IMAGE}
    assert match_topics(rig, topics) == {"camera": "/front/image"}
    assert rig.sensor("camera").modality is Modality.CAMERA


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damaged_files_end_early_or_are_refused(tmp_path_factory, storage, seed):
    """Whatever is overwritten: messages, then perhaps a sentence; never another error."""
    rng = np.random.default_rng(seed)
    bag = tmp_path_factory.mktemp("damaged") / "bag"
    write_bag(bag, 0.2, storage, truth=False)
    (file,) = (p for p in bag.iterdir() if p.suffix != ".yaml")
    data = bytearray(file.read_bytes())
    for place in rng.integers(0, len(data), 30):
        data[place] = rng.integers(0, 256)
    file.write_bytes(data if seed % 3 else data[: int(rng.integers(1, len(data)))])
    try:
        with BagReader(bag) as reader:
            found = [m.stamp_ns for _, m in reader.measurements(small_rig())]
            assert len(found) <= 24
    except BagError as error:
        assert str(bag) in str(error)


def test_damage_in_the_middle_keeps_what_came_before(tmp_path, monkeypatch, caplog):
    bag = write_bag(tmp_path / "bag", 0.3)
    with BagReader(bag) as reader:
        records = reader._reader.messages

        def torn(**wanted):
            yield from itertools.islice(records(**wanted), 5)
            raise OSError("bad sector")

        monkeypatch.setattr(reader._reader, "messages", torn)
        assert len(list(reader.measurements(small_rig()))) == 5
        assert "bad sector" in reader.damage and "bad sector" in caplog.text
