# SPDX-License-Identifier: Apache-2.0
"""Event measurements from what an event camera's driver publishes: packets, or clouds of x, y, t, p."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyseg_ros.bags.reader import EventFeed
from anyseg_ros.sensors.messages import events_from_points
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.types import Measurement


class EventReader:
    """Reads the messages of one event camera in order of arrival; the spans of its measurements join.

    A packet's decoder keeps state, which ``EventFeed`` holds. A cloud stands for itself: its last event is the
    watermark, and it spans everything since the cloud before.

    Args:
        sensor: the event sensor; its model gives the geometry, which a cloud does not tell.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self._packets = EventFeed(sensor)
        self._watermark_ns: int | None = None

    def __call__(self, msg: Any) -> Measurement | None:
        """The measurement of an EventPacket or PointCloud2; None when it brings nothing new.

        Raises:
            ValueError: the encoding or the fields are not understood.
        """
        if hasattr(msg, "encoding"):
            return self._packets(msg)
        events = events_from_points(msg)
        if not len(events):
            return None
        first_ns, last_ns = int(events.t_ns[0]), int(events.t_ns[-1])
        before_ns, self._watermark_ns = self._watermark_ns, last_ns
        # Spans join unless the camera's clock has gone back.
        start_ns = before_ns if before_ns is not None and before_ns <= first_ns else first_ns - 1
        model, name = self.sensor.model, self.sensor.name
        assert model is not None
        events = replace(events, width=model.width, height=model.height)
        return Measurement(name, self.sensor.modality, last_ns, events, msg.header.frame_id, start_ns)
