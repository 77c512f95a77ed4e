# SPDX-License-Identifier: Apache-2.0
"""Percentile bootstrap over drives: samples of a drive are alike, so whole drives are drawn again, with replacement."""

from __future__ import annotations

import numpy as np

LEVEL = 95.0


def hits_and_totals(counts: np.ndarray) -> np.ndarray:
    """Confusion int64 [...,K,K+1] -> int64 [...,3,K]: pixels that are right, of the class, and said to be of it."""
    return np.stack(
        [np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts[..., :-1].sum(-2)],
        axis=-2,
    )


def miou_of(parts: np.ndarray) -> np.ndarray:
    """[...,3,K] of ``hits_and_totals``, or sums of such -> mIoU in percent over the classes that occur, float64 [...].

    The same as ``anyseg_ros.metrics.miou``, for many at once; NaN where no class occurs.
    """
    hit, true, said = np.moveaxis(np.asarray(parts, np.float64), -2, 0)
    occurs = true > 0
    iou = np.where(occurs, 100.0 * hit / np.maximum(true + said - hit, 1.0), 0.0)
    classes = occurs.sum(-1)
    return np.where(classes > 0, iou.sum(-1) / np.maximum(classes, 1), np.nan)


def draw_weights(drives: int, resamples: int, seed: int) -> np.ndarray:
    """How often each drive is in each resample: int64 [R,D], each row sums to D."""
    if drives < 1 or resamples < 1:
        raise ValueError(f"{drives} drives and {resamples} resamples; a bootstrap needs at least one of each")
    return np.random.default_rng(seed).multinomial(drives, np.full(drives, 1.0 / drives), size=resamples)


def resampled_miou(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """MIoU of every resample and subset, from the confusion that its drives sum to.

    Args:
        counts: int64 [D,S,K,K+1], confusion by drive and subset.
        weights: int64 [R,D] of ``draw_weights``. Given the same to two networks, their differences are paired.

    Returns:
        float64 [R,S] in percent.
    """
    parts = hits_and_totals(counts)
    sums = weights.astype(np.float64) @ parts.reshape(len(parts), -1).astype(np.float64)  # exact below 2**53 pixels
    return miou_of(sums.reshape(len(weights), *parts.shape[1:]))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled values [R]."""
    tail = (100.0 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
