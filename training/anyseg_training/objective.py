# SPDX-License-Identifier: Apache-2.0
"""What one training step minimises: the supervised loss and, with a teacher, what is distilled from it.

A step's global batch may come in parts: micro-batches, each in one of several processes. The losses of the parts add
up to the loss of the whole, and what is drawn for a sample depends on its place in the whole alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyseg_ros.model.mit import VARIANTS
from anyseg_ros.model.segmentor import AnySeg, fuse
from anyseg_training.config import Recipe
from anyseg_training.data import Batch, draw_subset
from anyseg_training.distillation import at_least_float32, cmd_loss, mad_loss, umd_loss
from anyseg_training.losses import HardPixels, hard_pixels, ohem_cross_entropy, pixel_losses
from anyseg_training.precision import autocast

# Streams and logits of images [B,M,3,H,W] and what is present, bool [B,M].
Look = Callable[[Tensor, Tensor], tuple[list[Tensor], Tensor]]


@dataclass(frozen=True)
class Part:
    """Part ``index`` of the ``count`` equal parts of a global batch."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class Draw:
    """What chance decides in a step.

    Attributes:
        present: bool [B,M], the modalities that the student sees.
        offset: row and column of the first pixel that the supervised loss is taken on.
    """

    present: Tensor
    offset: tuple[int, int]


class Seeing(nn.Module):
    """A network with streams and logits in one call, as DistributedDataParallel wants it."""

    def __init__(self, network: AnySeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, present: Tensor) -> tuple[list[Tensor], Tensor]:
        """Unfused maps per scale [S,C_i,h_i,w_i] of what is present, and logits [B,K,H/4,W/4]."""
        streams = self.network.streams(images, present)
        return streams, self.network.decode(fuse(streams, present))


@dataclass(frozen=True)
class Seen:
    """What a network made of a batch.

    Attributes:
        streams: unfused maps per scale, [S,C_i,h_i,w_i], of the modalities it saw.
        logits: [B,K,H/4,W/4], float32 or better.
    """

    streams: list[Tensor]
    logits: Tensor


def class_weights(counts: list[int], recipe: Recipe) -> Tensor:
    """float32 [K]: (mean frequency / frequency) ** class_balance, limited; classes that never occur weigh 1."""
    frequency = np.asarray(counts, np.float64)
    seen = frequency > 0
    weights = np.ones(len(frequency))
    weights[seen] = (frequency[seen].mean() / frequency[seen]) ** recipe.class_balance
    return torch.tensor(weights.clip(*recipe.class_weight_range), dtype=torch.float32)


def check_widths(teacher: AnySeg, student: AnySeg, umd_weight: float) -> None:
    """UMD compares features channel by channel.

    Raises:
        ValueError: teacher and student have other numbers of them.
    """
    found, wanted = (VARIANTS[model.config.backbone].dims for model in (teacher, student))
    if found != wanted:
        raise ValueError(
            f"umd_weight is {umd_weight}, but the teacher is {teacher.config.backbone} with features of widths "
            f"{found}, the student {student.config.backbone} with {wanted}; --set umd_weight=0, or take a teacher of "
            "this width"
        )


