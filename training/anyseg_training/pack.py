# SPDX-License-Identifier: Apache-2.0
"""Makes a packed set (see ``data``) of a dataset in any of the folder layouts (see ``layouts``).

An interrupted pack goes on where it stopped: finished samples are marked in ``done.npy``.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anyseg_ros.sensors.checks import FrozenDetector, RejectedPayload
from anyseg_ros.sensors.presets import DEFAULT, Encoding
from anyseg_ros.types import UNLABELLED, Absence
from anyseg_training.data import decoded
from anyseg_training.layouts import open_source
from anyseg_training.pack_files import FORMAT, INDEX, PackError, open_array
from anyseg_training.pictures import AnyEncoding
from anyseg_training.samples import DIGEST_BYTES, EncodedSample, PackPlan, Source, encoded_samples, storage

CHUNK = 64
# ``absence.npy`` holds 0 for what is there, else the place of the reason in this tuple.
REASONS: tuple[Absence | None, ...] = (None, *Absence)
NEVER = (Absence.NEVER_SEEN, "")
PLAN = "plan.json"


def make_pack(
    root: Path,
    split: str,
    grid: tuple[int, int],
    out: Path,
    workers: int = 2,
    bar: bool = True,
    encoding: Encoding | None = None,
    void_as_road: bool = False,
    projected: str | None = None,
    motion: bool = False,
) -> dict[str, int]:
    """Encode a split and write the pack.

    Args:
        root: dataset in one of the layouts of ``open_source``.
        split: train, val or test.
        grid: (height, width) of the network's grid.
        out: folder to write; resumed when it holds part of the same pack.
        workers: processes.
        bar: show progress.
        encoding: what raw payloads become; None takes the layout's own.
        void_as_road: unlabelled pixels become class 0, as the AnySeg release trains and scores.
        projected: MUSES: the folder of images that its SDK has drawn, below the root; None takes the raw files.
        motion: MUSES: bring points to the picture's time by the vehicle's motion.

    Returns:
        Counts: samples, and per modality and reason how many payloads were left out (``lidar blind``).

    Raises:
        DatasetError, PackError: says what does not fit.
    """
    source = open_source(root, split, encoding, projected, motion)
    return pack_source(PackPlan(source, (grid[0], grid[1]), void_as_road), out, workers, bar)


def pack_source(plan: PackPlan, out: Path, workers: int = 2, bar: bool = True) -> dict[str, int]:
    """Encode a source and write the pack; see ``make_pack``."""
    source = plan.source
    index: dict[str, Any] = {
        "format": FORMAT,
        "encoding": source.encoding.fingerprint,
        "encoding_parameters": source.encoding.parameters(),
        "void_as_road": plan.void_as_road,
        "split": source.split,
        "grid": list(plan.grid),
        "modalities": list(source.modalities),
        "samples": source.entries,
    } | source.options()
    # The plan alone says where the data lies: a pack may be moved, and is resumed from the same dataset only.
    arrays = open_arrays(out, index | {"data": str(source.root.resolve())}, source.encoding)
    missing = np.flatnonzero(~np.asarray(arrays["done"])).tolist()
    samples = encoded_samples(plan, missing, workers)
    for sample in tqdm(samples, total=len(missing), unit="sample", disable=not bar, desc=f"pack {source.split}"):
        store(arrays, sample, index["modalities"])
        for name, (reason, sentence) in sample.absent.items():
            scene = index["samples"][sample.number]["scene"]
            tqdm.write(f"{scene}: {name} left out ({reason.value}), as at run time: {sentence}")
    return finish(out, index, arrays, plan)


def open_arrays(out: Path, plan: dict[str, Any], encoding: AnyEncoding) -> dict[str, np.memmap]:
    """Create the pack's arrays, or open those of an interrupted pack.

    Raises:
        PackError: the folder holds a pack of something else, or a damaged one.
    """
    out.mkdir(parents=True, exist_ok=True)
    plan_path = out / PLAN
    names, count, grid = plan["modalities"], len(plan["samples"]), plan["grid"]
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        name: ((count, 3, *grid), storage(name, encoding)) for name in names
    }
    shapes |= {
        "labels": ((count, *grid), np.uint8),
        "absence": ((count, len(names)), np.uint8),
        "digest": ((count, DIGEST_BYTES), np.uint8),
        "done": ((count,), bool),
    }
    if plan_path.exists():
        check_plan(plan_path, plan)
        return {name: open_array(out / f"{name}.npy", shape, "r+") for name, (shape, _) in shapes.items()}
    arrays = {
        name: np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, shape)
        for name, (shape, dtype) in shapes.items()
    }
    write_json(plan_path, plan)
    return arrays


def check_plan(path: Path, plan: dict[str, Any]) -> None:
    """Compare what is to be packed with what a folder holds.

    Raises:
        PackError: they differ; the message says in what.
    """
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise PackError(f"{path} is no plan of a pack ({error}); remove its folder or choose another") from error
    differing = [
        f"{name} {reprlib.repr(found.get(name, 'not said'))} instead of {reprlib.repr(plan.get(name, 'not said'))}"
        for name in sorted(found.keys() | plan.keys())
        if found.get(name) != plan.get(name)
    ]
    if differing:
        raise PackError(
            f"{path.parent} holds a pack of something else: {'; '.join(differing)}. Remove it or choose another folder"
        )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file and move it to its place, so that no half file is ever there."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def store(arrays: dict[str, np.memmap], sample: EncodedSample, names: list[str]) -> None:
    """Write one sample and mark it as done, in this order. A modality with neither image nor reason was never seen."""
    for name, image in sample.images.items():
        arrays[name][sample.number] = image
    arrays["labels"][sample.number] = sample.labels
    reasons = [None if name in sample.images else sample.absent.get(name, NEVER)[0] for name in names]
    arrays["absence"][sample.number] = [REASONS.index(reason) for reason in reasons]
    arrays["digest"][sample.number] = sample.digest
    arrays["done"][sample.number] = True


def frozen_samples(samples: list[dict[str, Any]], digests: np.ndarray) -> list[int]:
    """The samples whose picture is, in the order of their drive, the third identical one in a row, or a later one."""
    detector, frozen = FrozenDetector(), []
    for number in range(len(samples)):
        if number and samples[number]["drive"] != samples[number - 1]["drive"]:
            detector.reset()
        if not digests[number].any():
            continue
        try:
            detector("camera", number, digests[number])
        except RejectedPayload:
            frozen.append(number)
    return frozen


def finish(out: Path, index: dict[str, Any], arrays: dict[str, np.memmap], plan: PackPlan) -> dict[str, int]:
    """Who is absent and why, statistics, each position's most frequent class, and the index that says it is whole.

    Raises:
        PackError: nothing is in any sample.
    """
    source, names = plan.source, index["modalities"]
    absence = np.array(arrays["absence"])
    if "camera" in names:
        frozen = frozen_samples(index["samples"], np.asarray(arrays["digest"]))
        absence[frozen, names.index("camera")] = REASONS.index(Absence.FROZEN)
    present = absence == 0
    counts, prior = label_statistics(arrays["labels"], len(source.classes))
    normalisation = normalised(source, arrays, present)
    np.save(out / "prior.npy", prior)
    np.save(out / "present.npy", present)
    for array in arrays.values():
        array.flush()
    absent = [
        {"scene": index["samples"][i]["scene"], "modality": names[m], "reason": reason.value}
        for i, m in np.argwhere(~present)
        if (reason := REASONS[absence[i, m]]) is not None
    ]
    whole = index | {
        "classes": list(source.classes.names),
        "palette": [list(colour) for colour in source.classes.palette],
        "normalisation": normalisation,
        "class_pixels": counts,
        "absent": absent,
        "geometry": source.geometry(plan.grid),
    }
    write_json(out / INDEX, whole)
    for name in source.modalities:
        if name not in normalisation:
            tqdm.write(f"{out}: no sample has {name}; the pack can be scored, and has no normalisation of {name}")
    return {"samples": len(present)} | Counter(f"{entry['modality']} {entry['reason']}" for entry in absent)


def normalised(source: Source, arrays: dict[str, np.memmap], present: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Mean and deviation of every modality over the samples that have it; one that none has is left out.

    Raises:
        PackError: no sample has any.
    """
    found = {
        name: statistics(arrays[name], rows, source.encoding)
        for m, name in enumerate(source.modalities)
        if len(rows := np.flatnonzero(present[:, m]))
    }
    if not found:
        raise PackError(
            f"no sample of split '{source.split}' of {source.root} has a usable payload of "
            f"{', '.join(source.modalities)}; 'anyseg-train pack --check' lists what is wrong with the files"
        )
    return found


