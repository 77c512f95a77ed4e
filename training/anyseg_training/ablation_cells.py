# SPDX-License-Identifier: Apache-2.0
"""Trains and scores the cells of an ablation. A finished cell is skipped, one that was interrupted goes on.

A cell's folder is that of a training run, and holds ``counts.npz``, the confusion of every drive and subset, and
``cell.json``, which is written last and so marks the cell as finished.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

import anyseg_ros
from anyseg_ros.metrics import confusion
from anyseg_ros.modality import Modality, all_subsets, subset_name
from anyseg_ros.model.checkpoint import load_checkpoint
from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.ablation import AblationError, Cell, Plan, changes
from anyseg_training.data import Normaliser, Pack
from anyseg_training.evaluate import labels_from, subset_logits
from anyseg_training.fitting import load_fitting
from anyseg_training.runinfo import describe_pack

CHECKPOINT = "checkpoint.safetensors"
DONE = "cell.json"
COUNTS = "counts.npz"
SCORED = ("selection", "test")


def arguments(plan: Plan, cell: Cell, out: Path) -> list[str]:
    """The command line of ``anyseg-train`` that trains a cell."""
    command = ["teacher" if cell.recipe == plan.teacher else "student"]
    command += ["--pack", str(out / "train"), "--out", str(out / cell.folder), "--set"]
    command += changes(plan.settings(cell))
    if plan.recipe(cell).distils:
        command += ["--teacher", str(out / Cell(plan.teacher, cell.seed).folder / CHECKPOINT)]
    return command


def run_cells(
    plan: Plan, packs: dict[str, Pack], out: Path, train: Callable[[list[str]], None], bar: bool = True
) -> bool:
    """Train and score what is not finished.

    Args:
        plan: the grid.
        packs: by split.
        out: the grid's folder.
        train: runs a command line of ``anyseg-train``; may stop early, when the user asks for it.
        bar: show progress.

    Returns:
        Whether all cells are finished.

    Raises:
        AblationError: a cell's folder holds a run with other settings, or on other data.
    """
    for number, cell in enumerate(plan.cells, 1):
        if is_finished(plan, cell, packs, out):
            continue
        if bar:
            tqdm.write(f"cell {number} of {len(plan.cells)}: {cell.recipe}, seed {cell.seed}")
        train(arguments(plan, cell, out))
        if load_checkpoint(out / cell.folder / CHECKPOINT)[1].training["step"] < plan.recipe(cell).steps:
            return False
        score(plan, cell, packs, out, bar)
    return True


def is_finished(plan: Plan, cell: Cell, packs: dict[str, Pack], out: Path) -> bool:
    """Whether a cell was trained and scored.

    Raises:
        AblationError: it was, with other settings than the plan's, or on other data than the packs'.
    """
    path = out / cell.folder / DONE
    if not path.exists():
        return False
    done, wanted = json.loads(path.read_text()), plan.settings(cell)
    found = done["settings"]
    if other := differing(found, wanted):
        name = other[0]
        raise AblationError(
            f"{path.parent} was run with {name} = {found.get(name)!r}, the plan has {wanted.get(name)!r}; "
            "choose another folder, or remove this one"
        )
    if "data" in done:
        other = differing(done["data"], data_of(packs))
    else:
        other = differing(learnt_from(path.with_name(CHECKPOINT)), training_data(packs["train"]))
    if other:
        raise AblationError(
            f"{path.parent} was run on other data than the packs hold now ({', '.join(other)}), so it cannot be "
            "compared with runs on these; choose another folder, or remove this one"
        )
    return True


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The names, sorted, under which two dictionaries hold different things."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def data_of(packs: dict[str, Pack]) -> dict[str, str]:
    """By split the digest of a pack's index, which changes when anything in the pack does."""
    return {f"{name} pack": describe_pack(pack)["index"] for name, pack in packs.items()}


def learnt_from(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint keeps of its training pack: all that a cell without digests, of an older version, says."""
    meta = load_checkpoint(checkpoint)[1]
    return {"grid": list(meta.grid), "encoding": meta.encoding, "statistics": meta.normalisation}


def training_data(pack: Pack) -> dict[str, Any]:
    """The same of a pack."""
    return {"grid": list(pack.grid), "encoding": pack.index["encoding"], "statistics": pack.normalisation}


def score(plan: Plan, cell: Cell, packs: dict[str, Pack], out: Path, bar: bool) -> None:
    """Count what a trained cell gets right and wrong, and mark it as finished."""
    folder = out / cell.folder
    counts = {}
    for split in SCORED:
        model, meta = load_fitting(folder / CHECKPOINT, packs[split])
        normaliser = Normaliser(packs[split].modalities, meta.normalisation)
        counts[split] = drive_counts(model, packs[split], normaliser, bar)
    np.savez_compressed(folder / COUNTS, selection=counts["selection"], test=counts["test"])
    entry = {
        "recipe": cell.recipe,
        "seed": cell.seed,
        "settings": plan.settings(cell),
        "data": data_of(packs),
        "exact_recipe": yaml.safe_load((folder / "recipe.yaml").read_text()),
        "seconds_per_step": seconds_per_step(folder / "log.jsonl"),
        "machine": machine(),
    }
    temporary = folder / f"{DONE}.tmp"
    temporary.write_text(json.dumps(entry))
    temporary.replace(folder / DONE)


@torch.inference_mode()
def drive_counts(model: AnySeg, pack: Pack, normaliser: Normaliser, bar: bool = True) -> np.ndarray:
    """Confusion int64 [D,S,K,K+1] of every drive, in the pack's order, and every subset; protocol ``skip``."""
    model.eval()
    drives = drives_of(pack)
    classes = model.config.classes
    counts = np.zeros((len(drives), len(subsets_of(pack)), classes, classes + 1), np.int64)
    for i in tqdm(range(len(pack)), unit="sample", disable=not bar, desc=f"score {pack.root.name}"):
        images, labels = pack.raw(i)
        found = subset_logits(model, torch.from_numpy(normaliser(images)), pack.present[i], pack.modalities)
        drive = drives.index(pack.samples[i]["drive"])
        for s, answer in enumerate(found):
            counts[drive, s] += confusion(labels_from(answer.logits, pack.grid), labels, classes)
    return counts


def drives_of(pack: Pack) -> list[str]:
    """Names of the drives, in the pack's order."""
    return list(dict.fromkeys(sample["drive"] for sample in pack.samples))


def subsets_of(pack: Pack) -> list[str]:
    """Names of the subsets, in the order of ``drive_counts``; the last has every modality."""
    return [subset_name(subset) for subset in all_subsets(Modality(name) for name in pack.modalities)]


def seconds_per_step(log: Path) -> float | None:
    """Median of the steps that the log timed; None when it timed none."""
    times = [json.loads(line).get("step_s") for line in log.read_text().splitlines()]
    timed = [t for t in times if t is not None]
    return float(np.median(timed)) if timed else None


def machine() -> dict[str, Any]:
    """What a cell ran on."""
    return {
        "cpu_cores": os.cpu_count(),
        "architecture": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {
            "anyseg_ros": anyseg_ros.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
