# SPDX-License-Identifier: Apache-2.0
"""The kinds of sensor, their letters, and the subsets that they form."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import combinations


class Modality(str, Enum):
    """A kind of sensor. Members are declared in the order in which subset names list them."""

    CAMERA = "camera"
    DEPTH = "depth"
    EVENT = "event"
    LIDAR = "lidar"

    @property
    def letter(self) -> str:
        """One letter for subset names: C, D, E or L."""
        return self.name[0]

    @classmethod
    def from_letter(cls, letter: str) -> Modality:
        """The modality of a letter (F and R are read as the camera, as the paper's tables write it).

        Raises:
            ValueError: no modality has that letter.
        """
        wanted = letter.upper()
        if wanted in ("F", "R"):
            return cls.CAMERA
        for modality in cls:
            if modality.letter == wanted:
                return modality
        known = ", ".join(m.letter for m in cls)
        raise ValueError(f"'{letter}' is no modality letter; known are {known} (F and R mean the camera)")


def subset_name(modalities: Iterable[Modality]) -> str:
    """The canonical name of a set of modalities, such as ``CEL``; empty for the empty set."""
    wanted = set(modalities)
    return "".join(m.letter for m in Modality if m in wanted)


def parse_subset(name: str) -> tuple[Modality, ...]:
    """The modalities of a subset name, in canonical order.

    Raises:
        ValueError: a letter is unknown or occurs twice.
    """
    found = [Modality.from_letter(letter) for letter in name]
    if len(set(found)) != len(found):
        raise ValueError(f"subset '{name}' names a modality twice")
    return tuple(m for m in Modality if m in found)


def all_subsets(modalities: Iterable[Modality]) -> list[tuple[Modality, ...]]:
    """All non-empty subsets, single modalities first, each in canonical order."""
    wanted = set(modalities)
    ordered = [m for m in Modality if m in wanted]
    return [subset for size in range(1, len(ordered) + 1) for subset in combinations(ordered, size)]
