# SPDX-License-Identifier: Apache-2.0
"""A dataset extracted from a bag is what a replay of that bag feeds the network, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from anyseg_training.check import check_split
from anyseg_training.cli import main
from anyseg_training.data import Pack
from anyseg_training.extract import ExtractPlan, extract
from anyseg_training.extracted import SUFFIX, read_drive, read_payload, write_payload
from anyseg_training.label_files import find_labels, load_classes, split_by_time
from anyseg_training.muses import DatasetError
from anyseg_training.pack import make_pack
from anyseg_training.samples import labels_on_grid, stored
from bag_kit import GRID, MS, START_NS, random_cloud, random_events, random_image, small_rig, tiny_checkpoint, write_bag

from anyseg_ros.bags import messages
from anyseg_ros.bags.calibration import calibrated
from anyseg_ros.bags.odometry import OdometryFeed
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import answers
from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.presets import PRESETS
from anyseg_ros.sensors.rig import load_rig, save_rig
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import Twist

ALL_TRAIN = (1.0, 0.0, 0.0)


def write_labels(folder, stamps, size=(36, 64)):
    """A label image for each stamp, each with its own pattern."""
    folder.mkdir(parents=True)
    for stamp in stamps:
        rng = np.random.default_rng(stamp % 10**9)
        labels = np.kron(rng.integers(0, 19, (size[0] // 4, size[1] // 4)), np.ones((4, 4))).astype(np.uint8)
        labels[:2] = 255
        cv2.imwrite(str(folder / f"{stamp}.png"), labels)
    return folder


def damaged_bag(path, odometry=()):
    """Three seconds: pictures that repeat from 1.0 s, one torn cloud, no lidar from 1.5 s, no events from 2.2 s."""
    rig, rng = small_rig(), np.random.default_rng(8)
    camera, lidar, event = rig.sensors
    entries = [(t.stamp_ns, 3, (t.stamp_ns, t)) for t in odometry]
    frozen = random_image(rng)
    for t in range(0, 3000 * MS, 100 * MS):
        ns = START_NS + t
        entries.append((ns + 15 * MS, 0, (ns, frozen if 1000 * MS <= t < 1400 * MS else random_image(rng))))
        if t < 1500 * MS:
            cloud = random_cloud(rng, 500 if t != 700 * MS else 3)
            entries.append((ns + 105 * MS, 1, (ns + 46 * MS, cloud)))
    for t in range(10 * MS, 2200 * MS, 10 * MS):
        ns = START_NS + t + 3 * MS
        entries.append((ns, 2, (ns, random_events(rng, ns - 10 * MS, ns))))
    with BagWriter(path) as writer:
        writer.write_tf_static(START_NS, "base_link", [(s.frame_id, s.base_from_sensor) for s in rig.sensors])
        for arrival_ns, kind, (ns, payload) in sorted(entries, key=lambda entry: entry[:2]):
            if kind == 0:
                writer.write_image(camera.topic, arrival_ns, ns, camera.frame_id, payload)
                writer.write_camera_info("/camera/camera_info", arrival_ns, ns, camera.frame_id, camera.model)
            elif kind == 1:
                writer.write_points(lidar.topic, arrival_ns, ns, lidar.frame_id, payload)
            elif kind == 2:
                writer.write_events(event.topic, arrival_ns, ns, event.frame_id, payload)
            else:
                writer.write("/odometry", arrival_ns, messages.odometry(np.eye(4), payload, "base_link"))
    return path


def replayed(bag, rig_path, checkpoint, odometry=None):
    """The answers of a replay by the stamp of their set, as the command makes them."""
    with BagReader(bag) as reader:
        rig, _ = calibrated(load_rig(rig_path), reader)
        pipeline = Pipeline(rig, checkpoint, device="cpu", threads=1)
        feed = None
        if odometry is not None:
            feed = OdometryFeed(reader, odometry, rig.base_frame)
            pipeline.motion = feed.history
        synchronizer = Synchronizer(timings_from_rig(rig, pipeline.encoding))
        found = {a.frame_set.stamp_ns: a for a in answers(reader, pipeline, synchronizer, odometry=feed)}
    return found, pipeline


@pytest.mark.parametrize("name, odometry", [("default", None), ("default", "/odometry"), ("muses_sdk", None)])
def test_what_is_trained_on_is_what_a_replay_feeds(tmp_path, name, odometry):
    encoding = PRESETS[name]
    twists = [
        Twist(START_NS + t * MS, np.array([12.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.3])) for t in range(0, 3000, 20)
    ]
    bag = damaged_bag(tmp_path / "bag", twists if odometry else ())
    save_rig(small_rig(), tmp_path / "rig.yaml")
    checkpoint = tiny_checkpoint(tmp_path / "net.safetensors", encoding.fingerprint, parameters=encoding.parameters())
    found, pipeline = replayed(bag, tmp_path / "rig.yaml", checkpoint, odometry)
    assert odometry is None or pipeline.motion.counts["served"] > 10
    labels = write_labels(tmp_path / "labels", list(found))
    plan = ExtractPlan(
        bag, labels, tmp_path / "rig.yaml", tmp_path / "data", shares=ALL_TRAIN, encoding=encoding, odometry=odometry
    )
    result = extract(plan, bar=False)
    assert len(result.samples) == len(found) >= 25 and not result.without_frame and not result.without_label
    make_pack(tmp_path / "data", "train", GRID, tmp_path / "pack", 1, False, encoding=encoding)
    pack = Pack(tmp_path / "pack")
    for i, sample in enumerate(result.samples):
        stack = found[sample["stamp_ns"]].stack
        for m, sensor in enumerate(pack.modalities):
            assert (sensor in stack.raw) == pack.present[i, m], (sample, stack.problems)
            if sensor in stack.raw:
                again = stored(sensor, stack.raw[sensor], encoding)
                np.testing.assert_array_equal(again, pack.arrays[sensor][i])
        scene = pack.samples[i]["scene"]
        why = {entry["modality"]: entry["reason"] for entry in pack.index["absent"] if entry["scene"] == scene}
        assert why == {sensor: reason.value for sensor, reason in stack.absent.items()}
        label = cv2.imread(str(labels / f"{sample['stamp_ns']}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(pack.labels[i], labels_on_grid(label, pipeline.grid))
    reasons = {(entry["modality"], entry["reason"]) for entry in pack.index["absent"]}
    assert {("camera", "frozen"), ("lidar", "blind")} <= reasons and ("lidar", "stale") in reasons
    assert {entry["modality"] for entry in pack.index["absent"]} == {"camera", "lidar", "event"}


def test_a_picture_that_is_a_partner_gives_its_label_to_the_nearest_set(tmp_path):
    """The lidar leads: a label is named by its picture, which is 46 ms off the one and 54 ms off the other cloud."""
    rig = small_rig()
    save_rig(
        type(rig)("led", rig.base_frame, (rig.sensors[1], rig.sensors[0], rig.sensors[2]), "camera"), tmp_path / "r"
    )
    bag = write_bag(tmp_path / "bag", 2.0)
    pictures = [START_NS + k * 100 * MS for k in range(5, 15)]
    result = extract(
        ExtractPlan(bag, write_labels(tmp_path / "labels", pictures), tmp_path / "r", tmp_path / "out"), bar=False
    )
    assert [sample["stamp_ns"] for sample in result.samples] == pictures
    for sample in result.samples:
        assert sample["reference"] == "lidar" and "camera" in sample["present"]
        assert abs(sample["reference_ns"] - sample["stamp_ns"]) == 50 * MS


def test_what_has_no_counterpart_is_reported(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", 2.0)
    save_rig(small_rig(), tmp_path / "rig.yaml")
    labels = write_labels(tmp_path / "labels", [START_NS + 300 * MS, START_NS + 400 * MS, START_NS + 500 * MS + 7])
    arguments = ["extract", "--bag", str(bag), "--labels", str(labels), "--rig", str(tmp_path / "rig.yaml")]
    arguments += ["--out", str(tmp_path / "data"), "--conditions", "night", "rain", "--shares", "0", "1", "0"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert (
        f"{START_NS + 500 * MS + 7}.png has no frame of its stamp" in printed and "the nearest is 7 ns away" in printed
    )
    assert "2 samples (val 2)" in printed and "1 labels have no frame, 18 frames no label" in printed
    drive = read_drive(tmp_path / "data/bag")
    assert START_NS in drive.about["frames_without_label"] and len(drive.about["frames_without_label"]) == 18
    assert main(arguments) == 2 and "is extracted already" in capsys.readouterr().err
    make_pack(tmp_path / "data", "val", GRID, tmp_path / "pack", 1, False)
    assert [sample["conditions"] for sample in Pack(tmp_path / "pack").samples] == [["night", "rain"]] * 2
    with pytest.raises(DatasetError, match="no sample of split 'train'"):
        make_pack(tmp_path / "data", "train", GRID, tmp_path / "none", 1, False)


def test_broken_files_of_a_dataset_are_listed_by_path(tmp_path):
    bag = write_bag(tmp_path / "bag", 1.0)
    save_rig(small_rig(), tmp_path / "rig.yaml")
    stamps = [START_NS + k * 100 * MS for k in range(3, 7)]
    labels = write_labels(tmp_path / "labels", stamps)
    extract(ExtractPlan(bag, labels, tmp_path / "rig.yaml", tmp_path / "data", shares=ALL_TRAIN), bar=False)
    folder = tmp_path / "data/bag"
    assert check_split(tmp_path / "data", "train", bar=False).text().startswith("16 files: 0 missing")
    (folder / f"{stamps[0]}_lidar.npz").unlink()
    (folder / f"{stamps[1]}_event.npz").write_bytes(b"PK torn")
    (folder / f"{stamps[2]}_camera.png").write_bytes(b"torn")
    cv2.imwrite(str(folder / f"{stamps[3]}_labels.png"), np.full((36, 64), 20, np.uint8))
    findings = check_split(tmp_path / "data", "train", bar=False)
    for sentences, places in (
        (findings.fatal, [f"{stamps[0]}_lidar.npz", f"{stamps[3]}_labels.png"]),
        (findings.torn, [f"{stamps[1]}_event.npz", f"{stamps[2]}_camera.png"]),
    ):
        assert [str(folder / place) in sentence for place, sentence in zip(places, sentences, strict=True)] == [
            True
        ] * 2
    about = json.loads((folder / "drive.json").read_text())
    (folder / "drive.json").write_text(json.dumps(about | {"window_ns": 50 * MS}))
    with pytest.raises(DatasetError, match="windows of 50 ms of events, the encoding 'default' wants 30"):
        check_split(tmp_path / "data", "train", bar=False)
    (folder / "drive.json").write_text("{}")
    with pytest.raises(DatasetError, match="drive.json is no description"):
        check_split(tmp_path / "data", "train", bar=False)


def test_labels_are_checked_before_anything_is_extracted(tmp_path):
    bag = write_bag(tmp_path / "bag", 0.5)
    save_rig(small_rig(), tmp_path / "rig.yaml")
    plan = ExtractPlan(bag, tmp_path / "labels", tmp_path / "rig.yaml", tmp_path / "data")
    path = write_labels(tmp_path / "labels", [START_NS]) / f"{START_NS}.png"
    for image, sentence in (
        (np.zeros((8, 8), np.uint8), r"is 8x8 \(height x width\), the camera \(36, 64\)"),
        (np.full((36, 64), 19, np.uint8), r"holds labels \[19\]; classes are 0 to 18"),
        (np.zeros((36, 64, 3), np.uint8), "no 8-bit grey image"),
    ):
        cv2.imwrite(str(path), image)
        with pytest.raises(DatasetError, match=sentence):
            extract(plan, bar=False)
    assert not (tmp_path / "data").exists()
    with pytest.raises(DatasetError, match="do not sum to 1"):
        ExtractPlan(bag, path.parent, tmp_path / "rig.yaml", tmp_path / "data", shares=(0.5, 0.2, 0.1))
    with pytest.raises(DatasetError, match="without slashes"):
        ExtractPlan(bag, path.parent, tmp_path / "rig.yaml", tmp_path / "data", drive="../x")


def test_labels_by_name_or_by_table(tmp_path):
    folder = write_labels(tmp_path / "labels", [5, 9])
    assert find_labels(folder) == {5: folder / "5.png", 9: folder / "9.png"}
    (folder / "a.png").write_bytes((folder / "5.png").read_bytes())
    with pytest.raises(DatasetError, match="'a' is no stamp"):
        find_labels(folder)
    table = folder / "stamps.csv"
    table.write_text("name,stamp_ns\na.png,123\n9.png,124\n")
    assert find_labels(folder) == {123: folder / "a.png", 124: folder / "9.png"}
    table.write_text("a.png,123\n9.png,123\n")
    with pytest.raises(DatasetError, match="have one stamp"):
        find_labels(folder)
    table.write_text("a.png\n")
    with pytest.raises(DatasetError, match="expected name,stamp_ns"):
        find_labels(folder)
    with pytest.raises(DatasetError, match="holds no label images"):
        find_labels(tmp_path)


def test_payloads_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(2)
    depth = rng.random((5, 7), dtype=np.float32)
    depth[0, 0] = np.nan
    wide = random_cloud(rng)
    wide = replace(wide, xyz=wide.xyz.astype(np.float64), intensity=wide.intensity.astype(np.uint8))
    for name, payload in (
        ("depth", depth), ("lidar", random_cloud(rng)), ("lidar", wide), ("camera", random_image(rng)),
        ("event", random_events(rng, START_NS, START_NS + 30 * MS)),
    ):  # fmt: skip
        path = tmp_path / SUFFIX[name]
        write_payload(path, payload)
        again = read_payload(path)
        assert type(again) is type(payload)
        pairs = [(again, payload)] if isinstance(payload, np.ndarray) else []
        pairs += [(getattr(again, f), getattr(payload, f)) for f in ("xyz", "intensity") if name == "lidar"]
        pairs += [(getattr(again, f), getattr(payload, f)) for f in ("x", "y", "t_ns", "p") if name == "event"]
        for one, other in pairs:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        assert name != "event" or (again.width, again.height) == (32, 18)


def test_splits_are_whole_blocks_of_time():
    """Nine samples in the first tenth of the time do not move the borders, which are at 70 and 85 percent."""
    times = [*range(9), 60, 69, 70, 84, 85, 99, 100]
    samples = [{"stamp_ns": START_NS + t} for t in times]
    split_by_time(samples, (0.7, 0.15, 0.15))
    assert [s["split"] for s in samples] == ["train"] * 11 + ["val"] * 2 + ["test"] * 3
    split_by_time(samples, (0.5, 0.0, 0.5))
    assert [s["split"] for s in samples] == ["train"] * 9 + ["test"] * 7
    one = [{"stamp_ns": START_NS}]
    split_by_time(one, (0.0, 0.0, 1.0))
    assert one[0]["split"] == "test"


def test_a_class_list_of_ones_own(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("road: [128, 64, 128]\nsky: [70, 130, 180]\n")
    assert load_classes(path).names == ("road", "sky") and load_classes(path).palette[1] == (70, 130, 180)
    for text, sentence in (
        ("- road\n", "has no attribute"),
        ("road: [1, 2, 3]\nroad: [7, 8, 9]\n", "'road' is there twice"),
        ("road: [1, 2, 999]\n", "'road' has the colour .1, 2, 999.; expected whole numbers"),
        ("road: [1, 2, 2.5]\n", "'road' has the colour"),
    ):
        path.write_text(text)
        with pytest.raises(DatasetError, match=f"classes.yaml is no list of classes.*{sentence}"):
            load_classes(path)
