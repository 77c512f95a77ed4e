# SPDX-License-Identifier: Apache-2.0
"""The whole network on any device of torch's, by whole maps."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.mit import MiT


class TorchNetwork:
    """Encoder and head of one checkpoint, float32.

    Attributes:
        device: where it runs.
    """

    def __init__(self, encoder: MiT, head: FoldedHead, device: torch.device) -> None:
        """Copy the modules to the device; those given stay where they are, so that a lost device takes nothing along.

        Args:
            encoder: in evaluation mode.
            head: folded.
            device: where to run.

        Raises:
            RuntimeError: the device does not work.
        """
        self._encoder = copy.deepcopy(encoder).to(device)
        self._head = copy.deepcopy(head).to(device)
        self.device = device

    def logits(self, images: Tensor) -> Tensor:
        """Images [M,3,H,W] -> logits [K,H/4,W/4] on the device."""
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        return self._head([m.mean(0, keepdim=True) for m in self._encoder(images)])[0]

    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]."""
        full = F.interpolate(self.logits(images)[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
        best, labels = full.max(0)
        confidence = 1.0 / (full - best).exp_().sum(0)
        return labels.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()
