# SPDX-License-Identifier: Apache-2.0
"""Replay: drops change the subsets as they say, outputs never go back, and the command explains itself."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from bag_kit import MS, START_NS, random_image, small_rig, tiny_checkpoint, write_bag

from anyseg_ros.bags.drops import FOREVER_NS, Drop, parse_drops
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import GroundTruth, answers, virtual_time
from anyseg_ros.bags.report import Tally, percentiles, table
from anyseg_ros.cli import main
from anyseg_ros.modality import Modality
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.messages import image_from
from anyseg_ros.sensors.rig import save_rig
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import Measurement

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Paths of a rig, a checkpoint and a bag of eight seconds."""
    folder = tmp_path_factory.mktemp("kit")
    save_rig(small_rig(), folder / "rig.yaml")
    tiny_checkpoint(folder / "tiny.safetensors")
    write_bag(folder / "bag", 8.0)
    write_bag(folder / "short", 0.6)
    return folder


@pytest.fixture(scope="module")
def once(kit):
    """The answers of a replay, made once for the same drops."""
    return functools.lru_cache(lambda *drops: replayed(kit, *drops))


def replayed(kit, *drops):
    """The answers of a replay."""
    rig = small_rig()
    pipeline = Pipeline(rig, kit / "tiny.safetensors", device="cpu", threads=1)
    with BagReader(kit / "bag") as reader:
        return list(
            answers(reader, pipeline, Synchronizer(timings_from_rig(rig, pipeline.encoding)), parse_drops(drops, rig))
        )


def stamps(found):
    return [a.segmentation.stamp_ns for a in found]


