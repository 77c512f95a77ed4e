# SPDX-License-Identifier: Apache-2.0
"""What the engine runs, whatever it is made of."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Network(Protocol):
    """One checkpoint's network, ready on one device. A RuntimeError from it means that the device failed."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def precision(self) -> str:
        """What it computes in, one of ``precision.CHOICES``."""

    def logits(self, images: Tensor) -> Tensor:
        """Images float32 [M,3,H,W] on any device -> logits float32 [K,ceil(H/4),ceil(W/4)]."""

    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 [M,3,H,W] on any device -> labels uint8 [H,W] and their probabilities float32 [H,W]."""


class Networks(Protocol):
    """A backend: makes one checkpoint's network for a device.

    Attributes:
        weights_sha256: of the checkpoint's weights, whatever file they come from.
    """

    weights_sha256: str

    def best_device(self) -> str:
        """The fastest device that may work here; it is tried, and left for the CPU if it does not."""

    def make(self, device: torch.device) -> Network:
        """The network on a device.

        Raises:
            ValueError: the choice cannot work, and why.
            RuntimeError: the device does not work.
        """

    def spare(self) -> Network:
        """The network on the CPU, kept ready for when the device is lost."""
