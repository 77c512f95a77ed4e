# SPDX-License-Identifier: Apache-2.0
"""The network run plainly, in the order in which it was published, with the weights of one of ours.

Attention matrices are written out in full (Xie et al., arXiv 2105.15203, eq. 1), images stay in channels-first order,
the head concatenates four maps of its width at a quarter of the size before its 1x1 convolution, logits are brought to
full size in float32 before the largest is taken, and the samples of a batch go one after another; the modalities of a
sample go together. Nothing is folded, fused or left out, and nothing is made slower than a plain module would be.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.model.head import MLPHead
from anyseg_ros.model.mit import Attention, Block, MiT, MixFFN, PatchEmbed
from anyseg_ros.model.segmentor import AnySeg


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """[S,h*w,C] -> [S,C,h,w] in channels-first order."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size)


def to_tokens(features: Tensor) -> Tensor:
    """[S,C,h,w] -> [S,h*w,C]."""
    return features.flatten(2).transpose(1, 2)


def heads_apart(tokens: Tensor, heads: int) -> Tensor:
    """[S,N,C] -> [S,heads,N,C/heads]."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def attention(parts: Attention, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax of the full matrix [S,heads,N,N'] times the values."""
    source = parts.norm(to_tokens(parts.sr(to_map(tokens, size)))) if parts.reduced else tokens
    keys, values = parts.kv(source).chunk(2, dim=2)
    q, k, v = (heads_apart(part, parts.heads) for part in (parts.q(tokens), keys, values))
    matrix = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[3])
    mixed = matrix.softmax(dim=3) @ v
    return parts.proj(mixed.transpose(1, 2).flatten(2))


def mix_ffn(parts: MixFFN, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Linear layer, depthwise convolution on a channels-first map, GELU, linear layer."""
    hidden = parts.dwconv(to_map(parts.fc1(tokens), size))
    return parts.fc2(F.gelu(to_tokens(hidden)))


class PublishedHead(nn.Module):
    """SegFormer's head in the order of arXiv 2105.15203, section 3.2.

    Every scale is projected, brought to a quarter, concatenated (coarsest first), and only then convolved.
    """

    def __init__(self, head: MLPHead) -> None:
        super().__init__()
        self.parts = copy.deepcopy(head)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B,C_i,h_i,w_i], finest first -> logits [B,K,h_1,w_1]."""
        parts = self.parts
        linears = [parts.linear_c1.proj, parts.linear_c2.proj, parts.linear_c3.proj, parts.linear_c4.proj]
        scales = []
        for features, linear in zip(maps, linears, strict=True):
            size = (features.shape[2], features.shape[3])
            projected = to_map(linear(to_tokens(features)), size)
            scales.append(F.interpolate(projected, maps[0].shape[2:], mode="bilinear", align_corners=False))
        x = F.relu(parts.linear_fuse.bn(parts.linear_fuse.conv(torch.cat(scales[::-1], dim=1))))
        return parts.linear_pred(x)


class PublishedAnySeg(nn.Module):
    """The plain implementation."""

    def __init__(self, model: AnySeg) -> None:
        """Takes a copy of the weights.

        Args:
            model: where they come from.
        """
        super().__init__()
        self.encoder: MiT = copy.deepcopy(model.encoder)
        self.head = PublishedHead(model.head)
        self.eval().requires_grad_(False)

    def encode(self, images: Tensor) -> list[Tensor]:
        """[M,3,H,W] -> four maps [M,C_i,h_i,w_i], channels-first."""
        maps, x = [], images
        for embed, blocks, norm in zip(self.encoder.patch_embed, self.encoder.block, self.encoder.norm, strict=True):
            features = cast(PatchEmbed, embed).proj(x)
            size = (features.shape[2], features.shape[3])
            tokens = cast(PatchEmbed, embed).norm(to_tokens(features))
            for block in cast(Sequence[Block], blocks):
                tokens = tokens + attention(block.attn, block.norm1(tokens), size)
                tokens = tokens + mix_ffn(block.mlp, block.norm2(tokens), size)
            x = to_map(norm(tokens), size)
            maps.append(x)
        return maps

    def forward(self, samples: Sequence[Tensor]) -> Tensor:
        """Samples, each [M,3,H,W] -> logits [B,K,H/4,W/4]."""
        fused = [[features.mean(0) for features in self.encode(images)] for images in samples]
        return self.head([torch.stack(maps) for maps in zip(*fused, strict=True)])

    @torch.inference_mode()
    def logits(self, stack: np.ndarray) -> np.ndarray:
        """One frame [M,3,H,W] -> [K,H/4,W/4]."""
        return self([self._images(stack)])[0].cpu().numpy()

    @torch.inference_mode()
    def infer(self, stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]."""
        full = F.interpolate(self([self._images(stack)]), scale_factor=4, mode="bilinear", align_corners=False)
        best, labels = full.softmax(dim=1).max(dim=1)
        return labels[0].to(torch.uint8).cpu().numpy(), best[0].cpu().numpy()

    def _images(self, stack: np.ndarray) -> Tensor:
        return torch.from_numpy(stack).to(next(self.parameters()).device)
