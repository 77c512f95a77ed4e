# SPDX-License-Identifier: Apache-2.0
"""Samples of a dataset, encoded: what every folder layout has to give, and the part that they share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.types import UNLABELLED, Absence
from anyseg_training.muses import DatasetError
from anyseg_training.pictures import AnyEncoding, PictureEncoding, under

MODALITIES = ("camera", "event", "lidar")
DIGEST_BYTES = 16
ROAD = 0
NO_DIGEST = np.zeros(DIGEST_BYTES, np.uint8)


@dataclass(frozen=True)
class Drawn:
    """One sample before it is stored.

    Attributes:
        images: modality -> float32 [3,H,W].
        labels: uint8 [h,w], of the camera's size.
        absent: modality -> the reason and the sentence of a payload that was turned down.
        grid: the camera's place on the grid.
        digest: uint8 [16] of the camera's pixels, for whoever looks for frozen ones; zeros where nobody should.
    """

    images: dict[str, np.ndarray]
    labels: np.ndarray
    absent: dict[str, tuple[Absence, str]]
    grid: Grid
    digest: np.ndarray = field(default_factory=lambda: NO_DIGEST)


@dataclass(frozen=True)
class Source(ABC):
    """One split of a dataset on disk, whatever its folder layout; it is sent to the worker processes.

    Attributes:
        root: the dataset.
        split: train, val or test.
        encoding: what its payloads become.
    """

    root: Path
    split: str
    encoding: AnyEncoding

    @property
    @abstractmethod
    def classes(self) -> LabelSet:
        """What the labels mean."""

    @property
    @abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """Names of what it may hold, in canonical order."""

    @property
    @abstractmethod
    def entries(self) -> list[dict[str, Any]]:
        """What the pack's index says of each sample: ``scene``, ``drive`` and its conditions."""

    @abstractmethod
    def drawer(self, grid: tuple[int, int]) -> Callable[[int], Drawn]:
        """What draws the sample of a number on a grid (height, width)."""

    @abstractmethod
    def checks(self) -> Iterator[list[Callable[[], object]]]:
        """For every sample one call per file, which raises what is wrong with it."""

    def geometry(self, grid: tuple[int, int]) -> dict[str, Any]:
        """What augmentation has to know of the first sample: where the camera image lies, how high the lidar sits."""
        return {}

    def options(self) -> dict[str, Any]:
        """What else shapes the pack; kept in its index."""
        return {}


@dataclass(frozen=True)
class PackPlan:
    """What is to be packed.

    Attributes:
        source: the samples.
        grid: (height, width) of the network's grid.
        void_as_road: unlabelled pixels become class 0, as the AnySeg release trains and scores.
    """

    source: Source
    grid: tuple[int, int]
    void_as_road: bool = False


@dataclass(frozen=True)
class EncodedSample:
    """One sample as it is stored.

    Attributes:
        number: of the sample.
        images: modality -> [3,H,W] in storage type.
        labels: uint8 [H,W].
        absent: modality -> the reason and the sentence of a payload that was turned down.
        digest: as in ``Drawn``.
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
    return np.where(grid.mask(), labels[under(grid)], np.uint8(UNLABELLED))


def check_classes(labels: np.ndarray, classes: Sequence[str] | LabelSet, path: Path) -> None:
    """Refuse labels that are no class.

    Raises:
        DatasetError: names the file and the values.
    """
    strange = np.setdiff1d(labels, [*range(len(classes)), UNLABELLED]).tolist()
    if strange:
        raise DatasetError(f"{path} holds labels {strange}; classes are 0 to {len(classes) - 1}, and 255 for none")


def storage(name: str, encoding: AnyEncoding) -> type:
    """The type that a modality's images are stored in."""
    as_bytes = encoding.as_bytes if isinstance(encoding, PictureEncoding) else ("camera",)
    return np.uint8 if name in as_bytes else np.float16


def stored(name: str, image: np.ndarray, encoding: AnyEncoding) -> np.ndarray:
    """Raw float32 -> storage type; the camera's values are multiples of ``full_scale`` / 255."""
    if storage(name, encoding) is np.uint8:
        return np.round(image * np.float32(255.0 / encoding.camera.full_scale)).astype(np.uint8)
    return image.astype(np.float16)


class SampleEncoder:
    """Encodes samples of one dataset; one per worker process."""

    def __init__(self, plan: PackPlan) -> None:
        cv2.setNumThreads(1)
        self.plan = plan
        self._draw = plan.source.drawer(plan.grid)

    def __call__(self, number: int) -> EncodedSample:
        """Encode sample ``number``; a payload that the run time would turn down is left out, as it would be there."""
        source = self.plan.source
        try:
            drawn = self._draw(number)
            labels = labels_on_grid(drawn.labels, drawn.grid)
        except DatasetError as error:
            raise DatasetError(f"scene {source.entries[number]['scene']}: {error}") from error
        if self.plan.void_as_road:
            labels[labels == UNLABELLED] = ROAD
        images = {name: stored(name, image, source.encoding) for name, image in drawn.images.items()}
        return EncodedSample(number, images, labels, drawn.absent, drawn.digest)


def digest_of(picture: np.ndarray | None) -> np.ndarray:
    """uint8 [16], different for different pixels; zeros for no picture."""
    if picture is None:
        return NO_DIGEST
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
