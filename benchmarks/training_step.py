# SPDX-License-Identifier: Apache-2.0
"""Benchmark: one step of training, ours against a plain implementation as published, with the same weights.

A step is: forward, cross-entropy of the logits at full size, backward, AdamW. The two differ in the network: the
plain one takes the samples one by one, writes attention matrices out in full, and its head concatenates four maps of
its width at a quarter of the size before its 1x1 convolution. Both train in float32, BatchNorm by the statistics of the
batch. Drop path and dropout are off in both, for they draw at random, and gradients are to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.model.mit import DropPath
from anyseg_ros.model.segmentor import AnySeg
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.engine import PUBLISHED_WIDTH, random_model
from benchmarks.published import PublishedAnySeg

SIZE, QUICK_SIZE = (512, 512), (64, 96)
BATCH, MODALITIES = 2, 3
ROUNDS = 5
AREA_PX = 32
GRADIENTS = 1e-4
"""Length of the difference of all gradients, as a share of their length. What there is of it in float32 comes from
torch's fused attention, whose exponential is good to 1e-6: a value that close to zero falls on the other side of a
ReLU. In float64 the two agree to 1e-10, which a test holds; a quick run is in float64, for among few values a single
one counts."""
LEARNING_RATE = 6e-5
Gradients = dict[str, Tensor]


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """The paper's network."""
    if settings.quick:
        yield lambda: step_case(64, QUICK_SIZE, torch.float64)
    else:
        yield lambda: step_case(PUBLISHED_WIDTH, SIZE)


def step_case(width: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Case:
    """A batch of random images, and labels of random areas, to gradients and new weights."""
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(BATCH, MODALITIES, 3, *size, generator=generator).to(dtype)
    labels = random_areas(size, generator)
    ours = trainable(random_model(width)).to(dtype)
    theirs = PublishedAnySeg(ours).train().requires_grad_(True)
    present = torch.ones(BATCH, MODALITIES, dtype=torch.bool)
    return Case(
        f"training_step_{size[0]}x{size[1]}",
        f"a step of training on {BATCH} samples of {MODALITIES} modalities of {size[0]}x{size[1]}, MiT-B0, "
        f"head {width} wide, {str(dtype).removeprefix('torch.')}, on cpu",
        BATCH,
        "sample",
        stepper(ours, lambda: ours(images, present), labels),
        (
            Rival(
                "plain implementation as published",
                stepper(theirs, lambda: theirs(list(images)), labels),
                same_gradients,
            ),
        ),
        rounds=ROUNDS,
    )


def trainable(model: AnySeg) -> AnySeg:
    """The model in training mode without anything random."""
    model.head.dropout.p = 0.0
    for module in model.modules():
        if isinstance(module, DropPath):
            module.probability = 0.0
    return model.train().requires_grad_(True)


def stepper(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> Callable[[], Gradients]:
    """A function that takes one step and returns the gradients by our names."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)

    def step() -> Gradients:
        optimizer.zero_grad(set_to_none=True)
        full = F.interpolate(logits(), labels.shape[1:], mode="bilinear", align_corners=False)
        F.cross_entropy(full, labels).backward()
        optimizer.step()
        return {n.replace("head.parts.", "head."): p.grad for n, p in model.named_parameters() if p.grad is not None}

    return step


def random_areas(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Labels int64 [B,H,W] in squares, some classes more often than others: noise would cancel in the gradients."""
    rows, columns = size[0] // AREA_PX, size[1] // AREA_PX
    frequency = 1.0 / torch.arange(1, len(CITYSCAPES.names) + 1)
    drawn = torch.multinomial(frequency, BATCH * rows * columns, replacement=True, generator=generator)
    return drawn.view(BATCH, rows, columns).repeat_interleave(AREA_PX, 1).repeat_interleave(AREA_PX, 2)


def same_gradients(ours: Gradients, theirs: Gradients) -> Agreement:
    """Of the same parameters, and equal but for rounding."""
    if set(ours) != set(theirs):
        return Agreement(False, f"gradients of other parameters: {sorted(set(ours) ^ set(theirs))}")
    length = sum(float(g.square().sum()) for g in theirs.values()) ** 0.5
    off = sum(float((ours[name] - g).square().sum()) for name, g in theirs.items()) ** 0.5 / length
    return Agreement(off <= GRADIENTS, f"the gradients differ by {off:.1e} of their length")