class Objective:
    """The loss of a batch, by its parts."""

    def __init__(
        self, recipe: Recipe, counts: list[int], teacher: AnySeg | None = None, device: torch.device | None = None
    ) -> None:
        """Prepare.

        Args:
            recipe: weights and forms of the losses.
            counts: labelled pixels per class in the training set.
            teacher: frozen here, sees every modality present; None to train without distillation.
            device: where batches will be; None for the CPU.
        """
        self.recipe = recipe
        self.weights = class_weights(counts, recipe).to(device or "cpu")
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False).to(device or "cpu")

    def __call__(
        self,
        model: nn.Module,
        batch: Batch,
        generator: torch.Generator,
        part: Part | None = None,
        hard: HardPixels | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and its parts before they are weighted: supervised, mad, umd, cmd.

        Parts of weight zero are not computed.

        Args:
            model: an ``AnySeg``, or one that DistributedDataParallel wraps in ``Seeing``.
            batch: images and labels on the objective's device.
            generator: the step's, fresh for every part of it.
            part: which one of the global batch this is; None when it is the whole. The losses are then its share.
            hard: the hard pixels of the global batch, when it has several micro-batches.
        """
        recipe, part = self.recipe, part or Part()
        draw = self._draw(batch, generator, part)
        student = self._see(model, batch, draw.present)
        logits, labels = self._scored(student.logits, batch.labels, draw)
        parts = {"supervised": ohem_cross_entropy(logits, labels, self.weights, hard)}
        if self.teacher is not None and recipe.distils:
            distilled = self._distilled(self.teacher, student, draw.present, batch)
            parts |= {name: value / part.count for name, value in distilled.items()}
        weights = {"mad": recipe.mad_weight, "umd": recipe.umd_weight, "cmd": recipe.cmd_weight}
        loss = parts["supervised"]
        for name, weight in weights.items():
            if name in parts:
                loss = loss + weight * parts[name]
        return loss, parts

    @torch.no_grad()
    def hard_pixels(
        self, model: nn.Module, batches: Iterable[Batch], seeded: Callable[[int], torch.Generator], parts: list[Part]
    ) -> HardPixels:
        """The hard pixels of a global batch that comes in micro-batches: each is looked at once, without a gradient.

        Args:
            model: as it will be when it learns from them.
            batches: the micro-batches of this process.
            seeded: seeds everything for the micro-batch of this number, and returns the step's generator.
            parts: which parts of the global batch they are.
        """
        losses, labels = [], []
        for number, (batch, part) in enumerate(zip(batches, parts, strict=True)):
            draw = self._draw(batch, seeded(number), part)
            logits, scored = self._scored(self._see(model, batch, draw.present).logits, batch.labels, draw)
            losses.append(pixel_losses(logits, scored))
            labels.append(scored)
        return hard_pixels(losses, labels)

    def _draw(self, batch: Batch, generator: torch.Generator, part: Part) -> Draw:
        """Anymodal dropout and the loss's offset, drawn for the whole batch whichever part is at hand."""
        recipe, present = self.recipe, batch.present
        if recipe.modality_dropout != "none":
            whole = torch.ones(part.count * len(present), present.shape[1], dtype=torch.bool)
            rows = slice(part.index * len(present), (part.index + 1) * len(present))
            whole[rows] = present.cpu()
            present = draw_subset(whole, generator, recipe.modality_dropout == "batch")[rows]
        dy, dx = torch.randint(recipe.loss_stride, (2,), generator=generator).tolist()
        return Draw(present.to(batch.images.device), (dy, dx))

    def _see(self, model: nn.Module, batch: Batch, present: Tensor) -> Seen:
        look: Look = Seeing(model) if isinstance(model, AnySeg) else model
        with autocast(batch.images.device, self.recipe.precision):
            streams, logits = look(batch.images, present)
        return Seen(streams, at_least_float32(logits))

    def _distilled(self, teacher: AnySeg, student: Seen, drawn: Tensor, batch: Batch) -> dict[str, Tensor]:
        """MAD, UMD and CMD: the teacher sees all that is present, the features compared are those the student has."""
        recipe, samples = self.recipe, len(drawn)
        present = batch.present.to(drawn.device)
        with torch.no_grad():
            seen = self._see(teacher, batch, present)
            streams = [m[drawn[present]] for m in seen.streams]
        parts = {}
        if recipe.mad_weight:
            parts["mad"] = mad_loss(student.logits, seen.logits, recipe.mad_direction, recipe.mad_scale)
        if recipe.umd_weight:
            parts["umd"] = umd_loss(student.streams, streams, samples, recipe.umd_axis)
        if recipe.cmd_weight:
            parts["cmd"] = cmd_loss(student.streams, streams, drawn.nonzero()[:, 0], samples)
        return parts

    def _scored(self, logits: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Logits and labels on every n-th pixel; the random offset lets every pixel have its turn."""
        stride = self.recipe.loss_stride
        if stride < 4:
            logits = F.interpolate(logits, scale_factor=4 // stride, mode="bilinear", align_corners=False)
        dy, dx = draw.offset
        return logits, labels[:, dy::stride, dx::stride]
