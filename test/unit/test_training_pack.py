# SPDX-License-Identifier: Apache-2.0
"""From a tiny data set in the MUSES layout to a pack."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from anyseg_training.data import Normaliser, Pack, PackError, TrainingBatches
from anyseg_training.muses import DatasetError, read_measurements, read_rig, read_scenes
from anyseg_training.pack import label_statistics, make_pack, statistics
from anyseg_training.samples import SampleEncoder, labels_on_grid
from tiny_muses import EXPOSURE_END_US, PACK_GRID, pack_of, write_tiny_muses

from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import DEFAULT, PRESETS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_muses(tmp_path_factory.mktemp("muses"), {"train": 5, "val": 2})


@pytest.fixture(scope="module")
def packed(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("pack")
    make_pack(dataset, "train", PACK_GRID, out, workers=1, bar=False)
    return Pack(out)


def test_index_says_what_the_pack_is(packed):
    assert len(packed) == 5
    assert packed.index["encoding"] == DEFAULT.fingerprint
    assert packed.index["encoding_parameters"] == DEFAULT.parameters()
    assert packed.grid == PACK_GRID
    assert packed.modalities == ["camera", "event", "lidar"]
    assert [s["drive"] for s in packed.samples] == ["REC0000", "REC0000", "REC0001", "REC0001", "REC0002"]
    assert {(s["weather"], s["time_of_day"]) for s in packed.samples} == {("clear", "day"), ("fog", "night")}
    assert packed.present.all()


def test_images_are_the_encoders_own(dataset, packed):
    scene = read_scenes(dataset, "train")[3]
    rig = read_rig(dataset, scene)
    data = read_measurements(dataset, scene, rig)
    assert data.torn == {} and data.reference_ns == EXPOSURE_END_US * 1000
    encoder = Encoder(rig, *PACK_GRID)
    images, labels = packed.raw(3)
    for name, image in images.items():
        expected = encoder(data.measurements[name], data.reference_ns).image
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(image, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(np.unique(labels), [0, 2, 10, 255])


def test_lidar_intensity_reaches_zero_to_one(packed):
    intensity = np.concatenate([packed.raw(i)[0]["lidar"][1].ravel() for i in range(5)])
    assert 0.9 < intensity.max() <= 1.0


def test_labels_lie_where_the_camera_pixels_lie(dataset):
    """Each label takes the camera pixel under it; outside the camera image nothing is labelled."""
    scene = read_scenes(dataset, "train")[0]
    grid = Encoder(read_rig(dataset, scene), *PACK_GRID).grid
    rows, columns = np.mgrid[0:48, 0:64]
    np.testing.assert_array_equal(labels_on_grid(np.zeros((48, 64), np.uint8), grid) == 0, grid.mask())
    top, left, height, width = grid.content
    for source in (rows, columns):
        out = labels_on_grid(source.astype(np.uint8), grid)[top : top + height, left : left + width].astype(int)
        assert abs(int(out[0, 0]) - int(source[0, 0])) <= 1 and abs(int(out[-1, -1]) - int(source[-1, -1])) <= 1
        assert (np.diff(out, axis=0) >= 0).all() and (np.diff(out, axis=1) >= 0).all()


def test_normalisation_makes_mean_zero_and_deviation_one(packed):
    normalise = Normaliser(packed.modalities, packed.normalisation)
    stack = np.stack([normalise(packed.raw(i)[0]) for i in range(5)]).astype(np.float64)
    np.testing.assert_allclose(stack.mean((0, 3, 4)), 0.0, atol=1e-3)
    np.testing.assert_allclose(stack.std((0, 3, 4)), 1.0, atol=1e-3)


def test_statistics_by_hand():
    array = np.zeros((2, 3, 1, 2), np.float16)
    array[0, 1] = 4.0
    found = statistics(array, np.arange(2))
    assert found["mean"] == [0.0, 2.0, 0.0]
    assert found["std"] == [1e-3, 2.0, 1e-3]


def test_prior_is_the_most_frequent_class_of_each_position():
    labels = np.array([[[0, 255]], [[1, 255]], [[1, 255]]], np.uint8)
    counts, prior = label_statistics(labels, 3)
    assert counts == [1, 2, 0]
    np.testing.assert_array_equal(prior, [[1, 255]])


def test_an_interrupted_pack_goes_on(dataset, packed, tmp_path, monkeypatch):
    out = tmp_path / "pack"
    encode = SampleEncoder.__call__
    seen = []

    def limited(self, number):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(number)
        return encode(self, number)

    monkeypatch.setattr(SampleEncoder, "__call__", limited)
    with pytest.raises(KeyboardInterrupt):
        make_pack(dataset, "train", PACK_GRID, out, workers=1, bar=False)
    with pytest.raises(PackError, match="let it finish"):
        Pack(out)
    monkeypatch.setattr(SampleEncoder, "__call__", encode)
    resumed = []
    monkeypatch.setattr(SampleEncoder, "__call__", lambda self, number: resumed.append(number) or encode(self, number))
    make_pack(dataset, "train", PACK_GRID, out, workers=1, bar=False)
    assert sorted(seen + resumed) == [0, 1, 2, 3, 4] and len(seen) == 2
    for name in ("camera", "event", "lidar", "labels", "prior"):
        np.testing.assert_array_equal(np.load(out / f"{name}.npy"), np.load(packed.root / f"{name}.npy"))
    assert Pack(out).index == packed.index


def test_workers_give_the_same_pack(dataset, packed, tmp_path):
    make_pack(dataset, "train", PACK_GRID, tmp_path, workers=2, bar=False)
    for name in ("camera", "event", "lidar", "labels"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), np.load(packed.root / f"{name}.npy"))


def test_a_pack_of_something_else_is_not_overwritten(dataset, packed):
    with pytest.raises(
        PackError, match="something else: samples .* instead of .*; split 'train' instead of 'val'. Remove"
    ):
        make_pack(dataset, "val", PACK_GRID, packed.root, workers=1, bar=False)


def test_packs_of_the_other_presets(dataset, tmp_path):
    scene = read_scenes(dataset, "train")[3]
    rig = read_rig(dataset, scene)
    data = read_measurements(dataset, scene, rig)
    for name in ("muses_sdk", "release"):
        pack, _ = pack_of(dataset, tmp_path / name, encoding=PRESETS[name])
        assert pack.encoding == PRESETS[name] and pack.index["encoding"] == PRESETS[name].fingerprint
        images, labels = pack.raw(3)
        encoder = Encoder(rig, *PACK_GRID, PRESETS[name])
        for sensor, image in images.items():
            expected = encoder(data.measurements[sensor], data.reference_ns).image
            assert np.abs(expected).max() > 0
            np.testing.assert_allclose(image, expected, rtol=0 if name == "release" else 1e-3, atol=1e-6)
        assert set(np.unique(labels)) == {0, 2, 10, 255}, "the whole grid is camera image, and void stays void"
        batches = TrainingBatches(pack, Normaliser(pack.modalities, pack.normalisation), 5, 1.0, 0)
        if name == "release":
            assert pack.normalisation == {m: {"mean": [0.0] * 3, "std": [1.0] * 3} for m in pack.modalities}
            fed = batches(0).images
            assert (
                float(fed[:, 2].min()) >= 0 and float(fed.max()) <= 255 and torch.equal(fed[:, 1:], fed[:, 1:].round())
            )


def test_samples_are_the_same_whoever_asks_and_in_whatever_order(packed):
    normaliser = Normaliser(packed.modalities, packed.normalisation)
    alone, shared = (TrainingBatches(packed, normaliser, 1, 1.0, 4) for _ in range(2))
    expected = [alone.sample_index(draw) for draw in range(3000)]
    assert all(sorted(expected[k : k + 5]) == [0, 1, 2, 3, 4] for k in range(0, 3000, 5))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(shared.sample_index, range(3000))) == expected
    assert [shared.sample_index(draw) for draw in reversed(range(3000))] == expected[::-1]


def test_void_as_road_is_an_option_of_its_own(dataset, tmp_path):
    plain, _ = pack_of(dataset, tmp_path / "plain", encoding=PRESETS["release"])
    road, _ = pack_of(dataset, tmp_path / "road", encoding=PRESETS["release"], void_as_road=True)
    assert road.index["void_as_road"] and not plain.index["void_as_road"]
    for i in range(5):
        (_, one), (_, other) = plain.raw(i), road.raw(i)
        assert (other[one == 255] == 0).all() and (other[one != 255] == one[one != 255]).all() and (one == 255).any()


def test_packs_that_this_code_does_not_make_are_refused(packed, tmp_path):
    shutil.copytree(packed.root, tmp_path / "pack")
    index = tmp_path / "pack/index.json"
    for change, sentence in [
        ({"format": 1}, "format 1, this code reads 2; pack again"),
        ({"encoding": "0"}, "made with the encoding 0"),
    ]:
        index.write_text(json.dumps(packed.index | change))
        with pytest.raises(PackError, match=sentence):
            Pack(tmp_path / "pack")


def test_missing_splits_and_folders_are_named(dataset, tmp_path):
    with pytest.raises(DatasetError, match="no scene of split 'test'; it has train, val"):
        read_scenes(dataset, "test")
    with pytest.raises(DatasetError, match="no meta.json"):
        read_scenes(tmp_path, "train")
    (tmp_path / "meta.json").write_text(json.dumps({}))
    with pytest.raises(DatasetError, match="none at all"):
        read_scenes(tmp_path, "train")
