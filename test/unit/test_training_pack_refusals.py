# SPDX-License-Identifier: Apache-2.0
"""What no pack is made of, and which packs are refused: old data for new, labels that are no class, damaged files."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from anyseg_training.cli import main
from anyseg_training.data import Normaliser, Pack, PackError, TrainingBatches
from anyseg_training.muses import DatasetError, read_scenes
from anyseg_training.pack import make_pack
from tiny_muses import CAMERA_SIZE, pack_of, write_drawn, write_tiny_muses

GRID = (32, 48)
FULL = CAMERA_SIZE[::-1]
TINY = ["steps=1", "batch=2", "backbone=b0-half", "head_width=16", "device=cpu"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_muses(tmp_path_factory.mktemp("muses"), {"train": 3, "val": 2})


@pytest.fixture(scope="module")
def packed(dataset, tmp_path_factory):
    return pack_of(dataset, tmp_path_factory.mktemp("pack") / "train", GRID)[0].root


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the pack, to be damaged."""
    return shutil.copytree(packed, tmp_path / "copy")


def with_labels(dataset, root, change) -> list:
    """A copy of the data set with other labels in its training split; returns their files."""
    shutil.copytree(dataset, root)
    paths = [scene.file(root, "gt_semantic", "gt_labelTrainIds.png") for scene in read_scenes(root, "train")]
    for path in paths:
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    return paths


def test_a_pack_is_resumed_from_its_own_dataset_only(dataset, tmp_path):
    """Other pictures of the same scenes, below another root or in another folder of drawn images, are other data."""
    other = write_tiny_muses(tmp_path / "other", {"train": 3, "val": 2}, seed=5)
    pack, _ = pack_of(dataset, tmp_path / "raw", GRID)
    with pytest.raises(
        PackError, match=rf"something else: data '.*' instead of '.*{other.name}'\. Remove it or choose"
    ):
        pack_of(other, tmp_path / "raw", GRID)
    assert str(dataset) not in (pack.root / "index.json").read_text(), "a pack may be moved"
    pack_of(dataset / "frame_camera/..", tmp_path / "raw", GRID)
    for folder in ("A", "B"):
        write_drawn(other, "npy", folder)
    drawn, _ = pack_of(other, tmp_path / "drawn", FULL, projected="A")
    assert drawn.index["projected"] == "A"
    with pytest.raises(PackError, match="something else: projected 'A' instead of 'B'. Remove it"):
        pack_of(other, tmp_path / "drawn", FULL, projected="B")


def test_a_torn_plan_is_named(dataset, tmp_path):
    (tmp_path / "plan.json").write_text('{"format"')
    with pytest.raises(PackError, match=r"plan.json is no plan of a pack .*remove its folder or choose another"):
        pack_of(dataset, tmp_path, GRID)


@pytest.mark.parametrize("projected", [None, "projected_to_rgb"])
def test_labels_that_are_no_class_are_not_packed(dataset, tmp_path, projected):
    paths = with_labels(dataset, tmp_path / "data", lambda labels: np.where(labels == 2, np.uint8(33), labels))
    write_drawn(tmp_path / "data", "npy")
    with pytest.raises(DatasetError, match=r"holds labels \[33\]; classes are 0 to 18") as refusal:
        pack_of(tmp_path / "data", tmp_path / "pack", FULL, projected=projected)
    assert str(paths[0]) in str(refusal.value)


def test_nothing_is_learnt_from_a_pack_without_labels(dataset, tmp_path, capsys):
    with_labels(dataset, tmp_path / "data", lambda labels: np.full_like(labels, 255))
    pack, _ = pack_of(tmp_path / "data", tmp_path / "pack", GRID)
    with pytest.raises(PackError, match="holds no pixel of any class, all labels are 255"):
        TrainingBatches(pack, Normaliser(pack.modalities, pack.normalisation), 2, 1.0, 0)
    assert main(["teacher", "--pack", str(pack.root), "--out", str(tmp_path / "run"), "--set", *TINY]) == 2
    assert f"{pack.root} holds no pixel of any class" in capsys.readouterr().err


