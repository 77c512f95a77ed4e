# SPDX-License-Identifier: Apache-2.0
"""The supervised loss: cross-entropy with hard-pixel mining. What comes from a teacher is in ``distillation``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.types import UNLABELLED
from anyseg_training import parallel

# Online hard example mining (Shrivastava et al., arXiv 1604.03540) with the constants of METHOD: a pixel is easy
# when the probability of its class is over 0.7; at least one valid pixel in 16 is kept.
HARD_LOSS = -math.log(0.7)
MIN_KEPT_SHARE = 16
EVERYTHING = -1.0


@dataclass(frozen=True)
class HardPixels:
    """Which pixels of a global batch count.

    Attributes:
        above: scalar; those with a loss above it.
        count: how many these are, in all processes and micro-batches.
    """

    above: Tensor
    count: int


def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each pixel: logits [B,K,h,w] and labels int64 [B,h,w] -> [B*h*w], 0 where unlabelled."""
    return F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none").flatten()


def hard_pixels(losses: Sequence[Tensor], labels: Sequence[Tensor]) -> HardPixels:
    """The hard pixels of a global batch: those of all micro-batches given here, in all processes.

    Args:
        losses: of ``pixel_losses``, one [N] per micro-batch; N is alike in all processes.
        labels: the labels that they are of.
    """
    loss = torch.cat([part.detach() for part in losses])
    valid = torch.cat([part.flatten() for part in labels]) != UNLABELLED
    above = torch.full((), HARD_LOSS, dtype=loss.dtype, device=loss.device)

    def counted(mask: Tensor) -> int:
        return int(parallel.total((mask & valid).sum()))

    hard, labelled = counted(loss > above), counted(valid)
    least = labelled // MIN_KEPT_SHARE
    if hard >= max(least, 1):
        return HardPixels(above, hard)
    if least == 0:
        return HardPixels(torch.full_like(above, EVERYTHING), labelled)
    ranked = parallel.gathered(loss.masked_fill(~valid, EVERYTHING))
    above = torch.nextafter(ranked.topk(least).values[-1], torch.full_like(above, EVERYTHING))
    return HardPixels(above, counted(loss > above))


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, hard: HardPixels | None = None
) -> Tensor:
    """Mean cross-entropy over the hard pixels.

    Of a part of a global batch it is that part's share of the mean, so that the parts add up to it.

    Args:
        logits: [B,K,h,w].
        labels: int64 [B,h,w], 255 where unlabelled.
        class_weights: [K], multiplied onto the loss of a pixel after the hard ones are chosen; None for 1.
        hard: which pixels count, when there is more than these; None to choose among the batches of all processes.

    Returns:
        A scalar; zero (with a gradient of zero) when no pixel is labelled.
    """
    loss = pixel_losses(logits, labels)
    hard = hard or hard_pixels([loss], [labels])
    flat_labels = labels.flatten()
    kept = (loss > hard.above) & (flat_labels != UNLABELLED)
    chosen = loss[kept]
    if class_weights is not None:
        chosen = chosen * class_weights[flat_labels[kept]]
    return chosen.sum() / max(hard.count, 1)
