# SPDX-License-Identifier: Apache-2.0
"""Scores of a grid's finished seeds -> means, spreads over seeds, intervals over drives, and paired differences."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.metrics import confusion, iou
from anyseg_training.ablation import AblationError, Cell, Plan
from anyseg_training.ablation_bootstrap import draw_weights, hits_and_totals, interval, miou_of, resampled_miou
from anyseg_training.ablation_cells import COUNTS, DONE, drives_of, is_finished, subsets_of
from anyseg_training.data import Pack

RESAMPLES = 2000
RESAMPLING_SEED = 0
MEAN = "mean"


@dataclass(frozen=True)
class Scores:
    """MIoU in percent of one recipe on one split; the last column is the mean over the subsets.

    Attributes:
        seeds: float64 [seeds, S+1].
        resampled: float64 [R, S+1], the mean over the seeds in every resample of the drives.
    """

    seeds: np.ndarray
    resampled: np.ndarray


def with_mean(scores: np.ndarray) -> np.ndarray:
    """[...,S] -> [...,S+1] with the mean over the subsets behind them."""
    return np.concatenate([scores, scores.mean(-1, keepdims=True)], -1)


def scores_of(counts: list[np.ndarray], weights: np.ndarray) -> Scores:
    """Scores of a recipe from the counts [D,S,K,K+1] of each of its seeds; all recipes share the weights [R,D]."""
    seeds = np.stack([with_mean(miou_of(hits_and_totals(c.sum(0)))) for c in counts])
    return Scores(seeds, np.mean([with_mean(resampled_miou(c, weights)) for c in counts], 0))


def estimate(seeds: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    """A figure over seeds [n] with its resamples [R]: mean, spread (standard deviation, n - 1), 95 % interval.

    The spread of one seed is None.
    """
    low, high = interval(resampled)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return {"mean": float(seeds.mean()), "spread": spread, "low": low, "high": high, "per_seed": seeds.tolist()}


def difference(one: Scores, other: Scores, column: int) -> dict[str, Any]:
    """``one`` minus ``other`` in a column, paired: by seed, and by resample of the drives."""
    return estimate(
        one.seeds[:, column] - other.seeds[:, column], one.resampled[:, column] - other.resampled[:, column]
    )


def finished_seeds(plan: Plan, packs: dict[str, Pack], out: Path) -> tuple[int, ...]:
    """The seeds of which every recipe is finished.

    Raises:
        AblationError: there is none, or a run is of other settings or data.
    """
    found = tuple(s for s in plan.seeds if all(is_finished(plan, Cell(r, s), packs, out) for r in plan.recipes))
    if not found:
        raise AblationError(f"{out} holds no seed of which all {len(plan.recipes)} recipes are finished; let it run on")
    return found


def summarise(plan: Plan, packs: dict[str, Pack], out: Path) -> dict[str, Any]:
    """Everything that ``docs/ablation.json`` holds, JSON-ready.

    Raises:
        AblationError: no seed is finished, or a run is of other settings or data.
    """
    seeds, test = finished_seeds(plan, packs, out), packs["test"]
    columns = [*subsets_of(test), MEAN]
    counts = {c: read_counts(c, out) for c in plan.cells if c.seed in seeds}
    weights = draw_weights(len(drives_of(test)), RESAMPLES, RESAMPLING_SEED)
    scores = {r: scores_of([counts[Cell(r, s)]["test"] for s in seeds], weights) for r in plan.recipes}
    return {
        "plan": json.loads(json.dumps(asdict(plan))),
        "seeds_finished": list(seeds),
        "splits": {name: {"samples": len(p), "drives": len(drives_of(p))} for name, p in packs.items()},
        "encoding": test.index["encoding"],
        "classes": test.index["classes"],
        "columns": columns,
        "bootstrap": {"resamples": RESAMPLES, "seed": RESAMPLING_SEED, "level_percent": 95, "over": "test drives"},
        "table": {
            r: {c: estimate(s.seeds[:, i], s.resampled[:, i]) for i, c in enumerate(columns)} for r, s in scores.items()
        },
        "prior": prior(packs, weights),
        "differences": differences(scores),
        "selection": selection(plan, seeds, counts),
        "cells": [cell_entry(cell, out, columns, both["test"]) for cell, both in counts.items()],
    }


def read_counts(cell: Cell, out: Path) -> dict[str, np.ndarray]:
    """A cell's confusion by split."""
    with np.load(out / cell.folder / COUNTS, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def prior(packs: dict[str, Pack], weights: np.ndarray) -> dict[str, Any]:
    """The answer without any sensor on the test drives: each position's most frequent class of the training drives.

    It knows no seeds: mean, interval over drives.
    """
    test, answer = packs["test"], np.asarray(packs["train"].prior)
    drives, classes = drives_of(test), len(test.index["classes"])
    counts = np.zeros((len(drives), 1, classes, classes + 1), np.int64)
    for sample, labels in zip(test.samples, test.labels, strict=True):
        counts[drives.index(sample["drive"]), 0] += confusion(answer, labels, classes)
    low, high = interval(resampled_miou(counts, weights)[:, 0])
    return {"mean": float(miou_of(hits_and_totals(counts.sum(0)))[0]), "spread": None, "low": low, "high": high}


def differences(scores: dict[str, Scores]) -> dict[str, dict[str, Any]]:
    """For each student: against joint training, against the teacher with all sensors, against the recipe before."""
    names = list(scores)
    teacher, mean, all_sensors = scores[names[0]], -1, -2
    found = {}
    for before, name in zip(names, names[1:], strict=False):
        found[name] = {
            "joint_training_mean_over_subsets": difference(scores[name], teacher, mean),
            "teacher_all_sensors": difference(scores[name], teacher, all_sensors),
            "recipe_before_mean_over_subsets": difference(scores[name], scores[before], mean),
            "recipe_before_all_sensors": difference(scores[name], scores[before], all_sensors),
        }
    return found


def selection(plan: Plan, seeds: tuple[int, ...], counts: dict[Cell, dict[str, np.ndarray]]) -> dict[str, Any]:
    """By recipe the mean over subsets and seeds on the selection drives, and the best student's recipe there."""
    means = {
        r: float(np.mean([miou_of(hits_and_totals(counts[Cell(r, s)]["selection"].sum(0))).mean() for s in seeds]))
        for r in plan.recipes
    }
    students = {name: value for name, value in means.items() if name != plan.teacher}
    return {"mean_over_subsets": means, "best_student": max(students, key=lambda name: students[name])}


def cell_entry(cell: Cell, out: Path, columns: list[str], counts: np.ndarray) -> dict[str, Any]:
    """What is known of one run: settings, machine, time, mIoU by subset, IoU by class."""
    done = json.loads((out / cell.folder / DONE).read_text())
    total = counts.sum(0)
    miou = with_mean(miou_of(hits_and_totals(total)))
    per_class = {
        name: [None if np.isnan(v) else round(float(v), 2) for v in iou(total[i])]
        for i, name in enumerate(columns[:-1])
    }
    scores = {"miou": dict(zip(columns, miou.tolist(), strict=True)), "iou_per_class": per_class}
    return {k: v for k, v in done.items() if k != "settings"} | scores
