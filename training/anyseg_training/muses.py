# SPDX-License-Identifier: Apache-2.0
"""Reads the MUSES folder layout (https://muses.ethz.ch), which the simulator writes too, into measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from anyseg_ros.event_files import CodecError, EventFileError, read_event_columns
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.messages import PayloadError, compressed_image_from
from anyseg_ros.sensors.rig import Rig, optical_model, rig_from_muses_calib
from anyseg_ros.types import Events, Measurement, Points

# Intensities of the lidar files are 0..255.
LIDAR_INTENSITY_SCALE = 1.0 / 255.0
# The event camera of MUSES is a Gen4 HD sensor; its frame camera has 1920 x 1080 pixels.
MUSES_CAMERA_SIZE = (1920, 1080)
MUSES_EVENT_SIZE = (1280, 720)
# Event times count as being in the clock of the frame camera when the window lies this close to its exposure.
SAME_CLOCK_US = 1_000_000


class DatasetError(ValueError):
    """A dataset's file is missing or broken; the message names it."""


class TornFile(DatasetError):
    """A sensor's file is there, but broken: that sample does without the sensor, as a vehicle would."""


@dataclass(frozen=True)
class SceneData:
    """What was measured in a scene.

    Attributes:
        measurements: by sensor name.
        torn: by sensor name, a sentence for each file that is there but broken.
        reference_ns: time of the picture.
    """

    measurements: dict[str, Measurement]
    torn: dict[str, str]
    reference_ns: int


@dataclass(frozen=True)
class Scene:
    """One entry of meta.json."""

    name: str
    split: str
    weather: str
    time_of_day: str
    exposure_end_us: int
    exposure_start_us: int = 0

    @property
    def drive(self) -> str:
        """The recording that it belongs to: the part of its name before ``_frame``."""
        return self.name.split("_frame")[0]

    @property
    def exposure_middle_ns(self) -> int:
        """The middle of the picture's exposure; its end where the start is not known."""
        return (self.exposure_end_us + (self.exposure_start_us or self.exposure_end_us)) * 500

    def file(self, root: Path, folder: str, suffix: str) -> Path:
        """``<folder>/<split>/<weather>/<time of day>/<scene>_<suffix>``."""
        return root / folder / self.split / self.weather / self.time_of_day / f"{self.name}_{suffix}"


def read_scenes(root: Path, split: str) -> list[Scene]:
    """The scenes of a split, sorted by name.

    Raises:
        DatasetError: meta.json is missing, or has nothing of that split.
    """
    path = root / "meta.json"
    if not path.is_file():
        raise DatasetError(f"{root} holds no meta.json; expected a folder in the layout of MUSES")
    try:
        meta = json.loads(path.read_text())
        scenes = [_scene(name, entry) for name, entry in sorted(meta.items()) if entry["split"] == split]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no table of scenes with split, weather and time_of_day ({type(error).__name__}: {error})"
        ) from error
    if not scenes:
        found = sorted({entry["split"] for entry in meta.values()})
        raise DatasetError(f"{path} has no scene of split '{split}'; it has {', '.join(found) or 'none at all'}")
    return scenes


def _scene(name: str, entry: dict) -> Scene:
    start_us, end_us = (int(entry.get(f"frame_camera_exposure_{edge}_timestamp_us") or 0) for edge in ("start", "end"))
    return Scene(name, entry["split"], entry["weather"], entry["time_of_day"], end_us, start_us)


def read_calib(root: Path) -> dict:
    """The calibration file of a dataset.

    Raises:
        DatasetError: it is missing or no JSON.
    """
    path = root / "calib.json"
    if not path.is_file():
        raise DatasetError(f"{root} holds no calib.json; expected a folder in the layout of MUSES")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}") from error


def read_rig(root: Path, *scenes: Scene) -> Rig:
    """The rig of a dataset; the image size is that of the first of the scenes' pictures that can be read.

    Raises:
        DatasetError: calib.json is missing or lacks an entry, or a picture is missing, or none can be read.
    """
    calib = read_calib(root)
    height, width = _picture_size(root, scenes)
    event_size = MUSES_EVENT_SIZE
    try:
        if (width, height) != MUSES_CAMERA_SIZE:
            K = np.asarray(calib["intrinsics"]["event"]["K"])
            event_size = (round(2 * K[0, 2] + 1), round(2 * K[1, 2] + 1))
        rig = rig_from_muses_calib(calib, camera_size=(width, height), event_size=event_size)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise DatasetError(
            f"{root / 'calib.json'} is no calibration ({type(error).__name__}: {error}); expected "
            "intrinsics.{rgb,event}.K and extrinsics.{lidar2rgb,event2rgb} as MUSES has them"
        ) from error
    sensors = tuple(
        replace(s, intensity_scale=LIDAR_INTENSITY_SCALE) if s.modality is Modality.LIDAR else s for s in rig.sensors
    )
    return replace(rig, sensors=sensors)


