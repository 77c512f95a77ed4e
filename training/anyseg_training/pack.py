# SPDX-License-Identifier: Apache-2.0
"""Makes a packed set (see ``data``) of a dataset in the MUSES layout, with the encodings of anyseg_ros.sensors.

An interrupted pack goes on where it stopped: finished samples are marked in ``done.npy``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.sensors.checks import RejectedPayload
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.types import UNLABELLED
from anyseg_training.data import INDEX, PackError, decoded
from anyseg_training.muses import Scene, read_labels, read_measurements, read_rig, read_scenes

MODALITIES = ("camera", "event", "lidar")
STORED = {"camera": np.uint8, "event": np.float16, "lidar": np.float16}
CHUNK = 64


@dataclass(frozen=True)
class EncodedSample:
    """One sample as it is stored: modality -> [3,H,W] in storage type, labels uint8 [H,W], rejection messages."""

    number: int
    images: dict[str, np.ndarray]
    labels: np.ndarray
    rejected: dict[str, str]


def labels_on_grid(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 [H,W] of the grid, nearest camera pixel; 255 outside the camera image."""
    rows, columns = np.mgrid[0 : grid.height, 0 : grid.width]
    uv = grid.grid_to_camera(np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float64))
    u, v = np.floor(uv + 0.5).astype(np.intp).T
    height, width = labels.shape
    inside = grid.mask().ravel() & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    out = np.full(grid.height * grid.width, UNLABELLED, np.uint8)
    out[inside] = labels[v[inside], u[inside]]
    return out.reshape(grid.height, grid.width)


def stored(name: str, image: np.ndarray) -> np.ndarray:
    """Raw float32 -> storage type; the camera's values are multiples of 1/255."""
    if STORED[name] is np.uint8:
        return np.round(image * 255.0).astype(np.uint8)
    return image.astype(np.float16)


class SampleEncoder:
    """Encodes scenes of one dataset; one per worker process."""

    def __init__(self, root: Path, scenes: list[Scene], grid: tuple[int, int]) -> None:
        cv2.setNumThreads(1)
        self.root, self.scenes = root, scenes
        self.rig = read_rig(root, scenes[0])
        self.encoder = Encoder(self.rig, *grid)

    def __call__(self, number: int) -> EncodedSample:
        """Encode scene ``number``; a payload that the run time would reject is left out, as it would be there."""
        scene = self.scenes[number]
        measurements, reference_ns = read_measurements(self.root, scene, self.rig)
        images, rejected = {}, {}
        for name in MODALITIES:
            try:
                images[name] = stored(name, self.encoder(measurements[name], reference_ns).image)
            except RejectedPayload as error:
                rejected[name] = str(error)
        return EncodedSample(number, images, labels_on_grid(read_labels(self.root, scene), self.encoder.grid), rejected)


_worker: list[SampleEncoder] = []


def _start_worker(root: Path, scenes: list[Scene], grid: tuple[int, int]) -> None:
    _worker[:] = [SampleEncoder(root, scenes, grid)]


def _encode_in_worker(number: int) -> EncodedSample:
    return _worker[0](number)


def encoded_samples(
    root: Path, scenes: list[Scene], grid: tuple[int, int], numbers: list[int], workers: int
) -> Iterator[EncodedSample]:
    """The samples of the given numbers, in any order."""
    if workers <= 1:
        yield from map(SampleEncoder(root, scenes, grid), numbers)
        return
    with get_context("spawn").Pool(workers, _start_worker, (root, scenes, grid)) as pool:
        yield from pool.imap_unordered(_encode_in_worker, numbers, chunksize=4)


def make_pack(
    root: Path, split: str, grid: tuple[int, int], out: Path, workers: int = 2, bar: bool = True
) -> dict[str, int]:
    """Encode a split and write the pack.

    Args:
        root: dataset in the MUSES layout.
        split: train, val or test.
        grid: (height, width) of the network's grid.
        out: folder to write; resumed when it holds part of the same pack.
        workers: processes.
        bar: show progress.

    Returns:
        Counts: samples, and per modality how many payloads were rejected.

    Raises:
        DatasetError, PackError: says what does not fit.
    """
    scenes = read_scenes(root, split)
    plan: dict[str, Any] = {"format": 2, "encoding": DEFAULT.fingerprint, "encoding_parameters": DEFAULT.parameters()}
    plan |= {"split": split, "grid": list(grid), "modalities": list(MODALITIES)}
    plan["samples"] = [
        {"scene": s.name, "drive": s.drive, "weather": s.weather, "time_of_day": s.time_of_day} for s in scenes
    ]
    arrays = open_arrays(out, plan, len(scenes), grid)
    missing = np.flatnonzero(~np.asarray(arrays["done"])).tolist()
    samples = encoded_samples(root, scenes, grid, missing, workers)
    for sample in tqdm(samples, total=len(missing), unit="sample", disable=not bar, desc=f"pack {split}"):
        store(arrays, sample)
        for name, why in sample.rejected.items():
            tqdm.write(f"{scenes[sample.number].name}: {name} left out, as at run time: {why}")
    return finish(out, plan, arrays)


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
        "present": ((count, len(MODALITIES)), bool),
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
    arrays["present"][sample.number] = [name in sample.images for name in MODALITIES]
    arrays["done"][sample.number] = True


def finish(out: Path, plan: dict, arrays: dict[str, np.memmap]) -> dict[str, int]:
    """Statistics, each position's most frequent class, and the index that marks the pack as whole.

    Raises:
        PackError: no sample has a modality, so that it cannot be normalised.
    """
    present = np.asarray(arrays["present"])
    normalisation = {}
    for m, name in enumerate(MODALITIES):
        rows = np.flatnonzero(present[:, m])
        if len(rows) == 0:
            raise PackError(f"no sample of split '{plan['split']}' has a usable {name} payload")
        normalisation[name] = statistics(arrays[name], rows)
    counts, prior = label_statistics(arrays["labels"], len(CITYSCAPES))
    np.save(out / "prior.npy", prior)
    for array in arrays.values():
        array.flush()
    index = plan | {
        "classes": list(CITYSCAPES.names),
        "palette": [list(colour) for colour in CITYSCAPES.palette],
        "normalisation": normalisation,
        "class_pixels": counts,
    }
    temporary = out / f"{INDEX}.tmp"
    temporary.write_text(json.dumps(index))
    temporary.replace(out / INDEX)
    rejected = {f"{name} rejected": int((~present[:, m]).sum()) for m, name in enumerate(MODALITIES)}
    return {"samples": len(present)} | rejected


def statistics(array: np.ndarray, rows: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation per channel over [N,3,H,W] rows, in float64."""
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(rows), CHUNK):
        part = decoded(array[rows[start : start + CHUNK]]).astype(np.float64)
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
