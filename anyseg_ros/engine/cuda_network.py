# SPDX-License-Identifier: Apache-2.0
"""The whole network on a GPU: one recorded graph per number of modalities, one synchronisation per frame.

Everything is made when the network is: weights, buffers, graphs. A frame is cast into pinned memory image by image,
each sent while the next is cast, then one graph runs, and labels and confidence come back in one copy. Another subset
of sensors is another graph that is there already. What no graph was recorded for runs without one, and is said once.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import cast

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.graphs import DirectRecorder, GraphRecorder, Recorder, Work
from anyseg_ros.engine.memory import MIB, Load, check_memory
from anyseg_ros.engine.precision import PRECISIONS
from anyseg_ros.engine.row_blocks import RowHead, RowTables, label_blocks
from anyseg_ros.model.mit import Block, MiT, PatchEmbed, check_size, tokens_to_map

log = logging.getLogger(__name__)

LARGEST_DEVIATION = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}
"""Of the logits from those in float32 on the CPU, ||found - expected|| / ||expected||, when the network is checked."""
CHECK_SIDE_PX = 256
Answer = Callable[[Tensor, Tensor, Tensor], None]
_lost: list[object] = []
"""Networks whose device failed. Giving memory back to a device that is gone may end the process, so that they stay."""


class PrecisionError(RuntimeError):
    """A device computes something else than the CPU does; the message says how far off it is, and what to do."""


class FrameBuffers:
    """Input and result of frames of one size, on the host and on the device; they never move."""

    def __init__(self, modalities: int, size: tuple[int, int], dtype: torch.dtype, recorder: Recorder) -> None:
        """Take the memory.

        Args:
            modalities: most images of a frame.
            size: [height, width].
            dtype: of the network; images are cast to it before they are sent.
            recorder: its device, and whether the host's memory is pinned.
        """
        pixels, self._queued = size[0] * size[1], recorder.pinned
        self._sent = torch.empty(modalities, 3, *size, dtype=dtype, pin_memory=recorder.pinned)
        self.images = torch.zeros(modalities, 3, *size, dtype=dtype, device=recorder.device)
        self._returned = torch.empty(5 * pixels, dtype=torch.uint8, pin_memory=recorder.pinned)
        self._result = torch.zeros(5 * pixels, dtype=torch.uint8, device=recorder.device)
        self.labels, self.confidence = _views(self._result, size)
        self._host = _views(self._returned, size)

    def send(self, images: Tensor) -> None:
        """Queues the images [M,3,H,W]; the next is cast while one is on its way."""
        for image, sent, there in zip(images, self._sent, self.images, strict=False):
            sent.copy_(image)
            there.copy_(sent, non_blocking=self._queued)

    def fetch(self) -> None:
        """Queues the copy of the result."""
        self._returned.copy_(self._result, non_blocking=self._queued)

    def answer(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels uint8 [H,W] and confidence float32 [H,W] of the frame, which the next frame leaves alone."""
        labels, confidence = self._host
        return labels.numpy().copy(), confidence.numpy().copy()


