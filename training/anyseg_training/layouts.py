# SPDX-License-Identifier: Apache-2.0
"""Which folder layout a dataset has, and what reads it."""

from __future__ import annotations

from pathlib import Path

from anyseg_ros.sensors.presets import DEFAULT, Encoding
from anyseg_training.deliver import DeliverSource
from anyseg_training.extracted import ExtractedSource, holds_drives
from anyseg_training.muses import DatasetError
from anyseg_training.muses_source import MusesSource
from anyseg_training.pictures import DELIVER, MUSES_PROJECTED
from anyseg_training.projected import ProjectedSource
from anyseg_training.samples import Source


def open_source(
    root: Path, split: str, encoding: Encoding | None = None, projected: str | None = None, motion: bool = False
) -> Source:
    """A split of a dataset, by the layout that its folder has.

    A folder with ``meta.json`` is of MUSES or the simulator, one with ``img`` is DELIVER, one of drives with a
    ``drive.json`` each was made by ``anyseg-train extract``.

    Args:
        root: the dataset.
        split: train, val or test.
        encoding: what raw payloads become; None takes the default. Datasets of pictures have their own.
        projected: the folder of images that the MUSES SDK has drawn, below the root; None takes the raw files.
        motion: MUSES: bring points to the picture's time by the vehicle's motion.

    Raises:
        DatasetError: it is none of these layouts, or has no such choice.
    """
    root = Path(root)
    if (root / "img").is_dir():
        refuse("DELIVER", encoding=encoding, projected=projected, motion=motion)
        return DeliverSource(root, split, DELIVER)
    if holds_drives(root):
        refuse("a dataset of extracted bags", projected=projected, motion=motion)
        return ExtractedSource(root, split, encoding or DEFAULT)
    if not (root / "meta.json").is_file():
        raise DatasetError(
            f"{root} holds no meta.json (layout of MUSES), no img (DELIVER) and no drive that 'anyseg-train extract' "
            "made; expected a folder in one of these layouts"
        )
    if projected is not None:
        refuse("MUSES as its SDK has drawn it", encoding=encoding, motion=motion)
        return ProjectedSource(root, split, MUSES_PROJECTED, projected)
    return MusesSource(root, split, encoding or DEFAULT, motion)


def refuse(what: str, **choices: object) -> None:
    """Refuse choices that a layout does not have.

    Raises:
        DatasetError: names the first that was made.
    """
    for name, choice in choices.items():
        if choice:
            raise DatasetError(f"{what} has no choice of {name}; leave --{name} out")
