# SPDX-License-Identifier: Apache-2.0
"""Which sensors a replay leaves out, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig

NS_PER_S = 1_000_000_000
FOREVER_NS = 2**63 - 1
_SPAN = re.compile(r"(?P<begin>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)?")


@dataclass(frozen=True)
class Drop:
    """One sensor delivers nothing in [begin_ns, end_ns), counted in arrival time from the bag's start."""

    sensor: str
    begin_ns: int = 0
    end_ns: int = FOREVER_NS

    def covers(self, sensor: str, since_start_ns: int) -> bool:
        """True when a measurement that arrives then is to be left out."""
        return sensor == self.sensor and self.begin_ns <= since_start_ns < self.end_ns


def parse_drops(texts: Iterable[str], rig: Rig) -> tuple[Drop, ...]:
    """Reads drops such as ``lidar@4-8``, ``L@4-`` (to the end) or ``camera`` (the whole bag).

    Before the @ stands a sensor of the rig, or modality letters, which mean all their sensors (``CL``).
    Several drops may be given in one text, separated by commas.

    Raises:
        ValueError: the syntax or the sensor is unknown.
    """
    drops: list[Drop] = []
    for part in (p.strip() for text in texts for p in text.split(",")):
        if not part:
            continue
        who, at, span = part.partition("@")
        begin_ns, end_ns = _span_ns(span, part) if at else (0, FOREVER_NS)
        drops += [Drop(name, begin_ns, end_ns) for name in _sensors(who, rig)]
    return tuple(drops)


def _span_ns(span: str, part: str) -> tuple[int, int]:
    """Begin and end of ``4-8`` or ``4-`` in nanoseconds."""
    match = _SPAN.fullmatch(span)
    if match is None:
        raise ValueError(f"cannot read the drop '{part}'; write sensor@from-to in seconds, such as lidar@4-8")
    begin_ns = round(float(match["begin"]) * NS_PER_S)
    end_ns = FOREVER_NS if match["end"] is None else round(float(match["end"]) * NS_PER_S)
    if end_ns <= begin_ns:
        raise ValueError(f"the drop '{part}' ends before it begins; write sensor@from-to in seconds")
    return begin_ns, end_ns


def _sensors(who: str, rig: Rig) -> list[str]:
    """Names of the sensors that a name or modality letters mean."""
    names = [sensor.name for sensor in rig.sensors]
    if who in names:
        return [who]
    try:
        modalities = {Modality.from_letter(letter) for letter in who}
    except ValueError:
        modalities = set()
    found = [sensor.name for sensor in rig.sensors if sensor.modality in modalities]
    if not found:
        raise ValueError(
            f"'{who}' is no sensor of rig '{rig.name}' nor letters of its modalities; "
            f"it has {', '.join(f'{s.name} ({s.modality.letter})' for s in rig.sensors)}"
        )
    return found
