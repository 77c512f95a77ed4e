# SPDX-License-Identifier: Apache-2.0
"""Confusion in integers and what is read off it."""

from __future__ import annotations

import numpy as np

from anyseg_ros.types import UNLABELLED


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 [K,K+1]: rows are labels, columns predictions; the last column counts pixels without an answer (255).

    Args:
        labels: integers [...], 255 unlabelled (not counted).
        predicted: integers of the same shape, 255 where nothing was answered.
        classes: K.

    Raises:
        ValueError: a value is neither a class nor 255.
    """
    valid = labels != UNLABELLED
    truth = labels[valid].astype(np.int64)
    answer = predicted[valid].astype(np.int64)
    answer[answer == UNLABELLED] = classes
    if truth.size and (truth.max() >= classes or answer.max() > classes):
        raise ValueError(f"a label or prediction is above {classes - 1} and not {UNLABELLED}; {classes} classes exist")
    counts = np.bincount(truth * (classes + 1) + answer, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def iou_per_class(counts: np.ndarray) -> np.ndarray:
    """float64 [K] in 0..1; NaN for classes that are neither in the labels nor predicted on labelled pixels."""
    classes = counts.shape[0]
    hit = np.diag(counts[:, :classes]).astype(np.float64)
    union = counts.sum(1) + counts[:, :classes].sum(0) - hit
    return np.divide(hit, union, out=np.full(classes, np.nan), where=union > 0)


def miou(counts: np.ndarray, absent_as_zero: bool = False) -> float:
    """Mean IoU in percent over the classes that occur in the labels; 0 when none does.

    Args:
        counts: from ``confusion``.
        absent_as_zero: count a class without labels as 0 instead of leaving it out (the published protocol).
    """
    iou = np.nan_to_num(iou_per_class(counts))
    occurs = counts.sum(1) > 0
    if absent_as_zero:
        return float(100.0 * np.where(occurs, iou, 0.0).mean())
    return float(100.0 * iou[occurs].mean()) if occurs.any() else 0.0
