# SPDX-License-Identifier: Apache-2.0
"""Noise of lidar and events: known answers, and nothing that moves; and what a flip does to every modality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from anyseg_training import sensor_noise
from anyseg_training.augment import augment
from anyseg_training.data import Normaliser, Pack, TrainingBatches
from anyseg_training.sensor_noise import SensorNoise, beams, drop_beams, stray_events, vary_returns
from tiny_muses import PACK_GRID, pack_of, write_tiny_muses

H, W = 24, 40
LIDAR_M = 1.9


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    root = tmp_path_factory.mktemp("noise")
    write_tiny_muses(root / "data", {"train": 4})
    return pack_of(root / "data", root / "pack")[0]


def rings(rng: np.random.Generator, step_deg: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A cloud of one ring in each row, and the ring of each pixel; a third is empty."""
    ring = np.repeat(np.arange(H)[:, None], W, 1)
    elevation = np.radians((H / 2 - ring - 0.5) * step_deg)
    range_m = rng.uniform(3, 60, (H, W))
    cloud = np.stack([range_m, rng.uniform(0.1, 0.4, (H, W)), LIDAR_M + range_m * np.sin(elevation)]).astype(np.float32)
    return cloud * (rng.random((H, W)) > 0.3), ring


def test_a_return_knows_its_beam_at_any_range():
    cloud, ring = rings(np.random.default_rng(0))
    there = cloud[0] > 0
    band = beams(cloud, LIDAR_M, 1.0)
    np.testing.assert_array_equal(band[there], (H - 1 - ring)[there] - (H - 1 - ring)[there].min())
    assert (band[~there] == -1).all()
    assert (beams(np.zeros((3, H, W), np.float32), LIDAR_M, 1.0) == -1).all()


@pytest.mark.parametrize("seed", range(6))
def test_beams_fall_silent_as_a_whole(monkeypatch, seed):
    monkeypatch.setattr(sensor_noise, "BEAM_DEG", (1.0, 1.0 + 1e-9))
    cloud, ring = rings(np.random.default_rng(seed))
    out = drop_beams(cloud, LIDAR_M, np.random.default_rng(seed))
    there, kept = cloud[0] > 0, out[0] > 0
    for k in range(H):
        assert kept[ring == k].sum() in (0, there[ring == k].sum())
    np.testing.assert_array_equal(out[:, kept], cloud[:, kept])
    assert not out[:, ~kept].any() and kept.any()


def test_ranges_err_along_the_ray():
    """A point's height errs with its range, so that its beam stays; intensities share one factor."""
    cloud, ring = rings(np.random.default_rng(1))
    out = vary_returns(cloud, LIDAR_M, np.random.default_rng(4))
    there = cloud[0] > 0
    assert not out[:, ~there].any() and (out[0][there] > 0).all()
    error = out[0][there] - cloud[0][there]
    assert 0.0 < np.abs(error).max() < 60 * sensor_noise.RANGE_SCALE + 6 * sensor_noise.RANGE_NOISE_MAX_M
    expected = LIDAR_M + out[0] * np.sin(np.radians(H / 2 - ring - 0.5))
    np.testing.assert_allclose(out[2][there], expected[there], atol=1e-4)
    ratio = out[1][there] / cloud[1][there]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert 0.5 <= ratio[0] <= 2.0


def test_stray_events_are_single_and_lie_on_the_camera_image():
    content = (4, 6, 16, 30)
    image = np.zeros((3, H, W), np.float32)
    image[:, 10, 10] = 1.0, 0.95, 0.999
    shares = []
    for seed in range(40):
        out = stray_events(image, content, 10, np.random.default_rng(seed))
        more = out - image
        more[:, 10, 10] = 0
        inside = np.zeros((H, W), bool)
        inside[4:20, 6:36] = True
        assert not more[:, ~inside].any()
        struck = more[:2].sum(0) > 0
        np.testing.assert_allclose(more[:2].sum(0)[struck], 0.1, rtol=1e-5)
        assert (more[2][struck] > 0).all() and (more[2] < 1).all() and not more[2][~struck].any()
        assert (out[:2, 10, 10] <= 1.0).all() and out[2, 10, 10] >= 0.999
        shares.append(struck.sum() / (16 * 30))
    assert 0.6 * 0.01 < np.mean(shares) < 1.4 * 0.01


