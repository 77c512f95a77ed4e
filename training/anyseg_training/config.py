# SPDX-License-Identifier: Apache-2.0
"""Training recipes: one frozen dataclass, read from YAML, changed by ``name=value`` on the command line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from anyseg_ros.model.mit import VARIANTS
from anyseg_training.distillation import DIRECTIONS, MAD_SCALES, UMD_AXES, check_choice
from anyseg_training.precision import PRECISIONS, check_device_name

MODALITY_DROPOUT = ("none", "sample", "batch")
CHOICES = {
    "backbone": tuple(VARIANTS),
    "mad_direction": DIRECTIONS,
    "mad_scale": MAD_SCALES,
    "umd_axis": UMD_AXES,
    "modality_dropout": MODALITY_DROPOUT,
    "precision": PRECISIONS,
}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``above`` leaves out ``low``, ``below`` leaves out ``high``."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return math.isfinite(value) and low and high

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {self.high:.15g}"


POSITIVE, NOT_NEGATIVE, AT_LEAST_ONE = Range(0, above=True), Range(0), Range(1)
RANGES = {
    "head_width": AT_LEAST_ONE,
    "steps": AT_LEAST_ONE,
    "batch": AT_LEAST_ONE,
    "accumulate": AT_LEAST_ONE,
    "lr": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "power": NOT_NEGATIVE,
    "clip_norm": POSITIVE,
    "ema": Range(0, 1, below=True),
    "class_balance": NOT_NEGATIVE,
    "mad_weight": NOT_NEGATIVE,
    "umd_weight": NOT_NEGATIVE,
    "cmd_weight": NOT_NEGATIVE,
    "zoom_max": AT_LEAST_ONE,
    "seed": Range(0, 10_000_000),  # times a million it seeds each step, below the seeds of its parts (fit.PART_STRIDE)
    "select_every": AT_LEAST_ONE,
    "save_minutes": NOT_NEGATIVE,
    "threads": NOT_NEGATIVE,
    "workers": AT_LEAST_ONE,
}


@dataclass(frozen=True)
class Recipe:
    """How a teacher or a student is trained.

    Attributes:
        backbone, head_width: architecture.
        steps: optimiser steps; the learning rate reaches zero at the last one.
        batch: samples per step, in all processes and micro-batches together.
        accumulate: micro-batches that a process takes one after the other in a step, to need less memory.
        lr: learning rate that the schedule starts from (AdamW): its polynomial decay runs from the first step, warm-up
            multiplies it, so the rate is at most ``lr``.
        weight_decay: on matrices and kernels; none on vectors.
        warmup_steps: over these a factor grows linearly from a tenth to one.
        power: of the polynomial decay.
        clip_norm: gradient norm is clipped to this.
        ema: decay of the averaged weights, which are what is evaluated and shipped.
        class_balance: pixels of a class of frequency f weigh (mean frequency / f) to this power, within
            ``class_weight_range``; 0 weighs all alike.
        class_weight_range: smallest and largest class weight.
        mad_weight, umd_weight, cmd_weight: weights of what is distilled from the teacher (student only): predictions,
            features of each modality, likeness of two modalities; see ``distillation``. The paper's are 50, 5 and 10.
        mad_direction: ``teacher_to_student`` or ``student_to_teacher``, which is which in KL(first || second).
        mad_scale: ``pixel``, or ``pixel_and_class`` to divide by the number of classes too, which the paper's 50 is
            for.
        umd_axis: features are distributions over the channels of a position (``channel``) or over the positions of a
            channel (``space``).
        modality_dropout: ``none`` (teacher), or draw a subset per ``sample``, or one per ``batch`` as released.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of matrix products and convolutions: ``float32``, ``bfloat16``, or ``float16`` with scaled gradients
            (GPUs only).
        loss_stride: the loss is taken on every n-th pixel in both directions (1, 2 or 4), at a random offset.
        zoom_max: largest magnification of the random crop.
        sensor_noise: also vary what lidar and event camera report, as real ones err.
        seed: of everything random.
        select_every: steps between scores on the split that selects the best weights, when one is given.
        save_minutes: time between saves of the training state.
        threads: CPU threads; 0 leaves torch's choice.
        workers: threads of each process that make batches, a step each, while the current step is taken.
    """

    backbone: str = "b0"
    head_width: int = 256
    steps: int = 4000
    batch: int = 8
    accumulate: int = 1
    lr: float = 6e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    power: float = 0.9
    clip_norm: float = 1.0
    ema: float = 0.998
    class_balance: float = 0.3
    class_weight_range: tuple[float, float] = (0.5, 4.0)
    mad_weight: float = 1.0
    mad_direction: str = "teacher_to_student"
    mad_scale: str = "pixel"
    umd_weight: float = 0.0
    umd_axis: str = "channel"
    cmd_weight: float = 0.0
    modality_dropout: str = "none"
    device: str = "auto"
    precision: str = "float32"
    loss_stride: int = 2
    zoom_max: float = 1.6
    sensor_noise: bool = False
    seed: int = 0
    select_every: int = 500
    save_minutes: float = 5.0
    threads: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: says what, and what is expected.
        """
        for name, allowed in RANGES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"recipe: {name} is {getattr(self, name)!r}; it must be {allowed}")
        for name, words in CHOICES.items():
            check_choice(name, getattr(self, name), words)
        check_device_name(self.device)
        if self.loss_stride not in (1, 2, 4):
            raise ValueError(
                f"recipe: loss_stride is {self.loss_stride}; it must be 1, 2 or 4 (logits are at a quarter of the grid)"
            )
        weights = tuple(self.class_weight_range)
        if len(weights) != 2 or not 0 < weights[0] <= weights[1] < math.inf:
            raise ValueError(f"recipe: class_weight_range is {list(weights)}; it must be [smallest, largest], above 0")
        object.__setattr__(self, "class_weight_range", weights)
        if self.batch % self.accumulate:
            raise ValueError(f"recipe: batch is {self.batch}; accumulate, {self.accumulate}, must divide it")

    @property
    def distils(self) -> bool:
        """Whether a teacher is needed."""
        return max(self.mad_weight, self.umd_weight, self.cmd_weight) > 0.0


