# SPDX-License-Identifier: Apache-2.0
"""A RAW file of an event camera as a recording of one sensor, to be replayed like a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.bags.writer import BagError
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.payload import PayloadError
from anyseg_ros.sensors.raw_files import SUFFIX, read_raw
from anyseg_ros.sensors.rig import Rig, Sensor, optical_model
from anyseg_ros.types import Events, Measurement

PACKET_NS = 10_000_000  # what a driver would send at once
MOST_EVENTS = 1 << 21  # of a packet: where the sensor's clock stands still, a packet would have no end


class RawReader:
    """An opened RAW file; the counterpart of ``BagReader``. It holds one sensor, no topics and no calibration.

    Stamps and times of arrival are those of the sensor's own clock, from wherever it began.

    Attributes:
        end_ns: time of the last event that was read so far.
        damage: always None: a RAW file has no structure that could be damaged.

    Args:
        path: the file.
        rig: its only event sensor is the one that recorded.

    Raises:
        BagError: the file is not there, holds no events, or does not fit the rig.
        PayloadError: it is no RAW file, or of a format that is not read.
    """

    damage: str | None = None

    def __init__(self, path: Path | str, rig: Rig):
        self.path = Path(path)
        if not self.path.is_file():
            raise BagError(f"there is no file {self.path}")
        self._sensor = _event_sensor(rig, self.path)
        model = optical_model(self._sensor)
        self._recording = read_raw(self.path, (model.width, model.height))
        found = (self._recording.width, self._recording.height)
        if found != (model.width, model.height):
            raise PayloadError(
                f"{self.path} is of a {found[0]} x {found[1]} sensor, but '{self._sensor.name}' of rig '{rig.name}' "
                f"has {model.width} x {model.height} pixels: take the rig of the camera that recorded it"
            )
        first = next(self._recording.chunks, None)
        if first is None:
            raise BagError(f"{self.path} holds no events")
        self._chunks = chain([first], self._recording.chunks)
        self.start_ns = self.end_ns = int(first.t_ns[0])

    def __enter__(self) -> RawReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._recording.chunks.close()

    @property
    def rejected(self) -> Counter[str]:
        """What was dropped of what was read so far, or changed (``held_back``), by sensor and reason."""
        ignored = ("triggers_rising", "triggers_falling")
        counts = {reason: count for reason, count in self._recording.counters.items() if reason not in ignored}
        return Counter({f"{self._sensor.name} ({reason})": count for reason, count in counts.items() if count})

    def topics(self) -> dict[str, str]:
        """None."""
        return {}

    def messages(self, topics: Collection[str], serialised: Collection[str] = ()) -> Iterator[tuple[int, str, Any]]:
        """None, whatever the topics."""
        return iter(())

    def match(self, rig: Rig) -> dict[str, str]:
        """The file by the name of the event sensor."""
        return {self._sensor.name: str(self.path)}

    def static_transforms(self) -> dict[str, tuple[str, Any]]:
        """None."""
        return {}

    def first_message(self, topic: str) -> Any | None:
        """None."""
        return None

    def measurements(self, rig: Rig) -> Iterator[tuple[int, Measurement]]:
        """The events in packets of 10 ms, each of which arrives with its last event; can be read once."""
        feed = EventFeed(rig.sensor(self._sensor.name))
        for events in packets(self._chunks):
            self.end_ns = int(events.t_ns[-1])
            measurement = feed.joined(events, self.end_ns, self._sensor.frame_id)
            if measurement is not None:
                yield self.end_ns, measurement


def is_raw(path: Path) -> bool:
    """Whether a path is named like a RAW file."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def packets(chunks: Iterable[Events]) -> Iterator[Events]:
    """The same events, each packet those of 10 ms."""
    rest: Events | None = None
    for chunk in chunks:
        events = chunk if rest is None else _concatenated(rest, chunk)
        cuts = np.flatnonzero(np.diff(events.t_ns // PACKET_NS)) + 1
        bounds = [0, *cuts.tolist()]
        for begin, end in pairwise(bounds):
            yield _part(events, begin, end)
        rest = _part(events, bounds[-1], len(events))
        if len(rest) > MOST_EVENTS:
            yield rest
            rest = None
    if rest is not None:
        yield rest


def _event_sensor(rig: Rig, path: Path) -> Sensor:
    sensors = [sensor for sensor in rig.sensors if sensor.modality is Modality.EVENT]
    if len(sensors) != 1:
        names = f" ({', '.join(sensor.name for sensor in sensors)})" if sensors else ""
        raise BagError(
            f"{path} holds one sensor's events, but rig '{rig.name}' has {len(sensors)} event sensors{names}; expected "
            "one: give a rig file (--rig) with the camera that recorded it"
        )
    return sensors[0]


def _part(events: Events, begin: int, end: int) -> Events:
    cut = slice(begin, end)
    return Events(events.x[cut], events.y[cut], events.t_ns[cut], events.p[cut], events.width, events.height)


def _concatenated(one: Events, other: Events) -> Events:
    x, y, t_ns, p = (np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("x", "y", "t_ns", "p"))
    return Events(x, y, t_ns, p, one.width, one.height)
