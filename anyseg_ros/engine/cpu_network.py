# SPDX-License-Identifier: Apache-2.0
"""The whole network on a CPU: encoder and head in blocks of rows, labels without logits at full size."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.engine.blocked_encoder import encode
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.row_kernels import add_upsampled, label_rows
from anyseg_ros.model.mit import MiT

HEAD_BLOCK_BYTES = 8 << 20
"""Head activations of one block: a part of the third-level cache."""


class CpuNetwork:
    """Encoder and head of one checkpoint, float32."""

    def __init__(self, encoder: MiT, head: FoldedHead) -> None:
        """Keep the modules, whose weights are read at every call.

        Args:
            encoder: in evaluation mode.
            head: folded.
        """
        self._encoder = encoder
        self._head = head
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="labels")

    def logits(self, images: Tensor) -> Tensor:
        """Images [M,3,H,W] -> logits [K,H/4,W/4]."""
        return self.decode(encode(self._encoder, images))

    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]."""
        logits = self.logits(images).numpy()
        height, width = 4 * logits.shape[1], 4 * logits.shape[2]
        labels, confidence = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)
        self._in_bands(height, lambda first, last: label_rows(logits, first, last, labels, confidence))
        return labels, confidence

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Means of the four scales, each [h_i,w_i,C_i], finest first -> logits [K,h_1,w_1].

        The three coarser scales are projected as a whole, the finest in blocks of rows, each finished at once.
        """
        head = self._head
        height, width = maps[0].shape[:2]
        coarse = [F.linear(m, w).numpy() for m, w in zip(maps[1:], list(head.weights)[1:], strict=True)]
        kernel, bias = head.linear_pred.weight.flatten(1), head.linear_pred.bias
        assert bias is not None  # MLPHead's has one
        logits = maps[0].new_empty(len(kernel), height * width)
        rows = max(1, HEAD_BLOCK_BYTES // (width * len(head.bias) * maps[0].element_size()))
        for first in range(0, height, rows):
            block = F.linear(maps[0][first : first + rows], head.weights[0], head.bias)
            self._finish(block.numpy(), first, height, coarse)
            pixels = block.flatten(0, 1)
            start = first * width
            logits[:, start : start + len(pixels)] = torch.addmm(bias[:, None], kernel, pixels.T)
        return logits.unflatten(1, (height, width))

    def _finish(self, block: np.ndarray, first: int, height: int, coarse: list[np.ndarray]) -> None:
        """Adds the coarser scales to rows ``first`` and following, and applies the ReLU."""

        def work(begin: int, end: int) -> None:
            between = np.empty(coarse[0].shape[1:], np.float32)
            add_upsampled(block[begin:end], first + begin, height, *coarse, between)

        self._in_bands(len(block), work)

    def _in_bands(self, rows: int, work: Callable[[int, int], None]) -> None:
        """Splits rows among the threads; the caller takes the first band."""
        edges = np.linspace(0, rows, min(self._threads, rows) + 1).astype(int).tolist()
        bands = list(zip(edges, edges[1:], strict=False))
        others = [self._pool.submit(work, *band) for band in bands[1:]]
        work(*bands[0])
        for other in others:
            other.result()
