# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: one safetensors file with the weights and, as JSON in its header, what they are for.

Loading never unpickles. A file that does not fit is refused with a sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anyseg_ros.modality import Modality
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

KNOWN = {modality.value for modality in Modality}
METADATA_KEY = "anyseg"
WEIGHTS_KEY = "anyseg_weights_sha256"
"""Metadata of exported files: ``weights_sha256`` of the checkpoint that they were made of."""
FORMAT = 2


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says what was found and what was expected."""


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint knows about itself.

    Attributes:
        architecture: the fields of ``AnySegConfig``.
        classes: class names; the index is the class id.
        palette: RGB colour per class.
        modalities: names of the modalities it was trained on.
        encoding: fingerprint of the sensor encoding that its input must come from.
        normalisation: modality name -> {"mean": [3], "std": [3]} of the raw encoding's channels.
        grid: [height, width] of the network's grid in pixels.
        training: what it was trained on and how.
        code_version: version of the package that wrote it.
        miou: subset name -> mIoU in percent on the validation split.
        encoding_parameters: what the encoding of that fingerprint is, so that a mismatch can be named.
    """

    architecture: dict
    classes: list[str]
    palette: list[list[int]]
    modalities: list[str]
    encoding: str
    normalisation: dict[str, dict[str, list[float]]]
    grid: list[int]
    training: dict = field(default_factory=dict)
    code_version: str = ""
    miou: dict[str, float] = field(default_factory=dict)
    encoding_parameters: dict = field(default_factory=dict)


def save_checkpoint(path: str | Path, model: AnySeg, meta: CheckpointMeta, half: bool = False) -> None:
    """Write a checkpoint atomically.

    Args:
        path: file to write.
        model: its weights, in any precision.
        meta: its description; ``architecture`` must be the model's.
        half: store matrices and kernels as float16 (vectors and BatchNorm statistics stay float32).

    Raises:
        CheckpointError: the description is of another architecture, or could not be read again.
    """
    if meta.architecture != asdict(model.config):
        raise CheckpointError(f"metadata describes {meta.architecture}, the model is {asdict(model.config)}")
    check_fields(path, meta)
    tensors = {name: storable(value, half) for name, value in model.state_dict().items()}
    header = {METADATA_KEY: json.dumps({"format": FORMAT, **asdict(meta)})}
    write_atomically(Path(path), tensors, header)


def storable(value: Tensor, half: bool) -> Tensor:
    """A contiguous CPU copy of a tensor in its storage precision."""
    value = value.detach().cpu()
    if half and value.is_floating_point() and value.dim() > 1:
        value = value.to(torch.float16)
    return value.contiguous().clone()


def write_atomically(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file as ``write_bytes_atomically`` does."""
    write_bytes_atomically(path, save(tensors, header))  # save_file would make it readable for its owner alone


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the header's metadata of a safetensors file.

    Raises:
        CheckpointError: the file is missing, empty or no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no readable safetensors file ({error}); expected an anyseg checkpoint"
        ) from error


def load_checkpoint(path: str | Path) -> tuple[AnySeg, CheckpointMeta]:
    """Read a checkpoint into a float32 model in evaluation mode. Its encoding is for the caller to compare.

    Raises:
        CheckpointError: the file is not a checkpoint of ours, or its tensors or classes do not fit its architecture.
    """
    tensors, header = read_safetensors(path)
    meta = parse_meta(path, header)
    try:
        model = AnySeg(AnySegConfig(**meta.architecture))
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} names an architecture that cannot be built: {error}") from error
    if len(meta.classes) != model.config.classes:
        raise CheckpointError(
            f"{path} names {len(meta.classes)} classes; its architecture has {model.config.classes} of them"
        )
    check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.eval(), meta


def weights_sha256(model: AnySeg) -> str:
    """Of all tensors by name; the same for a checkpoint wherever its file lies and whatever its description says."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def parse_meta(path: str | Path, header: dict[str, str]) -> CheckpointMeta:
    """The description in a file's header.

    Raises:
        CheckpointError: it is missing, broken, of another format, incomplete, or a field makes no sense.
    """
    if METADATA_KEY not in header:
        raise CheckpointError(f"{path} has no '{METADATA_KEY}' metadata; expected a checkpoint saved by anyseg-train")
    try:
        values = dict(json.loads(header[METADATA_KEY]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has broken metadata: {error}") from error
    found = values.pop("format", None)
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this code reads format {FORMAT}; use a checkpoint that was written "
            "by this version, or the version that wrote this one"
        )
    known = {f.name for f in fields(CheckpointMeta)}
    if set(values) != known:
        raise CheckpointError(
            f"{path} has metadata fields {sorted(values)}; expected {sorted(known)}; save it again with this version"
        )
    meta = CheckpointMeta(**values)
    check_fields(path, meta)
    return meta


def check_fields(path: str | Path, meta: CheckpointMeta) -> None:
    """Look whether a description says what others build upon.

    Raises:
        CheckpointError: names the first field that makes no sense.
    """
    for name, makes_sense, expected in (
        ("classes", _texts(meta.classes), "a list of class names, each once"),
        ("palette", _colours(meta.palette, meta.classes), "a colour [r, g, b] of 0 to 255 for each class"),
        (
            "modalities",
            _texts(meta.modalities) and KNOWN.issuperset(meta.modalities),
            f"some of {sorted(KNOWN)}, each once",
        ),
        ("grid", _numbers(meta.grid, 2) and min(meta.grid) > 0, "[height, width] in pixels"),
        ("miou", isinstance(meta.miou, dict) and _percents(list(meta.miou.values())), "mIoU in percent by subset"),
    ):
        if not makes_sense:
            raise CheckpointError(f"{path}: expected as {name} {expected}; found {getattr(meta, name)!r:.100}")


def _texts(found: Any) -> bool:
    texts = isinstance(found, list) and len(found) > 0 and all(isinstance(text, str) for text in found)
    return texts and len(set(found)) == len(found)


def _numbers(found: Any, count: int) -> bool:
    return isinstance(found, list) and len(found) == count and all(type(number) is int for number in found)


def _colours(found: Any, classes: list[str]) -> bool:
    alike = isinstance(found, list) and isinstance(classes, list) and len(found) == len(classes)
    return alike and all(_numbers(colour, 3) and min(colour) >= 0 and max(colour) <= 255 for colour in found)


def _percents(found: list[Any]) -> bool:
    return all(isinstance(number, int | float) and 0 <= number <= 100 for number in found)


def check_tensors(path: str | Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare names and shapes, and look for what training that diverged leaves.

    Raises:
        CheckpointError: names the first tensor that is missing, not expected, of another shape, or holds no numbers.
    """
    for name, value in expected.items():
        if name not in found:
            raise CheckpointError(
                f"{path} lacks tensor '{name}' of shape {tuple(value.shape)} that its architecture has"
            )
        if found[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: tensor '{name}' has shape {tuple(found[name].shape)}, "
                f"its architecture expects {tuple(value.shape)}"
            )
        kinds_differ = found[name].is_floating_point() != value.is_floating_point()
        if kinds_differ or not found[name].float().isfinite().all():
            raise CheckpointError(
                f"{path}: tensor '{name}' of {found[name].dtype} holds something else than finite numbers for "
                f"{value.dtype}; the file is damaged, or its training had diverged"
            )
    for name in found:
        if name not in expected:
            raise CheckpointError(f"{path} holds tensor '{name}' that its architecture does not have")
