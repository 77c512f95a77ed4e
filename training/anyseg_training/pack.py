# SPDX-License-Identifier: Apache-2.0
"""Makes a packed set (see ``data``) of a dataset in the MUSES layout, with the encodings of anyseg_ros.sensors.

An interrupted pack goes on where it stopped: finished samples are marked in ``done.npy``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.sensors.checks import FrozenDetector, RejectedPayload
from anyseg_ros.sensors.presets import DEFAULT, Encoding
from anyseg_ros.types import UNLABELLED, Absence
from anyseg_training.data import FORMAT, INDEX, PackError, decoded
from anyseg_training.muses import read_scenes
from anyseg_training.samples import DIGEST_BYTES, MODALITIES, STORED, EncodedSample, PackPlan, encoded_samples

CHUNK = 64
# ``absence.npy`` holds 0 for what is there, else the place of the reason in this tuple.
REASONS: tuple[Absence | None, ...] = (None, *Absence)


def make_pack(
    root: Path,
    split: str,
    grid: tuple[int, int],
    out: Path,
    workers: int = 2,
    bar: bool = True,
    encoding: Encoding = DEFAULT,
    void_as_road: bool = False,
) -> dict[str, int]:
    """Encode a split and write the pack.

    Args:
        root: dataset in the MUSES layout.
        split: train, val or test.
        grid: (height, width) of the network's grid.
        out: folder to write; resumed when it holds part of the same pack.
        workers: processes.
        bar: show progress.
        encoding: what the payloads become.
        void_as_road: unlabelled pixels become class 0, as the AnySeg release trains and scores.

    Returns:
        Counts: samples, and per modality and reason how many payloads were left out (``lidar blind``).

    Raises:
        DatasetError, PackError: says what does not fit.
    """
    plan = PackPlan(root, tuple(read_scenes(root, split)), grid, encoding, void_as_road)
    index = {
        "format": FORMAT,
        "encoding": encoding.fingerprint,
        "encoding_parameters": encoding.parameters(),
        "void_as_road": void_as_road,
        "split": split,
        "grid": list(grid),
        "modalities": list(MODALITIES),
        "samples": [
            {"scene": s.name, "drive": s.drive, "weather": s.weather, "time_of_day": s.time_of_day} for s in plan.scenes
        ],
    }
    arrays = open_arrays(out, index, len(plan.scenes), grid)
    missing = np.flatnonzero(~np.asarray(arrays["done"])).tolist()
    samples = encoded_samples(plan, missing, workers)
    for sample in tqdm(samples, total=len(missing), unit="sample", disable=not bar, desc=f"pack {split}"):
        store(arrays, sample)
        for name, (reason, sentence) in sample.absent.items():
            tqdm.write(
                f"{plan.scenes[sample.number].name}: {name} left out ({reason.value}), as at run time: {sentence}"
            )
    return finish(out, index, arrays, encoding)


def open_arrays(out: Path, plan: dict, count: int, grid: tuple[int, int]) -> dict[str, np.memmap]:
    """Create the pack's arrays, or open those of an interrupted pack.

    Raises:
        PackError: the folder holds a pack of something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    plan_path = out / "plan.json"
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {name: ((count, 3, *grid), STORED[name]) for name in MODALITIES}
    shapes |= {
        "labels": ((count, *grid), np.uint8),
        "absence": ((count, len(MODALITIES)), np.uint8),
        "digest": ((count, DIGEST_BYTES), np.uint8),
        "done": ((count,), bool),
    }
    if plan_path.exists():
        if json.loads(plan_path.read_text()) != plan:
            raise PackError(
                f"{out} holds a pack of other samples, grid or encodings; remove it or choose another folder"
            )
        return {name: np.load(out / f"{name}.npy", mmap_mode="r+") for name in shapes}
    arrays = {
        name: np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, shape)
        for name, (shape, dtype) in shapes.items()
    }
    plan_path.write_text(json.dumps(plan))
    return arrays


def store(arrays: dict[str, np.memmap], sample: EncodedSample) -> None:
    """Write one sample and mark it as done, in this order."""
    for name, image in sample.images.items():
        arrays[name][sample.number] = image
    arrays["labels"][sample.number] = sample.labels
    reasons = [sample.absent[name][0] if name in sample.absent else None for name in MODALITIES]
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


def finish(out: Path, plan: dict[str, Any], arrays: dict[str, np.memmap], encoding: Encoding) -> dict[str, int]:
    """Who is absent and why, statistics, each position's most frequent class, and the index that says it is whole.

    Raises:
        PackError: no sample has a modality, so that it cannot be normalised.
    """
    absence = np.array(arrays["absence"])
    absence[frozen_samples(plan["samples"], np.asarray(arrays["digest"])), MODALITIES.index("camera")] = REASONS.index(
        Absence.FROZEN
    )
    present = absence == 0
    normalisation = {}
    for m, name in enumerate(MODALITIES):
        rows = np.flatnonzero(present[:, m])
        if len(rows) == 0:
            raise PackError(f"no sample of split '{plan['split']}' has a usable {name} payload")
        normalisation[name] = statistics(arrays[name], rows, encoding)
    counts, prior = label_statistics(arrays["labels"], len(CITYSCAPES))
    np.save(out / "prior.npy", prior)
    np.save(out / "present.npy", present)
    for array in arrays.values():
        array.flush()
    absent = [
        {"scene": plan["samples"][i]["scene"], "modality": MODALITIES[m], "reason": reason.value}
        for i, m in np.argwhere(~present)
        if (reason := REASONS[absence[i, m]]) is not None
    ]
    index = plan | {
        "classes": list(CITYSCAPES.names),
        "palette": [list(colour) for colour in CITYSCAPES.palette],
        "normalisation": normalisation,
        "class_pixels": counts,
        "absent": absent,
    }
    temporary = out / f"{INDEX}.tmp"
    temporary.write_text(json.dumps(index))
    temporary.replace(out / INDEX)
    return {"samples": len(present)} | Counter(f"{entry['modality']} {entry['reason']}" for entry in absent)


def statistics(array: np.ndarray, rows: np.ndarray, encoding: Encoding = DEFAULT) -> dict[str, list[float]]:
    """Mean and standard deviation per channel over [N,3,H,W] rows, in float64; 0 and 1 where the encoding wants none.

    The AnySeg release normalises nothing.
    """
    if encoding.through_png:
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
