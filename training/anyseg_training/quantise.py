# SPDX-License-Identifier: Apache-2.0
"""Makes the ONNX file of a checkpoint that computes in int8, calibrated on the training set.

Convolutions and matrix products take bytes: weights signed, with a scale per output channel; activations unsigned, with
one scale and zero point for each, which span what the calibration frames reach. All else, and the last layer, whose
output decides between classes, stays float32.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from anyseg_ros.engine.network import Network
from anyseg_ros.engine.onnx_export import exported
from anyseg_ros.engine.onnx_graph import INPUT
from anyseg_ros.engine.onnx_network import QUANTISATION_KEY, OnnxNetworks
from anyseg_ros.engine.precision import INT8, check_cpu_int8
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.modality import Modality, all_subsets, subset_name
from anyseg_ros.model.checkpoint import CheckpointMeta, write_bytes_atomically
from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.data import Normaliser, Pack, PackError, draw_subset
from anyseg_training.fitting import load_fitting
from anyseg_training.runinfo import describe_pack

CHECKED = 24
"""Frames of the training set, none of those that calibrate, on which the labels are compared with float32's."""
MOST_CHANGED = 0.05
"""Largest share of labels that may change with any subset."""


class QuantisationError(ValueError):
    """The network in int8 answers too differently; the message says how differently."""


@dataclass(frozen=True)
class Plan:
    """How a network is quantised.

    Attributes:
        frames: that calibrate, each with a random subset of its modalities.
        seed: of the draw of frames and subsets.
    """

    frames: int = 64
    seed: int = 0


