# SPDX-License-Identifier: Apache-2.0
"""The files of a packed set (see ``data``), opened and compared with each other; what is damaged is refused by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anyseg_ros.labels import LabelSet

INDEX = "index.json"
FORMAT = 2
# What every index has; ``geometry`` and ``absent`` came later.
ENTRIES = {
    "split", "grid", "modalities", "samples", "encoding", "encoding_parameters", "classes", "palette", "normalisation",
    "class_pixels",
}  # fmt: skip


class PackError(ValueError):
    """A packed set cannot be used; the message says why."""


def read_index(path: Path) -> dict[str, Any]:
    """What the samples of a pack are.

    Raises:
        PackError: the file is missing, or no index that this code reads.
    """
    if not path.is_file():
        raise PackError(f"{path.parent} holds no {INDEX}; make the pack with 'anyseg-train pack' and let it finish")
    try:
        index = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise PackError(f"{path} is no index of a pack ({error}); pack again") from error
    if index.get("format") != FORMAT:
        raise PackError(f"{path} is of format {index.get('format')}, this code reads {FORMAT}; pack again")
    missing = sorted(ENTRIES - index.keys())
    if missing:
        raise PackError(f"{path} has no {', '.join(missing)}; pack again")
    try:
        LabelSet(tuple(index["classes"]), tuple(map(tuple, index["palette"])))
    except (ValueError, TypeError) as error:
        raise PackError(f"{path} has classes or colours that are none: {error}; pack again") from error
    return index


def open_array(path: Path, shape: tuple[int, ...], mode: Literal["r", "r+"] = "r") -> np.memmap:
    """An array of a pack, mapped into memory.

    Raises:
        PackError: it is missing, torn, or of another shape.
    """
    try:
        array = np.lib.format.open_memmap(path, mode)
    except (OSError, ValueError, EOFError) as error:
        raise PackError(f"{path} is missing or damaged ({error}); remove the pack and make it again") from error
    if array.shape != shape:
        raise PackError(
            f"{path} is of the shape {array.shape}, the pack's grid and number of samples want {shape}; "
            "remove the pack and make it again"
        )
    return array
