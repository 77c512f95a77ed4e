# SPDX-License-Identifier: Apache-2.0
"""Confusion counts and intersection over union, in whole pixels."""

from __future__ import annotations

import numpy as np

from anyseg_ros.types import UNLABELLED


def confusion(labels: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        labels: uint8, predicted class ids, ``UNLABELLED`` where nothing was said.
        truth: uint8 of the same shape; pixels that are no class are left out.
        classes: number of classes K.

    Returns:
        int64 [K, K+1]: row true class, column predicted class; the last column counts pixels without a
        prediction, which are misses.

    Raises:
        ValueError: shapes differ, or a predicted label is neither a class nor ``UNLABELLED``.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels are {list(labels.shape)} and the truth {list(truth.shape)}; they must match")
    counted = truth < classes
    predicted = labels[counted].astype(np.int64)
    predicted[predicted == UNLABELLED] = classes
    if predicted.size and predicted.max() > classes:
        raise ValueError(f"a predicted label is {predicted.max()}; there are only {classes} classes")
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


def miou(counts: np.ndarray) -> float | None:
    """Mean IoU in percent over the classes that occur in the truth; None when none does."""
    per_class = iou(counts)
    return None if np.isnan(per_class).all() else float(np.nanmean(per_class))
