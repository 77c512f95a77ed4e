# SPDX-License-Identifier: Apache-2.0
"""The backend ``torch``: a checkpoint's weights, folded once, on whatever device torch has."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.cuda_network import CudaNetwork, check_agreement
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.network import Network
from anyseg_ros.engine.precision import PRECISIONS, check_cpu_precision, check_known
from anyseg_ros.model.checkpoint import weights_sha256
from anyseg_ros.model.segmentor import AnySeg


class TorchNetworks:
    """Makes the network of one model for a device.

    Attributes:
        weights_sha256: of its weights.
    """

    def __init__(
        self, model: AnySeg, precision: str = "fp32", modalities: int = 0, sizes: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Copy the model and fold its head.

        Args:
            model: as ``load_checkpoint`` returns it.
            precision: one of ``PRECISIONS``.
            modalities: most images of a frame, of which a GPU records all numbers; others run there, more slowly.
            sizes: [height, width] of the grids that it records.

        Raises:
            ValueError: the precision is unknown, or that of a quantised file.
        """
        check_known(precision)
        model = copy.deepcopy(model).cpu().eval().requires_grad_(False).float()
        self.weights_sha256 = weights_sha256(model)
        self._encoder, self._head, self._precision = model.encoder, FoldedHead(model.head), precision
        self._modalities, self._sizes = modalities, tuple(sizes)

    def best_device(self) -> str:
        """CUDA where torch has it."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    def make(self, device: torch.device) -> Network:
        """The network on a device.

        Raises:
            ValueError: the precision is not there for the device.
            RuntimeError: the device does not work.
        """
        if device.type == "cpu":
            check_cpu_precision(self._precision)
            return CpuNetwork(self._encoder, self._head, PRECISIONS[self._precision])
        network = CudaNetwork(self._encoder, self._head, device, self._precision, self._modalities, self._sizes)
        for size in self._sizes[:1]:
            check_agreement(network, self.spare().logits, size)
        return network

    def spare(self) -> Network:
        """The network on the CPU, in float32, which every CPU has."""
        return CpuNetwork(self._encoder, self._head)
