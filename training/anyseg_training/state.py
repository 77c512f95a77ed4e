# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk: one safetensors file, replaced atomically; nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anyseg_ros.model.checkpoint import CheckpointError, read_safetensors, write_atomically
from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.config import Recipe

# What may differ between the run that saved a state and the one that resumes it.
FREE_TO_CHANGE = ("save_minutes", "threads", "workers", "device")
INPUT_WORDS = {"train": "--pack", "init": "--init", "backbone": "--backbone-weights", "teacher": "--teacher"}


@dataclass
class TrainingState:
    """Everything a step changes. Randomness needs no state: it is a function of seed and step.

    Attributes:
        model: the network being trained.
        optimizer: AdamW.
        average: exponential moving average of the model's state dict.
        step: steps done.
        scaler: of the gradients; idle unless the precision is float16.
        selection: on what the best weights are selected, and which are the best so far (see ``selection``); None when
            nothing selects.
        inputs: digests by name of the pack and the weights that the run reads.
    """

    model: AnySeg
    optimizer: torch.optim.AdamW
    average: dict[str, Tensor]
    step: int
    scaler: torch.amp.GradScaler
    selection: dict[str, Any] | None = None
    inputs: dict[str, str] = field(default_factory=dict)


def copied_buffers(model: nn.Module) -> list[Tensor]:
    """What a forward pass in training changes: the statistics of BatchNorm."""
    return [buffer.clone() for buffer in model.buffers()]


def restore_buffers(model: nn.Module, values: list[Tensor]) -> None:
    """Put back what ``copied_buffers`` gave."""
    for buffer, value in zip(model.buffers(), values, strict=True):
        buffer.copy_(value)


def comparable(recipe: Recipe) -> dict:
    """The part of a recipe that a resumed run must share."""
    return json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k not in FREE_TO_CHANGE}))


def save_state(path: Path, state: TrainingState, recipe: Recipe) -> None:
    """Write model, average, optimizer moments, step, scaler, selection and recipe."""
    tensors = {f"model/{k}": v.detach().clone().contiguous() for k, v in state.model.state_dict().items()}
    tensors |= {f"average/{k}": v.clone().contiguous() for k, v in state.average.items()}
    for name, parameter in state.model.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value.clone().contiguous()
    header = {
        "step": str(state.step),
        "recipe": json.dumps(comparable(recipe)),
        "scaler": json.dumps(state.scaler.state_dict()),
        "selection": json.dumps(state.selection),
        "inputs": json.dumps(state.inputs),
    }
    write_atomically(path, tensors, header)


def load_state(path: Path, state: TrainingState, recipe: Recipe) -> None:
    """Read a state in place.

    Raises:
        CheckpointError: the file is no training state, of another recipe, of other packs or weights, or selected on
            other data; the message names the first difference.
    """
    tensors, header = read_safetensors(path)
    if not {"step", "recipe", "scaler", "selection"} <= header.keys():
        raise CheckpointError(f"{path} is no training state of this version; remove it or choose another output folder")
    saved, wanted = json.loads(header["recipe"]), comparable(recipe)
    for name in wanted:
        if saved.get(name) != wanted[name]:
            raise CheckpointError(
                f"{path} was saved with {name} = {saved.get(name)!r}, this run has {wanted[name]!r}; "
                "resume with the same recipe or choose another output folder"
            )
    selection = json.loads(header["selection"])
    if selected_on(selection) != selected_on(state.selection):
        raise CheckpointError(
            f"{path} was saved by a run that selects on {selected_on(selection)}, this one selects on "
            f"{selected_on(state.selection)}; resume with the same --select-pack or choose another output folder"
        )
    check_inputs(path, json.loads(header.get("inputs", "{}")), state.inputs)
    state.selection = selection
    state.model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    for name, value in state.average.items():
        value.copy_(tensors[f"average/{name}"])
    for name, parameter in state.model.named_parameters():
        prefix = "optimizer/{}/" + name
        keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if prefix.format(k) in tensors]
        if keys:
            state.optimizer.state[parameter] = {
                k: tensors[prefix.format(k)].to(parameter.device, copy=True) for k in keys
            }
    if scaler := json.loads(header["scaler"]):
        state.scaler.load_state_dict(scaler)
    state.step = int(header["step"])


def check_inputs(path: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    """Compare what the run that saved a state read with what this one reads.

    Raises:
        CheckpointError: they differ; a state that does not say what was read is taken as it is.
    """
    for name in sorted(saved.keys() | wanted.keys()) if saved else ():
        if saved.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path} was saved by a run with {INPUT_WORDS[name]} {saved.get(name, 'none')} (digest), this one has "
                f"{wanted.get(name, 'none')}; resume with the same files or choose another output folder"
            )


def selected_on(selection: dict[str, Any] | None) -> str:
    """On what weights are selected, in words that differ when it differs."""
    return "nothing" if selection is None else f"split '{selection['split']}' ({selection['scenes']})"


def read_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a saved state.

    Raises:
        CheckpointError: the file is no training state.
    """
    tensors, _ = read_safetensors(path)
    average = {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    if not average:
        raise CheckpointError(f"{path} holds no averaged weights; expected a training state")
    return average
