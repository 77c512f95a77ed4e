# SPDX-License-Identifier: Apache-2.0
"""Confusion counts and intersection over union, in whole pixels."""

from __future__ import annotations

import numpy as np

from anyseg_ros.types import UNLABELLED


def confusion(labels: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        labels: uint8, predicted class ids, ``UNLABELLED`` where nothing was said.
        truth: uint8 of the same shape; ``UNLABELLED`` pixels are left out.
        classes: number of classes K.

    Returns:
        int64 [K, K+1]: row true class, column predicted class; the last column counts pixels without a
        prediction, which are misses.

    Raises:
        ValueError: shapes differ, or a label of either is neither a class nor ``UNLABELLED``.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels are {list(labels.shape)} and the truth {list(truth.shape)}; they must match")
    counted = truth != UNLABELLED
    predicted = labels[counted].astype(np.int64)
    predicted[predicted == UNLABELLED] = classes
    for name, found, highest in (("predicted", predicted, classes), ("true", truth[counted], classes - 1)):
        if found.size and found.max() > highest:
            raise ValueError(f"a {name} label is {found.max()}; there are only {classes} classes")
    flat = truth[counted].astype(np.int64) * (classes + 1) + predicted
    return np.bincount(flat, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union per class, float64 [K] in percent; NaN for classes that the truth lacks.

    Args:
        counts: int64 [K, K+1] from ``confusion``; sums of such counts serve as well.
    """
    hit = np.diagonal(counts).astype(np.float64)
    true = counts.sum(axis=1)
    union = true + counts[:, :-1].sum(axis=0) - hit
    return np.where(true > 0, 100.0 * hit / np.maximum(union, 1), np.nan)


def miou(counts: np.ndarray, absent_as_zero: bool = False) -> float | None:
    """Mean IoU in percent over the classes that occur in the truth; None when none does.

    Args:
        counts: int64 [K, K+1] from ``confusion``.
        absent_as_zero: count a class that the truth lacks as 0 instead of leaving it out (the published protocol).
    """
    per_class = iou(counts)
    if np.isnan(per_class).all():
        return None
    return float(np.nan_to_num(per_class).mean() if absent_as_zero else np.nanmean(per_class))
