# SPDX-License-Identifier: Apache-2.0
"""What a pack makes of files that are torn, blind or missing: as at run time, they cost their own sensor only."""

from __future__ import annotations

import json
import shutil

import cv2
import h5py
import numpy as np
import pytest
import torch
from anyseg_training.data import Normaliser, Pack, TrainingBatches
from anyseg_training.muses import DatasetError, read_scenes
from anyseg_training.pack import frozen_samples, make_pack
from anyseg_training.pictures import picture_grid
from anyseg_training.samples import digest_of, labels_on_grid
from tiny_muses import PACK_GRID, pack_of, write_tiny_muses

from anyseg_ros.model.segmentor import AnySeg, AnySegConfig


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_muses(tmp_path_factory.mktemp("muses"), {"train": 5, "val": 2})


@pytest.fixture
def damaged(dataset, tmp_path):
    """A copy of the data set, and the path of a sensor's file in a scene of its training split."""
    root = tmp_path / "data"
    shutil.copytree(dataset, root)
    scenes = read_scenes(root, "train")
    suffixes = {"frame_camera": "frame_camera.png", "lidar": "lidar.bin", "event_camera": "event_camera.h5"}
    suffixes["gt_semantic"] = "gt_labelTrainIds.png"
    return root, lambda number, folder: scenes[number].file(root, folder, suffixes[folder])


def test_blind_payloads_are_left_out_as_at_run_time(damaged, tmp_path):
    root, file = damaged
    file(1, "lidar").write_bytes(b"")
    cv2.imwrite(str(file(3, "frame_camera")), np.zeros((48, 64, 3), np.uint8))
    pack, counts = pack_of(root, tmp_path / "pack")
    assert counts == {"samples": 5, "lidar blind": 1, "camera blind": 1}
    np.testing.assert_array_equal(pack.present.sum(1), [3, 2, 3, 2, 3])
    assert [(a["modality"], a["reason"]) for a in pack.index["absent"]] == [("lidar", "blind"), ("camera", "blind")]
    assert pack.index["absent"][0]["scene"] == pack.samples[1]["scene"]


