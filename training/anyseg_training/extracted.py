# SPDX-License-Identifier: Apache-2.0
"""The folder layout that ``anyseg-train extract`` writes, and what reads it for packing.

``<drive>/drive.json`` says what was extracted, ``<drive>/rig.yaml`` is the rig with the bag's own calibration, and each
sample has ``<stamp>_labels.png`` and for every modality that was there ``<stamp>_camera.png``, ``_lidar.npz`` (xyz,
intensity), ``_event.npz`` (x, y, t_ns, p) or ``_depth.npy``: payloads as the encoder takes them at run time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig, RigError, load_rig, optical_model
from anyseg_ros.types import Absence, Events, Measurement, Points
from anyseg_training.muses import DatasetError, TornFile, read_image
from anyseg_training.muses_source import drawn_images, rig_geometry
from anyseg_training.samples import Drawn, Source, check_classes

DRIVE, RIG = "drive.json", "rig.yaml"
FORMAT = 1
SUFFIX = {"camera": "camera.png", "depth": "depth.npy", "event": "event.npz", "lidar": "lidar.npz"}
LABELS = "labels.png"


def holds_drives(root: Path) -> bool:
    """Whether a folder is such a dataset."""
    return any(root.glob(f"*/{DRIVE}"))


def write_payload(path: Path, payload: np.ndarray | Points | Events) -> None:
    """Write what ``read_payload`` reads again bit for bit; the file's name ends as ``SUFFIX`` has it."""
    if isinstance(payload, Points):
        np.savez_compressed(path, xyz=payload.xyz, intensity=payload.intensity)
    elif isinstance(payload, Events):
        np.savez_compressed(
            path, x=payload.x, y=payload.y, t_ns=payload.t_ns, p=payload.p, size=[payload.width, payload.height]
        )
    elif path.suffix == ".npy":
        np.save(path, payload)
    elif not cv2.imwrite(str(path), payload[..., ::-1]):
        raise DatasetError(f"{path} cannot be written")


def read_payload(path: Path) -> np.ndarray | Points | Events:
    """A payload.

    Raises:
        DatasetError: it is missing.
        TornFile: it cannot be read.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing")
    if path.suffix == ".png":
        return read_image(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as columns:
            if "xyz" in columns:
                return Points(columns["xyz"], columns["intensity"])
            width, height = columns["size"].tolist()
            return Events(columns["x"], columns["y"], columns["t_ns"], columns["p"], width, height)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise TornFile(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True)
class ExtractedDrive:
    """One drive of a dataset.

    Attributes:
        root: its folder.
        about: the parsed ``drive.json``.
    """

    root: Path
    about: dict[str, Any]

    @cached_property
    def rig(self) -> Rig:
        """With the calibration that the bag carried.

        Raises:
            DatasetError: the file cannot be read.
        """
        try:
            return load_rig(self.root / RIG)
        except RigError as error:
            raise DatasetError(str(error)) from error

    def file(self, sample: dict[str, Any], suffix: str) -> Path:
        """A file of a sample."""
        return self.root / f"{sample['stamp_ns']}_{suffix}"

    def measurements(self, sample: dict[str, Any]) -> tuple[dict[str, Measurement], dict[str, tuple[Absence, str]]]:
        """What was there of a sample, by modality, and what was not or is broken.

        Raises:
            DatasetError: a file is missing.
        """
        found: dict[str, Measurement] = {}
        absent = {name: (Absence(reason), sentence) for name, (reason, sentence) in sample["absent"].items()}
        for name in sample["present"]:
            sensor = self.about["sensors"][name]
            try:
                payload = read_payload(self.file(sample, SUFFIX[name]))
            except TornFile as error:
                absent[name] = (Absence.REJECTED, str(error))
            else:
                found[name] = Measurement(sensor, Modality(name), sample["reference_ns"], payload)
        return found, absent

    def labels(self, sample: dict[str, Any]) -> np.ndarray:
        """uint8 [H,W].

        Raises:
            DatasetError: they cannot be used (see ``read_label_image``).
        """
        model = optical_model(self.rig.sensor(self.rig.image_plane))
        return read_label_image(self.file(sample, LABELS), (model.height, model.width), self.about["classes"])


def read_label_image(path: Path, size: tuple[int, int], classes: list[str]) -> np.ndarray:
    """uint8 [H,W] of class ids, 255 unlabelled.

    Args:
        path: an 8-bit grey PNG.
        size: (height, width) of the camera.
        classes: names.

    Raises:
        DatasetError: it is missing, unreadable, of another size, or holds values that are no class.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if labels is None or labels.dtype != np.uint8 or labels.ndim != 2:
        raise DatasetError(f"{path} is missing or no 8-bit grey image")
    if labels.shape != size:
        raise DatasetError(f"{path} is {labels.shape[0]}x{labels.shape[1]} (height x width), the camera {size}")
    check_classes(labels, classes, path)
    return labels


