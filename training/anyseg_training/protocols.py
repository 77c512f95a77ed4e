# SPDX-License-Identifier: Apache-2.0
"""What "a sensor is missing" means when a model is scored. Figures of two protocols never belong in one table.

``skip`` leaves an absent modality out of the mean, as AnySeg, MAGIC and RobustSeg are scored. ``zero-fill`` feeds zeros
after normalisation and keeps every modality in the mean; it is the entire-missing protocol (EMM) of the robustness
benchmark of Liao et al., arXiv 2503.18445. ``rmm-R`` is its random-missing one: the modalities that a subset lacks
lose a share R of their pixels. ``nm-LEVEL`` is its noisy one: all that is there is noisy. How large a lost patch is and
how strong the noise, that paper's abstract and tables do not say; the constants below are this package's, so do not set
its RMM and NM figures beside these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Pixels are lost in square patches of this side, so that what is lost is not restored by the first convolution.
PATCH_PX = 16
# Per level: standard deviation of the Gaussian noise, and share of the pixels that go to an extreme, in units of the
# channels' standard deviations over the training set.
NOISE = {"low": (0.25, 0.01), "mid": (0.5, 0.03), "high": (1.0, 0.1)}
EXTREME = 3.0

Change = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Protocol:
    """How images are changed before they are scored.

    Attributes:
        text: what it does, for the report.
        there: changes the images [M,3,H,W] of the modalities that a subset names; None leaves them.
        away: makes the images of those that it does not name: [M,3,H,W], or [1,3,H,W] for one that serves them all;
            None leaves them out of the mean.
    """

    text: str
    there: Change | None = None
    away: Change | None = None


def zeros(images: Tensor, _generator: torch.Generator) -> Tensor:
    """One image of zeros, the mean after normalisation, for all modalities."""
    return torch.zeros_like(images[:1])


def lose_pixels(share: float) -> Change:
    """Sets a share of each image's patches to zero, in all three channels, drawn per modality."""

    def change(images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[-2:]
        patches = (-(-height // PATCH_PX), -(-width // PATCH_PX))
        count = patches[0] * patches[1]
        kept = torch.zeros(len(images), count, dtype=torch.bool)
        for row in kept:
            row[torch.randperm(count, generator=generator)[round(share * count) :]] = True
        mask = kept.view(len(images), 1, *patches).repeat_interleave(PATCH_PX, 2).repeat_interleave(PATCH_PX, 3)
        return images * mask[..., :height, :width].to(images.device)

    return change


def add_noise(level: str) -> Change:
    """Gaussian noise on every value, and a share of the pixels at an extreme of either sign (salt and pepper)."""
    deviation, share = NOISE[level]

    def change(images: Tensor, generator: torch.Generator) -> Tensor:
        noisy = images + deviation * torch.randn(images.shape, generator=generator).to(images)
        draw = torch.rand(len(images), 1, *images.shape[2:], generator=generator).to(images.device).expand_as(images)
        noisy = torch.where(draw < share / 2, -EXTREME, noisy)
        return torch.where(draw > 1 - share / 2, EXTREME, noisy)

    return change


PROTOCOLS = {
    "skip": Protocol("an absent modality is left out of the mean"),
    "zero-fill": Protocol("an absent modality is zeros after normalisation and stays in the mean (EMM)", away=zeros),
    **{
        f"rmm-{share}": Protocol(
            f"an absent modality has lost {share:.0%} of its pixels, in patches of {PATCH_PX}, and stays in the mean "
            "(RMM)",
            away=lose_pixels(share),
        )
        for share in (0.25, 0.5, 0.75)
    },
    **{
        f"nm-{level}": Protocol(
            f"what is there has Gaussian noise of {deviation} standard deviations, and {share:.0%} of its pixels at an "
            "extreme; an absent modality is left out of the mean (NM)",
            there=add_noise(level),
        )
        for level, (deviation, share) in NOISE.items()
    },
}
