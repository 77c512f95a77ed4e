# SPDX-License-Identifier: Apache-2.0
"""Simulated drives in the folder layout and file formats of MUSES, so that one loader serves both.

Layout and formats: https://github.com/timbroed/MUSES (README and SDK). Two things are ours: calib.json holds
``extrinsics.lidar2base`` (where the ground is), and meta.json names the corner case and the seed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.simulation.ahead import one_thread_per_process
from anyseg_ros.simulation.drive import CORNERS, Drive, DriveConfig, Sample
from anyseg_ros.simulation.rig import sim_rig

MS = 1_000_000
SPLITS = ("train", "val", "test")
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # by trainId, Cityscapes
LIDAR_INTENSITY = 255.0  # the RS-LiDAR-M1 of MUSES gives 0..255
CORNER_SHARE = 0.25
FRAME_SPACING_S = 2.5
FIRST_FRAME_S = 1.0
# One turn of the wheel: as in MUSES, two fifths are night, and every weather comes by day and by night.
CONDITIONS = (
    ("clear", "day"), ("fog", "day"), ("clear", "night"), ("rain", "day"), ("snow", "day"),
    ("clear", "day"), ("rain", "night"), ("clear", "night"), ("fog", "night"), ("snow", "night"),
    ("clear", "day"), ("rain", "day"), ("clear", "night"), ("fog", "day"), ("snow", "day"),
)  # fmt: skip
FOLDERS = {
    "frame_camera": ("frame_camera", "frame_camera.png"),
    "lidar": ("lidar", "lidar.bin"),
    "event_camera": ("event_camera", "event_camera.h5"),
    "gt_train_ids": ("gt_semantic", "gt_labelTrainIds.png"),
    "gt_label_ids": ("gt_semantic", "gt_labelIds.png"),
}
NOT_SIMULATED = ("radar", "gnss", "reference_frame", "gt_panoptic", "gt_uncertainty")


@dataclass(frozen=True)
class DriveJob:
    """One drive's part of a dataset.

    Attributes:
        config: the drive.
        split: train, val or test.
        times_ns: true times of the frames since the start of the drive.
    """

    config: DriveConfig
    split: str
    times_ns: tuple[int, ...]

    def scene(self, t_ns: int) -> str:
        """Scene name: the recording is the seed, the frame its time in milliseconds."""
        return f"REC{self.config.seed:04d}_frame_{t_ns // MS:06d}"

    def path(self, kind: str, t_ns: int) -> str:
        """Where a file of a scene lies, relative to the dataset's root."""
        folder, suffix = FOLDERS[kind]
        config = self.config
        return f"{folder}/{self.split}/{config.weather}/{config.time_of_day}/{self.scene(t_ns)}_{suffix}"


def plan_drives(split: str, drives: int, frames_per_drive: int, first_seed: int) -> list[DriveJob]:
    """Which drives a dataset is made of: conditions take turns, a quarter of the drives has a corner case.

    Raises:
        ValueError: the split is unknown, or a number is not positive.
    """
    if split not in SPLITS:
        raise ValueError(f"split '{split}' is unknown; give one of {', '.join(SPLITS)}")
    if drives < 1 or frames_per_drive < 1:
        raise ValueError(f"{drives} drives of {frames_per_drive} frames make no dataset; give at least one of each")
    jobs = []
    for seed in range(first_seed, first_seed + drives):
        rng = np.random.default_rng([seed, 20_240])
        weather, time_of_day = CONDITIONS[seed % len(CONDITIONS)]
        corner = str(rng.choice(CORNERS)) if rng.random() < CORNER_SHARE else None
        duration_s = FIRST_FRAME_S + frames_per_drive * FRAME_SPACING_S
        # On multiples of 10 ms: the grid of the event camera's sub-frames in a continuous drive.
        wanted_s = FIRST_FRAME_S + FRAME_SPACING_S * (np.arange(frames_per_drive) + rng.random(frames_per_drive) * 0.8)
        times_ns = tuple(int(t * 100) * 10 * MS for t in wanted_s)
        jobs.append(DriveJob(DriveConfig(seed, duration_s, time_of_day, weather, corner), split, times_ns))
    return jobs


def write_muses_dataset(root: Path, jobs: Iterable[DriveJob], workers: int = 2, progress: bool = True) -> int:
    """Simulate drives into a dataset; scenes that are complete already are left as they are.

    Args:
        root: the dataset's folder; made where needed.
        jobs: from ``plan_drives``.
        workers: processes, one core each; 0 works in this process.
        progress: show a bar.

    Returns:
        How many scenes were written.
    """
    from tqdm import tqdm

    jobs, root = list(jobs), Path(root)
    root.mkdir(parents=True, exist_ok=True)
    _write_atomically(root / "calib.json", _json_bytes(muses_calib(sim_rig())))
    written = 0
    with tqdm(total=len(jobs), unit="drive", disable=not progress) as bar:
        for scenes in _run(root, jobs, workers):
            written += scenes
            bar.update()
    _write_meta(root, jobs)
    return written


def _run(root: Path, jobs: list[DriveJob], workers: int) -> Iterable[int]:
    work = [(root, job) for job in jobs]
    if workers == 0:
        yield from map(_write_drive, work)
        return
    with one_thread_per_process(), multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_write_drive, work)


def _write_drive(work: tuple[Path, DriveJob]) -> int:
    root, job = work
    missing = [t for t in job.times_ns if not all((root / job.path(kind, t)).exists() for kind in FOLDERS)]
    if not missing:
        return 0
    cv2.setNumThreads(1)
    drive = Drive(job.config)
    for t_ns in missing:
        write_scene(root, job, drive, t_ns)
    return len(missing)