def _picture_size(root: Path, scenes: Sequence[Scene]) -> tuple[int, int]:
    """Height and width of the first picture that can be read."""
    for scene in scenes:
        try:
            picture = read_image(scene.file(root, "frame_camera", "frame_camera.png"))
        except TornFile:
            continue
        return picture.shape[0], picture.shape[1]
    raise DatasetError(f"none of the {len(scenes)} pictures of {root} is a readable image: their size is not known")


def read_image(path: Path) -> np.ndarray:
    """uint8 [H,W,3] RGB.

    Raises:
        DatasetError: it is missing.
        TornFile: it is no readable image.
    """
    _check_there(path)
    try:  # by the reader of compressed messages, which tells a torn picture from a whole one
        return compressed_image_from(SimpleNamespace(format=path.suffix, data=np.fromfile(path, np.uint8)))
    except PayloadError as error:
        raise TornFile(f"{path} is no readable image: {error}") from error


def read_labels(root: Path, scene: Scene) -> np.ndarray:
    """uint8 [H,W] trainIds, 255 unlabelled.

    Raises:
        DatasetError: it cannot be read.
    """
    path = scene.file(root, "gt_semantic", "gt_labelTrainIds.png")
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.dtype != np.uint8 or labels.ndim != 2:
        raise DatasetError(f"{path} is missing or no 8-bit grey image")
    return labels


def read_points(path: Path, stamp_ns: int | None = None) -> Points:
    """A lidar file: float64 [N,6] = x, y, z, intensity 0..255, ring, time in seconds.

    Points and intensities stay float64, so that an encoding that draws in double precision loses nothing.

    Args:
        path: the file.
        stamp_ns: what the points' times are to be relative to; None leaves the times away.

    Raises:
        DatasetError: it is missing.
        TornFile: its size is no multiple of a point's.
    """
    _check_there(path)
    if path.stat().st_size % 48:
        raise TornFile(f"{path} has a size that is no multiple of 48 bytes (six float64 per point)")
    table = np.fromfile(path, np.float64).reshape(-1, 6)
    t_ns = None if stamp_ns is None else np.rint((table[:, 5] - stamp_ns * 1e-9) * 1e9).astype(np.int64)
    return Points(table[:, :3].copy(), table[:, 3].copy(), t_ns, table[:, 4].astype(np.uint16))


def read_events(path: Path, size: tuple[int, int], exposure_end_us: int) -> tuple[Events, int]:
    """An event file in DSEC's layout, and the reference time that ends its window.

    The reference is the end of the picture's exposure where both clocks agree, else the last event.

    Raises:
        DatasetError: it is missing, or what it is compressed with is not installed.
        TornFile: it cannot be read, lacks a column, or its columns are no integers that fit together.
    """
    _check_there(path)
    try:
        columns = read_event_columns(path)
    except CodecError as error:
        raise DatasetError(str(error)) from error
    except EventFileError as error:
        raise TornFile(str(error)) from error
    x, y, t_us, p, offset_us = columns.x, columns.y, columns.t_us, columns.p, columns.offset_us
    if any(column.ndim != 1 or column.dtype.kind not in "iub" for column in (x, y, t_us, p)):
        raise TornFile(f"{path} has columns that are no lists of integers, in events/x, y, t, p")
    if len({len(column) for column in (x, y, t_us, p)}) > 1 or (np.diff(t_us.astype(np.int64)) < 0).any():
        raise TornFile(f"{path} has columns of different lengths, or times that go back")
    width, height = size
    inside = (x < width) & (y < height)
    t_ns = (t_us[inside].astype(np.int64) + offset_us) * 1000
    events = Events(x[inside].astype(np.uint16), y[inside].astype(np.uint16), t_ns, p[inside].astype(np.uint8), *size)
    last_us = int(t_ns[-1]) // 1000 if len(t_ns) else offset_us
    same_clock = abs(exposure_end_us - last_us) < SAME_CLOCK_US
    return events, (exposure_end_us if same_clock else last_us) * 1000


def read_measurements(root: Path, scene: Scene, rig: Rig) -> SceneData:
    """The measurements of a scene; a broken file costs its own sensor only.

    Raises:
        DatasetError: a file is missing.
    """
    model = optical_model(rig.sensor("event"))
    payloads: dict[str, np.ndarray | Points | Events] = {}
    torn = {}
    for name, read, file in (
        ("camera", read_image, scene.file(root, "frame_camera", "frame_camera.png")),
        ("lidar", read_points, scene.file(root, "lidar", "lidar.bin")),
    ):
        try:
            payloads[name] = read(file)
        except TornFile as error:
            torn[name] = str(error)
    reference_ns = scene.exposure_end_us * 1000
    file = scene.file(root, "event_camera", "event_camera.h5")
    try:
        payloads["event"], reference_ns = read_events(file, (model.width, model.height), scene.exposure_end_us)
    except TornFile as error:
        torn["event"] = str(error)
    measurements = {
        name: Measurement(name, rig.sensor(name).modality, reference_ns, payload) for name, payload in payloads.items()
    }
    return SceneData(measurements, torn, reference_ns)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise DatasetError(f"{path} is missing")
