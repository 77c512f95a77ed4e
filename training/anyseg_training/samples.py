# SPDX-License-Identifier: Apache-2.0
"""Scenes of a dataset in the MUSES layout -> encoded samples, by the encodings and checks of anyseg_ros.sensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.sensors.checks import RejectedPayload
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.types import UNLABELLED, Absence
from anyseg_training.muses import DatasetError, Scene, read_labels, read_measurements, read_rig

MODALITIES = ("camera", "event", "lidar")
STORED = {"camera": np.uint8, "event": np.float16, "lidar": np.float16}
DIGEST_BYTES = 16
ROAD = 0


@dataclass(frozen=True)
class PackPlan:
    """What is to be packed.

    Attributes:
        root: dataset in the MUSES layout.
        scenes: of one split.
        grid: (height, width) of the network's grid.
        encoding: what the payloads become.
        void_as_road: unlabelled pixels become class 0, as the AnySeg release trains and scores.
    """

    root: Path
    scenes: tuple[Scene, ...]
    grid: tuple[int, int]
    encoding: Encoding
    void_as_road: bool = False


@dataclass(frozen=True)
class EncodedSample:
    """One sample as it is stored.

    Attributes:
        number: of the scene.
        images: modality -> [3,H,W] in storage type.
        labels: uint8 [H,W].
        absent: modality -> the reason and the sentence of a payload that was turned down.
        digest: uint8 [16] of the camera's pixels, for whoever looks for frozen ones; zeros where there are none.
    """

    number: int
    images: dict[str, np.ndarray]
    labels: np.ndarray
    absent: dict[str, tuple[Absence, str]]
    digest: np.ndarray


def labels_on_grid(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 [H,W] of the grid, nearest camera pixel; 255 outside the camera image.

    Raises:
        DatasetError: the labels are not of the camera's size.
    """
    if labels.shape != (grid.camera.height, grid.camera.width):
        raise DatasetError(
            f"labels are {labels.shape[1]} x {labels.shape[0]} pixels, but the camera's pictures "
            f"{grid.camera.width} x {grid.camera.height}: expected a label for each of their pixels"
        )
    rows, columns = np.mgrid[0 : grid.height, 0 : grid.width]
    uv = grid.grid_to_camera(np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float64))
    u, v = np.floor(uv + 0.5).astype(np.intp).T
    height, width = labels.shape
    inside = grid.mask().ravel() & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    out = np.full(grid.height * grid.width, UNLABELLED, np.uint8)
    out[inside] = labels[v[inside], u[inside]]
    return out.reshape(grid.height, grid.width)


def stored(name: str, image: np.ndarray, full_scale: float) -> np.ndarray:
    """Raw float32 -> storage type; the camera's values are multiples of ``full_scale`` / 255."""
    if STORED[name] is np.uint8:
        return np.round(image * np.float32(255.0 / full_scale)).astype(np.uint8)
    return image.astype(np.float16)


class SampleEncoder:
    """Encodes scenes of one dataset; one per worker process."""

    def __init__(self, plan: PackPlan) -> None:
        cv2.setNumThreads(1)
        self.plan = plan
        self.rig = read_rig(plan.root, *plan.scenes)
        self.encoder = Encoder(self.rig, *plan.grid, plan.encoding)

    def __call__(self, number: int) -> EncodedSample:
        """Encode scene ``number``; a payload that the run time would turn down is left out, as it would be there."""
        plan, scene = self.plan, self.plan.scenes[number]
        data = read_measurements(plan.root, scene, self.rig)
        images: dict[str, np.ndarray] = {}
        absent = {name: (Absence.REJECTED, sentence) for name, sentence in data.torn.items()}
        for name, measurement in data.measurements.items():
            try:
                image = self.encoder(measurement, data.reference_ns).image
            except RejectedPayload as error:
                absent[name] = (error.absence, str(error))
            else:
                images[name] = stored(name, image, plan.encoding.camera.full_scale)
        try:
            labels = labels_on_grid(read_labels(plan.root, scene), self.encoder.grid)
        except DatasetError as error:
            raise DatasetError(f"scene {scene.name}: {error}") from error
        if plan.void_as_road:
            labels[labels == UNLABELLED] = ROAD
        picture = data.measurements["camera"].payload if "camera" in data.measurements else None
        return EncodedSample(number, images, labels, absent, digest_of(picture))


def digest_of(picture: np.ndarray | None) -> np.ndarray:
    """uint8 [16], different for different pixels; zeros for no picture."""
    if picture is None:
        return np.zeros(DIGEST_BYTES, np.uint8)
    digest = hashlib.blake2b(np.ascontiguousarray(picture).tobytes(), digest_size=DIGEST_BYTES)
    return np.frombuffer(digest.digest(), np.uint8)


_worker: list[SampleEncoder] = []


def _start_worker(plan: PackPlan) -> None:
    _worker[:] = [SampleEncoder(plan)]


def _encode_in_worker(number: int) -> EncodedSample:
    return _worker[0](number)


def encoded_samples(plan: PackPlan, numbers: list[int], workers: int) -> Iterator[EncodedSample]:
    """The samples of the given numbers, in any order."""
    if workers <= 1:
        yield from map(SampleEncoder(plan), numbers)
        return
    with get_context("spawn").Pool(workers, _start_worker, (plan,)) as pool:
        yield from pool.imap_unordered(_encode_in_worker, numbers, chunksize=4)
