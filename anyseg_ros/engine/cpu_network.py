# SPDX-License-Identifier: Apache-2.0
"""The whole network on a CPU: encoder and head in blocks of rows, labels without logits at full size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.engine.blocked_encoder import encode
from anyseg_ros.engine.crew import Crew
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.layers import Dense, stages_of
from anyseg_ros.engine.precision import PRECISIONS
from anyseg_ros.engine.row_kernels import add_upsampled, label_rows
from anyseg_ros.model.mit import MiT

HEAD_BLOCK_BYTES = 4 << 20
"""Head activations of one block: a part of the third-level cache."""


class CpuNetwork:
    """Encoder and head of one checkpoint.

    Attributes:
        device: the CPU.
        precision: ``fp32`` or ``bf16``.
    """

    device = torch.device("cpu")

    def __init__(self, encoder: MiT, head: FoldedHead, dtype: torch.dtype = torch.float32) -> None:
        """Arrange the weights.

        Args:
            encoder: in evaluation mode.
            head: folded, float32.
            dtype: of the encoder's matrix products and of the head's projections; all else is float32.
        """
        self.precision = next(name for name, kind in PRECISIONS.items() if kind == dtype)
        self._stages = stages_of(encoder, dtype)
        biases = (head.bias, None, None, None)
        self._projections = [Dense(w, b, dtype) for w, b in zip(head.weights, biases, strict=True)]
        self._head = head
        self._crew = Crew()

    def logits(self, images: Tensor) -> Tensor:
        """Images [M,3,H,W] -> logits [K,H/4,W/4]."""
        return self._crew.lead(lambda: self.decode(encode(self._stages, images, [len(images)], self._crew)[0]))

    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]."""
        return self._crew.lead(lambda: label_grid(self.logits(images).numpy(), self._crew))

    def labels_of_sets(self, sets: Sequence[Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sets of images, each [M_i,3,H,W] of one size, -> what ``labels`` gives for each; the encoder runs once."""

        def work() -> list[tuple[np.ndarray, np.ndarray]]:
            fused = encode(self._stages, torch.cat(list(sets)), [len(images) for images in sets], self._crew)
            return [label_grid(self.decode(maps).numpy(), self._crew) for maps in fused]

        return self._crew.lead(work)

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Means of the four scales, each [h_i,w_i,C_i], finest first -> logits [K,h_1,w_1].

        The three coarser scales are projected as a whole, the finest in blocks of rows, each finished at once.
        """
        crew, kernel, bias = self._crew, self._head.linear_pred.weight.flatten(1), self._head.linear_pred.bias
        assert bias is not None  # MLPHead's has one
        mixed = self._projections[0].width
        coarse = [crew.memory(f"scale {i}", *m.shape[:2], mixed) for i, m in enumerate(maps[1:])]
        crew.run(
            partial(project, dense, m[slice(*band)], out[slice(*band)])
            for dense, m, out in zip(self._projections[1:], maps[1:], coarse, strict=True)
            for band in crew.bands(len(m))
        )
        half, quarter, eighth = (out.numpy() for out in coarse)
        height, width = maps[0].shape[:2]
        logits = kernel.new_empty(len(kernel), height * width)
        step = max(1, HEAD_BLOCK_BYTES // (width * mixed * kernel.element_size()))

        def work(band: tuple[int, int]) -> None:
            between = crew.memory("between", *half.shape[1:]).numpy()
            for first in range(*band, step):
                last = min(first + step, band[1])
                block = crew.memory("mixed", last - first, width, mixed)
                project(self._projections[0], maps[0][first:last], block)
                add_upsampled(block.numpy(), first, height, half, quarter, eighth, between)
                logits[:, first * width : last * width] = torch.addmm(bias[:, None], kernel, block.flatten(0, 1).T)

        crew.run(partial(work, band) for band in crew.bands(height))
        return logits.unflatten(1, (height, width))


def project(dense: Dense, rows: Tensor, out: Tensor) -> None:
    """Fills ``out`` [h,w,E] from a map's rows [h,w,C]."""
    dense.fill(rows.flatten(0, 1), out.flatten(0, 1))


def label_grid(logits: np.ndarray, crew: Crew) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [K,h,w] -> labels uint8 [4h,4w] and the labels' probability float32 [4h,4w]."""
    height, width = 4 * logits.shape[1], 4 * logits.shape[2]
    labels, confidence = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)
    crew.run(partial(label_rows, logits, *band, labels, confidence) for band in crew.bands(height))
    return labels, confidence
