# SPDX-License-Identifier: Apache-2.0
"""DELIVER: four modalities, 25 classes, conditions from exact path components; from files to a report of 15 subsets."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
from anyseg_training.check import check_split
from anyseg_training.cli import main
from anyseg_training.data import Normaliser, Pack, PackError, TrainingBatches, conditions_of
from anyseg_training.deliver import DELIVER_CLASSES, NO_CORNER, Shot, find_shots
from anyseg_training.fitting import load_fitting
from anyseg_training.muses import DatasetError
from anyseg_training.pack import make_pack
from anyseg_training.pictures import DELIVER, on_grid, picture_grid
from bag_kit import small_rig
from tiny_deliver import SCENES, SIDE, write_tiny_deliver

from anyseg_ros.model.checkpoint import CheckpointError, CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.presets import PRESETS

GRID = (SIDE, SIDE)
FOUR = ["camera", "depth", "event", "lidar"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_deliver(tmp_path_factory.mktemp("deliver"))


@pytest.fixture(scope="module")
def packs(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs")
    for split in ("train", "val"):
        assert make_pack(dataset, split, GRID, out / split, workers=1, bar=False) == {"samples": 8}
    return out


def checkpoint(path, pack: Pack):
    torch.manual_seed(0)
    model = AnySeg(AnySegConfig(len(pack.index["classes"]), "b0-half", 16))
    meta = CheckpointMeta(
        asdict(model.config), pack.index["classes"], pack.index["palette"], pack.modalities, pack.index["encoding"],
        pack.normalisation, list(pack.grid), encoding_parameters=pack.index["encoding_parameters"],
    )  # fmt: skip
    save_checkpoint(path, model, meta)
    return path


def test_conditions_come_from_whole_parts_of_the_path(dataset):
    assert [(shot.weather, shot.corner) for shot in find_shots(dataset, "val")[::2]] == [
        ("cloud", NO_CORNER), ("night", "motionblur"), ("rain", "eventlowres"), ("sun", "lidarjitter"),
    ]  # fmt: skip
    # A drive whose name holds the name of another condition is not of that condition.
    assert Shot("sun", "val", "MAP_1_point2", "cloudy_motionblur").corner == NO_CORNER
    assert Shot("rain", "val", "night_MAP_1_point2_sunflare", "0").corner == "sunflare"


def test_a_root_of_any_name_changes_no_condition(tmp_path):
    pack_of = tmp_path / "img_night_motionblur"
    write_tiny_deliver(pack_of / "data", ("val",), frames=1)
    make_pack(pack_of / "data", "val", GRID, pack_of / "out", workers=1, bar=False)
    found = [conditions_of(sample) for sample in Pack(pack_of / "out").samples]
    assert found == [[w, p.partition("_point")[2].partition("_")[2] or NO_CORNER] for w, p in SCENES]


def test_labels_and_pictures_of_a_pack(dataset, packs):
    """At the pictures' own size everything is what the files hold: class id plus one, 0 and 255 for none."""
    pack = Pack(packs / "val")
    assert pack.modalities == FOUR and pack.encoding is DELIVER
    assert pack.index["classes"] == list(DELIVER_CLASSES.names) and len(pack.index["palette"]) == 25
    for i, shot in enumerate(find_shots(dataset, "val")):
        images, labels = pack.raw(i)
        ids = cv2.imread(str(shot.file(dataset, "semantic", "semantic")), cv2.IMREAD_UNCHANGED)[..., 2]
        np.testing.assert_array_equal(labels, np.where(np.isin(ids, (0, 255)), 255, ids.astype(int) - 1))
        for name, folder, what in zip(
            FOUR, ("img", "hha", "event", "lidar"), ("rgb", "depth", "event", "lidar"), strict=True
        ):
            bgr = cv2.imread(str(shot.file(dataset, folder, what)))
            if bgr.shape[0] != SIDE:
                bgr = np.kron(bgr, np.ones((2, 2, 1), np.uint8))
            np.testing.assert_allclose(images[name], bgr[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)
    assert {len(np.load(packs / "val" / f"{name}.npy").dtype.str) for name in FOUR} == {3}
    assert all(np.load(packs / "val" / f"{name}.npy").dtype == np.uint8 for name in FOUR)


def test_smaller_grids_average_pictures_and_keep_the_nearest_return():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[0, 0], picture[1, 1], picture[2:, 2:] = 200, 40, 255
    grid = picture_grid(2, 2, (4, 4), "letterbox")
    np.testing.assert_allclose(on_grid(picture, grid, "mean")[0] * 255, [[60, 0], [0, 255]], atol=0.5)
    np.testing.assert_allclose(on_grid(picture, grid, "nearest")[2] * 255, [[40, 0], [0, 255]], atol=1e-4)
    np.testing.assert_allclose(on_grid(picture.astype(np.float32), grid, "sum")[1], [[240, 0], [0, 1020]])
    finer = picture_grid(8, 8, (4, 4), "letterbox")
    expected = np.kron(picture[..., 0], np.ones((2, 2)))
    np.testing.assert_allclose(on_grid(picture, finer, "nearest")[0] * 255, expected, atol=1e-4)


def test_training_batches_move_all_four_alike_and_vary_the_camera_alone(packs):
    pack = Pack(packs / "train")
    neutral = {name: {"mean": [0.0] * 3, "std": [1.0] * 3} for name in FOUR}
    batches = TrainingBatches(pack, Normaliser(FOUR, neutral), 8, 1.6, 0)
    batch = batches(0)
    assert batch.images.shape == (8, 4, 3, *GRID) and batch.present.all()
    for draw in range(8):
        i = batches.sample_index(draw)
        images, labels = pack.raw(i)
        moved = batch.labels[draw].numpy()
        for m, name in enumerate(FOUR[1:], 1):  # each class has its own value in a sample, wherever it went
            for k in np.unique(moved[moved != 255]):
                assert set(np.unique(batch.images[draw, m, 0][moved == k])) <= set(
                    np.unique(images[name][0][labels == k])
                )
    assert (
        np.abs(batch.images[:, 0].numpy() - [pack.raw(batches.sample_index(d))[0]["camera"] for d in range(8)]).max()
        > 0
    )


def test_every_file_of_the_split_is_checked_by_path(tmp_path, capsys):
    root = write_tiny_deliver(tmp_path)
    assert main(["pack", "--data", str(root), "--split", "val", "--check"]) == 0
    assert "40 files: 0 missing or unusable, 0 broken" in capsys.readouterr().out
    shots = find_shots(root, "val")
    shots[0].file(root, "hha", "depth").unlink()
    shots[1].file(root, "lidar", "lidar").write_bytes(b"\x89PNG but no more")
    cv2.imwrite(str(shots[2].file(root, "lidar", "lidar")), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(shots[3].file(root, "semantic", "semantic")), np.full((SIDE, SIDE), 26, np.uint8))
    cv2.imwrite(str(shots[4].file(root, "semantic", "semantic")), np.zeros((9, 9), np.uint8))
    findings = check_split(root, "val", bar=False)
    assert findings.files == 40 and len(findings.fatal) == 3 and len(findings.torn) == 2
    for sentence, (number, folder, what) in zip(
        [*findings.fatal, *findings.torn],
        [
            (0, "hha", "depth"),
            (3, "semantic", "semantic"),
            (4, "semantic", "semantic"),
            (1, "lidar", "lidar"),
            (2, "lidar", "lidar"),
        ],
        strict=True,
    ):
        assert str(shots[number].file(root, folder, what)) in sentence
    with pytest.raises(DatasetError, match="no picture of split 'test'"):
        check_split(root, "test")
    with pytest.raises(DatasetError, match="DELIVER has no choice of encoding"):
        make_pack(root, "val", GRID, tmp_path / "out", encoding=PRESETS["muses_sdk"])


def test_a_broken_picture_costs_its_own_sensor(tmp_path):
    root = write_tiny_deliver(tmp_path / "data", ("val",))
    find_shots(root, "val")[0].file(root, "event", "event").write_bytes(b"no picture")
    counts = make_pack(root, "val", GRID, tmp_path / "out", workers=1, bar=False)
    pack = Pack(tmp_path / "out")
    assert counts == {"samples": 8, "event rejected": 1}
    assert not pack.present[0, 2] and pack.present.sum() == 31


def test_a_report_has_15_subsets_and_every_condition(packs, tmp_path):
    path = checkpoint(tmp_path / "net.safetensors", Pack(packs / "val"))
    arguments = ["--pack", str(packs / "val"), "--train-pack", str(packs / "train"), "--out", str(tmp_path / "scores")]
    assert main(["evaluate", "--checkpoint", str(path), *arguments]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["miou"]) == 15 and list(scores["miou"])[-1] == "CDEL" and len(scores["classes"]) == 25
    assert set(scores["by_condition"]) == {
        "all", "cloud", "night", "rain", "sun", NO_CORNER, "motionblur", "eventlowres", "lidarjitter",
    }  # fmt: skip
    assert scores["drives"] == 4
    whole = np.array(scores["confusion"]["CDEL"])
    labelled = sum(int((Pack(packs / "val").labels[i] != 255).sum()) for i in range(8))
    assert whole.sum() == labelled
    table = (tmp_path / "scores.md").read_text()
    assert "AnySeg (published) | DELIVER val" in table and "| TwoWheeler |" in table


def test_a_network_of_pictures_runs_on_nothing_else(packs, tmp_path):
    pack = Pack(packs / "val")
    path = checkpoint(tmp_path / "net.safetensors", pack)
    with pytest.raises(CheckpointError, match="pictures of the dataset 'deliver', which no sensor delivers"):
        Pipeline(small_rig(), path, device="cpu")
    shutil.copytree(packs / "val", tmp_path / "pack")
    index = tmp_path / "pack/index.json"
    index.write_text(json.dumps(pack.index | {"encoding": "0"}))
    with pytest.raises(PackError, match="another version drew them"):
        Pack(tmp_path / "pack")
    other = PRESETS["default"]
    changed = {"encoding": other.fingerprint, "encoding_parameters": other.parameters()}
    index.write_text(json.dumps(pack.index | changed))
    with pytest.raises(PackError, match="trained on another encoding"):
        load_fitting(path, Pack(tmp_path / "pack"))