def quantise(checkpoint: Path, pack: Pack, out: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Write the ONNX file in int8, once its labels have been compared with those of float32 on frames of the pack.

    Args:
        checkpoint: safetensors file.
        pack: the training set, never a split that is scored.
        out: file to write.
        plan: what calibrates.
        say: is told each step.

    Raises:
        CheckpointError: the file is no checkpoint.
        PackError: the pack does not fit it, or holds too few frames.
        QuantisationError: too many labels change; nothing is written then.
        ValueError: this processor cannot check it.
    """
    check_cpu_int8()
    model, meta = load_fitting(checkpoint, pack)
    check_alike(checkpoint, meta, pack)
    calibrating, checked = drawn(pack, plan)
    normaliser = Normaliser(pack.modalities, meta.normalisation)
    record: dict[str, Any] = {"precision": INT8, "frames": plan.frames, "seed": plan.seed, "checked_frames": CHECKED}
    record["calibration"] = {key: value for key, value in describe_pack(pack).items() if key != "pack"}
    say(f"{checkpoint}: calibrating with {plan.frames} of {len(pack)} frames of split '{pack.index['split']}'")
    with tempfile.TemporaryDirectory() as folder:
        graph = in_int8(model, meta, subsets(pack, normaliser, calibrating, plan.seed), Path(folder))
        described(graph, record)
        onnx.save(graph, Path(folder) / "int8.onnx")
        theirs = OnnxNetworks(Path(folder) / "int8.onnx", "onnxruntime", INT8).spare()
    changed = labels_changed(TorchNetworks(model).spare(), theirs, pack, normaliser, checked)
    for subset, share in changed.items():
        say(f"{subset}: {share:.2%} of the labels change")
    worst = max(changed, key=lambda subset: changed[subset])
    if not changed[worst] <= MOST_CHANGED:
        raise QuantisationError(
            f"with {worst} int8 changes {changed[worst]:.1%} of the labels, expected at most {MOST_CHANGED:.0%}; "
            "calibrate with more --frames, or stay with float32; nothing was written"
        )
    described(graph, record | {"labels_changed": {subset: round(share, 5) for subset, share in changed.items()}})
    write_bytes_atomically(out, graph.SerializeToString())
    say(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, checked on {CHECKED} other frames")


def check_alike(checkpoint: Path, meta: CheckpointMeta, pack: Pack) -> None:
    """Look whether the pack shows the network what it will see.

    Raises:
        PackError: it has other modalities, or another grid.
    """
    for name, found, wanted in (
        ("modalities", pack.modalities, meta.modalities),
        ("grid", list(pack.grid), list(meta.grid)),
    ):
        if found != wanted:
            raise PackError(
                f"{pack.root} has {name} {found} and {checkpoint} {wanted}; give the pack it was trained on"
            )


def drawn(pack: Pack, plan: Plan) -> tuple[list[int], list[int]]:
    """The frames that calibrate, and those that check.

    Raises:
        PackError: there are too few.
    """
    usable = np.flatnonzero(pack.present.any(1))
    if plan.frames < 1 or len(usable) < plan.frames + CHECKED:
        raise PackError(
            f"{pack.root} holds {len(usable)} frames with anything to see and --frames is {plan.frames}; expected at "
            f"least 1, and {CHECKED} more in the pack for the check"
        )
    order = np.random.default_rng([plan.seed, 1]).permutation(usable).tolist()
    return order[: plan.frames], order[plan.frames : plan.frames + CHECKED]


class Stacks(CalibrationDataReader):
    """Feeds the calibration with stacks [m,3,H,W], each once."""

    def __init__(self, stacks: Iterable[np.ndarray]) -> None:
        self._stacks = iter(stacks)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next stack by the input's name; None at the end."""
        stack = next(self._stacks, None)
        return None if stack is None else {INPUT: np.ascontiguousarray(stack, np.float32)}


def subsets(pack: Pack, normaliser: Normaliser, frames: list[int], seed: int) -> Iterator[np.ndarray]:
    """The stack of each frame, with a random subset of what is present, as training draws them."""
    generator = torch.Generator().manual_seed(seed)
    kept = draw_subset(torch.from_numpy(pack.present[frames]), generator).numpy()
    return (normaliser(pack.raw(frame)[0])[row] for frame, row in zip(frames, kept, strict=True))


def in_int8(model: AnySeg, meta: CheckpointMeta, stacks: Iterable[np.ndarray], folder: Path) -> onnx.ModelProto:
    """The network's graph with its convolutions and matrix products in int8.

    Args:
        model: float32, in evaluation mode.
        meta: its description.
        stacks: what calibrates, each float32 [m,3,H,W], normalised.
        folder: for files on the way.
    """
    whole, prepared, done = (folder / name for name in ("float.onnx", "prepared.onnx", "quantised.onnx"))
    whole.write_bytes(exported(model, meta))
    quant_pre_process(str(whole), str(prepared))
    last = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"][-1]
    quantize_static(
        str(prepared),
        str(done),
        Stacks(stacks),
        QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[last],
    )
    graph = onnx.load(done)
    known = {p.key: p.value for p in onnx.load(whole).metadata_props}
    onnx.helper.set_model_props(graph, known)
    return graph


def described(graph: onnx.ModelProto, record: dict[str, Any]) -> None:
    """Note in the file's metadata that it is in int8, and how that came about."""
    known = {p.key: p.value for p in graph.metadata_props}
    onnx.helper.set_model_props(graph, known | {QUANTISATION_KEY: json.dumps(record)})


@torch.inference_mode()
def labels_changed(
    ours: Network, theirs: Network, pack: Pack, normaliser: Normaliser, frames: list[int]
) -> dict[str, float]:
    """Share of the pixels that two networks label differently, by subset, over the frames where all of it is present.

    Subsets of which no frame has all are left out.
    """
    modalities = [Modality(name) for name in pack.modalities]
    stacks = {frame: torch.from_numpy(normaliser(pack.raw(frame)[0])) for frame in frames}
    found = {}
    for subset in all_subsets(modalities):
        rows = [modalities.index(modality) for modality in subset]
        shares = [_changed(ours, theirs, stacks[f][rows]) for f in frames if pack.present[f][rows].all()]
        if shares:
            found[subset_name(subset)] = float(np.mean(shares))
    return found


def _changed(ours: Network, theirs: Network, images: Tensor) -> float:
    return float((ours.labels(images)[0] != theirs.labels(images)[0]).mean())
