# SPDX-License-Identifier: Apache-2.0
"""Confusion counts -> a JSON-ready report and its tables in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.metrics import iou, miou
from anyseg_training.data import Pack, PackError
from anyseg_training.protocols import PROTOCOLS
from anyseg_training.published import DATASETS

ALL = "all"
PRIOR = "prior"
# Chances that a sensor fails, for which arXiv 2503.18445 gives expectations.
FAILURE_CHANCES = (0.05, 0.1, 0.2)
# The precision of the network as it was trained; ``evaluate`` scores others as the node runs them.
AS_TRAINED = "fp32"
# What a file must have to be set beside others, or to go into a checkpoint.
FIELDS = ("protocol", "split", "classes", "miou", "iou_per_class", "checkpoint", "pack", "precision", "backend")

Counts = dict[tuple[str, str], np.ndarray]


def report(counts: Counts, pack: Pack, protocol: str) -> dict:
    """MIoU in percent per subset and condition, IoU per class, and the confusion itself.

    Args:
        counts: (subset or ``prior``, condition or ``all``) -> int64 [K,K+1] of ``confusion``; ``prior`` may lack.
        pack: what was scored.
        protocol: name in ``PROTOCOLS``.

    Raises:
        PackError: no pixel of the pack is labelled.
    """
    names = [name for name, condition in counts if condition == ALL]
    subsets = [name for name in names if name != PRIOR]
    if not subsets or counts[subsets[-1], ALL].sum() == 0:
        raise PackError(f"{pack.root} has no labelled pixel; nothing can be scored")
    conditions = list(dict.fromkeys(condition for _, condition in counts))
    overall = {name: miou(counts[name, ALL]) for name in subsets}
    absent_as_zero = {name: miou(counts[name, ALL], absent_as_zero=True) for name in subsets}
    present = counts[subsets[-1], ALL].sum(1) > 0
    return {
        "samples": len(pack),
        "drives": len({s["drive"] for s in pack.samples}),
        "split": pack.index["split"],
        "protocol": protocol,
        "protocol_text": f"{PROTOCOLS[protocol].text}; a pixel without an answer counts as wrong",
        "grid": list(pack.grid),
        "classes": pack.index["classes"],
        "classes_without_labels": [n for n, there in zip(pack.index["classes"], present, strict=True) if not there],
        "miou": overall,
        "miou_mean": mean(overall),
        "miou_absent_as_zero": absent_as_zero,
        "miou_absent_as_zero_mean": mean(absent_as_zero),
        "miou_damaged_mean": mean({name: v for name, v in overall.items() if name != subsets[-1]}),
        "miou_expected": {str(p): expected(overall, p) for p in FAILURE_CHANCES},
        "prior_miou": miou(counts[PRIOR, ALL]) if PRIOR in names else None,
        "by_condition": {
            condition: {name: miou(counts[name, condition]) for name in names} for condition in conditions
        },
        "by_condition_absent_as_zero": {
            condition: {name: miou(counts[name, condition], absent_as_zero=True) for name in names}
            for condition in conditions
        },
        "iou_per_class": {name: class_ious(counts[name, ALL]) for name in subsets},
        "iou_per_class_by_condition": {
            condition: {name: class_ious(counts[name, condition]) for name in subsets} for condition in conditions
        },
        "confusion": {name: counts[name, ALL].tolist() for name in names},
    }


def class_ious(counts: np.ndarray) -> list[float | None]:
    """IoU of each class in percent; None for one that the truth lacks."""
    return [None if np.isnan(value) else round(float(value), 2) for value in iou(counts)]


def mean(scores: dict[str, float | None]) -> float | None:
    """The mean of all subsets; None when one has none."""
    values = [v for v in scores.values() if v is not None]
    return float(np.mean(values)) if values and len(values) == len(scores) else None


def expected(scores: dict[str, float | None], chance: float) -> float | None:
    """What is to be expected when each sensor fails with this chance, independently, given that one is left."""
    sensors = max(len(name) for name in scores)
    total = weight = 0.0
    for name, score in scores.items():
        if score is None:
            return None
        share = chance ** (sensors - len(name)) * (1 - chance) ** len(name)
        total, weight = total + share * score, weight + share
    return total / weight


def read_report(path: Path) -> dict[str, Any]:
    """A report that ``anyseg-train evaluate`` wrote.

    Raises:
        PackError: the file cannot be read, is no report, or one of a version that did not say all that is needed.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PackError(
            f"{path} cannot be read as JSON ({error}); expected a file that 'anyseg-train evaluate' wrote"
        ) from error
    missing = [name for name in FIELDS if not isinstance(found, dict) or name not in found]
    if missing:
        raise PackError(
            f"{path} is no report of this version's 'anyseg-train evaluate': it does not say {', '.join(missing)}; "
            "score it again"
        )
    return found


