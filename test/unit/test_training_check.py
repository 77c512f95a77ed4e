# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a dataset is said before training, by path."""

from __future__ import annotations

import json

import cv2
import numpy as np
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