def test_drops_are_read():
    rig = small_rig()
    assert parse_drops(["lidar@4-8"], rig) == (Drop("lidar", 4 * SECOND, 8 * SECOND),)
    assert parse_drops(["L@0.5-1.25,camera"], rig) == (Drop("lidar", SECOND // 2, 5 * SECOND // 4), Drop("camera"))
    assert parse_drops(["EL@2-"], rig) == (Drop("lidar", 2 * SECOND), Drop("event", 2 * SECOND))
    assert parse_drops([], rig) == ()
    assert Drop("lidar", 4, 8).covers("lidar", 4) and not Drop("lidar", 4, 8).covers("lidar", 8)
    assert not Drop("lidar").covers("camera", 5) and Drop("lidar").end_ns == FOREVER_NS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lidar@8-4", "ends before it begins"),
        ("lidar@now", "write sensor@from-to"),
        ("lidar@", "write sensor@from-to"),
        ("radar@1-2", r"'radar' is no sensor of rig 'small'.*lidar \(L\)"),
        ("D", "'D' is no sensor"),
        ("@1-2", "'' is no sensor"),
    ],
)
def test_drops_that_cannot_be_read(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_drops([text], small_rig())


def test_everything_is_answered_and_uses_everything(once):
    found = once()
    subsets = [a.segmentation.subset for a in found]
    assert len(found) >= 79, "a camera at 10 Hz for 8 s"
    assert subsets[5:-2] == ["CEL"] * (len(subsets) - 7)
    assert np.diff(stamps(found)).tolist() == [100 * MS] * (len(found) - 1)


def test_drops_change_the_subsets(once):
    found = once("lidar@2-4", "camera@5-7")
    since = [(a.segmentation.stamp_ns - START_NS) / SECOND for a in found]
    by_time = {round(t, 3): a.segmentation.subset for t, a in zip(since, found, strict=True)}
    between = lambda begin, end: {s for t, s in by_time.items() if begin < t < end}  # noqa: E731
    assert between(0.6, 1.8) == {"CEL"}
    assert between(2.4, 3.8) == {"CE"}, "the lidar is silent"
    assert between(4.5, 4.9) == {"CEL"}, "it is back"
    assert between(5.4, 6.9) == {"EL"}, "the camera is silent and the lidar sets the pace"
    assert between(7.6, 7.9) == {"CEL"}
    assert (np.diff(stamps(found)) > 0).all()
    assert np.diff(stamps(found)).max() < 300 * MS, "under three periods after the reference was cut"
    reference = {a.frame_set.reference for a, t in zip(found, since, strict=True) if 5.4 < t < 6.9}
    assert reference == {"lidar"}


def test_events_alone(kit):
    found = replayed(kit, "camera", "lidar")
    assert {a.segmentation.subset for a in found} == {"E"} and len(found) >= 75
    assert (np.diff(stamps(found)) > 0).all()


def test_replay_is_deterministic(kit, once):
    one, two = once("lidar@2-4", "camera@5-7"), replayed(kit, "lidar@2-4", "camera@5-7")
    assert stamps(one) == stamps(two)
    assert all(np.array_equal(a.segmentation.labels, b.segmentation.labels) for a, b in zip(one, two, strict=True))


def test_virtual_time_ends_where_deadlines_lie_in_the_past():
    class Stubborn:
        """A synchroniser whose deadline does not move until time has passed it by 3 ns."""

        def __init__(self):
            self.times = []

        @property
        def open_sets(self):
            return int(not self.times or self.times[-1] < 13)

        def next_deadline_ns(self):
            return 10 if self.open_sets else None

        def advance(self, now_ns):
            self.times.append(now_ns)
            return []

        def add(self, measurement, now_ns):
            return [measurement]

    stubborn, late = Stubborn(), Measurement("a", Modality.CAMERA, 1, None)
    assert list(virtual_time([(5, late)], stubborn)) == [late]
    assert stubborn.times == [10, 11, 12, 13]


def test_after_a_jump_of_the_stamps_no_picture_counts_as_a_repetition(kit):
    """A bag of one short lap after another: what stood before the jump is forgotten."""
    rig, rng = small_rig(), np.random.default_rng(0)
    pipeline = Pipeline(rig, kit / "tiny.safetensors", device="cpu", threads=1)
    still, *others = (random_image(rng) for _ in range(9))
    lap = [*others, still, still]
    laps = [
        (
            START_NS + lap_ns + i * 100 * MS,
            Measurement("camera", Modality.CAMERA, START_NS + back_ns + i * 100 * MS, image),
        )
        for lap_ns, back_ns, images in ((0, 0, lap), (len(lap) * 100 * MS, -60 * SECOND, [still, *others]))
        for i, image in enumerate(images)
    ]
    reader = SimpleNamespace(measurements=lambda rig: iter(laps), start_ns=START_NS)
    found = list(answers(reader, pipeline, Synchronizer(timings_from_rig(rig, pipeline.encoding))))
    after = [a for a in found if a.frame_set.stamp_ns < START_NS]
    assert len(found) >= len(laps) - 1 and len(after) >= len(others)
    assert after[0].frame_set.stamp_ns == START_NS - 60 * SECOND
    assert all(a.segmentation is not None for a in found), [a.stack.problems for a in found if not a.segmentation]


def test_ground_truth_by_time(kit):
    with BagReader(kit / "bag") as reader:
        truth = GroundTruth(reader)
        assert truth.available
        assert truth.at(START_NS).shape == (36, 64)
        assert truth.at(START_NS + 52 * MS) is not None and truth.at(START_NS + 75 * MS) is None
        assert truth.at(START_NS + 7 * SECOND) is not None and truth.at(START_NS + 20 * SECOND) is None


def test_percentiles_and_empty_tally():
    assert percentiles([]) == {"p50": None, "p99": None}
    assert percentiles([1.0, 2.0, 3.0])["p50"] == 2.0
    summary = Tally(3).summary()
    assert summary["frames_due"] == 0 and summary["longest_gap_s"] is None and summary["subsets"] == {}
    assert table(summary).startswith("subset")


def command(kit, out, *more, bag="bag"):
    return main(
        ["replay", str(kit / bag), "--out", str(out), "--rig", str(kit / "rig.yaml"),
         "--checkpoint", str(kit / "tiny.safetensors"), "--device", "cpu", *more]
    )  # fmt: skip


def test_the_command_writes_bag_pictures_and_summary(kit, tmp_path, capsys):
    assert command(kit, tmp_path / "out", "--drop", "lidar@2-4", "camera@5-7") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames_due"] == summary["frames_out"] and summary["stamps_strictly_increasing"]
    assert set(summary["subsets"]) >= {"CEL", "CE", "EL"}
    for row in summary["subsets"].values():
        assert row["frames"] > 0 and 0 <= row["miou"] <= 100
    assert summary["absences"]["lidar"] and summary["longest_gap_s"] < 0.3
    assert summary["device"] == "cpu" and summary["drops"] == ["lidar@2-4", "camera@5-7"]
    for picture in summary["pictures"]:
        assert (tmp_path / "out" / picture).stat().st_size > 1000
    assert "CEL" in capsys.readouterr().out
    with BagReader(tmp_path / "out" / "segmentation") as reader:
        counts = reader.counts()
        assert set(counts.values()) == {summary["frames_out"]}
        labels = [m for _, _, m in reader.messages(["/segmentor/output/labels"])]
        info = reader.first_message("/segmentor/output/camera_info")
    first = labels[0]
    assert (first.encoding, first.header.frame_id) == ("mono8", "camera_optical_frame")
    assert (info.width, info.height) == (first.width, first.height) == (64, 32)
    sec = [m.header.stamp.sec * SECOND + m.header.stamp.nanosec for m in labels]
    assert (np.diff(sec) > 0).all()


def test_labels_in_the_bag_are_the_pipelines(kit, once, tmp_path):
    assert command(kit, tmp_path / "out") == 0
    found = once()
    with BagReader(tmp_path / "out" / "segmentation") as reader:
        written = [np.asarray(m.data).reshape(m.height, m.width) for _, _, m in reader.messages(
            ["/segmentor/output/labels"])]  # fmt: skip
        assert image_from(reader.first_message("/segmentor/output/overlay")).shape == (32, 64, 3)
    # The written rig goes through text, and the bag's calibration through quaternions: a pixel may tip over.
    same = np.mean([np.mean(a == b.segmentation.labels) for a, b in zip(written, found, strict=True)])
    assert same > 0.999


def test_wrong_input_gets_one_sentence_and_exit_2(kit, tmp_path, capsys):
    def fails(*argv):
        assert main([str(a) for a in argv]) == 2
        err = capsys.readouterr().err.strip()
        assert "Traceback" not in err and len(err.splitlines()) == 1
        return err

    base = ["--out", tmp_path / "o", "--rig", kit / "rig.yaml", "--checkpoint", kit / "tiny.safetensors"]
    assert "there is no bag at" in fails("replay", tmp_path / "none", *base)
    assert "'sonar' is no sensor" in fails("replay", kit / "bag", *base, "--drop", "sonar")
    assert "rig file" in fails("replay", kit / "bag", "--out", tmp_path / "o", "--rig", tmp_path / "no.yaml")
    assert "checkpoint" in fails(
        "replay", kit / "bag", "--out", tmp_path / "o", "--rig", kit / "rig.yaml", "--checkpoint", tmp_path / "no"
    )
    assert not (tmp_path / "o").exists(), "nothing is written before the input is known to be good"
    assert command(kit, tmp_path / "out", bag="short") == 0
    capsys.readouterr()
    assert command(kit, tmp_path / "out", bag="short") == 2
    assert "--force" in capsys.readouterr().err
    assert command(kit, tmp_path / "out", "--force", bag="short") == 0


def test_a_replay_without_an_answer_says_why(kit, tmp_path, capsys):
    assert command(kit, tmp_path / "out", "--drop", "CEL", bag="short") == 1
    assert "nothing was answered" in capsys.readouterr().err