def load_recipe(path: str | Path | None, changes: list[str] | None = None) -> Recipe:
    """Read a recipe and apply ``name=value`` changes, whose values are YAML.

    Raises:
        ValueError: a name is unknown or there twice, a value has the wrong type or is out of range.
    """
    changed: dict[str, Any] = {}
    for change in changes or []:
        name, separator, text = change.partition("=")
        if not separator:
            raise ValueError(f"'{change}' is no change; write name=value")
        if name in changed:
            raise ValueError(f"'{change}' changes '{name}' for a second time; give each name once")
        changed[name] = parsed(text, f"'{change}'")
    values = ({} if path is None else read_yaml(Path(path))) | changed
    known = {f.name: f.default for f in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"recipe has no '{name}'{guess(str(name), known)}; known are {', '.join(known)}")
        values[name] = checked(name, value, known[name])
    return Recipe(**values)


def read_yaml(path: Path) -> dict[str, Any]:
    """The ``name: value`` lines of a recipe.

    Raises:
        ValueError: the file is missing, no YAML, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"no recipe at {path}; see config/training, or write one with --print-recipe")
    values = parsed(path.read_text(), str(path)) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}; expected 'name: value' lines")
    return values


class StrictLoader(yaml.SafeLoader):
    """YAML in which no key may be there twice; PyYAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """As in PyYAML, but strict."""
        keys = [key.value for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"'{twice[0]}' is there twice")
        return super().construct_mapping(node, deep)


def parsed(text: str, where: str) -> Any:
    """YAML -> value.

    Raises:
        ValueError: it is no YAML; ``where`` says what was read.
    """
    try:
        return yaml.load(text, StrictLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no valid YAML: {error}") from error


def guess(name: str, known: dict[str, Any]) -> str:
    """A question that names the known word most like a wrong one, if there is one."""
    close = get_close_matches(name, known, 1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def checked(name: str, value: object, default: object) -> object:
    """The value in the type of its default.

    Raises:
        ValueError: it is of another type.
    """
    if isinstance(default, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 6e-4 as text
        except ValueError:
            pass
    if isinstance(default, tuple) and isinstance(value, list) and all(type(v) in (int, float) for v in value):
        return tuple(float(v) for v in value)
    if type(value) is not type(default):
        wanted = "a list of numbers" if isinstance(default, tuple) else type(default).__name__
        shown = list(default) if isinstance(default, tuple) else default
        raise ValueError(f"recipe: {name} is {value!r}; expected {wanted}, such as {shown!r}")
    return value


def as_yaml(recipe: Recipe) -> str:
    """The whole recipe."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    return yaml.safe_dump(values, sort_keys=False)