def write_scene(root: Path, job: DriveJob, drive: Drive, t_ns: int) -> None:
    """Simulate one instant of a drive and write its files.

    The lidar's sweep lies up to half a period off the picture in half of the scenes, as when sensors are not
    triggered together.
    """
    rng = np.random.default_rng([job.config.seed, t_ns])
    skew_ns = int(rng.integers(-5, 6)) * 10 * MS if rng.random() < 0.5 else 0
    sample = drive.sample(t_ns, lidar_t_ns=t_ns + skew_ns)
    files = {
        "frame_camera": _png(_payload(sample, drive.rig, Modality.CAMERA)[..., ::-1]),
        "lidar": lidar_bytes(sample, drive.rig),
        "event_camera": events_bytes(sample, drive.rig),
        "gt_label_ids": _png(_label_ids(sample.labels)),
        "gt_train_ids": _png(sample.labels),
    }
    for kind, data in files.items():
        _write_atomically(root / job.path(kind, t_ns), data)


def _sensor(rig: Rig, modality: Modality) -> Sensor:
    for sensor in rig.sensors:
        if sensor.modality is modality:
            return sensor
    raise ValueError(f"rig '{rig.name}' has no {modality.value}; a MUSES dataset needs camera, event and lidar")


def _payload(sample: Sample, rig: Rig, modality: Modality) -> Any:
    return sample.measurements[_sensor(rig, modality).name].payload


def lidar_bytes(sample: Sample, rig: Rig) -> bytes:
    """A ``.bin`` file: float64 [N,6] = x, y, z, intensity (0..255), ring, time in seconds."""
    sensor = _sensor(rig, Modality.LIDAR)
    measurement = sample.measurements[sensor.name]
    points = measurement.payload
    intensity = points.intensity.astype(np.float64) * sensor.intensity_scale * LIDAR_INTENSITY
    time_s = (measurement.stamp_ns - sensor.offset_ns + points.t_ns) * 1e-9
    return np.column_stack([points.xyz.astype(np.float64), intensity, points.ring, time_s]).tobytes()


def events_bytes(sample: Sample, rig: Rig) -> bytes:
    """A ``.h5`` file in the layout of DSEC: the window that ends with the frame, t in microseconds from its start."""
    import io

    import h5py

    sensor = _sensor(rig, Modality.EVENT)
    measurement = sample.measurements[sensor.name]
    payload = measurement.payload
    t_us = (payload.t_ns - measurement.start_ns) // 1000
    starts = np.arange(DEFAULT.event.window_ns // MS) * 1000
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, column, kind in (
            ("x", payload.x, "u2"),
            ("y", payload.y, "u2"),
            ("t", t_us, "u4"),
            ("p", payload.p, "u1"),
        ):
            file.create_dataset(f"events/{name}", data=column.astype(kind), compression="gzip", compression_opts=1)
        file["ms_to_idx"] = np.searchsorted(t_us, starts).astype(np.uint64)
        file["t_offset"] = np.int64((measurement.start_ns - sensor.offset_ns) // 1000)
    return buffer.getvalue()


def _label_ids(train_ids: np.ndarray) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    table[: len(LABEL_IDS)] = LABEL_IDS
    return table[train_ids]


def muses_calib(rig: Rig) -> dict[str, Any]:
    """The contents of calib.json; every K is that of the images as they are written."""
    rgb, lidar, event = (_sensor(rig, m) for m in (Modality.CAMERA, Modality.LIDAR, Modality.EVENT))
    rgb_from_base = np.linalg.inv(rgb.base_from_sensor)
    return {
        "intrinsics": {"rgb": {"K": rgb.model.K.tolist()}, "event": {"K": event.model.K.tolist()}},
        "extrinsics": {
            "lidar2rgb": (rgb_from_base @ lidar.base_from_sensor).tolist(),
            "event2rgb": (rgb_from_base @ event.base_from_sensor).tolist(),
            "lidar2base": lidar.base_from_sensor.tolist(),
        },
    }


def _meta_entry(job: DriveJob, t_ns: int) -> dict[str, Any]:
    config = job.config
    paths = {f"path_to_{kind}": job.path(kind, t_ns) for kind in ("frame_camera", "lidar", "event_camera")}
    paths["path_to_gt_semantic"] = job.path("gt_train_ids", t_ns)
    stamp_us = (config.start_ns + t_ns) // 1000
    return {
        "split": job.split,
        "weather": config.weather,
        "time_of_day": config.time_of_day,
        **paths,
        **{f"path_to_{kind}": None for kind in NOT_SIMULATED},
        "frame_camera_exposure_start_timestamp_us": stamp_us,
        "frame_camera_exposure_end_timestamp_us": stamp_us,
        "ground_condition": {"rain": "wet", "snow": "snow"}.get(config.weather, "dry"),
        "precipitation_level": 1 if config.weather in ("rain", "snow") else 0,
        "precipitation_tag": config.weather if config.weather in ("rain", "snow") else "none",
        "sun_level": "night" if config.time_of_day == "night" else "day",
        "tunnel": False,
        "corner_case": config.corner,
        "seed": config.seed,
    }


def _write_meta(root: Path, jobs: list[DriveJob]) -> None:
    path = root / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    meta.update({job.scene(t): _meta_entry(job, t) for job in jobs for t in job.times_ns})
    _write_atomically(path, _json_bytes(dict(sorted(meta.items()))))


def _json_bytes(data: Any) -> bytes:
    return json.dumps(data, indent=1).encode()


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()


def _write_atomically(path: Path, data: bytes) -> None:
    """A file is there whole or not at all, also when the run is cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(path)
