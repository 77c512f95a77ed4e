# SPDX-License-Identifier: Apache-2.0
"""Readers of single files: clouds without a header (MUSES, KITTI, nuScenes), events of DSEC and MUSES, calibrations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.bags.pcd import read_pcd
from anyseg_ros.event_files import read_event_columns
from anyseg_ros.types import Events, Points

# Numbers per point, type, and what the columns after x y z intensity are.
LAYOUTS: dict[str, tuple[int, np.dtype]] = {
    "muses": (6, np.dtype("<f8")),
    "nuscenes": (5, np.dtype("<f4")),
    "kitti": (4, np.dtype("<f4")),
}
INTENSITY_SCALES = {"muses": 1 / 255.0, "nuscenes": 1 / 255.0, "kitti": 1.0, "pcd": 1 / 255.0}


def read_picture(path: Path) -> np.ndarray:
    """uint8 [H,W,3] RGB.

    Raises:
        ValueError: it is no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"cannot read the picture {path}: it is damaged, or of a format that OpenCV does not know")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_cloud(path: Path, layout: str | None = None) -> tuple[Points, float]:
    """A point cloud and the scale that brings its intensity to 0..1.

    Args:
        path: a ``.pcd`` or ``.bin`` file.
        layout: of a ``.bin`` file, one of ``LAYOUTS``; None takes the one that its numbers make sense in.

    Raises:
        ValueError: the file is damaged, or no layout or several fit.
    """
    if path.suffix == ".pcd":
        fields = read_pcd(path)
        missing = {"x", "y", "z"} - fields.keys()
        if missing:
            raise ValueError(f"{path} has no field {', '.join(sorted(missing))}; it has {', '.join(fields)}")
        xyz = np.stack([fields[axis] for axis in "xyz"], axis=1).astype(np.float32)
        intensity = np.asarray(fields.get("intensity", np.zeros(len(xyz))), np.float32)
        scale = INTENSITY_SCALES["pcd"] if len(intensity) and np.nanmax(intensity) > 1.5 else 1.0
        return Points(xyz, intensity, ring=fields.get("ring")), scale
    raw = path.read_bytes()
    fitting = [name for name in LAYOUTS if _fits(raw, name)]
    if layout is None and len(fitting) != 1:
        what = " and ".join(fitting) if fitting else "none of " + ", ".join(LAYOUTS)
        raise ValueError(f"{path} ({len(raw)} bytes) fits {what}; name its layout with --layout")
    chosen = layout or fitting[0]
    columns, dtype = LAYOUTS[chosen]
    if len(raw) % (columns * dtype.itemsize):
        raise ValueError(
            f"{path} has {len(raw)} bytes, which is no multiple of the {columns * dtype.itemsize} of a point in the "
            f"layout {chosen}"
        )
    table = np.frombuffer(raw, dtype).reshape(-1, columns)
    ring = None if chosen == "kitti" else np.clip(table[:, 4], 0, 65535).astype(np.uint16)
    points = Points(table[:, :3].astype(np.float32), table[:, 3].astype(np.float32), ring=ring)
    return points, INTENSITY_SCALES[chosen]


def _fits(raw: bytes, layout: str) -> bool:
    """The bytes read in this layout are positions in metres around a sensor, with an intensity and a ring."""
    columns, dtype = LAYOUTS[layout]
    if not raw or len(raw) % (columns * dtype.itemsize):
        return False
    with np.errstate(all="ignore"):
        table = np.frombuffer(raw, dtype).reshape(-1, columns)[:2000].astype(np.float64)
        # A float64 read as float32 is tiny or huge in every other column: positions of a scene are neither.
        sane = np.isfinite(table[:, :4]).all() and np.abs(table[:, :3]).max() < 1e3
        spread = np.abs(table[:, :3]).max(axis=0).min() > 0.05
        lit = (table[:, 3] >= 0).all() and table[:, 3].max() <= 256
        whole = columns == 4 or bool((table[:, 4] == np.round(table[:, 4])).all() and (table[:, 4] >= 0).all())
    return bool(sane and spread and lit and whole)


def read_event_file(path: Path) -> Events:
    """The events of an HDF5 file in DSEC's layout (also MUSES'): ``events/{x,y,t,p}``, t in microseconds.

    Raises:
        ValueError: it is not laid out so, or hdf5plugin is not installed and it needs that.
        ModuleNotFoundError: h5py is not installed.
    """
    columns = read_event_columns(path)
    x, y, t, p = columns.x, columns.y, columns.t_us, columns.p
    order = np.argsort(t, kind="stable")
    width, height = (int(x.max()) + 1, int(y.max()) + 1) if len(x) else (0, 0)
    return Events(
        x[order].astype(np.uint16),
        y[order].astype(np.uint16),
        t[order].astype(np.int64) * 1000,
        p[order].astype(np.uint8),
        width,
        height,
    )


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
