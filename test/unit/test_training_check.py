# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a dataset is said before training, by path; and the figures of scores."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from anyseg_training.check import check_split
from anyseg_training.cli import main
from anyseg_training.muses import read_scenes
from tiny_muses import CAMERA_SIZE, write_tiny_muses


def files_of(root, number: int) -> dict:
    scene = read_scenes(root, "train")[number]
    suffixes = {"frame_camera": "frame_camera.png", "lidar": "lidar.bin", "event_camera": "event_camera.h5"}
    return {f: scene.file(root, f, s) for f, s in (suffixes | {"gt_semantic": "gt_labelTrainIds.png"}).items()}


def test_a_sound_split_has_no_findings(tmp_path, capsys):
    root = write_tiny_muses(tmp_path, {"train": 3})
    assert main(["pack", "--data", str(root), "--check"]) == 0
    assert "12 files: 0 missing or unusable, 0 broken sensor files" in capsys.readouterr().out


def test_every_missing_and_broken_file_is_listed_with_its_path(tmp_path, capsys):
    root = write_tiny_muses(tmp_path, {"train": 5})
    files_of(root, 0)["frame_camera"].unlink()
    files_of(root, 2)["frame_camera"].write_bytes(b"\x89PNG but no more")
    files_of(root, 1)["lidar"].unlink()
    files_of(root, 2)["event_camera"].write_bytes(b"no hdf5")
    files_of(root, 3)["lidar"].write_bytes(b"x" * 50)
    cv2.imwrite(str(files_of(root, 3)["gt_semantic"]), np.full(CAMERA_SIZE[::-1], 77, np.uint8))
    cv2.imwrite(str(files_of(root, 4)["gt_semantic"]), np.zeros((8, 8), np.uint8))
    findings = check_split(root, "train", bar=False)
    assert findings.files == 20
    broken = [(2, "frame_camera"), (2, "event_camera"), (3, "lidar")]
    unusable = [(0, "frame_camera"), (1, "lidar"), (3, "gt_semantic"), (4, "gt_semantic")]
    for sentences, places in ((findings.torn, broken), (findings.fatal, unusable)):
        assert len(sentences) == len(places)
        for sentence, (number, folder) in zip(sentences, places, strict=True):
            assert str(files_of(root, number)[folder]) in sentence
    assert "holds labels [77]" in findings.fatal[2] and "is 8x8 (height x width)" in findings.fatal[3]
    assert main(["pack", "--data", str(root), "--check"]) == 2
    captured = capsys.readouterr()
    assert str(files_of(root, 1)["lidar"]) in captured.out and "4 files of" in captured.err


def test_a_calibration_without_an_entry_is_named(tmp_path, capsys):
    root = write_tiny_muses(tmp_path / "data", {"train": 1})
    calib = json.loads((root / "calib.json").read_text())
    for section, entry in (("intrinsics", "event"), ("intrinsics", "rgb"), ("extrinsics", "lidar2rgb")):
        lacking = {**calib, section: {k: v for k, v in calib[section].items() if k != entry}}
        (root / "calib.json").write_text(json.dumps(lacking))
        for more in (["--check"], ["--out", str(tmp_path / "pack"), "--workers", "1"]):
            assert main(["pack", "--data", str(root), *more]) == 2
            error = capsys.readouterr().err
            assert f"{root / 'calib.json'} is no calibration" in error and f"'{entry}'" in error


def scores(protocol: str = "skip") -> dict:
    subsets = ["C", "E", "L", "CE", "CL", "EL", "CEL"]
    return {
        "samples": 3, "split": "val", "protocol": protocol, "classes": ["road", "sky", "wall"], "prior_miou": 11.7,
        "miou": {s: 10.0 * k + 5 for k, s in enumerate(subsets)}, "miou_mean": 35.0,
        "iou_per_class": {s: [90.0, 10.0 * k, None] for k, s in enumerate(subsets)},
    }  # fmt: skip


def test_figures_are_drawn_and_only_from_what_can_be_compared(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install .[train])")
    for name in ("teacher", "student"):
        (tmp_path / f"{name}.json").write_text(json.dumps(scores()))
    (tmp_path / "noisy.json").write_text(json.dumps(scores("nm-low")))
    (tmp_path / "other.json").write_text("[]")
    files = [str(tmp_path / f"{name}.json") for name in ("teacher", "student")]
    assert main(["figures", "--scores", *files, "--out", str(tmp_path / "figures")]) == 0
    made = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert made == ["classes_student.png", "classes_teacher.png", "subsets.png"]
    assert all(cv2.imread(str(tmp_path / "figures" / name)).std() > 10 for name in made)
    assert main(["figures", "--scores", files[0], str(tmp_path / "noisy.json"), "--out", str(tmp_path)]) == 2
    assert "differ in protocol" in capsys.readouterr().err
    assert main(["figures", "--scores", str(tmp_path / "other.json"), "--out", str(tmp_path)]) == 2
    assert "no report of 'anyseg-train evaluate'" in capsys.readouterr().err
