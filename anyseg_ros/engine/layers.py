# SPDX-License-Identifier: Apache-2.0
"""The encoder's weights, arranged for a CPU: every convolution but the depthwise one is a matrix product of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.engine.encoder_kernels import normalise
from anyseg_ros.model.mit import Attention, Block, MiT, PatchEmbed


class Dense:
    """A linear layer over rows in float32, multiplied in the precision of its weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        """Arrange weight [out,in] and bias [out]; None is none."""
        self._weight = weight.detach().to(dtype)
        self._bias = torch.zeros(len(weight), dtype=dtype) if bias is None else bias.detach().to(dtype)
        self._exact = dtype == torch.float32

    @property
    def width(self) -> int:
        """Of a row of the result."""
        return len(self._weight)

    def fill(self, rows: Tensor, out: Tensor) -> Tensor:
        """Rows [n,in] -> ``out`` [n,out], filled."""
        if self._exact:
            return torch.addmm(self._bias, rows, self._weight.T, out=out)
        return out.copy_(F.linear(rows.to(self._weight.dtype), self._weight, self._bias))

    def add(self, rows: Tensor, total: Tensor) -> None:
        """Adds the result for rows [n,in] to ``total`` [n,out]."""
        if self._exact:
            total.addmm_(rows, self._weight.T).add_(self._bias)
        else:
            total.add_(F.linear(rows.to(self._weight.dtype), self._weight, self._bias))


class Norm:
    """A LayerNorm over rows."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self._weight, self._bias = _array(norm.weight), _array(norm.bias)
        self._epsilon = np.float32(norm.eps)

    def fill(self, rows: Tensor, out: Tensor) -> Tensor:
        """Rows [n,C] -> ``out`` [n,C], filled; it may be the rows themselves."""
        normalise(rows.numpy(), self._weight, self._bias, self._epsilon, out.numpy())
        return out


@dataclass(frozen=True)
class Patches:
    """A convolution as a product of patches.

    Attributes:
        kernel: side of a patch.
        stride: from patch to patch.
        padding: how far the first begins before the map.
        dense: over patches.
        norm: of the result.
    """

    kernel: int
    stride: int
    padding: int
    dense: Dense
    norm: Norm

    @classmethod
    def of(cls, conv: nn.Conv2d, norm: nn.LayerNorm, dtype: torch.dtype, channels_last: bool = True) -> Patches:
        """Of a convolution and the norm behind it; for patches of maps or (not ``channels_last``) of images."""
        weight = conv.weight.permute(0, 2, 3, 1) if channels_last else conv.weight
        sizes = (conv.kernel_size[0], conv.stride[0], cast(tuple[int, int], conv.padding)[0])
        return cls(*sizes, Dense(weight.flatten(1).contiguous(), conv.bias, dtype), Norm(norm))


@dataclass(frozen=True)
class Layer:
    """One transformer block; ``reduce`` is None where keys and values come from all tokens."""

    heads: int
    norm1: Norm
    reduce: Patches | None
    q: Dense
    kv: Dense
    proj: Dense
    norm2: Norm
    fc1: Dense
    kernel: np.ndarray
    offset: np.ndarray
    fc2: Dense

    @classmethod
    def of(cls, block: Block, dtype: torch.dtype) -> Layer:
        """Of a block of the model."""
        attention: Attention = block.attn
        reduce = Patches.of(attention.sr, attention.norm, dtype) if attention.reduced else None
        q, kv, proj, fc1, fc2 = (
            Dense(linear.weight, linear.bias, dtype)
            for linear in (attention.q, attention.kv, attention.proj, block.mlp.fc1, block.mlp.fc2)
        )
        conv = block.mlp.dwconv
        kernel = _array(conv.weight.flatten(1).T)
        assert conv.bias is not None  # MixFFN's has one
        norms = Norm(block.norm1), Norm(block.norm2)
        return cls(attention.heads, norms[0], reduce, q, kv, proj, norms[1], fc1, kernel, _array(conv.bias), fc2)


@dataclass(frozen=True)
class Stage:
    """Patch embedding, transformer blocks and the norm behind them."""

    embed: Patches
    layers: Sequence[Layer]
    norm: Norm


def stages_of(encoder: MiT, dtype: torch.dtype) -> list[Stage]:
    """The four stages of an encoder.

    Args:
        encoder: in evaluation mode.
        dtype: of the matrix products; all else is float32.
    """
    stages: list[Stage] = []
    for embed, blocks, norm in zip(encoder.patch_embed, encoder.block, encoder.norm, strict=True):
        embedding = cast(PatchEmbed, embed)
        layers = [Layer.of(block, dtype) for block in cast(Sequence[Block], blocks)]
        patches = Patches.of(embedding.proj, embedding.norm, dtype, channels_last=bool(stages))
        stages.append(Stage(patches, layers, Norm(cast(nn.LayerNorm, norm))))
    return stages


def _array(weight: Tensor) -> np.ndarray:
    """Float32, contiguous."""
    return weight.detach().float().contiguous().numpy()
