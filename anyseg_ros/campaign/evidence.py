# SPDX-License-Identifier: Apache-2.0
"""What was recorded of an act: label images, their status, diagnostics, and the messages that reached the segmentor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.bags.definitions import typestore
from anyseg_ros.bags.reader import EventFeed
from anyseg_ros.demo.gather import rows
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import Measurement

OVERTAKEN_NS = 1_000_000_000  # events that are farther back live in another time: the clock has jumped


@dataclass(frozen=True)
class Frame:
    """One label image as it was received.

    Attributes:
        stamp_ns: its stamp.
        at_s: when it was received, in seconds of the drive.
        status: values of its ~/output/status; empty where none was recorded.
        file: the labels.
    """

    stamp_ns: int
    at_s: float
    status: Mapping[str, str]
    file: Path

    def labels(self) -> np.ndarray:
        """uint8 [H,W].

        Raises:
            OSError: the file cannot be read.
        """
        image = cv2.imread(str(self.file), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise OSError(f"cannot read {self.file}, which the recorder should have written")
        return image

    @property
    def used(self) -> str:
        """The subset that the segmentor says it used, such as ``CEL``."""
        return self.status.get("subset", "")


@dataclass(frozen=True)
class Arrival:
    """One message that reached the segmentor's topics."""

    stamp_ns: int
    at_s: float
    blob: str
    msgtype: str


@dataclass(frozen=True)
class Report:
    """One status of /diagnostics."""

    at_s: float
    name: str
    level: str
    message: str
    values: Mapping[str, str]


class Evidence:
    """A recording, on the time of the drive.

    Args:
        folder: as the recorder wrote it.
        began_ns: steady time at which the drive began.
        rate: its speed.
        routes: topic by sensor name, and by ``camera_info``.
    """

    def __init__(self, folder: Path, began_ns: int, rate: float, routes: Mapping[str, str]) -> None:
        self.folder = folder
        self._began_ns, self._rate = began_ns, rate
        status: dict[int, list[dict[str, Any]]] = {}
        for row in rows(folder / "status.jsonl"):
            status.setdefault(row["stamp_ns"], []).append(row)
        self.frames = [
            Frame(row["stamp_ns"], self._at(row), _nearest(status.get(row["stamp_ns"], []), row), folder / row["file"])
            for row in rows(folder / "frames.jsonl")
        ]
        names = {topic: name for name, topic in routes.items()}
        self.arrivals: dict[str, list[Arrival]] = {name: [] for name in routes}
        for row in rows(folder / "inputs.jsonl"):
            arrival = Arrival(row["stamp_ns"], self._at(row), row["blob"], row["type"])
            self.arrivals[names[row["topic"]]].append(arrival)
        self.reports = [
            Report(self._at(row), status["name"], status["level"], status["message"], status["values"])
            for row in rows(folder / "diagnostics.jsonl")
            for status in row["statuses"]
        ]
        self._read = lru_cache(maxsize=256)(self._message)

    def message(self, arrival: Arrival) -> Any:
        """The message, but for its stamp; the last ones are kept, for the same payload comes again and again."""
        return self._read(arrival.blob, arrival.msgtype)

    def _message(self, blob: str, msgtype: str) -> Any:
        return typestore().deserialize_cdr((self.folder / "blobs" / blob).read_bytes(), msgtype)

    def _at(self, row: Mapping[str, Any]) -> float:
        return (row["received_ns"] - self._began_ns) / 1e9 * self._rate

    def events(self, rig: Rig, sensor: str) -> Iterator[tuple[float, Measurement]]:
        """What an event sensor's messages held: (at_s, measurement), without repeats and what is broken."""
        feed = EventFeed(rig.sensor(sensor))
        newest_ns = 0
        seen: set[tuple[int, str]] = set()
        for arrival in self.arrivals[sensor]:
            if (arrival.stamp_ns, arrival.blob) in seen:
                continue
            seen.add((arrival.stamp_ns, arrival.blob))
            try:
                measurement = feed(_stamped(self.message(arrival), arrival.stamp_ns))
            except ValueError:
                continue
            if measurement is None or 0 <= newest_ns - measurement.stamp_ns < OVERTAKEN_NS:
                continue  # a packet that another one has overtaken comes too late: its time counts as known
            newest_ns = measurement.stamp_ns
            yield arrival.at_s, measurement

    def deliveries(self, rig: Rig) -> dict[str, list[tuple[float, int]]]:
        """(at_s, stamp_ns) of what each sensor delivered; events with their watermark."""
        found: dict[str, list[tuple[float, int]]] = {}
        for sensor in rig.sensors:
            if sensor.modality is Modality.EVENT:
                found[sensor.name] = [(at_s, m.stamp_ns) for at_s, m in self.events(rig, sensor.name)]
            else:
                found[sensor.name] = [(a.at_s, a.stamp_ns) for a in self.arrivals[sensor.name]]
        return found


def thin_blobs(folder: Path, spans_ns: Sequence[tuple[int, int]]) -> None:
    """Removes the recorded messages that were not received within any of the spans, steady time."""
    kept = {
        row["blob"]
        for row in rows(folder / "inputs.jsonl")
        if any(begin <= row["received_ns"] < end for begin, end in spans_ns)
    }
    for blob in (folder / "blobs").glob("*"):
        if blob.name not in kept:
            blob.unlink()


def _nearest(candidates: list[dict[str, Any]], frame: Mapping[str, Any]) -> Mapping[str, str]:
    """Of the statuses under a frame's stamp, the one that was received next to it."""
    if not candidates:
        return {}
    return min(candidates, key=lambda row: abs(row["received_ns"] - frame["received_ns"]))["values"]


def _stamped(msg: Any, stamp_ns: int) -> Any:
    """The message under its own stamp again."""
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return msg