def _views(result: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Confidence float32 lies first, for its alignment; then the labels uint8."""
    pixels = size[0] * size[1]
    return result[4 * pixels :].view(size), result[: 4 * pixels].view(torch.float32).view(size)


@dataclass(frozen=True)
class Recorded:
    """What runs a frame of one number of images of one size."""

    buffers: FrameBuffers
    run: Work


class CudaNetwork:
    """Encoder and head of one checkpoint on a device.

    Attributes:
        device: where it runs.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        needed_bytes: how much memory it was expected to take.
    """

    @torch.inference_mode()
    def __init__(
        self,
        encoder: MiT,
        head: FoldedHead,
        device: torch.device,
        precision: str,
        modalities: int,
        sizes: Sequence[tuple[int, int]],
        *,
        recorder: Recorder | None = None,
        compiler: Callable[[Answer], Answer] | None = None,
        progress: Callable[[str], None] = log.info,
    ) -> None:
        """Take copies of the weights and record every frame that may come. What is given stays as it is.

        Args:
            encoder: float32, in evaluation mode, on the CPU.
            head: folded, likewise.
            device: a CUDA device; any other runs the same operations without recording.
            precision: ``fp32``, ``fp16`` or ``bf16``. Norms, softmax and the last layer compute in float32.
            modalities: most images of a frame.
            sizes: [height, width] of the grids.
            recorder: records frames; None takes the device's own kind.
            compiler: makes a faster function of the one that answers frames of the first size, such as
                ``torch.compile``; it is run here, so that no frame waits for it.
            progress: is told each step.

        Raises:
            ValueError: the precision is unknown, or a size does not fit.
            DeviceMemoryError: the device has not enough memory free.
            RuntimeError: the device does not work.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision '{precision}' is unknown; known are {', '.join(PRECISIONS)}")
        for size in sizes:
            check_size(*size)
        self.device, self.precision, self._dtype = device, precision, PRECISIONS[precision]
        load = load_of(encoder, head, self._dtype)
        self.needed_bytes = load.needed_bytes(modalities, list(sizes))
        check_memory(self.needed_bytes, device)
        self._recorder = recorder or (GraphRecorder(device) if device.type == "cuda" else DirectRecorder(device))
        self._encoder = copy.deepcopy(encoder).to(device, self._dtype)
        self._tables = RowTables()
        self._head = RowHead(head, device, self._dtype, self._tables)
        self._lock = Lock()
        self._unrecorded: set[tuple[int, ...]] = set()
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        try:
            self._record_all(modalities, sizes, compiler, progress)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            _lost.append(self)
            raise

    def _record_all(
        self,
        modalities: int,
        sizes: Sequence[tuple[int, int]],
        compiler: Callable[[Answer], Answer] | None,
        progress: Callable[[str], None],
    ) -> None:
        """The largest frame first: the others then find the memory that they need."""
        total = modalities * len(sizes)
        progress(f"the network needs about {self.needed_bytes // MIB} MiB of {self.device}")
        with self._kernels():
            for index, size in enumerate(sizes):
                buffers = FrameBuffers(modalities, size, self._dtype, self._recorder)
                for count in range(modalities, 0, -1):
                    images = buffers.images[:count]
                    answer: Answer = self._answer
                    if compiler is not None and index == 0:
                        progress(f"compiling for {count} images of {size[0]}x{size[1]}, which may take a minute")
                        with self._recorder.turn():
                            answer(images, buffers.labels, buffers.confidence)  # makes the tables of rows
                        answer = compiler(self._answer)
                    work = partial(answer, images, buffers.labels, buffers.confidence)
                    self._recorded[(count, *size)] = Recorded(buffers, self._recorder.record(work))
                    progress(f"{count} images of {size[0]}x{size[1]} recorded, {len(self._recorded)} of {total}")

    def _kernels(self) -> AbstractContextManager:
        """Convolutions by the fastest way for each size; in fp32 without TF32, which costs three decimal places."""
        exact = self._dtype == torch.float32
        return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=not exact)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Images [M,3,H,W] on any device -> float32 logits [K,H/4,W/4] on this one, without a recording."""
        with self._lock, self._recorder.turn():
            found = self._logits(images.to(self.device, self._dtype))
            self._recorder.wait()
            return found

    @torch.inference_mode()
    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 [M,3,H,W] on any device -> labels uint8 [H,W] and the labels' probability float32 [H,W].

        Raises:
            ValueError: the size does not fit.
            RuntimeError: the device failed; this network must not be used any more.
        """
        check_size(images.shape[2], images.shape[3])
        try:
            with self._lock, self._recorder.turn():
                frame = self._recorded.get((len(images), *images.shape[2:])) or self._without_recording(images)
                frame.buffers.send(images)
                frame.run()
                frame.buffers.fetch()
                self._recorder.wait()
                return frame.buffers.answer()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            _lost.append(self)
            raise

    def _without_recording(self, images: Tensor) -> Recorded:
        """A frame that nobody announced."""
        key = (len(images), *images.shape[2:])
        if key not in self._unrecorded:
            self._unrecorded.add(key)
            log.warning("no graph was recorded for %d images of %dx%d; they run without one, more slowly", *key)
        buffers = FrameBuffers(len(images), key[1:], self._dtype, self._recorder)  # type: ignore[arg-type]
        return Recorded(buffers, partial(self._answer, buffers.images, buffers.labels, buffers.confidence))

    def _answer(self, images: Tensor, labels: Tensor, confidence: Tensor) -> None:
        label_blocks(self._logits(images), self._tables, labels, confidence)

    def _logits(self, images: Tensor) -> Tensor:
        return self._head(fused_maps(self._encoder, images))


def fused_maps(encoder: MiT, images: Tensor) -> list[Tensor]:
    """Images [M,3,H,W] -> means over them of the four scales, each [h_i,w_i,C_i], finest first."""
    fused, x = [], images
    for embed, stage, norm in zip(encoder.patch_embed, encoder.block, encoder.norm, strict=True):
        tokens, size = cast(PatchEmbed, embed)(x)
        for block in cast(Sequence[Block], stage):
            tokens = block(tokens, size)
        tokens = norm(tokens)
        fused.append(tokens.mean(0).unflatten(0, size))
        x = tokens_to_map(tokens, size)
    return fused


def load_of(encoder: MiT, head: FoldedHead, dtype: torch.dtype) -> Load:
    """What a network is to do in a precision."""
    count = sum(p.numel() for module in (encoder, head) for p in module.parameters())
    classes, width = head.linear_pred.weight.shape[:2]
    return Load(encoder.config, count * dtype.itemsize, width, classes, dtype.itemsize)


@torch.inference_mode()
def check_agreement(network: CudaNetwork, reference: Callable[[Tensor], Tensor], size: tuple[int, int]) -> float:
    """Run a picture of noise on the device and by the reference, before the first frame does.

    Args:
        network: to check.
        reference: images [1,3,H,W] -> logits [K,H/4,W/4] in float32 on the CPU.
        size: of the grid; a corner of it, up to 256 pixels wide, is enough to show a wrong kernel or an overflow.

    Returns:
        ||found - expected|| / ||expected|| over the logits.

    Raises:
        PrecisionError: it is too large, or no number.
    """
    sides = (min(side, CHECK_SIDE_PX) for side in size)
    images = torch.randn(1, 3, *sides, generator=torch.Generator().manual_seed(1))
    expected = reference(images).double()
    found = network.logits(images).cpu().double()
    deviation = float((found - expected).norm() / expected.norm())
    if not deviation <= LARGEST_DEVIATION[network.precision]:
        raise PrecisionError(
            f"the network in {network.precision} on {network.device} is off by {deviation:.2g} of what float32 gives, "
            f"expected at most {LARGEST_DEVIATION[network.precision]}; choose precision bf16 or fp32"
        )
    return deviation
