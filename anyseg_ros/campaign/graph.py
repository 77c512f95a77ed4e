# SPDX-License-Identifier: Apache-2.0
"""The plan of an act and what came of playing it: rows in time, topics, processes that died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyseg_ros.bags.definitions import CAMERA_INFO, EVENT_PACKET, IMAGE, POINT_CLOUD
from anyseg_ros.campaign.rows import Act, Row
from anyseg_ros.demo.node_arguments import INPUTS
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig

LEAD_S = 5.0  # until all sensors are known and waited for
PHASE_S = 0.055  # a fault begins between two measurements, as do the demo's cuts


@dataclass(frozen=True)
class Setup:
    """What all acts share.

    Attributes:
        out: folder to write to.
        bag, rig_path, checkpoint: what is played, and through what.
        rig: the sensors.
        rate: playback rate of the acts whose time is simulated.
    """

    out: Path
    bag: Path
    rig_path: Path
    rig: Rig
    checkpoint: Path
    rate: float


@dataclass(frozen=True)
class Placed:
    """A row at its place in the act: seconds of the drive."""

    row: Row
    begin_s: float

    @property
    def end_s(self) -> float:
        """When the fault ends."""
        return self.begin_s + self.row.fault_s

    @property
    def cause_ends_s(self) -> float:
        """When the cause goes away: with the fault, or before its end."""
        return self.end_s if self.row.cause_ends_s is None else self.begin_s + self.row.cause_ends_s

    @property
    def until_s(self) -> float:
        """When its judgement ends."""
        return self.end_s + self.row.clean_s


@dataclass
class Played:
    """An act that was played.

    Attributes:
        act, placed: what, and when.
        folder: of the recording; ``twin`` of the second segmentor's.
        began_ns: steady time at which the drive began; rate: its speed.
        topics: what reached the segmentor, by input name.
        deaths: processes that ended without being told to.
        answers: to actions, as the operator logged them.
    """

    act: Act
    placed: list[Placed]
    folder: Path
    rate: float
    topics: dict[str, str]
    began_ns: int = 0
    deaths: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)

    def steady_ns(self, placed: Placed) -> tuple[int, int]:
        """From the lead of a row to its end, in steady time: what its verdict rests on."""
        begin_s, end_s = placed.begin_s - LEAD_S, placed.until_s + 1.0
        return self.began_ns + round(begin_s / self.rate * 1e9), self.began_ns + round(end_s / self.rate * 1e9)

    @property
    def twin(self) -> Path:
        """The recording of the second segmentor."""
        return self.folder.parent / "twin"


def place(rows: Sequence[Row]) -> list[Placed]:
    """The rows one after the other."""
    placed, at = [], LEAD_S + PHASE_S
    for row in rows:
        placed.append(Placed(row, at))
        at = placed[-1].until_s
    return placed


def route_names(rig: Rig, topics: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Route (sensor's name, or ``camera_info``) to topic and type."""
    found = {}
    for sensor in rig.sensors:
        topic = topics[INPUTS[sensor.modality]]
        packets = sensor.modality is Modality.EVENT and topic == sensor.topic
        types = {Modality.CAMERA: IMAGE, Modality.LIDAR: POINT_CLOUD}
        found[sensor.name] = (topic, EVENT_PACKET if packets else types.get(sensor.modality, POINT_CLOUD))
        if sensor.modality is Modality.CAMERA:
            found["camera_info"] = (topics["camera_info"], CAMERA_INFO)
    return found
