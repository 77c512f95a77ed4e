# SPDX-License-Identifier: Apache-2.0
"""What is inspected, wherever it came from: a rig, figures of the topics, and a few moments with their payloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anyseg_ros.inspection.survey import Headers
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import FrameSet, Measurement


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    Attributes:
        severity: 3 wrong, 2 suspicious, 1 worth knowing.
        what: a sentence: what was found, and what was expected.
        do: what to do about it.
    """

    severity: int
    what: str
    do: str = ""


@dataclass(frozen=True)
class Moment:
    """One frame set, with what the alignment needs beside it.

    Attributes:
        frame_set: payloads are arrays, ``Points`` and ``Events``; events reach beyond the window on both sides.
        at_s: since the recording's start.
        sweeps: by lidar name, the sweeps around it, the one of the set among them.
    """

    frame_set: FrameSet
    at_s: float = 0.0
    sweeps: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """What is inspected.

    Attributes:
        name: for headings.
        rig: with the calibration that is in force.
        notes: where the calibration came from, and what was not used.
        seconds: length; 0 for files of one moment.
        headers: by topic; empty for files.
        matched: topic by sensor name.
        moments: in order of time.
        findings: of reading it.
    """

    name: str
    rig: Rig
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    start_ns: int = 0
    headers: dict[str, Headers] = field(default_factory=dict)
    matched: dict[str, str] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()
    findings: tuple[Finding, ...] = ()

    def camera(self) -> Sensor | None:
        """The camera whose image is the image plane, or None where that is a depth camera."""
        plane = self.rig.sensor(self.rig.image_plane)
        return plane if plane.modality is Modality.CAMERA else None

    def sensors(self, modality: Modality) -> list[Sensor]:
        """The rig's sensors of a kind."""
        return [s for s in self.rig.sensors if s.modality is modality]