def test_the_same_generator_gives_the_same_and_the_source_is_untouched(pack):
    images, _ = pack.raw(0)
    noise = SensorNoise.of(pack.index["geometry"], 10, pack.modalities)
    assert (
        noise is not None and noise.lidar_height_m == 1.9 and noise.content == tuple(pack.index["geometry"]["content"])
    )
    copies = {name: image.copy() for name, image in images.items()}
    one, other = (noise(images, np.random.default_rng(3)) for _ in range(2))
    for name in images:
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_array_equal(images[name], copies[name])
    assert one["camera"] is images["camera"] and (one["lidar"] != images["lidar"]).any()
    assert (
        SensorNoise.of({}, 10, pack.modalities) is None
        and SensorNoise.of(pack.index["geometry"], 10, ["camera"]) is None
    )


def test_noise_leaves_labels_and_the_draws_of_everything_else(pack):
    """With noise the same samples are drawn, and flipped, zoomed and exposed alike; without, nothing is as before."""
    neutral = Normaliser(pack.modalities, {name: {"mean": [0.0] * 3, "std": [1.0] * 3} for name in pack.modalities})
    plain, noisy = (TrainingBatches(pack, neutral, 4, 1.5, 7, sensor_noise=on)(2) for on in (False, True))
    default = TrainingBatches(pack, neutral, 4, 1.5, 7)(2)
    assert (plain.labels == noisy.labels).all() and (default.images == plain.images).all()
    camera, event, lidar = (pack.modalities.index(name) for name in ("camera", "event", "lidar"))
    assert (plain.images[:, camera] == noisy.images[:, camera]).all()
    assert (plain.images[:, event] != noisy.images[:, event]).any()
    empty = (plain.images[:, lidar, 0] == 0).numpy()
    assert (noisy.images[:, lidar].numpy()[:, :, :, :].transpose(0, 2, 3, 1)[empty] == 0).all()
    assert (noisy.images[:, lidar, 0].numpy()[~empty] == 0).mean() > 0.01, "beams are missing"


def test_a_flip_mirrors_every_modality_and_the_labels():
    """Four modalities without zoom: what was in a column is in the mirrored one, or where it was."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 5, (H, W)).astype(np.uint8)
    image = np.stack([labels, labels, labels]).astype(np.float32) / 10 + 0.1
    images = {name: image.copy() for name in ("camera", "depth", "event", "lidar")}
    sides = set()
    for seed in range(12):
        out, moved = augment(images, labels, 1.0 + 1e-12, np.random.default_rng(seed), varied=frozenset())
        flipped = not np.array_equal(moved, labels)
        sides.add(flipped)
        np.testing.assert_array_equal(moved, labels[:, ::-1] if flipped else labels)
        for name in images:
            np.testing.assert_allclose(out[name], image[:, :, ::-1] if flipped else image, atol=1e-5)
    assert sides == {True, False}


def test_elevation_of_the_packs_own_returns_is_that_of_the_lidar(pack):
    """The tiny cloud lies between -2 and 6 m of the lidar, at 3 to 45 m: so do the elevations that the image gives."""
    cloud = pack.raw(0)[0]["lidar"]
    there = cloud[0] > 0
    sine = (cloud[2][there] - pack.index["geometry"]["lidar_height_m"]) / cloud[0][there]
    assert np.abs(sine).max() <= math.sin(math.atan2(6.1, 3.0)) and there.sum() > 100 and cloud.shape[1:] == PACK_GRID
