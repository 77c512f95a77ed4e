# SPDX-License-Identifier: Apache-2.0
"""The supervised loss: cross-entropy with hard-pixel mining. What comes from a teacher is in ``distillation``."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.types import UNLABELLED

# Online hard example mining (Shrivastava et al., arXiv 1604.03540) with the constants of METHOD: a pixel is easy
# when the probability of its class is over 0.7; at least one valid pixel in 16 is kept.
HARD_LOSS = -math.log(0.7)
MIN_KEPT_SHARE = 16


def ohem_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the hard pixels.

    Args:
        logits: [B,K,h,w].
        labels: int64 [B,h,w], 255 where unlabelled.
        class_weights: [K], multiplied onto the loss of a pixel after the hard ones are chosen; None for 1.

    Returns:
        A scalar; zero (with a gradient of zero) when no pixel is labelled.
    """
    loss = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none").flatten()
    flat_labels = labels.flatten()
    valid = flat_labels != UNLABELLED
    kept = (loss > HARD_LOSS) & valid
    least = int(valid.sum()) // MIN_KEPT_SHARE
    if int(kept.sum()) < least:
        ranked = loss.detach().masked_fill(~valid, -1.0)
        kept = torch.zeros_like(valid).index_fill(0, ranked.topk(least).indices, True)
    if not bool(kept.any()):
        kept = valid
    chosen = loss[kept]
    if chosen.numel() == 0:
        return logits.sum() * 0.0
    if class_weights is not None:
        chosen = chosen * class_weights[flat_labels[kept]]
    return chosen.mean()
