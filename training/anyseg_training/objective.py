# SPDX-License-Identifier: Apache-2.0
"""What one training step minimises: the supervised loss and, with a teacher, what is distilled from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.model.segmentor import AnySeg, fuse
from anyseg_training.config import Recipe
from anyseg_training.data import Batch, draw_subset
from anyseg_training.distillation import at_least_float32, cmd_loss, mad_loss, umd_loss
from anyseg_training.losses import ohem_cross_entropy


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


class Objective:
    """The loss of a batch, by its parts."""

    def __init__(self, recipe: Recipe, counts: list[int], teacher: AnySeg | None = None) -> None:
        """Prepare.

        Args:
            recipe: weights and forms of the losses.
            counts: labelled pixels per class in the training set.
            teacher: frozen here, sees every modality present; None to train without distillation.
        """
        self.recipe = recipe
        self.weights = class_weights(counts, recipe)
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    def __call__(self, model: AnySeg, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and its parts before they are weighted: supervised, mad, umd, cmd.

        Parts of weight zero are not computed.
        """
        recipe = self.recipe
        drawn = batch.present
        if recipe.modality_dropout != "none":
            drawn = draw_subset(batch.present, generator, recipe.modality_dropout == "batch")
        student = self._see(model, batch, drawn)
        parts = {"supervised": self._supervised(student.logits, batch.labels, generator)}
        if self.teacher is not None and recipe.distils:
            parts |= self._distilled(student, drawn, batch)
        weights = {"mad": recipe.mad_weight, "umd": recipe.umd_weight, "cmd": recipe.cmd_weight}
        total = parts["supervised"]
        for name, weight in weights.items():
            if name in parts:
                total = total + weight * parts[name]
        return total, parts

    def _see(self, model: AnySeg, batch: Batch, present: Tensor) -> Seen:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            streams = model.streams(batch.images, present)
            return Seen(streams, at_least_float32(model.decode(fuse(streams, present))))

    def _distilled(self, student: Seen, drawn: Tensor, batch: Batch) -> dict[str, Tensor]:
        """MAD, UMD and CMD: the teacher sees all that is present, the features compared are those the student has."""
        recipe, samples = self.recipe, len(drawn)
        assert self.teacher is not None
        with torch.no_grad():
            teacher = self._see(self.teacher, batch, batch.present)
            streams = [m[drawn[batch.present]] for m in teacher.streams]
        parts = {}
        if recipe.mad_weight:
            parts["mad"] = mad_loss(student.logits, teacher.logits, recipe.mad_direction, recipe.mad_scale)
        if recipe.umd_weight:
            parts["umd"] = umd_loss(student.streams, streams, samples, recipe.umd_axis)
        if recipe.cmd_weight:
            parts["cmd"] = cmd_loss(student.streams, streams, drawn.nonzero()[:, 0], samples)
        return parts

    def _supervised(self, logits: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """OHEM cross-entropy on every n-th pixel; the random offset lets every pixel have its turn."""
        stride = self.recipe.loss_stride
        if stride < 4:
            logits = F.interpolate(logits, scale_factor=4 // stride, mode="bilinear", align_corners=False)
        dy, dx = torch.randint(stride, (2,), generator=generator).tolist()
        return ohem_cross_entropy(logits, labels[:, dy::stride, dx::stride], self.weights)
