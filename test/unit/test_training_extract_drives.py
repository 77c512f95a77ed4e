# SPDX-License-Identifier: Apache-2.0
"""Drives of one dataset: an interrupted one is none, and those that are beside each other are alike."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from anyseg_training.cli import main
from anyseg_training.data import Pack
from anyseg_training.extract import ExtractPlan, SampleWriter, extract
from anyseg_training.muses import DatasetError
from anyseg_training.pack import make_pack
from bag_kit import GRID, MS, START_NS, small_rig, write_bag

from anyseg_ros.sensors.rig import save_rig
from anyseg_ros.types import Twist

STAMPS = [START_NS + k * 100 * MS for k in range(3, 9)]


@pytest.fixture
def plan(tmp_path):
    """Six labelled pictures of a drive of a second, with odometry."""
    twists = [Twist(START_NS + t * MS, np.array([9.0, 0.0, 0.0]), np.zeros(3)) for t in range(0, 1000, 20)]
    save_rig(small_rig(), tmp_path / "rig.yaml")
    (tmp_path / "labels").mkdir()
    for k, stamp in enumerate(STAMPS):
        cv2.imwrite(str(tmp_path / f"labels/{stamp}.png"), np.full((36, 64), k, np.uint8))
    bag = write_bag(tmp_path / "bag", 1.0, odometry=tuple(twists))

    def made(drive: str, **options) -> ExtractPlan:
        return ExtractPlan(
            bag, tmp_path / "labels", tmp_path / "rig.yaml", tmp_path / "data", drive, (1.0, 0.0, 0.0), **options
        )

    return made


def test_an_interrupted_extract_leaves_no_drive_and_begins_anew(plan, tmp_path, monkeypatch):
    whole = extract(plan("whole"), bar=False)
    write, written = SampleWriter._write, []

    def interrupted(self, stamp, taken):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(stamp)
        return write(self, stamp, taken)

    monkeypatch.setattr(SampleWriter, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(plan("half"), bar=False)
    monkeypatch.undo()
    half = tmp_path / "data/half"
    assert len(list(half.glob("*_labels.png"))) == 3 and not (half / "drive.json").exists()
    make_pack(tmp_path / "data", "train", GRID, tmp_path / "pack", 1, False)
    assert {sample["drive"] for sample in Pack(tmp_path / "pack").samples} == {"whole"}
    again = extract(plan("half"), bar=False)
    assert again.samples == whole.samples and len(again.samples) == len(STAMPS)
    names = sorted(path.name for path in (tmp_path / "data/whole").iterdir())
    assert sorted(path.name for path in half.iterdir()) == names
    make_pack(tmp_path / "data", "train", GRID, tmp_path / "both", 1, False)
    both = Pack(tmp_path / "both")
    assert [sample["drive"] for sample in both.samples] == ["half"] * 6 + ["whole"] * 6
    for array in (both.labels, *both.arrays.values()):
        np.testing.assert_array_equal(array[:6], array[6:])


def test_drives_with_and_without_motion_are_not_mixed(plan, tmp_path):
    extract(plan("moved", odometry="/odometry"), bar=False)
    make_pack(tmp_path / "data", "train", GRID, tmp_path / "moved", 1, False)
    assert Pack(tmp_path / "moved").index["motion_compensated"] is True
    extract(plan("still"), bar=False)
    with pytest.raises(DatasetError, match="data/moved was extracted with --odometry and .*data/still without"):
        make_pack(tmp_path / "data", "train", GRID, tmp_path / "mixed", 1, False)
    (tmp_path / "data/moved/drive.json").unlink()
    make_pack(tmp_path / "data", "train", GRID, tmp_path / "still", 1, False)
    assert "motion_compensated" not in Pack(tmp_path / "still").index


def test_a_rig_whose_lidar_no_bag_has_is_packed(plan, tmp_path):
    extract(plan("drive"), bar=False)
    path = tmp_path / "data/drive/drive.json"
    about = json.loads(path.read_text())
    for sample in about["samples"]:
        sample["present"].remove("lidar")
        sample["absent"]["lidar"] = ["never_seen", ""]
    path.write_text(json.dumps(about))
    counts = make_pack(tmp_path / "data", "train", GRID, tmp_path / "pack", 1, False)
    assert counts == {"samples": 6, "lidar never_seen": 6}
    assert sorted(Pack(tmp_path / "pack").index["normalisation"]) == ["camera", "event"]


def test_the_total_is_no_condition(plan, tmp_path, capsys):
    with pytest.raises(DatasetError, match="'all' is no condition: reports name the total"):
        plan("drive", conditions=("night", "all"))
    made = plan("drive")
    assert main(
        ["extract", "--bag", str(made.bag), "--labels", str(made.labels), "--rig", str(made.rig),
         "--out", str(made.out), "--conditions", "all"]
    ) == 2  # fmt: skip
    assert "'all' is no condition" in capsys.readouterr().err and not made.out.exists()