def markdown(result: dict) -> str:
    """The report as tables: subsets by condition, classes by subset, and the paper's form beside published rows."""
    subsets, with_prior = list(result["miou"]), result["prior_miou"] is not None
    about_prior = "; prior: every pixel position's most frequent class of the training set" if with_prior else ""
    lines = [
        f"{result['samples']} samples of {result['drives']} drives, split {result['split']}, protocol "
        f"`{result['protocol']}`: {result['protocol_text']}. mIoU in percent over",
        f"the classes that occur{about_prior}.",
        "",
        row("condition", [*subsets, "mean", *["prior"] * with_prior]),
        row("---", ["---:"] * (len(subsets) + 1 + with_prior)),
    ]
    for condition, scores in result["by_condition"].items():
        values = {name: scores[name] for name in subsets}
        prior = [fixed(scores[PRIOR])] if with_prior else []
        lines.append(row(condition, [*map(fixed, values.values()), fixed(mean(values)), *prior]))
    zero = result["miou_absent_as_zero"]
    lines.append(row("all, absent classes as 0", [*map(fixed, zero.values()), fixed(mean(zero)), *[""] * with_prior]))
    chances = ", ".join(f"{fixed(v)} at {float(p):.0%}" for p, v in result["miou_expected"].items())
    lines += ["", f"Mean of the damaged subsets: {fixed(result['miou_damaged_mean'])}. Expected when each sensor fails"]
    lines += [f"independently and one is left: {chances}.", ""]
    lines += [row("IoU of class", subsets), row("---", ["---:"] * len(subsets))]
    for k, name in enumerate(result["classes"]):
        lines.append(row(name, [fixed(result["iou_per_class"][s][k]) for s in subsets]))
    return "\n".join([*lines, *paper_table(result)]) + "\n"


def paper_table(result: dict) -> list[str]:
    """The paper's table with this model's row first; nothing for what nobody published."""
    subsets = list(result["miou"])
    scored = subsets[-1], len(result["classes"])
    if result["protocol"] != "skip" or scored not in DATASETS:
        return []
    dataset, rows = DATASETS[scored]
    here = f"split {result['split']}, {result['grid'][0]} x {result['grid'][1]}"
    zero = result["miou_absent_as_zero"]
    lines = [
        "",
        f"In the form of the paper, absent classes counted as 0. Published rows are of {dataset} at 1024 x 1024: to",
        "be compared with this model only if that is what was scored here. They say nothing about simulated drives.",
        "",
        row("method", ["data", *subsets, "mean"]),
        row("---", ["---", *["---:"] * (len(subsets) + 1)]),
        row("this model", [here, *(two(zero[s]) for s in subsets), two(mean(zero))]),
    ]
    lines += [
        row(f"{m} (published)", [dataset, *map(two, (r[s] for s in [*subsets, "mean"]))]) for m, r in rows.items()
    ]
    return lines


def row(first: str, cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {first} | " + " | ".join(cells) + " |"


def fixed(value: float | None) -> str:
    """One decimal; a dash for None."""
    return "-" if value is None else f"{value:.1f}"


def two(value: float | None) -> str:
    """Two decimals, as published; a dash for None."""
    return "-" if value is None else f"{value:.2f}"
