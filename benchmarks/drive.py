# SPDX-License-Identifier: Apache-2.0
"""What arrives during a drive with camera, lidar and events, one of which may be cut for the middle third.

Nothing here waits: a drive is a list of arrivals, and the synchronisers are driven through it by its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.types import Events, Measurement

MS = 1_000_000
START_NS = 1_700_000_000_000 * MS
PERIOD_NS = 100 * MS
CHUNK_NS = 10 * MS
EVENTS_PER_CHUNK = 200
LIDAR_PHASE_NS = 20 * MS
SENSORS = {"camera": Modality.CAMERA, "lidar": Modality.LIDAR, "event": Modality.EVENT}
LAG_NS = {"camera": 15 * MS, "lidar": 50 * MS, "event": 5 * MS}
"""From stamp to arrival: exposure and transport, the turn of a lidar, the packet of an event camera."""


@dataclass(frozen=True)
class Drive:
    """(arrival ns, measurement) in order of arrival; stamps and arrivals are of one clock."""

    arrivals: tuple[tuple[int, Measurement], ...]
    duration_ns: int

    @property
    def end_ns(self) -> int:
        """When it is over."""
        return START_NS + self.duration_ns

    @property
    def frames(self) -> int:
        """How many frames a reference of 10 Hz has."""
        return self.duration_ns // PERIOD_NS


def make_drive(duration_ns: int, cut: str | None = None) -> Drive:
    """Camera at 10 Hz, lidar at 10 Hz 20 ms later, events every 10 ms.

    Args:
        duration_ns: length of the drive.
        cut: the sensor of which nothing with a stamp in the middle third arrives.
    """
    found = []
    for name in SENSORS:
        for measurement in _measurements(name, duration_ns):
            arrival_ns = measurement.stamp_ns + LAG_NS[name]
            silent = name == cut and 3 * (measurement.stamp_ns - START_NS) // duration_ns == 1
            if not silent and arrival_ns < START_NS + duration_ns:
                found.append((arrival_ns, measurement))
    found.sort(key=lambda arrival: arrival[0])
    return Drive(tuple(found), duration_ns)


def _measurements(name: str, duration_ns: int) -> list[Measurement]:
    if name == "event":
        return [_chunk(START_NS + after) for after in range(0, duration_ns, CHUNK_NS)]
    phase = LIDAR_PHASE_NS if name == "lidar" else 0
    stamps = range(START_NS + phase, START_NS + duration_ns, PERIOD_NS)
    return [Measurement(name, SENSORS[name], stamp, b"", name) for stamp in stamps]


def _chunk(after_ns: int) -> Measurement:
    t_ns = after_ns + np.linspace(1, CHUNK_NS, EVENTS_PER_CHUNK).astype(np.int64)
    side = np.zeros(EVENTS_PER_CHUNK, dtype=np.uint16)
    events = Events(side, side, t_ns, side.astype(np.uint8), 640, 480)
    return Measurement("event", Modality.EVENT, after_ns + CHUNK_NS, events, "event", after_ns)
