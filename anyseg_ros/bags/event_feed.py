# SPDX-License-Identifier: Apache-2.0
"""Event messages of any type to measurements whose spans join."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyseg_ros.sensors.event_array import EventArray, event_array_from, event_array_from_cdr
from anyseg_ros.sensors.messages import EventStream, events_from_points
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.types import Events, Measurement

OVERTAKEN_NS = 1_000_000_000  # events that are farther back live in another time: the clock has jumped


class EventFeed:
    """Turns the event messages of one sensor into measurements whose spans join, unless it fell silent in between.

    Args:
        sensor: the event sensor; its model gives the geometry.

    Attributes:
        stream: decodes packets.
        watermark_ns: host time up to which all counts as known, None before the first time. What comes after later
            events does not set it back, unless the clock has jumped by a second or more: the next span would claim
            time that it knows nothing of. Where the clock went back by less, spans do not join until it has caught up.
    """

    def __init__(self, sensor: Sensor):
        assert sensor.model is not None  # Sensor refuses an event sensor without a model
        self.sensor = sensor
        self.stream = EventStream(sensor.model.width, sensor.model.height)
        self.watermark_ns: int | None = None
        self._arrays = {"torn_events": 0, "outside": 0, "unordered": 0}
        self._overtaken = 0

    @property
    def counters(self) -> dict[str, int]:
        """What went by or was dropped, by reason."""
        counters = {**self.stream.counters, **self._arrays, "overtaken": self._overtaken}
        return {**counters, "outside": self.stream.counters["outside"] + self._arrays["outside"]}

    def __call__(self, msg: Any) -> Measurement | None:
        """The measurement of one message; None when it brings nothing new.

        Args:
            msg: an EventPacket, an event PointCloud2, or an EventArray: serialised (bytes) or, slowly, deserialised.

        Raises:
            ValueError: the encoding, the fields or the bytes are not understood.
        """
        events, now_ns, frame_id = self._read(msg)
        return self.joined(events, now_ns, frame_id)

    def joined(self, events: Events, now_ns: int | None, frame_id: str) -> Measurement | None:
        """The measurement of decoded events; None when they bring nothing new.

        Args:
            events: those after the ones before.
            now_ns: host time up to which all are known, None before the first time.
            frame_id: the frame they are expressed in.
        """
        before_ns = self.watermark_ns
        if now_ns is None or (not len(events) and now_ns == before_ns):
            return None
        self._advance(events, now_ns)
        first_ns = int(events.t_ns[0]) if len(events) else now_ns
        # The spans join unless the sensor's clock began anew, or so much time is missing that it counts as stale: what
        # happened meanwhile is unknown, and a span over it would say that nothing did.
        joins = (
            before_ns is not None and before_ns <= first_ns <= before_ns + self.sensor.stale_ns and before_ns < now_ns
        )
        start_ns = before_ns if joins else first_ns - 1
        return Measurement(self.sensor.name, self.sensor.modality, now_ns, events, frame_id, start_ns)

    def _advance(self, events: Events, now_ns: int) -> None:
        """Move the watermark; count events that come after later ones. Up to those time is known: nobody uses them."""
        known_ns = self.watermark_ns
        if known_ns is None or known_ns - now_ns >= OVERTAKEN_NS:
            self.watermark_ns = now_ns
            return
        if now_ns != known_ns:  # the same again is a duplicate
            self._overtaken += int(np.searchsorted(events.t_ns, known_ns, side="right"))
        self.watermark_ns = max(known_ns, now_ns)

    def _read(self, msg: Any) -> tuple[Events, int | None, str]:
        """The events, the host time up to which all are known, and the frame."""
        size = (self.stream.width, self.stream.height)
        if hasattr(msg, "encoding"):
            events = self.stream.feed(msg)
            return events, self.stream.watermark_ns, msg.header.frame_id
        if isinstance(msg, (bytes, bytearray, memoryview)):
            events, frame_id = self._counted(event_array_from_cdr(msg, *size))
        elif hasattr(msg, "events"):
            events, frame_id = self._counted(event_array_from(msg, *size))
        else:
            events, frame_id = events_from_points(msg, *size), msg.header.frame_id
        return events, int(events.t_ns[-1]) if len(events) else self.watermark_ns, frame_id

    def _counted(self, array: EventArray) -> tuple[Events, str]:
        self._arrays["torn_events"] += array.torn
        self._arrays["outside"] += array.outside
        self._arrays["unordered"] += array.unordered
        return array.events, array.frame_id
