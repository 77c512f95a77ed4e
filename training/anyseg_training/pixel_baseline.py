# SPDX-License-Identifier: Apache-2.0
"""How much of the answer is painted on the pixels: a logistic regression on a pixel's own three channels.

A simulator that gave every class its own colour would let this baseline win, and a network trained on it would learn
nothing about shape. Two fits are scored, plain and with classes weighted alike, and the better one counts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.metrics import confusion, miou
from anyseg_ros.types import UNLABELLED
from anyseg_training.data import Pack
from anyseg_training.fitting import check_packed_alike

PIXELS_PER_SAMPLE = 400
STEPS = 60


def samples_with(pack: Pack, name: str) -> list[int]:
    """The samples that have a modality."""
    return np.flatnonzero(pack.present[:, pack.modalities.index(name)]).tolist()


def draw_pixels(pack: Pack, name: str, seed: int) -> tuple[Tensor, Tensor]:
    """Random labelled pixels of a pack: float32 [N,3] raw channels, int64 [N] classes."""
    rng = np.random.default_rng(seed)
    channels, classes = [], []
    for i in samples_with(pack, name):
        images, labels = pack.raw(i)
        inside = np.flatnonzero(labels.ravel() != UNLABELLED)
        chosen = rng.choice(inside, min(PIXELS_PER_SAMPLE, len(inside)), replace=False)
        channels.append(images[name].reshape(3, -1)[:, chosen].T)
        classes.append(labels.ravel()[chosen])
    return torch.from_numpy(np.concatenate(channels)), torch.from_numpy(np.concatenate(classes)).long()


class PixelRegression:
    """Softmax regression on standardised channels, fitted by L-BFGS on the whole sample at once."""

    def __init__(self, x: Tensor, y: Tensor, classes: int, balanced: bool) -> None:
        """Fit to float32 [N,3] and int64 [N]."""
        self.mean, self.std = x.mean(0), x.std(0).clamp_min(1e-6)
        self.weight = torch.zeros(3, classes, requires_grad=True)
        self.bias = torch.zeros(classes, requires_grad=True)
        counts = torch.bincount(y, minlength=classes).float()
        importance = torch.where(counts > 0, len(y) / (counts.clamp_min(1) * classes), 0.0) if balanced else None
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(self.logits(x), y, importance)
            value.backward()
            return value

        optimizer.step(loss)

    def logits(self, x: Tensor) -> Tensor:
        """[N,3] -> [N,K]."""
        return (x - self.mean) / self.std @ self.weight + self.bias

    @torch.no_grad()
    def labels(self, image: np.ndarray) -> np.ndarray:
        """Raw [3,H,W] -> uint8 [H,W]."""
        answer = self.logits(torch.from_numpy(image.reshape(3, -1).T.copy())).argmax(1)
        return answer.to(torch.uint8).numpy().reshape(image.shape[1:])


def pixel_baseline(train: Pack, test: Pack, seed: int = 0) -> dict[str, dict[str, float]]:
    """Per modality the mIoU in percent on ``test`` of regressions fitted on ``train``: plain, balanced, best.

    Raises:
        PackError: the packs are not alike.
    """
    check_packed_alike(str(test.root), test, train)
    classes = len(train.index["classes"])
    scores = {}
    for name in train.modalities:
        x, y = draw_pixels(train, name, seed)
        result = {}
        for kind, balanced in (("plain", False), ("balanced", True)):
            regression = PixelRegression(x, y, classes, balanced)
            counts = np.zeros((classes, classes + 1), np.int64)
            for i in samples_with(test, name):
                images, labels = test.raw(i)
                counts += confusion(regression.labels(images[name]), labels, classes)
            result[kind] = round(miou(counts) or 0.0, 2)
        scores[name] = result | {"best": max(result.values())}
    return scores