@pytest.mark.parametrize(
    ("folder", "name"), [("frame_camera", "camera"), ("lidar", "lidar"), ("event_camera", "event")]
)
def test_a_torn_file_costs_its_own_sensor_only(damaged, tmp_path, folder, name):
    root, file = damaged
    whole = file(2, folder).read_bytes()
    file(2, folder).write_bytes(whole[: len(whole) // 2 + 1])
    pack, counts = pack_of(root, tmp_path / "pack")
    assert counts == {"samples": 5, f"{name} rejected": 1}
    column = pack.modalities.index(name)
    assert not pack.present[2, column] and pack.present.sum() == 14


def test_a_torn_first_picture_costs_the_camera_of_that_sample_only(damaged, tmp_path):
    root, file = damaged
    file(0, "frame_camera").write_bytes(b"torn")
    pack, counts = pack_of(root, tmp_path / "pack")
    assert counts == {"samples": 5, "camera rejected": 1} and pack.present[0].tolist() == [False, True, True]
    for number in range(5):
        file(number, "frame_camera").write_bytes(b"torn")
    with pytest.raises(DatasetError, match="none of the 5 pictures"):
        pack_of(root, tmp_path / "none")


@pytest.mark.parametrize(
    "column", [np.zeros((3000, 2), np.uint16), np.zeros(3000), np.uint16(3), np.array([b"a"] * 3000)]
)
def test_event_columns_of_another_kind_cost_the_events_only(damaged, tmp_path, column):
    root, file = damaged
    with h5py.File(file(1, "event_camera"), "r+") as events:
        assert len(events["events/x"]) == 3000
        del events["events/x"]
        events["events/x"] = column
    assert pack_of(root, tmp_path / "pack")[1] == {"samples": 5, "event rejected": 1}


def test_labels_of_another_size_are_no_labels(damaged, tmp_path):
    root, file = damaged
    cv2.imwrite(str(file(1, "gt_semantic")), np.zeros((24, 32), np.uint8))
    with pytest.raises(DatasetError, match=r"scene REC.*TrainIds.png is 24x32 .height x width., the camera .48, 64."):
        pack_of(root, tmp_path / "pack")
    with pytest.raises(DatasetError, match="labels are 32 x 24 pixels, but the camera's pictures 64 x 48"):
        labels_on_grid(np.zeros((24, 32), np.uint8), picture_grid(*PACK_GRID, (48, 64), "stretch"))


def test_the_third_identical_picture_of_a_drive_is_frozen():
    drives = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "c", "c"]
    pictures = [1, 1, 1, 1, 1, 1, 2, 3, None, 3, 3]
    digests = [digest_of(None if kind is None else np.full((4, 4), kind)) for kind in pictures]
    assert frozen_samples([{"drive": drive} for drive in drives], np.array(digests)) == [2, 3, 10]


def test_frozen_pictures_are_left_out_however_the_work_was_shared(damaged, tmp_path):
    root, file = damaged
    meta = json.loads((root / "meta.json").read_text())
    numbers = {scene: i for i, scene in enumerate(sorted(k for k, v in meta.items() if v["split"] == "train"))}
    for old, number in numbers.items():  # one drive of five scenes
        new = f"REC0000_frame_{number:06d}"
        meta[new] = meta.pop(old)
        for path in root.rglob(f"{old}_*"):
            path.rename(path.with_name(path.name.replace(old, new)))
    (root / "meta.json").write_text(json.dumps(meta))
    scenes = read_scenes(root, "train")
    paths = [scene.file(root, "frame_camera", "frame_camera.png") for scene in scenes]
    for path in paths[1:4]:
        path.write_bytes(paths[0].read_bytes())
    for workers in (1, 2):
        counts = make_pack(root, "train", PACK_GRID, tmp_path / f"{workers}", workers=workers, bar=False)
        assert counts == {"samples": 5, "camera frozen": 2}
        assert Pack(tmp_path / f"{workers}").present[:, 0].tolist() == [True, True, False, False, True]


def test_what_is_absent_is_never_fed(damaged, tmp_path):
    """Absent modalities are masked, and a sample with nothing to see is not drawn."""
    root, file = damaged
    file(1, "lidar").write_bytes(b"")
    for folder in ("frame_camera", "lidar", "event_camera"):
        file(2, folder).write_bytes(b"torn")
    pack, counts = pack_of(root, tmp_path / "pack")
    assert counts == {
        "samples": 5, "lidar blind": 1, "camera rejected": 1, "event rejected": 1, "lidar rejected": 1
    }  # fmt: skip
    batches = TrainingBatches(pack, Normaliser(pack.modalities, pack.normalisation), 2, 1.5, 0)
    drawn = [batches.sample_index(draw) for draw in range(8)]
    assert sorted(drawn[:4]) == [0, 1, 3, 4] and sorted(drawn[4:]) == [0, 1, 3, 4]
    batch = batches(0)
    assert batch.present.tolist() == [pack.present[i].tolist() for i in drawn[:2]]
    torch.manual_seed(0)
    model = AnySeg(AnySegConfig(19, "b0-half", 16)).eval()
    lacking = torch.tensor([[True, True, False]])
    with torch.no_grad():
        images = batch.images[:1]
        answer = model(images, lacking)
        images[:, 2] = 1e3
        assert torch.equal(model(images, lacking), answer)


def test_missing_files_and_torn_labels_are_named(damaged, tmp_path):
    root, file = damaged
    for folder, damage in [
        ("frame_camera", lambda path: path.unlink()),
        ("lidar", lambda path: path.unlink()),
        ("event_camera", lambda path: path.unlink()),
        ("gt_semantic", lambda path: path.write_bytes(b"broken")),
    ]:
        path = file(1, folder)
        before = path.read_bytes()
        damage(path)
        with pytest.raises(DatasetError, match=path.name):
            make_pack(root, "train", PACK_GRID, tmp_path / folder, workers=1, bar=False)
        path.write_bytes(before)
