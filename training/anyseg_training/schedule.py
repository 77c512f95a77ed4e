# SPDX-License-Identifier: Apache-2.0
"""The optimiser and its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from anyseg_training.config import Recipe


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up from a tenth, times polynomial decay to zero at the last step."""
    warm = min(1.0, 0.1 + 0.9 * step / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.lr * warm * (1.0 - step / recipe.steps) ** recipe.power


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (biases and norms)."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
