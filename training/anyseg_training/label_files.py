# SPDX-License-Identifier: Apache-2.0
"""What belongs to a user's own labels: which image is of which picture, class lists, and splits by blocks of time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_training.config import parsed
from anyseg_training.muses import DatasetError

STAMPS = "stamps.csv"
SPLITS = ("train", "val", "test")


def find_labels(folder: Path) -> dict[int, Path]:
    """Label images by stamp in ns: ``<stamp>.png``, or as ``stamps.csv`` in the folder (name,stamp_ns) says.

    Raises:
        DatasetError: there are none, a name is no stamp, or two have one stamp.
    """
    table = folder / STAMPS
    if table.is_file():
        pairs = [(folder / name, stamp) for name, stamp in _rows(table)]
    else:
        pairs = [(path, path.stem) for path in sorted(folder.glob("*.png"))]
    if not pairs:
        raise DatasetError(
            f"{folder} holds no label images; expected <stamp in ns>.png, or {STAMPS} with name,stamp_ns"
        )
    found: dict[int, Path] = {}
    for path, stamp in pairs:
        if not stamp.strip().isdecimal():
            raise DatasetError(
                f"{path}: '{stamp}' is no stamp in ns; name labels by their picture's, or write {STAMPS}"
            )
        if int(stamp) in found:
            raise DatasetError(f"{path} and {found[int(stamp)]} have one stamp; a picture has one label image")
        found[int(stamp)] = path
    return found


def _rows(table: Path) -> list[tuple[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and rows[0] == ["name", "stamp_ns"]:
        rows = rows[1:]
    for row in rows:
        if len(row) != 2:
            raise DatasetError(f"{table} has the line '{','.join(row)}'; expected name,stamp_ns")
    return [(name, stamp) for name, stamp in rows]


def split_by_time(samples: list[dict[str, Any]], shares: tuple[float, float, float]) -> None:
    """Say of each sample which split it belongs to: the drive's time is cut into whole blocks, train, val, test.

    Args:
        samples: in order of time, of one drive; get a ``split``.
        shares: of the time from the first sample to the last.
    """
    first, last = samples[0]["stamp_ns"], samples[-1]["stamp_ns"]
    ends = np.cumsum(shares)
    names = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    ends = ends[np.asarray(shares) > 0]
    for sample in samples:
        passed = (sample["stamp_ns"] - first) / max(last - first, 1)
        sample["split"] = names[min(int(np.searchsorted(ends, passed, side="right")), len(names) - 1)]


def load_classes(path: Path) -> LabelSet:
    """A class list from YAML: ``name: [r, g, b]`` lines, in order of the class id.

    Raises:
        DatasetError: it is no such file, or has a class twice.
    """
    try:
        table = parsed(path.read_text(encoding="utf-8"), "the file")
        colours = tuple((r, g, b) for r, g, b in table.values())
        return LabelSet(tuple(str(name) for name in table), colours)
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is no list of classes, 'name: [r, g, b]' lines: {error}") from error
