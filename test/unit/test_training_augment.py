# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps modalities and labels aligned and stays in range."""

from __future__ import annotations

import numpy as np
import pytest
from anyseg_training.augment import augment, nearest_rows_columns, resample_camera, thin_events, thin_points

H, W = 24, 40


def sample(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every modality and the labels hold the same picture of large blocks."""
    labels = np.kron(rng.integers(0, 5, (3, 5)), np.ones((8, 8))).astype(np.uint8)
    image = np.repeat(labels[None].astype(np.float32) / 10 + 0.1, 3, 0)
    return {"camera": image, "event": image.copy(), "lidar": image.copy()}, labels


@pytest.mark.parametrize("seed", range(12))
def test_modalities_and_labels_move_together(seed):
    rng = np.random.default_rng(seed)
    images, labels = sample(rng)
    out, moved = augment(images, labels, 2.0, rng)
    assert moved.shape == labels.shape and moved.dtype == np.uint8
    lidar = out["lidar"][1]
    kept = lidar > 0
    assert kept.mean() > 0.4
    np.testing.assert_allclose(lidar[kept], moved[kept] / 10 + 0.1, rtol=1e-6)
    kept = out["event"][2] > 0
    np.testing.assert_allclose(out["event"][2][kept], moved[kept] / 10 + 0.1, rtol=1e-6)
    # The camera is resampled linearly and its photometry changes, so compare where edges are.
    inner = (moved[1:-1, 1:-1] == moved[:-2, 1:-1]) & (moved[1:-1, 1:-1] == moved[1:-1, :-2])
    levels = [out["camera"][0][1:-1, 1:-1][inner & (moved[1:-1, 1:-1] == k)] for k in np.unique(moved)]
    means = [v.mean() for v in levels if len(v) > 20]
    assert means == sorted(means) or np.ptp(means) < 0.2


def test_linear_and_nearest_resampling_agree_on_the_grid():
    """A ramp along x and y tells where each pixel came from."""
    ramp = np.stack(np.broadcast_arrays(np.arange(H)[:, None], np.arange(W)[None], 0.0)).astype(np.float32)
    for flip in (False, True):
        window = (3.2, 7.9, 1.7)
        rows, columns = nearest_rows_columns(H, W, window, flip)
        linear = resample_camera(ramp, window, flip)
        assert np.abs(linear[0] - rows[:, None]).max() < 0.55
        assert np.abs(linear[1] - columns[None]).max() < 0.55


def test_no_zoom_and_no_flip_is_the_identity():
    rng = np.random.default_rng(0)
    image = rng.random((3, H, W), dtype=np.float32)
    np.testing.assert_allclose(resample_camera(image, (0.0, 0.0, 1.0), False), image, atol=1e-6)
    rows, columns = nearest_rows_columns(H, W, (0.0, 0.0, 1.0), False)
    np.testing.assert_array_equal(rows, np.arange(H))
    np.testing.assert_array_equal(columns, np.arange(W))


def test_zoom_brings_lidar_ranges_nearer():
    image = np.full((3, H, W), 10.0, np.float32)
    out = thin_points(image, 2.0, np.random.default_rng(0))
    kept = out[1] > 0
    np.testing.assert_allclose(out[0][kept], 5.0)
    np.testing.assert_allclose(out[2][kept], 10.0)
    assert not out[:, ~kept].any()


def test_event_counts_stay_in_range_and_recency_is_kept():
    image = np.random.default_rng(1).random((3, H, W), dtype=np.float32)
    out = thin_events(image, np.random.default_rng(2))
    assert out.min() >= 0.0 and out.max() <= 1.0
    kept = out[2] > 0
    np.testing.assert_array_equal(out[2][kept], image[2][kept])


def test_the_same_generator_gives_the_same_sample_and_the_source_is_untouched():
    images, labels = sample(np.random.default_rng(3))
    copies = {k: v.copy() for k, v in images.items()}
    a, la = augment(images, labels, 1.6, np.random.default_rng(5))
    b, lb = augment(images, labels, 1.6, np.random.default_rng(5))
    np.testing.assert_array_equal(la, lb)
    for name in images:
        np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_array_equal(images[name], copies[name])
    assert a["camera"].min() >= 0.0 and a["camera"].max() <= 1.0
