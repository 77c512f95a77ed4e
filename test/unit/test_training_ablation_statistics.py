# SPDX-License-Identifier: Apache-2.0
"""The ablation's statistics: known answers, the metric itself as the reference, differences that are paired."""

from __future__ import annotations

import numpy as np
import pytest
from anyseg_training.ablation_bootstrap import draw_weights, interval, resampled_miou
from anyseg_training.ablation_findings import direction
from anyseg_training.ablation_report import cell_text
from anyseg_training.ablation_summary import difference, estimate, scores_of
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.metrics import miou


def two_drives() -> np.ndarray:
    """Two classes, one subset: the first drive is all right, the second calls everything class 0."""
    return np.array([[[[6, 0, 0], [0, 2, 0]]], [[[4, 0, 0], [4, 0, 0]]]], np.int64)


def test_the_bootstrap_of_two_drives_is_known():
    # Drawn twice the first: 100. Once each: class 0 has 10 of 14, class 1 has 2 of 6. Twice the second: 1/2 and 0.
    known = resampled_miou(two_drives(), np.array([[2, 0], [1, 1], [0, 2]]))[:, 0]
    np.testing.assert_allclose(known, [100.0, 100 * (10 / 14 + 2 / 6) / 2, 25.0])
    weights = draw_weights(2, 4000, 0)
    assert weights.shape == (4000, 2) and (weights.sum(1) == 2).all()
    np.testing.assert_allclose((weights[:, 0] == np.arange(3)[:, None]).mean(1), [0.25, 0.5, 0.25], atol=0.03)
    assert interval(resampled_miou(two_drives(), weights)[:, 0]) == (25.0, 100.0)
    assert interval(np.arange(0.0, 101.0)) == (2.5, 97.5)
    with pytest.raises(ValueError, match="at least one"):
        draw_weights(0, 10, 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_resampled_scores_are_those_of_the_metric(seed, drives, classes):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, (drives, 2, classes, classes + 1))
    counts[:, :, rng.integers(classes)] = 0  # a class that never occurs, and may still be said
    weights = draw_weights(drives, 4, seed)
    found = resampled_miou(counts, weights)
    for r, s in np.ndindex(*found.shape):
        wanted = miou((counts[:, s] * weights[r][:, None, None]).sum(0))
        assert found[r, s] == pytest.approx(wanted) if wanted is not None else np.isnan(found[r, s])


def test_differences_are_paired():
    """A network that is a little better on every drive is above in all resamples, however much the drives differ."""
    rng = np.random.default_rng(0)
    right = rng.integers(100, 900, 30)
    counts = np.zeros((2, 30, 1, 2, 3), np.int64)
    for k, hits in enumerate((right, right + 5)):
        counts[k, :, 0, 0, :2] = np.stack([hits, 1000 - hits], 1)
        counts[k, :, 0, 1, 1] = 1000
    worse, better = (scores_of([c], draw_weights(30, 500, 1)) for c in counts)
    found = difference(better, worse, -1)
    assert worse.resampled[:, -1].std() > found["high"] - found["low"] and 0 < found["low"] < found["high"]
    assert found["spread"] is None and direction(found) == "above"
    assert direction(difference(worse, better, -1)) == "below"
    assert direction(difference(worse, worse, -1)) == "not told apart from"


def test_means_and_spreads_over_seeds_are_known():
    counts = two_drives()
    found = scores_of([counts[:1], counts[1:]], np.ones((1, 1), np.int64))
    assert found.seeds.tolist() == [[100.0, 100.0], [25.0, 25.0]] and found.resampled.tolist() == [[62.5, 62.5]]
    e = estimate(found.seeds[:, 0], found.resampled[:, 0])
    assert e == {
        "mean": 62.5, "spread": pytest.approx(75 / 2**0.5), "low": 62.5, "high": 62.5, "per_seed": [100.0, 25.0]
    }  # fmt: skip
    assert cell_text(e) == "62.5 ± 53.0<br>62.5 to 62.5"
    assert direction({"low": 1.0, "high": 2.0, "per_seed": [3.0, -1.0]}) == "not told apart from"