def test_a_split_with_a_dead_sensor_is_scored_and_not_trained_on(dataset, packed, tmp_path, capsys):
    data = shutil.copytree(dataset, tmp_path / "data")
    for scene in read_scenes(data, "val"):
        scene.file(data, "lidar", "lidar.bin").write_bytes(b"")
    assert make_pack(data, "val", GRID, tmp_path / "val", 1, False) == {"samples": 2, "lidar blind": 2}
    pack = Pack(tmp_path / "val")
    assert sorted(pack.index["normalisation"]) == ["camera", "event"] and pack.modalities == [
        "camera",
        "event",
        "lidar",
    ]
    teacher = ["teacher", "--set", *TINY, "--pack"]
    assert main([*teacher, str(pack.root), "--out", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert f"{pack.root} has no normalisation of lidar" in error and "begin with a checkpoint that knows it" in error
    assert main([*teacher, str(packed), "--out", str(tmp_path / "run"), "--select-pack", str(pack.root)]) == 0
    known = str(tmp_path / "run/checkpoint.safetensors")
    assert main([*teacher, str(pack.root), "--out", str(tmp_path / "on"), "--init", known]) == 0
    assert main(["evaluate", "--checkpoint", known, "--pack", str(pack.root), "--out", str(tmp_path / "scores")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["samples"] == 2
    for scene in read_scenes(data, "val"):
        for folder, suffix in (("frame_camera", "frame_camera.png"), ("event_camera", "event_camera.h5")):
            scene.file(data, folder, suffix).write_bytes(b"torn")
    first = read_scenes(data, "val")[0]  # of the picture's size; black, so that it is blind
    cv2.imwrite(str(first.file(data, "frame_camera", "frame_camera.png")), np.zeros((*FULL, 3), np.uint8))
    with pytest.raises(PackError, match="no sample of split 'val' of .* has a usable payload of camera, event, lidar"):
        make_pack(data, "val", GRID, tmp_path / "nothing", 1, False)


@pytest.mark.parametrize("name", ["camera", "lidar", "labels", "present", "prior"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "torn header", "other samples"])
def test_damaged_arrays_are_named(copy, name, damage, capsys):
    path = copy / f"{name}.npy"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other samples":
        np.save(path, np.load(path)[:-1])
    else:
        path.write_bytes(content[: {"empty": 0, "short": len(content) - 5, "torn header": 20}[damage]])
    with pytest.raises(PackError) as refusal:
        Pack(copy)
    assert str(refusal.value).startswith(f"{path} is ") and "make it again" in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[:-10], r"index.json is no index of a pack \("),
        (lambda text: "[1]", r"index.json is no index of a pack \("),
        (lambda text: text.replace('"palette"', '"pallet"'), "index.json has no palette; pack again"),
        (
            lambda text: text.replace("[128, 64, 128]", "[128, 64, 999]"),
            r"index.json has .*'road' has the colour \(128",
        ),
        (lambda text: text.replace('"sky"', '"road"'), "index.json has .* 'road' is there twice"),
    ],
)
def test_damaged_indices_are_named(copy, change, sentence):
    index = copy / "index.json"
    index.write_text(change(index.read_text()))
    with pytest.raises(PackError, match=sentence) as refusal:
        Pack(copy)
    assert str(copy) in str(refusal.value)


def test_a_grid_that_no_network_takes_is_refused_before_anything_is_encoded(dataset, tmp_path, capsys):
    for grid in ("33x50", "16x32", "-32x48", "a"):
        with pytest.raises(SystemExit):
            main(["pack", "--data", str(dataset), f"--grid={grid}", "--out", str(tmp_path / "pack")])
        error = capsys.readouterr().err
        assert "both sides must be a multiple of 4 and at least 32 pixels" in error or grid == "a"
    assert not (tmp_path / "pack").exists()


def test_files_in_the_place_of_folders_are_named(dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["pack", "--data", str(dataset), "--grid", "32x48", "--out", str(tmp_path / "file")]) == 2
    assert f"anyseg-train pack: {tmp_path / 'file'}: File exists; check that" in capsys.readouterr().err