def statistics(array: np.ndarray, rows: np.ndarray, encoding: AnyEncoding = DEFAULT) -> dict[str, list[float]]:
    """Mean and standard deviation per channel over [N,3,H,W] rows, in float64; 0 and 1 where the encoding wants none.

    The AnySeg release normalises nothing.
    """
    if isinstance(encoding, Encoding) and encoding.through_png:
        return {"mean": [0.0] * 3, "std": [1.0] * 3}
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(rows), CHUNK):
        part = decoded(array[rows[start : start + CHUNK]], encoding.camera.full_scale).astype(np.float64)
        total += part.sum((0, 2, 3))
        squares += np.square(part).sum((0, 2, 3))
        pixels += part[:, 0].size
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    return {"mean": mean.tolist(), "std": np.maximum(std, 1e-3).tolist()}


def label_statistics(labels: np.ndarray, classes: int) -> tuple[list[int], np.ndarray]:
    """Pixels per class, and uint8 [H,W]: each position's most frequent class (255 where never labelled)."""
    counts = np.stack(
        [
            sum(np.count_nonzero(labels[i : i + CHUNK] == k, axis=0) for i in range(0, len(labels), CHUNK))
            for k in range(classes)
        ]
    )
    prior = counts.argmax(0).astype(np.uint8)
    prior[counts.sum(0) == 0] = UNLABELLED
    return counts.sum((1, 2)).tolist(), prior
