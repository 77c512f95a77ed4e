# SPDX-License-Identifier: Apache-2.0
"""The head, labels and confidence in blocks of rows, in torch's own operations: for every device but the CPU.

At full size the mixed features and the float logits are larger than anything else in the network. Here a block of rows
goes through all steps while it stays in the device's second-level cache. Bilinear upsampling is separable: a block's
rows are taken from the two rows of the smaller map that each lies between, then ``interpolate`` widens them. The
result is that of ``interpolate(align_corners=False)`` over whole maps up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.engine.folded import FoldedHead

BLOCK_BYTES = 16 << 20
"""Of one block of mixed features or of full-size scores: a few such blocks fit into a large GPU's cache (50 MB)."""


@dataclass(frozen=True)
class Between:
    """For each row of a larger map the two rows of a smaller one that it lies between.

    Attributes:
        low: int64 [H], the upper of the two.
        high: int64 [H], the lower of the two.
        weight: [H], that of the lower one.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    @classmethod
    def of(cls, height: int, small: int, like: Tensor) -> Between:
        """Rows of a map of ``small`` rows for ``height`` rows, on the device and in the precision of ``like``."""
        at = ((torch.arange(height, dtype=torch.float64) + 0.5) * (small / height) - 0.5).clamp_(min=0)
        low = at.long().clamp_(max=small - 1)
        high = (low + 1).clamp_(max=small - 1)
        return cls(low.to(like.device), high.to(like.device), (at - low).to(like))

    def rows(self, small: Tensor, axis: int, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` of the larger map, as wide as the smaller one; ``axis`` (of 3) is that of rows."""
        above = small.index_select(axis, self.low[first:last])
        below = small.index_select(axis, self.high[first:last])
        return torch.lerp(above, below, self.weight[first:last].view(-1, *[1] * (2 - axis)))


class RowTables:
    """The tables of all sizes met so far, so that a recorded frame finds them where they were."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, torch.device, torch.dtype], Between] = {}

    def __call__(self, height: int, small: Tensor, axis: int) -> Between:
        """The table with which ``small``, whose rows lie along ``axis``, grows to ``height`` rows."""
        key = (height, small.shape[axis], small.device, small.dtype)
        if key not in self._found:
            self._found[key] = Between.of(height, small.shape[axis], small)
        return self._found[key]


def blocks(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """First and last row of each block."""
    step = max(1, BLOCK_BYTES // row_bytes)
    return ((first, min(first + step, rows)) for first in range(0, rows, step))


class RowHead:
    """The folded head on a device; its last layer computes in float32, so that logits are not rounded."""

    def __init__(self, head: FoldedHead, device: torch.device, dtype: torch.dtype, tables: RowTables) -> None:
        """Take a copy of the weights.

        Args:
            head: folded, float32.
            device: where to run.
            dtype: precision of the features.
            tables: shared with ``label_blocks``.
        """
        self._weights = [w.detach().to(device, dtype, copy=True) for w in head.weights]
        self._bias = head.bias.detach().to(device, dtype, copy=True)
        bias = head.linear_pred.bias
        assert bias is not None  # MLPHead's has one
        self._kernel = head.linear_pred.weight.detach().flatten(1).to(device, copy=True)
        self._offset = bias.detach()[:, None].to(device, copy=True)
        self._tables = tables

    @property
    def nbytes(self) -> int:
        """Of all weights."""
        return sum(w.nbytes for w in (*self._weights, self._bias, self._kernel, self._offset))

    def __call__(self, maps: list[Tensor]) -> Tensor:
        """Means of the four scales, each [h_i,w_i,C_i], finest first -> float32 logits [K,h_1,w_1]."""
        height, width = maps[0].shape[:2]
        coarse = [F.linear(m, w) for m, w in zip(maps[1:], self._weights[1:], strict=True)]
        logits = self._kernel.new_empty(len(self._kernel), height * width)
        for first, last in blocks(height, width * len(self._bias) * maps[0].element_size()):
            mixed = F.linear(maps[0][first:last], self._weights[0], self._bias)
            for small in coarse:
                mixed += self._widened(small, height, first, last, width)
            flat = mixed.relu_().flatten(0, 1).float()
            logits[:, first * width : last * width] = torch.addmm(self._offset, self._kernel, flat.T)
        return logits.unflatten(1, (height, width))

    def _widened(self, small: Tensor, height: int, first: int, last: int, width: int) -> Tensor:
        """Some rows [r,W,E] of a map [h,w,E] upsampled to [H,W,E]."""
        rows = self._tables(height, small, 0).rows(small, 0, first, last)
        # The batch axis comes before the permutation, or the map would not be taken for channels-last.
        wide = F.interpolate(rows[None].permute(0, 3, 1, 2), (last - first, width), mode="bilinear")
        return wide[0].permute(1, 2, 0)


def label_blocks(logits: Tensor, tables: RowTables, labels: Tensor, confidence: Tensor) -> None:
    """Labels and their probability from logits at a quarter of the size, without the logits at full size.

    Args:
        logits: float32 [K,h,w].
        tables: shared with ``RowHead``.
        labels: uint8 [4h,4w], filled.
        confidence: float32 [4h,4w], filled: the softmax probability of the label.
    """
    height, width = labels.shape
    for first, last in blocks(height, width * len(logits) * logits.element_size()):
        rows = tables(height, logits, 1).rows(logits, 1, first, last)
        scores = F.interpolate(rows[None], (last - first, width), mode="bilinear")[0]
        best, label = scores.max(0)
        labels[first:last] = label
        confidence[first:last] = scores.sub_(best).exp_().sum(0).reciprocal_()
