# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 and label images -> a dataset that ``pack`` reads (see ``extracted``).

The bag is played through the synchroniser and the intake of the run time, so that a sample has the partners, the
windows of events and the absences that ``anyseg replay`` would have, and its encoding is the same bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anyseg_ros.bags.calibration import calibrated
from anyseg_ros.bags.odometry import OdometryFeed, odometry_topic
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import virtual_time
from anyseg_ros.intake import taken_in
from anyseg_ros.labels import CITYSCAPES, LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.rig_timing import corrected_ns, timings_from_rig
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS, FrozenDetector, RejectedPayload
from anyseg_ros.sensors.presets import DEFAULT, Encoding
from anyseg_ros.sensors.rig import Rig, load_rig, optical_model, save_rig
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import Absence, FrameSet, Measurement
from anyseg_training.extracted import DRIVE, FORMAT, LABELS, RIG, SUFFIX, read_label_image, write_payload
from anyseg_training.label_files import find_labels, split_by_time
from anyseg_training.muses import DatasetError
from anyseg_training.report import ALL


@dataclass(frozen=True)
class ExtractPlan:
    """What is to be extracted.

    Attributes:
        bag: rosbag2 folder or file.
        labels: folder of label images.
        rig: rig file; the bag's own calibration goes before it.
        out: the dataset; the drive becomes a folder of it.
        drive: its name; empty takes the bag's.
        shares: of the time for train, val and test, in this order.
        encoding: says how long windows of events are.
        classes: what the labels mean.
        conditions: that hold for the whole drive, for the report.
        odometry: topic of the vehicle's motion, or ``auto``; None leaves points where they are.
    """

    bag: Path
    labels: Path
    rig: Path
    out: Path
    drive: str = ""
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    encoding: Encoding = DEFAULT
    classes: LabelSet = CITYSCAPES
    conditions: tuple[str, ...] = ()
    odometry: str | None = None

    def __post_init__(self) -> None:
        """Shares must be shares, a name a name, and a condition not the total.

        Raises:
            DatasetError: they are not.
        """
        if min(self.shares) < 0 or abs(sum(self.shares) - 1.0) > 1e-6:
            raise DatasetError(f"the shares {self.shares} do not sum to 1; give those of train, val and test")
        if self.drive and Path(self.drive).name != self.drive:
            raise DatasetError(f"'{self.drive}' is no name of a drive's folder; give one without slashes")
        if ALL in self.conditions:
            raise DatasetError(
                f"'{ALL}' is no condition: reports name the total over all samples so; choose another word"
            )

    @property
    def folder(self) -> Path:
        """Of the drive."""
        return self.out / (self.drive or self.bag.stem)


@dataclass
class Extracted:
    """What came out.

    Attributes:
        samples: as ``drive.json`` has them.
        without_frame: a sentence for each label that no frame set has the stamp of.
        without_label: stamps of frame sets that no label has.
        notes: where calibration came from, and what of the rig is not used.
    """

    samples: list[dict[str, Any]]
    without_frame: list[str]
    without_label: list[int]
    notes: list[str] = field(default_factory=list)


def extract(plan: ExtractPlan, bar: bool = True) -> Extracted:
    """Extract a drive.

    Raises:
        DatasetError: labels cannot be used, nothing matches, or the drive is there already.
        BagError, RigError: bag or rig cannot be used.
    """
    if (plan.folder / DRIVE).exists():
        raise DatasetError(f"{plan.folder} is extracted already; remove it, or name the drive otherwise with --drive")
    with BagReader(plan.bag) as reader:
        rig, notes = calibrated(load_rig(plan.rig), reader)
        sensors = chosen_sensors(rig, set(reader.match(rig)))
        left = [s.name for s in rig.sensors if s.name not in sensors.values()]
        notes += [f"{name}: not extracted, for a sample has one sensor of each modality" for name in left]
        labels = find_labels(plan.labels)
        model = optical_model(rig.sensor(rig.image_plane))
        for path in labels.values():
            read_label_image(path, (model.height, model.width), list(plan.classes.names))
        plan.folder.mkdir(parents=True, exist_ok=True)
        save_rig(rig, plan.folder / RIG)
        feed = None
        if plan.odometry is not None:
            feed = OdometryFeed(reader, odometry_topic(reader, plan.odometry), rig.base_frame)
        writer = SampleWriter(plan.folder, rig, sensors, labels)
        for taken in tqdm(taken_sets(reader, rig, plan.encoding, feed), desc="extract", unit=" sets", disable=not bar):
            writer.take(taken)
        if reader.damage:
            notes.append(reader.damage)
        notes += [f"{name}: {count} messages could not be read" for name, count in reader.rejected.items()]
    result = writer.result(notes)
    split_by_time(result.samples, plan.shares)
    write_about(plan, result, sensors)
    return result


def write_about(plan: ExtractPlan, result: Extracted, sensors: dict[str, str]) -> None:
    """Write ``drive.json``, which says that the drive is whole."""
    about = {
        "format": FORMAT,
        "bag": plan.bag.name,
        "window_ns": plan.encoding.event.window_ns,
        "motion_compensated": plan.odometry is not None,
        "classes": list(plan.classes.names),
        "palette": [list(colour) for colour in plan.classes.palette],
        "sensors": sensors,
        "conditions": list(plan.conditions),
        "samples": result.samples,
        "labels_without_frame": result.without_frame,
        "frames_without_label": result.without_label,
        "notes": result.notes,
    }
    temporary = plan.folder / f"{DRIVE}.tmp"
    temporary.write_text(json.dumps(about))
    temporary.replace(plan.folder / DRIVE)


