# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the network on a GPU, from a stack on the host to labels on the host, in each precision.

The rivals have the same weights on the same GPU: the plain implementation as published in float32 with torch's own
settings, and the same modules in the precision of ours. Results are compared before times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import torch

from anyseg_ros.engine.cuda_network import CudaNetwork
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.segmentor import AnySeg
from benchmarks.cases import Agreement, Case, Rival, Settings, Table
from benchmarks.engine import BACKBONES, PUBLISHED_WIDTH, SIZES, random_model
from benchmarks.engine_gpu_tables import (
    exactness_table,
    frames_table,
    kernels_table,
    memory_table,
    parts_table,
    roofline_table,
)
from benchmarks.published import PublishedAnySeg

PRECISIONS = ("fp32", "fp16", "bf16")
MODALITIES = 3
ROUNDS = 5
MAIN = ("b0", (1024, 1024), "fp16")
"""Of which every number of modalities is measured, and the compiled form."""
QUICK_SIZES = ((64, 96),)
TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "bf16": 0.15}
"""||ours - plain|| / ||plain|| over the logits; the plain one's convolutions compute in TF32."""
EQUAL_LABELS = {"fp32": 0.995, "fp16": 0.98, "bf16": 0.9}
"""Share of the labels: with random weights the best two classes are often nearly as good as each other."""
Answer = tuple[np.ndarray, np.ndarray]


def why_not(settings: Settings) -> str | None:
    """Why this cannot run here, as a sentence; None where it can."""
    if settings.device != "auto" and not settings.device.startswith("cuda"):
        return f"engine_gpu measures a GPU, and --device is {settings.device}; leave --device out or name a cuda device"
    if not torch.cuda.is_available():
        return f"engine_gpu needs a CUDA device, and torch {torch.__version__} finds none; --only engine runs on a CPU"
    return None


def device_of(settings: Settings) -> torch.device:
    """The GPU to measure."""
    return torch.device("cuda" if settings.device == "auto" else settings.device)


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """Every backbone, size and precision with all modalities; fewer modalities and the compiled form of one of them."""
    device = device_of(settings)
    for backbone in BACKBONES[:1] if settings.quick else BACKBONES:
        for size in QUICK_SIZES if settings.quick else SIZES:
            for precision in PRECISIONS:
                yield lambda b=backbone, s=size, p=precision: case(b, s, MODALITIES, p, device)
    backbone, size, precision = MAIN
    size = QUICK_SIZES[0] if settings.quick else size
    for count in range(1, MODALITIES):
        yield lambda b=backbone, s=size, m=count, p=precision: case(b, s, m, p, device)
    yield lambda b=backbone, s=size, p=precision: case(b, s, MODALITIES, p, device, compiled=True)


def tables(settings: Settings) -> Iterator[Callable[[], Table]]:
    """Exactness, a drive of changing subsets, the roofline, parts of a frame, kernels, memory."""
    device = device_of(settings)
    size = QUICK_SIZES[0] if settings.quick else MAIN[1]
    frames = 20 if settings.quick else 1000
    for backbone in BACKBONES[:1] if settings.quick else BACKBONES:
        model = random_model(PUBLISHED_WIDTH, backbone)
        yield lambda m=model: exactness_table(m, size, device)
        yield lambda m=model: frames_table(m, size, device, frames)
        yield lambda m=model: roofline_table(m, QUICK_SIZES if settings.quick else SIZES, device, settings.quick)
        yield lambda m=model: parts_table(m, size, device)
        yield lambda m=model: kernels_table(m, size, device)
        yield lambda m=model: memory_table(m, size, device)


def case(
    backbone: str, size: tuple[int, int], count: int, precision: str, device: torch.device, compiled: bool = False
) -> Case:
    """A stack on the host to labels and confidence on the host."""
    name = f"engine_gpu_{backbone}_{size[0]}x{size[1]}_{count}_{precision}{'_compiled' if compiled else ''}"
    work = (
        f"{count} modalities of {size[0]}x{size[1]}, MiT-{backbone.upper()}, head {PUBLISHED_WIDTH} wide, {precision}"
        f"{', compiled' if compiled else ''}: from a stack to labels and confidence, transfers included, on {device}"
    )
    model = random_model(PUBLISHED_WIDTH, backbone)
    compiler = None
    skipped: dict[str, str] = {}
    if compiled and find_spec("triton") is None:
        skipped["ours, compiled"] = "torch.compile needs Triton on a GPU; what was measured is not compiled"
    elif compiled:
        compiler = torch.compile
    network = CudaNetwork(model.encoder, FoldedHead(model.head), device, precision, count, [size], compiler=compiler)
    stack = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(5))
    return Case(name, work, 1, "frame", lambda: network.labels(stack), rivals(model, network, stack), skipped, ROUNDS)


def rivals(model: AnySeg, network: CudaNetwork, stack: torch.Tensor) -> tuple[Rival, ...]:
    """The plain implementation in float32 and, where that is another, in the precision of ours."""
    precision, device = network.precision, network.device
    plain = PublishedAnySeg(model).to(device)

    def agrees(ours: Answer, theirs: Answer) -> Agreement:
        return same_answer(ours, theirs, network.logits(stack).cpu(), torch.from_numpy(plain.logits(stack.numpy())),
                           precision)  # fmt: skip

    found = [Rival("plain implementation as published, float32", lambda: plain.infer(stack.numpy()), agrees)]
    if precision != "fp32":
        half = HalfPlain(model, device, precision)
        note = "all of it in that precision, logits and probabilities too"
        found.append(Rival(f"plain implementation in {precision}", lambda: half.infer(stack), half_agrees, note))
    return tuple(found)


class HalfPlain:
    """The plain implementation with weights and pictures of half the precision."""

    def __init__(self, model: AnySeg, device: torch.device, precision: str) -> None:
        self._dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        self._plain, self._device = PublishedAnySeg(model).to(device, self._dtype), device

    @torch.inference_mode()
    def infer(self, stack: torch.Tensor) -> Answer:
        """One frame [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]."""
        logits = self._plain([stack.to(self._device, self._dtype)])
        full = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        best, labels = full.softmax(dim=1).max(dim=1)
        return labels[0].to(torch.uint8).cpu().numpy(), best[0].float().cpu().numpy()


def same_answer(
    ours: Answer, theirs: Answer, our_logits: torch.Tensor, their_logits: torch.Tensor, precision: str
) -> Agreement:
    """Logits within the precision, nearly all labels equal."""
    off = float((our_logits - their_logits).double().norm() / their_logits.double().norm())
    equal = float((ours[0] == theirs[0]).mean())
    same = off <= TOLERANCE[precision] and equal >= EQUAL_LABELS[precision]
    return Agreement(same, f"logits off by {off:.1e} of their size; {equal:.3%} of the labels equal")


def half_agrees(ours: Answer, theirs: Answer) -> Agreement:
    """Nine labels of ten: the rival's logits have 8 or 11 bits, and equal ones decide by order."""
    equal = float((ours[0] == theirs[0]).mean())
    return Agreement(equal >= 0.9, f"{equal:.3%} of the labels equal")
