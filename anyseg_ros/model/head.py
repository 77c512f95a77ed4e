# SPDX-License-Identifier: Apache-2.0
"""SegFormer's all-MLP head (arXiv 2105.15203, section 3.2) in a form that does the same work at less cost.

As printed: a linear layer per scale to width E, upsampling to a quarter, concatenation (coarsest first), a 1x1
convolution 4E -> E, BatchNorm, ReLU, dropout, a 1x1 convolution to the classes. Linear layers commute with bilinear
upsampling, whose weights sum to 1. So the 1x1 convolution's slice for a scale is multiplied with that scale's linear
layer, applied where the scale is small, upsampled and added. The parameters are those of the printed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.model.mit import init_weights

DROPOUT = 0.1


class LinearProjection(nn.Module):
    """One scale's linear layer."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, width)


class LinearFuse(nn.Module):
    """The 1x1 convolution over the four concatenated scales, and its BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * width, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)


class MLPHead(nn.Module):
    """Four fused maps -> class logits at a quarter of the image size."""

    def __init__(self, dims: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.linear_c1, self.linear_c2, self.linear_c3, self.linear_c4 = (LinearProjection(d, width) for d in dims)
        self.linear_fuse = LinearFuse(width)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.linear_pred = nn.Conv2d(width, classes, 1)
        self.apply(init_weights)

    def commuted(self) -> tuple[list[Tensor], Tensor]:
        """Weight per scale [E,C_i], finest scale first, and the bias [E] that they add together.

        The convolution reads the scales coarsest first, hence the reversed order of its slices.
        """
        linears = [self.linear_c1.proj, self.linear_c2.proj, self.linear_c3.proj, self.linear_c4.proj]
        slices = self.linear_fuse.conv.weight.flatten(1).chunk(4, dim=1)[::-1]
        weights = [part @ linear.weight for part, linear in zip(slices, linears, strict=True)]
        bias = torch.stack([part @ linear.bias for part, linear in zip(slices, linears, strict=True)]).sum(0)
        return weights, bias

    def mix(self, maps: Sequence[Tensor]) -> Tensor:
        """All before the ReLU: maps [B,C_i,h_i,w_i], finest first -> [B,E,h_1,w_1].

        In evaluation mode it is affine with one offset for every input, so the mix of a mean is the mean of the mixes.
        """
        weights, bias = self.commuted()
        return self.linear_fuse.bn(project_and_add(maps, weights, bias))

    def classify(self, mixed: Tensor) -> Tensor:
        """All from the ReLU on: [B,E,h,w], which is overwritten -> logits [B,K,h,w]."""
        return self.linear_pred(self.dropout(F.relu(mixed, inplace=True)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B,C_i,h_i,w_i], finest first -> logits [B,K,h_1,w_1]."""
        return self.classify(self.mix(maps))


def project_and_add(maps: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor) -> Tensor:
    """Project every scale where it is, bring it to the finest and add: -> [B,E,h_1,w_1], channels-last."""
    size = maps[0].shape[-2:]
    total = F.linear(maps[0].permute(0, 2, 3, 1), weights[0], bias).permute(0, 3, 1, 2)
    for features, weight in zip(maps[1:], weights[1:], strict=True):
        projected = F.linear(features.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
        total = total + F.interpolate(projected, size, mode="bilinear", align_corners=False)
    return total
