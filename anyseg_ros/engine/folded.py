# SPDX-License-Identifier: Apache-2.0
"""The head of a trained network, folded: linear layer, fuse slice and BatchNorm are one weight per scale."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.model.head import MLPHead, project_and_add


class FoldedHead(nn.Module):
    """The head of a trained network with everything before the ReLU in one weight per scale and one bias."""

    def __init__(self, head: MLPHead) -> None:
        """Fold in float64, keep the precision of the head.

        Args:
            head: its BatchNorm's running statistics are used.
        """
        super().__init__()
        bn = head.linear_fuse.bn
        assert bn.running_mean is not None and bn.running_var is not None  # it keeps running statistics
        dtype = head.linear_pred.weight.dtype
        weights, bias = copy.deepcopy(head).double().commuted()
        scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
        shift = bn.bias.double() - bn.running_mean.double() * scale
        self.weights = nn.ParameterList(nn.Parameter((scale[:, None] * w).to(dtype), False) for w in weights)
        self.bias = nn.Parameter((scale * bias + shift).to(dtype), False)
        self.linear_pred = copy.deepcopy(head.linear_pred).requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps [B,C_i,h_i,w_i], finest first -> logits [B,K,h_1,w_1]."""
        return self.linear_pred(F.relu(project_and_add(maps, list(self.weights), self.bias), inplace=True))
