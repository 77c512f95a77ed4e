# SPDX-License-Identifier: Apache-2.0
"""Benchmark: one frame of three modalities through the network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.engine.engine import Engine
from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.model.checkpoint import CheckpointMeta
from anyseg_ros.model.head import MLPHead
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from benchmarks.cases import Case, Rival, Settings
from benchmarks.compare import same_logits

MODALITIES = 3
SHIPPED_WIDTH, PUBLISHED_WIDTH = 256, 768
TOLERANCE = 0.01
"""In standard deviations of the logits: TF32 on a GPU costs about a thousandth."""


class PrintedHead(nn.Module):
    """SegFormer's head in the order of arXiv 2105.15203, section 3.2, with the weights of one of ours.

    Every scale is projected, brought to a quarter, concatenated (coarsest first), and only then convolved.
    """

    def __init__(self, head: MLPHead) -> None:
        super().__init__()
        self.parts = copy.deepcopy(head)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps [B,C_i,h_i,w_i], finest first -> logits [B,K,h_1,w_1]."""
        parts = self.parts
        linears = [parts.linear_c1.proj, parts.linear_c2.proj, parts.linear_c3.proj, parts.linear_c4.proj]
        scales = []
        for features, linear in zip(maps, linears, strict=True):
            projected = linear(features.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, features.shape[2:])
            scales.append(F.interpolate(projected, maps[0].shape[2:], mode="bilinear", align_corners=False))
        x = F.relu(parts.linear_fuse.bn(parts.linear_fuse.conv(torch.cat(scales[::-1], dim=1))))
        return parts.linear_pred(x)


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """Two sizes, each with the shipped width of the head and the published one."""
    for size in ((64, 96),) if settings.quick else ((160, 288), (512, 512)):
        for width in (SHIPPED_WIDTH, PUBLISHED_WIDTH):
            yield lambda size=size, width=width: network_case(size, width, settings)


def network_case(size: tuple[int, int], width: int, settings: Settings) -> Case:
    """B0 with random weights: the engine, the plain model, and the head as printed, all with the same weights."""
    model = random_model(width)
    meta = CheckpointMeta(asdict(model.config), [], [], [], "", {}, list(size))
    engine = Engine(model, meta, device=settings.device)
    plain = copy.deepcopy(model).to(engine.device)
    printed = PrintedHead(model.head).eval().to(engine.device)
    stack = torch.randn(MODALITIES, 3, *size, generator=torch.Generator().manual_seed(5)).numpy()

    @torch.inference_mode()
    def run(decode: Callable[[list[Tensor]], Tensor]) -> np.ndarray:
        return decode(plain.fused(torch.from_numpy(stack)[None].to(engine.device)))[0].cpu().numpy()

    def same(ours: np.ndarray, theirs: np.ndarray):
        return same_logits(ours, theirs, TOLERANCE)

    return Case(
        f"network_{size[0]}x{size[1]}_head{width}",
        f"{MODALITIES} modalities of {size[0]}x{size[1]}, MiT-B0, head {width} wide, to logits at a quarter, "
        f"on {engine.device.type}",
        1,
        "frame",
        lambda: engine.logits(stack).cpu().numpy(),
        (
            Rival("plain AnySeg.forward, eval mode", lambda: run(plain.decode), same, "weights multiplied per call"),
            Rival("head as printed: concatenated at a quarter", lambda: run(printed), same),
        ),
    )


def random_model(width: int) -> AnySeg:
    """B0 with BatchNorm statistics as training leaves them: not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AnySeg(AnySegConfig(len(CITYSCAPES.names), "b0", width)).eval().requires_grad_(False)
        bn = model.head.linear_fuse.bn
        bn.running_mean.normal_()
        bn.running_var.uniform_(0.2, 3.0)
        bn.weight.normal_()
        bn.bias.normal_()
    return model
