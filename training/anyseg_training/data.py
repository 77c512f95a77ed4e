# SPDX-License-Identifier: Apache-2.0
"""A packed set: encoded samples as memory-mapped arrays, and the batches that training draws from them.

A pack is a folder: ``index.json`` (what the samples are), per modality ``<name>.npy`` [N,3,H,W] (pictures uint8, the
others float16), ``labels.npy`` uint8 [N,H,W], ``present.npy`` bool [N,M] (the index says why not), ``prior.npy`` uint8
[H,W] (each position's most frequent class). A modality that is absent from a sample is not fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.sensors.presets import Encoding, EncodingError
from anyseg_training.augment import augment
from anyseg_training.pack_files import INDEX, PackError, open_array, read_index
from anyseg_training.pictures import AnyEncoding, PictureEncoding, pack_encoding
from anyseg_training.sensor_noise import SensorNoise


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        images: float32 [B,M,3,H,W], normalised.
        labels: int64 [B,H,W], 255 unlabelled.
        present: bool [B,M], what the pack holds of each sample.
    """

    images: Tensor
    labels: Tensor
    present: Tensor


class Pack:
    """A packed set, opened for reading.

    Attributes:
        root: its folder.
        index: the parsed ``index.json``.
        encoding: what the payloads became.
        modalities: names, in the order of the stack.
        grid: (height, width).
        samples: list of dicts with scene, drive and what ``conditions_of`` reads.
    """

    def __init__(self, root: str | Path) -> None:
        """Open a pack.

        Raises:
            PackError: the folder is no finished pack, damaged, or of an encoding that this code does not make.
        """
        self.root = Path(root)
        self.index = read_index(self.root / INDEX)
        try:
            self.encoding = pack_encoding(self.index["encoding"], self.index["encoding_parameters"], str(self.root))
        except EncodingError as error:
            raise PackError(str(error)) from error
        self.modalities: list[str] = self.index["modalities"]
        self.grid: tuple[int, int] = tuple(self.index["grid"])
        self.samples: list[dict] = self.index["samples"]
        count, names = len(self.samples), self.modalities
        self.labels = open_array(self.root / "labels.npy", (count, *self.grid))
        self.present = np.array(open_array(self.root / "present.npy", (count, len(names))))
        self.prior = np.array(open_array(self.root / "prior.npy", self.grid))
        self.arrays = {name: open_array(self.root / f"{name}.npy", (count, 3, *self.grid)) for name in names}

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def has_labels(self) -> bool:
        """Whether any pixel has a class."""
        return any(self.index["class_pixels"])

    @property
    def normalisation(self) -> dict[str, dict[str, list[float]]]:
        """Per modality mean and std of the raw channels, over this set.

        Raises:
            PackError: a modality has none, for no sample has it.
        """
        missing = ", ".join(name for name in self.modalities if name not in self.index["normalisation"])
        if missing:
            raise PackError(
                f"{self.root} has no normalisation of {missing}, for none of its samples has a usable payload of it; "
                "train on a pack in which some have, or begin with a checkpoint that knows it (--init or --teacher)"
            )
        return self.index["normalisation"]

    def raw(self, i: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Sample i: modality name -> raw float32 [3,H,W], and labels uint8 [H,W].

        What is absent is zeros here, for arrays have one shape; ``present`` keeps it from the network.
        """
        full_scale = self.encoding.camera.full_scale
        images = {name: decoded(array[i], full_scale) for name, array in self.arrays.items()}
        return images, np.asarray(self.labels[i])


def conditions_of(sample: dict[str, Any]) -> list[str]:
    """The conditions that a sample is scored under, such as ``night`` and ``rain``; each at most once."""
    named = sample["conditions"] if "conditions" in sample else [sample["time_of_day"], sample["weather"]]
    return list(dict.fromkeys(named))


def varied(encoding: AnyEncoding, modalities: Sequence[str]) -> frozenset[str]:
    """The modalities whose values augmentation may change, for their meaning is the one that it was written for."""
    if isinstance(encoding, PictureEncoding):
        return frozenset({"camera"})
    if encoding.of_muses_sdk:
        return frozenset()
    unknown = set() if encoding.event.representation == "histogram" else {"event"}
    return frozenset(modalities) - unknown


def noise_of(pack: Pack) -> SensorNoise:
    """What varies the lidar and event images of a pack.

    Raises:
        PackError: its encoding is not the default's kind, or it was made before packs knew where their lidar sits.
    """
    encoding = pack.encoding
    saturation = encoding.event.saturation if isinstance(encoding, Encoding) else 0
    noise = SensorNoise.of(pack.index.get("geometry", {}), saturation, varied(encoding, pack.modalities))
    if noise is None:
        raise PackError(
            f"{pack.root} is of the encoding '{encoding.name}' or of an older version: sensor noise is for lidar and "
            "events of the default encoding; pack again, or train without it"
        )
    return noise


def decoded(stored: np.ndarray, full_scale: float) -> np.ndarray:
    """Stored form -> raw float32; ``full_scale`` is what grey level 255 of a camera means."""
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / np.float32(255.0 / full_scale)
    return stored.astype(np.float32)


class Normaliser:
    """(x - mean) / std per modality and channel."""

    def __init__(self, modalities: list[str], normalisation: dict[str, dict[str, list[float]]]) -> None:
        def table(key: str) -> np.ndarray:
            return np.array([normalisation[name][key] for name in modalities], np.float32)[:, :, None, None]

        self.modalities = modalities
        self.mean = table("mean")
        self.scale = 1.0 / table("std")

    def __call__(self, images: dict[str, np.ndarray]) -> np.ndarray:
        """Modality name -> raw [3,H,W] becomes a stack float32 [M,3,H,W]."""
        return (np.stack([images[name] for name in self.modalities]) - self.mean) * self.scale


class TrainingBatches:
    """Batches as a pure function of the step, so that a resumed run sees what an uninterrupted one would."""

    def __init__(
        self, pack: Pack, normaliser: Normaliser, batch: int, zoom_max: float, seed: int, sensor_noise: bool = False
    ) -> None:
        """Prepare the draws.

        Args:
            pack: the samples.
            normaliser: of the run.
            batch: samples per step.
            zoom_max: largest magnification.
            seed: of everything random.
            sensor_noise: also vary what lidar and event camera report (see ``sensor_noise``); no other draw changes.

        Raises:
            PackError: no sample has anything to see, no pixel a class, or the pack does not know what noise needs.
        """
        self._usable = np.flatnonzero(pack.present.any(1))
        if len(self._usable) == 0:
            raise PackError(f"{pack.root} holds no samples with anything to see")
        if not pack.has_labels:
            raise PackError(
                f"{pack.root} holds no pixel of any class, all labels are 255 (unlabelled), so there is nothing to "
                "learn; label its samples and pack them again, or train on another split"
            )
        self.pack = pack
        self.normaliser = normaliser
        self.batch = batch
        self.zoom_max = zoom_max
        self.seed = seed
        self._varied = varied(pack.encoding, pack.modalities)
        self._noise = noise_of(pack) if sensor_noise else None
        self._order = -1, np.empty(0, np.intp)

    def sample_index(self, draw: int) -> int:
        """The pack's index of the draw-th sample: every epoch is a fresh permutation of those with a modality."""
        epoch, position = divmod(draw, len(self._usable))
        known, order = self._order  # read and written as one, for several threads may ask at a time
        if epoch != known:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self._usable))
            self._order = epoch, order
        return int(self._usable[order[position]])

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        stacks, labels, present = [], [], []
        for draw in range(step * self.batch, (step + 1) * self.batch):
            i = self.sample_index(draw)
            images, label = self.pack.raw(i)
            if self._noise is not None:
                images = self._noise(images, np.random.default_rng([self.seed, 3, draw]))
            rng = np.random.default_rng([self.seed, 2, draw])
            images, label = augment(images, label, self.zoom_max, rng, self._varied)
            stacks.append(self.normaliser(images))
            labels.append(label)
            present.append(self.pack.present[i])
        return Batch(
            torch.from_numpy(np.stack(stacks)),
            torch.from_numpy(np.stack(labels)).long(),
            torch.from_numpy(np.stack(present)),
        )


def draw_subset(present: Tensor, generator: torch.Generator, per_batch: bool = False) -> Tensor:
    """Anymodal dropout: n uniform in 1..M', then a uniform subset of n of a sample's M' present modalities.

    Args:
        present: bool [B,M], at least one per sample.
        generator: source of randomness.
        per_batch: one draw for all samples, as released, instead of one each. A sample that lacks modalities keeps the
            first n of its own in the order drawn.

    Returns:
        bool [B,M], a non-empty subset of ``present`` in every row.
    """
    draws = 1 if per_batch else len(present)
    count = present.shape[1] if per_batch else present.sum(1)
    wanted = (torch.rand(draws, generator=generator) * count).long() + 1
    noise = torch.rand(draws, present.shape[1], generator=generator).expand(present.shape)
    rank = noise.masked_fill(~present, 2.0).argsort(1).argsort(1)
    return (rank < wanted[:, None]) & present
