# SPDX-License-Identifier: Apache-2.0
"""How much memory of a device a network will take, known before any is taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from anyseg_ros.engine.row_blocks import BLOCK_BYTES
from anyseg_ros.model.mit import PATCH_STRIDES, MiTConfig

MIB = 1 << 20
LIVE_TOKENS = 11
"""Sizes of a stage's tokens held at once, in the GELU of its Mix-FFN: residual, norm, two hidden maps of four each."""
LIVE_BLOCKS = 4
"""Blocks of rows held at once: the sum, a map to add, its two halves."""
SLACK = 1.25
"""Convolutions' workspaces and what the allocator rounds up."""
LIBRARIES_BYTES = 256 * MIB
"""What cuBLAS, cuDNN and the loaded kernels take."""


class DeviceMemoryError(RuntimeError):
    """A network does not fit; the message says how much it needs, what is free, and what to do."""


@dataclass(frozen=True)
class Load:
    """What a network is to do.

    Attributes:
        config: of the encoder.
        weights_bytes: of all parameters on the device.
        head_width: width of the head.
        classes: their number.
        element_bytes: of one activation.
    """

    config: MiTConfig
    weights_bytes: int
    head_width: int
    classes: int
    element_bytes: int

    def activations_bytes(self, modalities: int, size: tuple[int, int]) -> int:
        """The most that one frame of so many images of [height, width] holds between its input and its result."""
        (h, w), peaks, kept = size, [], 0
        projected = []
        for stride, dim in zip(PATCH_STRIDES, self.config.dims, strict=True):
            h, w = -(-h // stride), -(-w // stride)
            tokens = h * w * dim * self.element_bytes
            peaks.append(kept + LIVE_TOKENS * modalities * tokens)
            kept += tokens
            projected.append(h * w * self.head_width * self.element_bytes)
        finest = -(-size[0] // 4) * -(-size[1] // 4)
        logits = 2 * finest * self.classes * 4
        # A block holds at least one row, and the last layer reads it in float32 whatever the precision is.
        block = LIVE_BLOCKS * max(BLOCK_BYTES, -(-size[1] // 4) * self.head_width * 4) * 4 // self.element_bytes
        peaks.append(kept + sum(projected[1:]) + logits + block)
        images = 2 * modalities * 3 * size[0] * size[1] * self.element_bytes  # channels-first and channels-last
        return max(peaks) + images

    def buffers_bytes(self, modalities: int, size: tuple[int, int]) -> int:
        """Input and result of a frame."""
        return size[0] * size[1] * (modalities * 3 * self.element_bytes + 5)

    def needed_bytes(self, modalities: int, sizes: list[tuple[int, int]]) -> int:
        """Everything, for frames of up to so many images of any of the sizes, one frame at a time."""
        frame = max((self.activations_bytes(modalities, size) for size in sizes), default=0)
        buffers = sum(self.buffers_bytes(modalities, size) for size in sizes)
        return self.weights_bytes + buffers + int(SLACK * frame) + LIBRARIES_BYTES


def check_memory(needed_bytes: int, device: torch.device) -> None:
    """Look before memory is taken; a CPU's is not looked at.

    Raises:
        DeviceMemoryError: less is free.
    """
    if device.type == "cuda":
        check_free(needed_bytes, torch.cuda.mem_get_info(device)[0], device)


def check_free(needed_bytes: int, free_bytes: int, device: torch.device) -> None:
    """Compare need and what is free.

    Raises:
        DeviceMemoryError: less is free.
    """
    if needed_bytes > free_bytes:
        raise DeviceMemoryError(
            f"the network needs about {-(-needed_bytes // MIB)} MiB of {device}, of which {free_bytes // MIB} MiB are "
            "free; choose a smaller grid, end what else uses the device, or take device 'cpu'"
        )
