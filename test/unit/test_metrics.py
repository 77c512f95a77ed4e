# SPDX-License-Identifier: Apache-2.0
"""Confusion counts and mIoU against hand-computed cases and plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.metrics import confusion, iou, miou


def test_confusion_by_hand():
    counts = confusion(np.uint8([[0, 0, 1, 255, 1]]), np.uint8([[0, 1, 1, 1, 255]]), 2)
    assert counts.tolist() == [[1, 0, 0], [1, 1, 1]]
    assert iou(counts).tolist() == pytest.approx([50.0, 100.0 / 3])
    assert miou(counts) == pytest.approx((50 + 100 / 3) / 2)


def test_classes_that_the_truth_lacks_do_not_count():
    counts = confusion(np.uint8([0, 1]), np.uint8([0, 0]), 3)
    assert np.isnan(iou(counts)[1:]).all() and miou(counts) == 50.0
    assert miou(counts, absent_as_zero=True) == pytest.approx(50.0 / 3)
    assert miou(confusion(np.uint8([0]), np.uint8([255]), 3)) is None


def test_confusion_refuses_what_cannot_be_counted():
    with pytest.raises(ValueError, match="must match"):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)
    with pytest.raises(ValueError, match="predicted label is 7"):
        confusion(np.uint8([7]), np.uint8([0]), 2)
    with pytest.raises(ValueError, match="true label is 7"):
        confusion(np.uint8([0]), np.uint8([7]), 2)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 255]), st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=60))
def test_confusion_matches_plain_counting(pairs):
    labels, truth = (np.uint8(side) for side in zip(*pairs, strict=True))
    expected = [[0] * 4 for _ in range(3)]
    for said, true in pairs:
        if true != 255:
            expected[true][min(said, 3)] += 1
    counts = confusion(labels, truth, 3)
    assert counts.tolist() == expected
    per_class = [
        100 * counts[k, k] / (counts[k].sum() + counts[:, k].sum() - counts[k, k]) if counts[k].sum() else np.nan
        for k in range(3)
    ]
    assert np.allclose(iou(counts), per_class, equal_nan=True)


def test_confusion_adds_up_over_batches():
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 5, (2, 10, 8, 8)).astype(np.uint8)
    parts = sum(confusion(a, b, 5) for a, b in zip(found, truth, strict=True))
    np.testing.assert_array_equal(parts, confusion(found, truth, 5))
