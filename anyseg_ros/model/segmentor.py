# SPDX-License-Identifier: Apache-2.0
"""AnySeg: one encoder shared by all modalities, the mean over those present, one head.

Zheng et al., "Learning Robust Anymodal Segmentor with Unimodal and Cross-modal Distillation" (arXiv 2411.17141).
No parameter belongs to a modality, and the streams never meet before the mean, so any subset works, and every
subset can be scored from one encoder pass per modality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anyseg_ros.model.head import MLPHead
from anyseg_ros.model.mit import VARIANTS, MiT
from anyseg_ros.types import UNLABELLED


@dataclass(frozen=True)
class AnySegConfig:
    """Architecture.

    Attributes:
        classes: number of classes, 1 to 255.
        backbone: ``b0`` to ``b5``, or ``b0-half``, which is b0 with halved widths.
        head_width: width E of the head.
    """

    classes: int
    backbone: str = "b0"
    head_width: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            ValueError: unknown backbone, or a number out of range.
        """
        if self.backbone not in VARIANTS:
            raise ValueError(f"backbone '{self.backbone}' is unknown; known are {', '.join(VARIANTS)}")
        if not 1 <= self.classes <= UNLABELLED:
            raise ValueError(f"{self.classes} classes; labels are uint8 with 255 for none, so 1 to 255 are possible")
        if self.head_width < 1:
            raise ValueError(f"head width {self.head_width}; it must be at least 1")


class AnySeg(nn.Module):
    """The network."""

    def __init__(self, config: AnySegConfig) -> None:
        super().__init__()
        self.config = config
        variant = VARIANTS[config.backbone]
        self.encoder = MiT(variant)
        self.head = MLPHead(variant.dims, config.head_width, config.classes)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Segment a batch.

        Args:
            x: [B,M,3,H,W], normalised images; those that are not present are never read.
            present: bool [B,M], or None when everything is present.

        Returns:
            Logits [B,K,H/4,W/4].

        Raises:
            ValueError: a sample has no modality present, or the shapes do not fit.
        """
        return self.decode(self.fused(x, present))

    def features(self, x: Tensor) -> list[Tensor]:
        """[B,M,3,H,W] -> unfused maps of the four scales, each [B,M,C_i,h_i,w_i]."""
        check_stack(x)
        return [m.unflatten(0, x.shape[:2]) for m in self.encoder(x.flatten(0, 1))]

    def streams(self, x: Tensor, present: Tensor) -> list[Tensor]:
        """Unfused maps of what is present, each [S,C_i,h_i,w_i]: S streams, in the order of ``present.nonzero()``.

        Only present images are encoded. Arguments and errors as in ``forward``.
        """
        check_stack(x)
        check_present(x, present)
        return self.encoder(x.flatten(0, 1)[present.flatten().nonzero().squeeze(1)])

    def fused(self, x: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """The four maps that the head sees: means over the modalities present, each [B,C_i,h_i,w_i].

        Arguments and errors as in ``forward``.
        """
        if present is None:
            return [m.mean(1) for m in self.features(x)]
        return fuse(self.streams(x, present), present)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Fused maps of the four scales -> logits [B,K,H/4,W/4]."""
        return self.head(maps)


def fuse(streams: Sequence[Tensor], present: Tensor) -> list[Tensor]:
    """Streams [S,C_i,h_i,w_i] of what ``present`` [B,M] marks -> the mean of each sample's, [B,C_i,h_i,w_i]."""
    sample, count = present.nonzero()[:, 0], present.sum(1)
    return [mean_by_sample(m, sample, count) for m in streams]


def mean_by_sample(streams: Tensor, sample: Tensor, count: Tensor) -> Tensor:
    """Average streams [S,C,h,w] over each sample [S] of count [B] streams -> [B,C,h,w], channels-last."""
    rows = streams.permute(0, 2, 3, 1)
    weighted = rows / count[sample].to(rows.dtype).view(-1, 1, 1, 1)
    total = weighted.new_zeros(len(count), *rows.shape[1:])
    return total.index_add(0, sample, weighted).permute(0, 3, 1, 2)


def check_stack(x: Tensor) -> None:
    """Refuse stacks of the wrong shape.

    Raises:
        ValueError: it is not [B,M,3,H,W] with at least one sample and one modality.
    """
    if x.dim() != 5 or x.shape[2] != 3 or 0 in x.shape:
        raise ValueError(f"a stack of shape {tuple(x.shape)} was given; expected [B,M,3,H,W] with B and M at least 1")


def check_present(x: Tensor, present: Tensor) -> None:
    """Refuse masks that do not fit the stack or leave a sample with nothing.

    Raises:
        ValueError: says which.
    """
    if present.shape != x.shape[:2] or present.dtype != torch.bool:
        raise ValueError(
            f"present is {present.dtype} of shape {tuple(present.shape)}; "
            f"expected bool {tuple(x.shape[:2])}, one per image of the stack"
        )
    blind = (~present.any(1)).nonzero().flatten().tolist()
    if blind:
        raise ValueError(f"samples {blind} of the batch have no modality present; every sample needs at least one")
