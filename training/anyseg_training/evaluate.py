# SPDX-License-Identifier: Apache-2.0
"""Scores every subset of modalities from one encoder pass per modality (protocol "skip": absent means left out)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from anyseg_ros.metrics import confusion, iou, miou
from anyseg_ros.modality import Modality, all_subsets, subset_name
from anyseg_ros.model.segmentor import AnySeg
from anyseg_ros.types import UNLABELLED
from anyseg_training.data import Normaliser, Pack, PackError

ALL = "all"


@dataclass(frozen=True)
class SubsetLogits:
    """What the network says with one subset; None where the sample has none of its modalities."""

    subset: str
    logits: Tensor | None


def subset_logits(model: AnySeg, images: Tensor, present: np.ndarray, names: list[str]) -> list[SubsetLogits]:
    """Logits [1,K,H/4,W/4] of every subset for one sample: M encoder passes, a mean and a head per subset.

    A subset that names a modality which the sample lacks is answered with the rest of it.

    Args:
        model: in evaluation mode.
        images: [M,3,H,W], normalised.
        present: bool [M].
        names: modality name of each image.
    """
    rows = {Modality(name): i for i, (name, there) in enumerate(zip(names, present, strict=True)) if there}
    maps = model.features(images[None]) if rows else []
    answers = []
    for subset in all_subsets([Modality(name) for name in names]):
        chosen = [rows[m] for m in subset if m in rows]
        logits = model.decode([m[:, chosen].mean(1) for m in maps]) if chosen else None
        answers.append(SubsetLogits(subset_name(subset), logits))
    return answers


def labels_from(logits: Tensor | None, grid: tuple[int, int]) -> np.ndarray:
    """uint8 [H,W]: argmax of the logits upsampled to the grid; 255 everywhere when there are none."""
    if logits is None:
        return np.full(grid, UNLABELLED, np.uint8)
    full = F.interpolate(logits, grid, mode="bilinear", align_corners=False)
    return full[0].argmax(0).to(torch.uint8).numpy()


@torch.inference_mode()
def evaluate(model: AnySeg, pack: Pack, normaliser: Normaliser, prior: np.ndarray, bar: bool = True) -> dict:
    """Score a model on a pack.

    Args:
        model: the network.
        pack: the split to score.
        normaliser: of the checkpoint.
        prior: uint8 [H,W], each position's most frequent class in the training set: the answer to beat.
        bar: show progress.

    Returns:
        A JSON-ready report (see ``report``).

    Raises:
        PackError: the training set's grid or the model's classes are not those of the pack.
    """
    classes = model.config.classes
    if prior.shape != pack.grid or classes != len(pack.index["classes"]):
        raise PackError(
            f"grid {prior.shape} and {classes} classes do not fit {pack.root} with grid {pack.grid} "
            f"and {len(pack.index['classes'])} classes"
        )
    model.eval()
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((classes, classes + 1), np.int64))
    for i in tqdm(range(len(pack)), unit="sample", disable=not bar, desc="evaluate"):
        images, labels = pack.raw(i)
        stack = torch.from_numpy(normaliser(images))
        answers = {
            a.subset: labels_from(a.logits, pack.grid)
            for a in subset_logits(model, stack, pack.present[i], pack.modalities)
        }
        answers["prior"] = prior
        sample = pack.samples[i]
        for subset, answer in answers.items():
            added = confusion(answer, labels, classes)
            for condition in (ALL, sample["time_of_day"], sample["weather"]):
                counts[subset, condition] += added
    return report(counts, pack)


def report(counts: dict[tuple[str, str], np.ndarray], pack: Pack) -> dict:
    """MIoU in percent per subset and condition, IoU per class, and the confusion itself.

    Raises:
        PackError: no pixel of the pack is labelled.
    """
    if counts["prior", ALL].sum() == 0:
        raise PackError(f"{pack.root} has no labelled pixel; nothing can be scored")
    subsets = [name for name, condition in counts if condition == ALL and name != "prior"]
    conditions = list(dict.fromkeys(condition for _, condition in counts))
    overall = {name: miou(counts[name, ALL]) for name in subsets}
    present = counts["prior", ALL].sum(1) > 0
    return {
        "samples": len(pack),
        "drives": len({s["drive"] for s in pack.samples}),
        "split": pack.index["split"],
        "protocol": "skip: an absent modality is left out of the mean; a pixel without an answer counts as wrong",
        "classes": pack.index["classes"],
        "classes_without_labels": [n for n, there in zip(pack.index["classes"], present, strict=True) if not there],
        "miou": overall,
        "miou_mean": float(np.mean(list(overall.values()))),
        "miou_absent_as_zero": {name: miou(counts[name, ALL], absent_as_zero=True) for name in subsets},
        "prior_miou": miou(counts["prior", ALL]),
        "by_condition": {
            condition: {name: miou(counts[name, condition]) for name in [*subsets, "prior"]} for condition in conditions
        },
        "iou_per_class": {
            name: [None if np.isnan(v) else round(v, 2) for v in iou(counts[name, ALL])] for name in subsets
        },
        "confusion": {name: counts[name, ALL].tolist() for name in [*subsets, "prior"]},
    }


def markdown(result: dict) -> str:
    """The report as tables: subsets by condition, and classes by subset."""
    subsets = list(result["miou"])
    head = [*subsets, "mean", "prior"]
    lines = [
        f"{result['samples']} samples of {result['drives']} drives, split {result['split']}. mIoU in percent over",
        "the classes that occur; prior: every pixel position's most frequent class of the training set.",
        "",
    ]
    lines += [row("condition", head), row("---", ["---:"] * len(head))]
    for condition, scores in result["by_condition"].items():
        values = [scores[name] for name in subsets]
        lines.append(row(condition, [*map(fixed, values), fixed(float(np.mean(values))), fixed(scores["prior"])]))
    zero = [result["miou_absent_as_zero"][name] for name in subsets]
    lines.append(row("all, absent classes as 0", [*map(fixed, zero), fixed(float(np.mean(zero))), ""]))
    lines += ["", row("IoU of class", subsets), row("---", ["---:"] * len(subsets))]
    for k, name in enumerate(result["classes"]):
        lines.append(row(name, [fixed(result["iou_per_class"][s][k]) for s in subsets]))
    return "\n".join(lines) + "\n"


def row(first: str, cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {first} | " + " | ".join(cells) + " |"


def fixed(value: float | None) -> str:
    """One decimal; a dash for None."""
    return "-" if value is None else f"{value:.1f}"
