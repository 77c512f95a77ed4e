# SPDX-License-Identifier: Apache-2.0
"""What an ablation is made of: simulated splits that share no drive, recipes, and seeds; its cells, in their order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from anyseg_training.config import Recipe, load_recipe

SPLITS = ("train", "selection", "test")
Settings = dict[str, Any]


class AblationError(ValueError):
    """An ablation cannot be run as it is planned; the message says why."""


@dataclass(frozen=True)
class Split:
    """Simulated drives, one per seed.

    Attributes:
        first_seed: of the first drive; further ones count up.
        drives: how many.
        frames: labelled samples of each drive.
    """

    first_seed: int
    drives: int
    frames: int

    @property
    def seeds(self) -> range:
        """The drives' seeds."""
        return range(self.first_seed, self.first_seed + self.drives)


@dataclass(frozen=True)
class Cell:
    """One run of the grid: a recipe with a seed."""

    recipe: str
    seed: int

    @property
    def folder(self) -> str:
        """Where it lies below the grid's folder."""
        return f"cells/seed{self.seed}/{self.recipe}"


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Attributes:
        grid: (height, width) of the network's grid.
        splits: train, selection and test.
        used_elsewhere: (first, last) seeds of drives that another network has seen; none may be used here.
        seeds: of initial weights, batches, augmentation and draws; each recipe runs with each.
        common: settings of all recipes, see ``Recipe``.
        recipes: by name, what each changes. The first, which must not distil, is the teacher of those that do.
    """

    grid: tuple[int, int]
    splits: dict[str, Split]
    used_elsewhere: tuple[tuple[int, int], ...]
    seeds: tuple[int, ...]
    common: Settings
    recipes: dict[str, Settings]

    def __post_init__(self) -> None:
        """Refuse drives that are used twice, and recipes that cannot be compared.

        Raises:
            AblationError: says what overlaps, is missing or does not fit.
        """
        if tuple(self.splits) != SPLITS:
            raise AblationError(f"the plan has splits {', '.join(self.splits)}; expected {', '.join(SPLITS)}")
        if min(min(s.drives, s.frames) for s in self.splits.values()) < 1:
            raise AblationError("each split needs at least one drive and one frame")
        used = {f"split {name}": split.seeds for name, split in self.splits.items()}
        used |= {f"used_elsewhere {a} to {b}": range(a, b + 1) for a, b in self.used_elsewhere}
        for (one, seeds), (other, more) in combinations(used.items(), 2):
            if "split" in one and set(seeds) & set(more):
                raise AblationError(
                    f"{one} and {other} share the drives of seeds {sorted(set(seeds) & set(more))}; keep them apart"
                )
        if len(self.recipes) < 2 or not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise AblationError("the plan needs a teacher and at least one student, and seeds that differ")
        if self.recipe(self.cells[0]).distils:
            raise AblationError(f"the first recipe, '{self.teacher}', distils; it is the teacher, so it cannot")

    @property
    def teacher(self) -> str:
        """The name of the recipe that the others distil from: joint training without dropout."""
        return next(iter(self.recipes))

    @property
    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a part of the grid is a whole experiment with fewer seeds."""
        return [Cell(recipe, seed) for seed in self.seeds for recipe in self.recipes]

    def settings(self, cell: Cell) -> Settings:
        """What a cell's recipe sets: the common part, its changes, its seed."""
        return self.common | self.recipes[cell.recipe] | {"seed": cell.seed}

    def recipe(self, cell: Cell) -> Recipe:
        """A cell's recipe, whole."""
        return load_recipe(None, changes(self.settings(cell)))


def changes(settings: Settings) -> list[str]:
    """Settings as ``name=value``, as the command line takes them."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def load_plan(path: Path) -> Plan:
    """Read a plan, see ``config/training/ablation.yaml``.

    Raises:
        AblationError: a key is missing, unknown or of the wrong form, or the plan does not hold together.
    """
    data = yaml.safe_load(path.read_text())
    keys = set(Plan.__dataclass_fields__)
    if not isinstance(data, dict) or set(data) != keys:
        raise AblationError(f"{path} must hold exactly the keys {', '.join(sorted(keys))}")
    try:
        return Plan(
            tuple(data["grid"]),
            {name: Split(**split) for name, split in data["splits"].items()},
            tuple((int(first), int(last)) for first, last in data["used_elsewhere"]),
            tuple(data["seeds"]),
            data["common"],
            {name: recipe or {} for name, recipe in data["recipes"].items()},
        )
    except (TypeError, AttributeError) as error:
        raise AblationError(f"{path} is no plan of an ablation: {error}") from error