def chosen_sensors(rig: Rig, there: set[str]) -> dict[str, str]:
    """The sensor of each modality that samples have: the image plane's, else the rig's first that the bag holds."""
    preferred = sorted(rig.sensors, key=lambda s: (s.name != rig.image_plane, s.name not in there))
    found: dict[str, str] = {}
    for sensor in preferred:
        found.setdefault(sensor.modality.value, sensor.name)
    return {m.value: found[m.value] for m in Modality if m.value in found}


@dataclass(frozen=True)
class Taken:
    """A frame set, its payloads as the encoder takes them, and by sensor why others are not there."""

    frame_set: FrameSet
    reference_ns: int
    measurements: dict[str, Measurement]
    absent: dict[str, tuple[Absence, str]]


def taken_sets(reader: BagReader, rig: Rig, encoding: Encoding, odometry: OdometryFeed | None) -> Iterator[Taken]:
    """Every frame set of a bag, in virtual time, as ``anyseg replay`` has it before the encoder."""
    synchronizer = Synchronizer(timings_from_rig(rig, encoding))
    frozen = FrozenDetector()
    for frame_set in virtual_time(reader.measurements(rig), synchronizer):
        if odometry is not None:
            odometry.until(frame_set.closed_ns)
        for reset in synchronizer.take_resets():
            frozen.reset(reset.sensor)
        reference_ns = corrected_ns(rig, frame_set)
        found: dict[str, Measurement] = {}
        absent = {name: (reason, "") for name, reason in frame_set.absent.items()}
        for sensor in rig.sensors:
            if sensor.name not in frame_set.present:
                continue
            measurement = frame_set.present[sensor.name]
            try:
                motion = odometry.history if odometry is not None else None
                found[sensor.name] = taken_in(measurement, rig, reference_ns, frozen, motion)
            except RejectedPayload as error:
                absent[sensor.name] = (error.absence, str(error))
            except PAYLOAD_ERRORS as error:
                absent[sensor.name] = (Absence.REJECTED, f"{type(error).__name__}: {error}")
        yield Taken(frame_set, reference_ns, found, absent)


class SampleWriter:
    """Writes the sets that have a label.

    A label belongs to the set whose reference bears its stamp, or else to the one that has the picture of that stamp as
    a partner at the least distance in time.
    """

    def __init__(self, folder: Path, rig: Rig, sensors: dict[str, str], labels: dict[int, Path]) -> None:
        self._folder, self._rig, self._sensors, self._labels = folder, rig, sensors, labels
        self._samples: dict[int, tuple[int, dict[str, Any]]] = {}
        self._seen: set[int] = set()
        self._without: list[int] = []

    def take(self, taken: Taken) -> None:
        """Look for a label of a set, and write both."""
        frame_set, plane = taken.frame_set, self._rig.image_plane
        picture = frame_set.present.get(plane)
        bearers = {frame_set.stamp_ns: 0}
        if picture is not None:
            bearers.setdefault(picture.stamp_ns, abs(frame_set.skew_ns.get(plane, 0)))
        self._seen.update(bearers)
        matched = [(stamp, distance) for stamp, distance in bearers.items() if stamp in self._labels]
        if not matched:
            self._without.append(frame_set.stamp_ns)
        for stamp, distance in matched:
            if stamp not in self._samples or distance < self._samples[stamp][0]:
                self._samples[stamp] = (distance, self._write(stamp, taken))

    def _write(self, stamp: int, taken: Taken) -> dict[str, Any]:
        present, absent = [], {}
        for modality, sensor in self._sensors.items():
            if sensor in taken.measurements:
                write_payload(self._folder / f"{stamp}_{SUFFIX[modality]}", taken.measurements[sensor].payload)
                present.append(modality)
            else:
                reason, sentence = taken.absent.get(sensor, (Absence.NEVER_SEEN, ""))
                absent[modality] = [reason.value, sentence]
        (self._folder / f"{stamp}_{LABELS}").write_bytes(self._labels[stamp].read_bytes())
        return {
            "stamp_ns": stamp,
            "reference": taken.frame_set.reference,
            "reference_ns": taken.reference_ns,
            "present": present,
            "absent": absent,
        }

    def result(self, notes: list[str]) -> Extracted:
        """What was written, in order of time, and what has no counterpart.

        Raises:
            DatasetError: nothing was written.
        """
        stamps = np.array(sorted(self._seen), np.int64)
        sentences = []
        for stamp in sorted(set(self._labels) - set(self._samples)):
            off_ns = int(np.abs(stamps - stamp).min()) if len(stamps) else None
            nearest = "there is no frame at all" if off_ns is None else f"the nearest is {off_ns} ns away"
            sentences.append(f"{self._labels[stamp]} has no frame of its stamp {stamp}; {nearest}")
        if not self._samples:
            raise DatasetError(f"none of {len(self._labels)} labels has a frame in the bag: {sentences[0]}")
        samples = [self._samples[stamp][1] for stamp in sorted(self._samples)]
        return Extracted(samples, sentences, self._without, notes)
