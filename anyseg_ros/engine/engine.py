# SPDX-License-Identifier: Apache-2.0
"""Runs a checkpoint's network on one frame after another.

What runs is a ``Network`` that a backend made (``torch_networks``, ``onnx_network``) for a device: the one asked for,
or the CPU once that is lost. The labels are taken from logits upsampled from a quarter of the grid, as in training and
evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.engine.batch import labels_of, sets_at_once
from anyseg_ros.engine.network import Network, Networks
from anyseg_ros.engine.threads import usable_cores
from anyseg_ros.model.checkpoint import CheckpointMeta

log = logging.getLogger(__name__)

WEIGHTS_DIGITS = 12
"""Of the weights' sha256, in logs and diagnostics."""


class Engine:
    """The network, ready to run.

    Attributes:
        meta: the checkpoint's description.
        weights: the first digits of the sha256 of the checkpoint's weights.
        threads: CPU threads that it has.
    """

    def __init__(
        self, networks: Networks, meta: CheckpointMeta, device: str = "auto", threads: int | None = None
    ) -> None:
        """Load the network onto a device and run it once, so that the first frame is not the slow one.

        Args:
            networks: the backend with the checkpoint.
            meta: the checkpoint's description; ``grid`` is what the warm-up runs on.
            device: ``auto`` (CUDA if there is one that works), ``cpu`` or a torch device such as ``cuda:0``.
            threads: CPU threads of the whole process (torch has one setting for it); None leaves torch's.

        Raises:
            ValueError: the device is unknown, or was asked for by name and does not work; or the backend has nothing
                for it; or threads is below 1.
        """
        if threads is not None:
            if threads < 1:
                raise ValueError(f"{threads} threads; at least 1 is needed")
            if threads > (cores := usable_cores()):
                log.warning("%d threads for %d cores: they will wait for each other", threads, cores)
            torch.set_num_threads(threads)
        self.meta, self.weights, self.threads = meta, networks.weights_sha256[:WEIGHTS_DIGITS], torch.get_num_threads()
        self._network = self._choose(networks, device)
        self._spare = self._network if self.device.type == "cpu" else networks.spare()
        log.info("the network runs on %s", self.device)

    @property
    def device(self) -> torch.device:
        """Where the network runs now."""
        return self._network.device

    @property
    def precision(self) -> str:
        """What the network computes in now."""
        return self._network.precision

    def _choose(self, networks: Networks, wanted: str) -> Network:
        """The device's network, after a first frame; under ``auto`` a failing device is left for the CPU."""
        name = networks.best_device() if wanted == "auto" else wanted
        try:
            network = networks.make(torch.device(name))
            with torch.inference_mode():
                network.labels(torch.zeros(1, 3, *self.meta.grid))
        except (RuntimeError, AssertionError) as error:
            if name == "cpu":
                raise ValueError(f"the network does not run on the CPU: {error}") from error
            if wanted != "auto":
                raise ValueError(f"device '{wanted}' cannot be used: {error}; 'auto' and 'cpu' always work") from error
            _tell(name, error)
            return networks.spare()
        return network

    def infer(self, stack: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Segment one frame.

        Args:
            stack: float32 [M,3,H,W], normalised, M at least 1: what is present.

        Returns:
            Labels uint8 [H,W] and confidence float32 [H,W], the probability of the label.

        Raises:
            ValueError: the stack has another shape.
        """
        return self.infer_batch([stack])[0]

    def infer_batch(self, stacks: Sequence[np.ndarray | Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Segment the frames of several rigs, of one size, each with images of its own: as ``infer`` does each.

        Raises:
            ValueError: a stack has another shape, or the sizes differ.
        """
        sets = [_images(stack) for stack in stacks]
        if len({images.shape[2:] for images in sets}) > 1:
            sizes = ", ".join(f"{images.shape[2]}x{images.shape[3]}" for images in sets)
            raise ValueError(f"stacks of different sizes in one batch ({sizes}); expected one grid for all")
        try:
            return self._labels(sets)
        except RuntimeError as error:
            if self._network is self._spare:
                raise
            _tell(self.device, error)
            self._network = self._spare
            return self._labels(sets)

    @property
    def sets_at_once(self) -> int:
        """How many frames should be given to ``infer_batch`` together, if so many are there."""
        return sets_at_once(self._network, self.meta.grid[0], self.meta.grid[1])

    @torch.inference_mode()
    def logits(self, stack: np.ndarray | Tensor) -> Tensor:
        """[M,3,H,W] -> float32 [K,H/4,W/4] on the engine's device. Errors as in ``infer``."""
        return self._network.logits(_images(stack))

    @torch.inference_mode()
    def _labels(self, sets: Sequence[Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
        return labels_of(self._network, sets)


def _tell(device: object, error: Exception) -> None:
    log.error("device %s failed (%s); the network goes on running on the CPU, more slowly", device, error)


def _images(stack: np.ndarray | Tensor) -> Tensor:
    """The stack as a tensor, after a look at its shape."""
    images = torch.as_tensor(stack, dtype=torch.float32)
    if images.dim() != 4 or images.shape[1] != 3 or images.shape[0] == 0:
        raise ValueError(f"a stack of shape {tuple(images.shape)} was given; expected [M,3,H,W] with M at least 1")
    return images
