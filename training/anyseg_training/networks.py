# SPDX-License-Identifier: Apache-2.0
"""Networks that are set beside each other in a picture: their names, and which samples they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.data import Normaliser, Pack, PackError
from anyseg_training.fitting import load_fitting


@dataclass(frozen=True)
class NamedNetwork:
    """A checkpoint under the name that a picture gives it."""

    name: str
    model: AnySeg
    normaliser: Normaliser

    def stack(self, pack: Pack, sample: int) -> Tensor:
        """What this network is fed of a sample, absent modalities included: float32 [M,3,H,W]."""
        return torch.from_numpy(self.normaliser(pack.raw(sample)[0]))


def load_named(checkpoints: Sequence[str], pack: Pack) -> list[NamedNetwork]:
    """Load checkpoints for use with a pack.

    Args:
        checkpoints: ``NAME=PATH``, or a path, which is named after its file, or its folder where that says more.
        pack: what they will be shown.

    Raises:
        PackError: two have one name, or one does not fit the pack.
    """
    found = []
    for text in checkpoints:
        name, path = named(text)
        model, meta = load_fitting(path, pack)
        found.append(NamedNetwork(name, model.eval(), Normaliser(pack.modalities, meta.normalisation)))
    if len({network.name for network in found}) != len(found):
        raise PackError("two of the checkpoints have one name; give them as NAME=PATH")
    return found


def named(text: str) -> tuple[str, Path]:
    """The name and the path of ``NAME=PATH`` or of a path alone."""
    name, is_named, rest = text.partition("=")
    if is_named:
        return name, Path(rest)
    path = Path(text)
    return (path.parent.name or path.stem) if path.stem == "checkpoint" else path.stem, path


def spread(pack: Pack, count: int) -> list[int]:
    """Samples in the middle of ``count`` equal parts of those in which every modality is present (or of all)."""
    whole = np.flatnonzero(pack.present.all(1))
    usable = whole if len(whole) else np.flatnonzero(pack.present.any(1))
    if len(usable) == 0:
        raise PackError(f"{pack.root} holds no samples with anything to see")
    count = min(count, len(usable))
    return [int(usable[(2 * k + 1) * len(usable) // (2 * count)]) for k in range(count)]
