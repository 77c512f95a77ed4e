# SPDX-License-Identifier: Apache-2.0
"""Training recipes: one frozen dataclass, read from YAML, changed by ``name=value`` on the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from anyseg_training.distillation import DIRECTIONS, MAD_SCALES, UMD_AXES, check_choice

MODALITY_DROPOUT = ("none", "sample", "batch")


@dataclass(frozen=True)
class Recipe:
    """How a teacher or a student is trained.

    Attributes:
        backbone, head_width: architecture.
        steps: optimiser steps; the learning rate reaches zero at the last one.
        batch: samples per step.
        lr: peak learning rate (AdamW).
        weight_decay: on matrices and kernels; none on vectors.
        warmup_steps: linear warm-up from a tenth of ``lr``.
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
        bfloat16: run matrix products and convolutions in bfloat16.
        loss_stride: the loss is taken on every n-th pixel in both directions (1, 2 or 4), at a random offset.
        zoom_max: largest magnification of the random crop.
        seed: of everything random.
        save_minutes: time between saves of the training state.
        threads: CPU threads; 0 leaves torch's choice.
    """

    backbone: str = "b0"
    head_width: int = 256
    steps: int = 4000
    batch: int = 8
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
    bfloat16: bool = False
    loss_stride: int = 2
    zoom_max: float = 1.6
    seed: int = 0
    save_minutes: float = 5.0
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            ValueError: says which.
        """
        object.__setattr__(self, "class_weight_range", tuple(self.class_weight_range))
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps {self.steps} and batch {self.batch} must be at least 1")
        if self.loss_stride not in (1, 2, 4):
            raise ValueError(f"loss_stride {self.loss_stride} must be 1, 2 or 4 (logits are at a quarter of the grid)")
        if self.zoom_max < 1.0:
            raise ValueError(f"zoom_max {self.zoom_max} must be at least 1")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema {self.ema} must be at least 0 and below 1")
        if min(self.mad_weight, self.umd_weight, self.cmd_weight) < 0.0:
            raise ValueError("mad_weight, umd_weight and cmd_weight must not be negative")
        check_choice("mad_direction", self.mad_direction, DIRECTIONS)
        check_choice("mad_scale", self.mad_scale, MAD_SCALES)
        check_choice("umd_axis", self.umd_axis, UMD_AXES)
        check_choice("modality_dropout", self.modality_dropout, MODALITY_DROPOUT)

    @property
    def distils(self) -> bool:
        """Whether a teacher is needed."""
        return max(self.mad_weight, self.umd_weight, self.cmd_weight) > 0.0


def load_recipe(path: str | Path | None, changes: list[str] | None = None) -> Recipe:
    """Read a recipe and apply ``name=value`` changes, whose values are YAML.

    Raises:
        ValueError: a name is unknown or a value has the wrong type.
    """
    values = {} if path is None else yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}; expected 'name: value' lines")
    for change in changes or []:
        name, separator, text = change.partition("=")
        if not separator:
            raise ValueError(f"'{change}' is no change; write name=value")
        values[name] = yaml.safe_load(text)
    known = {f.name: f for f in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"recipe has no '{name}'; known are {', '.join(known)}")
        values[name] = checked(name, value, known[name].default)
    return Recipe(**values)


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
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(float(v) for v in value)
    if type(value) is not type(default):
        raise ValueError(f"recipe: {name} is {value!r}; expected {type(default).__name__}, such as {default!r}")
    return value


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the exact recipe as YAML."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
