# SPDX-License-Identifier: Apache-2.0
"""A very small data set in the MUSES layout, written without the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from anyseg_training.data import Pack
from anyseg_training.muses import read_scenes
from anyseg_training.pack import make_pack

from anyseg_ros.sensors.muses_sdk import to_png16

PACK_GRID = (48, 80)
SMALL_GRID = (32, 48)
CAMERA_SIZE = (64, 48)
EVENT_SIZE = (40, 30)
EXPOSURE_END_US = 1_700_000_000_000_000
CONDITIONS = [("clear", "day"), ("fog", "night")]


def pinhole(size: tuple[int, int], focal: float) -> list[list[float]]:
    return [[focal, 0.0, (size[0] - 1) / 2], [0.0, focal, (size[1] - 1) / 2], [0.0, 0.0, 1.0]]


def write_scene(root: Path, split: str, name: str, weather: str, tod: str, rng: np.random.Generator) -> dict:
    def file(folder: str, suffix: str) -> Path:
        path = root / folder / split / weather / tod / f"{name}_{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    width, height = CAMERA_SIZE
    labels = np.full((height, width), 255, np.uint8)
    labels[height // 2 :] = 0
    labels[: height // 2, : width // 2] = 2
    labels[: height // 4, width // 2 :] = 10
    colours = rng.integers(0, 255, (256, 3), np.uint8)
    cv2.imwrite(str(file("frame_camera", "frame_camera.png")), colours[labels])
    cv2.imwrite(str(file("gt_semantic", "gt_labelTrainIds.png")), labels)

    n = 4000
    xyz = np.stack([rng.uniform(3, 40, n), rng.uniform(-20, 20, n), rng.uniform(-2, 6, n)], 1)
    cloud = np.column_stack([xyz, rng.uniform(0, 255, n), rng.integers(0, 64, n), np.zeros(n)])
    cloud.astype(np.float64).tofile(file("lidar", "lidar.bin"))

    m = 3000
    with h5py.File(file("event_camera", "event_camera.h5"), "w") as h5:
        h5["events/x"] = rng.integers(0, EVENT_SIZE[0], m).astype(np.uint16)
        h5["events/y"] = rng.integers(0, EVENT_SIZE[1], m).astype(np.uint16)
        h5["events/t"] = np.sort(rng.integers(1, 30_000, m)).astype(np.uint32)
        h5["events/p"] = rng.integers(0, 2, m).astype(np.uint8)
        h5["t_offset"] = np.int64(EXPOSURE_END_US - 30_000)
    return {
        "split": split,
        "weather": weather,
        "time_of_day": tod,
        "frame_camera_exposure_end_timestamp_us": EXPOSURE_END_US,
    }


def write_tiny_muses(root: Path, per_split: dict[str, int], seed: int = 0) -> Path:
    """Write ``per_split`` scenes of each split; returns the root."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    # Lidar: x forward, y left, z up; camera: x right, y down, z forward, half a metre below it.
    lidar2rgb = [[0, -1, 0, 0], [0, 0, -1, -0.5], [1, 0, 0, 0], [0, 0, 0, 1]]
    calib = {
        "intrinsics": {"rgb": {"K": pinhole(CAMERA_SIZE, 40.0)}, "event": {"K": pinhole(EVENT_SIZE, 32.0)}},
        "extrinsics": {"lidar2rgb": lidar2rgb, "event2rgb": np.eye(4).tolist()},
    }
    (root / "calib.json").write_text(json.dumps(calib))
    meta = {}
    for split, count in per_split.items():
        for i in range(count):
            name = f"REC{i // 2:04d}_frame_{len(meta):06d}"
            meta[name] = write_scene(root, split, name, *CONDITIONS[i % 2], rng)
    (root / "meta.json").write_text(json.dumps(meta))
    return root


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cloud and events as the SDK draws them."""
    rng = np.random.default_rng(seed)
    size = CAMERA_SIZE[::-1]
    filled = rng.random(size) < 0.2
    # Whole steps of the PNG, so that all kinds of file say the same.
    steps = np.dstack([rng.integers(*ends, size) for ends in ((300, 9000), (0, 255 * 150), (-300, 300))])
    cloud = np.where(filled[..., None], steps / 150.0, 0.0).astype(np.float32)
    events = rng.integers(0, 4, (*size, 3)).astype(np.uint8)
    events[..., 2] = 0
    return cloud, events


def write_drawn(root: Path, kind: str, folder: str = "projected_to_rgb") -> None:
    """What the SDK would draw of the training split."""
    for number, scene in enumerate(read_scenes(root, "train")):
        for sensor, image in zip(("lidar", "event_camera"), drawn(number), strict=True):
            path = scene.file(root / folder, sensor, f"{sensor}.{kind}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "npz":
                np.savez(path, image)
            elif kind == "npy":
                np.save(path, image)
            else:
                cv2.imwrite(str(path), to_png16(image) if sensor == "lidar" else image)


def write_packs(root: Path, per_split: dict[str, int]) -> None:
    """Writes a data set into ``root/data``, and a small pack of each split beside it."""
    write_tiny_muses(root / "data", per_split)
    for split in per_split:
        make_pack(root / "data", split, SMALL_GRID, root / split, workers=1, bar=False)


def pack_of(root: Path, out: Path, grid: tuple[int, int] = PACK_GRID, **options: Any) -> tuple[Pack, dict[str, int]]:
    """The pack of the training split, and its counts."""
    counts = make_pack(root, "train", grid, out, workers=1, bar=False, **options)
    return Pack(out), counts
