# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the labels of all 15 subsets of four modalities, in one pass against one run per subset.

The trainer scores every subset of every sample, so this is what an evaluation costs. Both ways are of this package: the
same encoder, head and upsampling. Runs one by one encode 32 images for the 15 subsets, one pass encodes 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from anyseg_training.evaluate import labels_from, subset_logits

from anyseg_ros.modality import Modality, all_subsets
from anyseg_ros.model.segmentor import AnySeg
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.engine import random_model

SIZE, QUICK_SIZE = (512, 512), (64, 96)
WIDTHS, QUICK_WIDTHS = (256, 768), (64,)
"""Of the head: that of the shipped recipes, and the paper's."""
ROUNDS = 7
DIFFERENT_SHARE = 1e-5
"""Pixels that may differ in float32: between two classes as good as equal, the order of a sum decides."""
NAMES = [m.value for m in Modality]


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """One per width of the head."""
    size = QUICK_SIZE if settings.quick else SIZE
    for width in QUICK_WIDTHS if settings.quick else WIDTHS:
        yield lambda w=width: subsets_case(w, size)


def subsets_case(width: int, size: tuple[int, int]) -> Case:
    """Four random images to 15 label maps."""
    model = random_model(width)
    images = torch.randn(len(NAMES), 3, *size, generator=torch.Generator().manual_seed(6))
    whole_note = "the last of the 15 answers; this ratio is below 1, its inverse says what all 15 cost"
    return Case(
        f"subsets_{size[0]}x{size[1]}_{width}",
        f"the labels of all 15 subsets of four modalities of {size[0]}x{size[1]}, MiT-B0, head {width} wide, on cpu",
        15,
        "subset",
        lambda: in_one_pass(model, images),
        (
            Rival("a run for each subset", lambda: one_by_one(model, images), same_labels),
            Rival("the full subset alone", lambda: all_together(model, images), same_last, whole_note),
        ),
        rounds=ROUNDS,
    )


@torch.inference_mode()
def in_one_pass(model: AnySeg, images: torch.Tensor) -> list[np.ndarray]:
    """The trainer's way: labels uint8 [H,W] of each subset."""
    found = subset_logits(model, images, np.ones(len(NAMES), bool), NAMES)
    return [labels_from(answer.logits, (images.shape[2], images.shape[3])) for answer in found]


@torch.inference_mode()
def one_by_one(model: AnySeg, images: torch.Tensor) -> list[np.ndarray]:
    """The network on the images of each subset in turn."""
    rows = [[NAMES.index(m.value) for m in subset] for subset in all_subsets(Modality)]
    return [labels_from(model(images[None, row]), (images.shape[2], images.shape[3])) for row in rows]


@torch.inference_mode()
def all_together(model: AnySeg, images: torch.Tensor) -> np.ndarray:
    """The network on all four images."""
    return labels_from(model(images[None]), (images.shape[2], images.shape[3]))


def same_labels(ours: list[np.ndarray], theirs: list[np.ndarray]) -> Agreement:
    """Equal but for ties."""
    different = float(np.mean([a != b for a, b in zip(ours, theirs, strict=True)]))
    return Agreement(different <= DIFFERENT_SHARE, f"{different:.1e} of the pixels differ")


def same_last(ours: list[np.ndarray], theirs: np.ndarray) -> Agreement:
    """The last subset is the full one."""
    return same_labels(ours[-1:], [theirs])
