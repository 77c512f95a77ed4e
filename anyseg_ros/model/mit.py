# SPDX-License-Identifier: Apache-2.0
"""Mix Transformer (MiT), the hierarchical encoder of SegFormer (Xie et al., arXiv 2105.15203, section 3.1).

Four stages at 1/4, 1/8, 1/16 and 1/32 of the input. Inside a stage the features are tokens [S,N,C] with N = h*w,
which is also the memory order of a channels-last image: convolutions take a view of the tokens, never a copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Stage 1 reduces keys and values by 8 on a quarter-scale map, so a side needs at least 4 * 8 pixels.
MIN_SIDE_PX = 32
SIDE_MULTIPLE_PX = 4

PATCH_KERNELS = (7, 3, 3, 3)
PATCH_STRIDES = (4, 2, 2, 2)
REDUCTIONS = (8, 4, 2, 1)
HEADS = (1, 2, 5, 8)
MLP_RATIO = 4


@dataclass(frozen=True)
class MiTConfig:
    """Widths and depths of one variant; everything else is common to all of them."""

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    drop_path: float = 0.1


VARIANTS = {
    "b0-half": MiTConfig((16, 32, 80, 128), (2, 2, 2, 2)),
    "b0": MiTConfig((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": MiTConfig((64, 128, 320, 512), (2, 2, 2, 2)),
    "b2": MiTConfig((64, 128, 320, 512), (3, 4, 6, 3)),
    "b3": MiTConfig((64, 128, 320, 512), (3, 4, 18, 3)),
    "b4": MiTConfig((64, 128, 320, 512), (3, 8, 27, 3)),
    "b5": MiTConfig((64, 128, 320, 512), (3, 6, 40, 3)),
}


def check_size(height: int, width: int) -> None:
    """Refuse image sizes that the encoder cannot take.

    Raises:
        ValueError: a side is no multiple of 4 or shorter than 32 pixels.
    """
    for side in (height, width):
        if side % SIDE_MULTIPLE_PX or side < MIN_SIDE_PX:
            raise ValueError(
                f"image of {height}x{width} (height x width): both sides must be a multiple of {SIDE_MULTIPLE_PX} "
                f"and at least {MIN_SIDE_PX} pixels; choose another grid"
            )


def tokens_to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """[S,h*w,C] -> [S,C,h,w] as a channels-last view."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def map_to_tokens(features: Tensor) -> Tensor:
    """[S,C,h,w] -> [S,h*w,C]; a view when the map is channels-last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., arXiv 1603.09382): in training, drop a residual branch per image."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Scale kept branches by 1 / (1 - p), so that the expectation stays."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = torch.rand(x.shape[0], *([1] * (x.dim() - 1)), device=x.device) < keep
        return x * (mask.to(x.dtype) / keep)


class PatchEmbed(nn.Module):
    """Overlapping patch embedding: a strided convolution and a LayerNorm."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """[S,C,H,W] -> tokens [S,h*w,dim] and (h, w)."""
        x = self.proj(x.contiguous(memory_format=torch.channels_last))
        return self.norm(map_to_tokens(x)), (x.shape[2], x.shape[3])


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, [S,heads,N,d] each.

    In bfloat16 on a CPU it runs in float32: the backward pass of the fused kernel is three times slower in bfloat16.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Self-attention whose keys and values come from a spatially reduced map."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduced = reduction > 1
        if self.reduced:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens [S,N,C] -> [S,N,C]."""
        source = self.norm(map_to_tokens(self.sr(tokens_to_map(x, size)))) if self.reduced else x
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))


class MixFFN(nn.Module):
    """Feed-forward with a 3x3 depthwise convolution, which gives the tokens their position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim * MLP_RATIO
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens [S,N,C] -> [S,N,C]."""
        x = self.dwconv(tokens_to_map(self.fc1(x), size))
        return self.fc2(F.gelu(map_to_tokens(x)))


class Block(nn.Module):
    """Pre-norm transformer block: attention, then Mix-FFN."""

    def __init__(self, dim: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MixFFN(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens [S,N,C] -> [S,N,C]."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x), size))


class MiT(nn.Module):
    """The encoder: [S,3,H,W] -> four maps [S,C_i,h_i,w_i] at 1/4, 1/8, 1/16, 1/32 (rounded up from 1/8 on)."""

    def __init__(self, config: MiTConfig) -> None:
        super().__init__()
        self.config = config
        rates = torch.linspace(0, config.drop_path, sum(config.depths)).tolist()
        inputs = (3, *config.dims[:3])
        self.patch_embed = nn.ModuleList(
            PatchEmbed(c, d, k, s) for c, d, k, s in zip(inputs, config.dims, PATCH_KERNELS, PATCH_STRIDES, strict=True)
        )
        self.block = nn.ModuleList(
            nn.ModuleList(Block(dim, heads, reduction, rates.pop(0)) for _ in range(depth))
            for dim, depth, heads, reduction in zip(config.dims, config.depths, HEADS, REDUCTIONS, strict=True)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for dim in config.dims)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode S images.

        Raises:
            ValueError: the image size does not fit (see ``check_size``).
        """
        check_size(x.shape[-2], x.shape[-1])
        maps = []
        for embed, blocks, norm in zip(self.patch_embed, self.block, self.norm, strict=True):
            tokens, size = embed(x)
            for block in cast(nn.ModuleList, blocks):
                tokens = block(tokens, size)
            x = tokens_to_map(norm(tokens), size)
            maps.append(x)
        return maps


def init_weights(module: nn.Module) -> None:
    """SegFormer's initialisation: truncated normal for linear layers, fan-out normal for convolutions."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