def read_drive(root: Path) -> ExtractedDrive:
    """A drive's folder.

    Raises:
        DatasetError: its drive.json is not what this code writes.
    """
    path = root / DRIVE
    try:
        about = json.loads(path.read_text())
        found = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no description of an extracted drive ({error}); extract it again") from error
    if found != FORMAT:
        raise DatasetError(f"{path} is of format {found}, this code reads {FORMAT}; extract it again")
    return ExtractedDrive(root, about)


@dataclass(frozen=True)
class ExtractedSource(Source):
    """A split of extracted drives."""

    encoding: Encoding

    @cached_property
    def drives(self) -> tuple[ExtractedDrive, ...]:
        """All drives, sorted by name.

        Raises:
            DatasetError: they do not fit together, or not the encoding.
        """
        drives = tuple(read_drive(path.parent) for path in sorted(self.root.glob(f"*/{DRIVE}")))
        first = drives[0].about
        for drive in drives:
            about = drive.about
            if about["classes"] != first["classes"] or set(about["sensors"]) != set(first["sensors"]):
                raise DatasetError(f"{drive.root} has other classes or modalities than {drives[0].root}")
            if about["motion_compensated"] != first["motion_compensated"]:
                moved, still = (drives[0], drive) if first["motion_compensated"] else (drive, drives[0])
                raise DatasetError(
                    f"{moved.root} was extracted with --odometry and {still.root} without: points of the one are "
                    "brought to one time, those of the other are not; extract one of them again as the other"
                )
            if about["window_ns"] != self.encoding.event.window_ns:
                raise DatasetError(
                    f"{drive.root} was extracted with windows of {about['window_ns'] / 1e6:g} ms of events, the "
                    f"encoding '{self.encoding.name}' wants {self.encoding.event.window_ns / 1e6:g}; extract it again"
                )
        return drives

    @cached_property
    def chosen(self) -> tuple[tuple[ExtractedDrive, dict[str, Any]], ...]:
        """The samples of the split, each with its drive.

        Raises:
            DatasetError: there are none.
        """
        found = tuple((d, s) for d in self.drives for s in d.about["samples"] if s["split"] == self.split)
        if not found:
            raise DatasetError(
                f"{self.root} has no sample of split '{self.split}'; see --shares of anyseg-train extract"
            )
        return found

    @property
    def classes(self) -> LabelSet:
        """As extracted."""
        about = self.drives[0].about
        return LabelSet(tuple(about["classes"]), tuple((r, g, b) for r, g, b in about["palette"]))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of the rig."""
        return tuple(m.value for m in Modality if m.value in self.drives[0].about["sensors"])

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Scene, drive, and the conditions that were given to ``extract``."""
        return [
            {"scene": f"{d.root.name}/{s['stamp_ns']}", "drive": d.root.name, "conditions": d.about["conditions"]}
            for d, s in self.chosen
        ]

    def options(self) -> dict[str, Any]:
        """Whether points were brought to one time."""
        return {"motion_compensated": True} if self.drives[0].about["motion_compensated"] else {}

    def geometry(self, grid: tuple[int, int]) -> dict[str, Any]:
        """Of the first drive's rig."""
        return rig_geometry(self.drives[0].rig, grid, self.encoding)

    def drawer(self, grid: tuple[int, int]) -> Callable[[int], Drawn]:
        """Reads and draws samples, each with its drive's own calibration."""
        return ExtractedDrawer(self, grid)

    def checks(self) -> Iterator[list[Callable[[], object]]]:
        """Payloads that were there, and labels."""
        for drive, sample in self.chosen:
            reads = [partial(read_payload, drive.file(sample, SUFFIX[name])) for name in sample["present"]]
            yield [*reads, partial(drive.labels, sample)]


class ExtractedDrawer:
    """Draws the samples of one source."""

    def __init__(self, source: ExtractedSource, grid: tuple[int, int]) -> None:
        self.source = source
        self._encoders = {drive.root: Encoder(drive.rig, *grid, source.encoding) for drive in source.drives}

    def __call__(self, number: int) -> Drawn:
        """Draw sample ``number``; what the run time turned down, or would on this grid, is left out."""
        drive, sample = self.source.chosen[number]
        encoder = self._encoders[drive.root]
        measurements, absent = drive.measurements(sample)
        images, turned_down = drawn_images(encoder, measurements, sample["reference_ns"])
        return Drawn(images, drive.labels(sample), absent | turned_down, encoder.grid)
