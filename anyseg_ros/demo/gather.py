# SPDX-License-Identifier: Apache-2.0
"""Brings together what was played and what was recorded: deliveries, outputs, ground truth, pictures."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.bags.drops import Drop
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import GroundTruth, without
from anyseg_ros.demo import pictures
from anyseg_ros.demo.due import Delivery, Due, SensorRule
from anyseg_ros.demo.judge import Output
from anyseg_ros.demo.pictures import Moment
from anyseg_ros.demo.plan import Cut
from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality, parse_subset
from anyseg_ros.sensors.messages import image_from, points_from
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import Measurement

SIZE = (416, 234)  # width, height of the pictures


def rules_from_rig(rig: Rig, encoding: Encoding) -> list[SensorRule]:
    """What the judge has to know about the sensors of a rig.

    Args:
        rig: the sensors.
        encoding: the checkpoint's, which says how long the window of events is.
    """
    return [
        SensorRule(s.name, s.modality, s.period_ns, s.offset_ns, s.tolerance_ns, s.stale_ns, encoding.event.window_ns)
        for s in rig.sensors
    ]


def deliveries(reader: BagReader, rig: Rig) -> list[Delivery]:
    """What the bag holds for the sensors of a rig, in order of arrival; events with their watermark as the stamp."""
    return [Delivery(m.sensor, m.stamp_ns, arrival_ns) for arrival_ns, m in reader.measurements(rig)]


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


class Recording:
    """What the recorder wrote, and the player's log beside it.

    Args:
        folder: of the recording.
        player_log: which message was published when.
        rate: playback rate.
    """

    def __init__(self, folder: Path, player_log: Path, rate: float) -> None:
        self.folder = folder
        self.frames = rows(folder / "frames.jsonl")
        self.used = {row["stamp_ns"]: row["values"]["subset"] for row in rows(folder / "status.jsonl")}
        self._published = {(row["sensor"], row["bag_ns"]): row["published_ns"] for row in rows(player_log)}
        self._rate = rate
        first = min(self._published.items(), key=lambda entry: entry[1], default=((None, 0), 0))
        self._began_bag_ns, self._began_ns = first[0][1], first[1]

    def labels(self, row: dict[str, Any]) -> np.ndarray:
        """The label image of a row, uint8 [H,W].

        Raises:
            OSError: the file cannot be read.
        """
        image = cv2.imread(str(self.folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise OSError(f"cannot read {self.folder / row['file']}, which the recorder should have written")
        return image

    def outputs(self, due: Sequence[Due]) -> Iterator[Output]:
        """What was received, in order, with the latency of what was due."""
        owed = {item.stamp_ns: item for item in due}
        for row in self.frames:
            item = owed.get(row["stamp_ns"])
            published = self._published.get((item.reference, item.arrival_ns)) if item else None
            latency = None if published is None else row["received_ns"] - published
            drive_ns = self._began_bag_ns + round((row["received_ns"] - self._began_ns) * self._rate)
            yield Output(row["stamp_ns"], drive_ns, latency, self.labels(row))

    def differing(self, due: Sequence[Due]) -> int:
        """How often the segmentor used other sensors than those that the judge holds to have been there."""
        return sum(item.stamp_ns in self.used and self.used[item.stamp_ns] != item.subset for item in due)


class Truth:
    """Ground truth for what is owed, asked for in rising order."""

    def __init__(self, reader: BagReader, rules: Sequence[SensorRule]) -> None:
        self._truth = GroundTruth(reader)
        # Events are answered at multiples of their period on the common clock: there is no offset to take out.
        self._offset = {rule.name: 0 if rule.modality is Modality.EVENT else rule.offset_ns for rule in rules}

    def __call__(self, item: Due) -> np.ndarray | None:
        """uint8 [H,W], or None."""
        return self._truth.at(item.stamp_ns - self._offset[item.reference])


class Painter:
    """Follows what the sensors deliver and paints it on demand.

    Args:
        rig: the sensors; lidar points are shown in the image plane's camera.
        window_ns: of the events that are shown.
    """

    def __init__(self, rig: Rig, window_ns: int) -> None:
        self._rig, self._window_ns = rig, window_ns
        self._last: dict[Modality, Measurement] = {}
        self._events: deque[Measurement] = deque(maxlen=8)

    def see(self, measurement: Measurement) -> None:
        """Take in a measurement."""
        if measurement.modality is Modality.EVENT:
            self._events.append(measurement)
        else:
            self._last[measurement.modality] = measurement

    def camera(self) -> np.ndarray:
        """The last camera image."""
        found = self._last.get(Modality.CAMERA)
        return pictures.paint_camera(image_from(found.payload), SIZE) if found else pictures.blank(SIZE)

    def lidar(self) -> np.ndarray:
        """The last cloud, seen from the camera."""
        found = self._last.get(Modality.LIDAR)
        if found is None:
            return pictures.blank(SIZE)
        xyz = np.asarray(points_from(found.payload).xyz, np.float64)
        xyz = xyz[np.isfinite(xyz).all(axis=1)]
        plane_from = self._rig.plane_from(found.sensor)
        model = self._rig.sensor(self._rig.image_plane).model
        assert model is not None  # a rig refuses an image plane without one
        uv, valid = model.project(xyz @ plane_from[:3, :3].T + plane_from[:3, 3])
        ranges = np.linalg.norm(xyz, axis=1)
        return pictures.paint_points(uv[valid], ranges[valid], (model.width, model.height), SIZE)

    def events(self) -> np.ndarray:
        """The events of the last window."""
        if not self._events:
            return pictures.blank(SIZE)
        newest = self._events[-1]
        after = newest.stamp_ns - self._window_ns
        parts = [m.payload.between(after, newest.stamp_ns) for m in self._events]
        return pictures.paint_events(parts, SIZE)


@dataclass(frozen=True)
class Source:
    """Where the pictures of a drive come from.

    Attributes:
        reader: the bag that was played.
        rig: its sensors.
        encoding: the checkpoint's.
        cuts: what was silenced.
        recording: where the labels are.
        classes: their colours.
        drive: name of the drive.
    """

    reader: BagReader
    rig: Rig
    encoding: Encoding
    cuts: tuple[Cut, ...]
    recording: Recording
    classes: LabelSet
    drive: str


def moments(source: Source, chosen: Iterable[Due], truth: Truth, scores: dict[int, float | None]) -> dict[int, Moment]:
    """Pictures for some of the answers, by stamp.

    Args:
        source: where they come from.
        chosen: answers to show; one may be named twice.
        truth: fresh.
        scores: mIoU by stamp.
    """
    rows_by_stamp = {row["stamp_ns"]: row for row in source.recording.frames}
    drops = [Drop(cut.sensor, cut.start_ns, cut.end_ns) for cut in source.cuts]
    stream = without(source.reader.measurements(source.rig), drops, source.reader.start_ns)
    painter, found, arrival_ns = Painter(source.rig, source.encoding.event.window_ns), {}, 0
    for item in sorted(set(chosen), key=lambda due: due.stamp_ns):
        while arrival_ns < item.arrival_ns:
            arrival_ns, measurement = next(stream)
            painter.see(measurement)
        known, labels = truth(item), source.recording.labels(rows_by_stamp[item.stamp_ns])
        found[item.stamp_ns] = Moment(
            drive=source.drive,
            since_start_ns=item.arrival_ns - source.reader.start_ns,
            subset=item.subset,
            live=frozenset(modality.value for modality in parse_subset(item.subset)),
            miou=scores.get(item.stamp_ns),
            camera=painter.camera(),
            events=painter.events(),
            lidar=painter.lidar(),
            prediction=pictures.paint_labels(labels, source.classes, SIZE),
            truth=pictures.blank(SIZE) if known is None else pictures.paint_labels(known, source.classes, SIZE),
        )
    return found
