# SPDX-License-Identifier: Apache-2.0
"""Rates, gaps, jitter, lags and skews of a recording, from the headers of its messages alone."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig, Sensor

MS = 1_000_000
GAP_PERIODS = 2.5  # a silence this long is a gap in the timeline
JUMP_NS = 10**12  # of stamps that lie this far from the arrivals no lag is taken: another clock


@dataclass
class Headers:
    """What was noted of the messages of one topic, in order of arrival.

    Attributes:
        topic, msgtype: of the topic.
        arrival_ns, stamp_ns: one number per message; ``stamp_ns`` stays empty for types without a header.
        frame_ids: the frames that the headers name, with how many messages each.
        sizes: (width, height) of images and event packets, with how many messages each.
        repeats: messages in a row whose content is that of the message before, at most.
    """

    topic: str
    msgtype: str
    arrival_ns: array = field(default_factory=lambda: array("q"))
    stamp_ns: array = field(default_factory=lambda: array("q"))
    frame_ids: dict[str, int] = field(default_factory=dict)
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    repeats: int = 0
    _run: int = 0
    _last: int | None = None

    def take(self, arrival_ns: int, msg: Any) -> None:
        """Notes one message."""
        self.arrival_ns.append(arrival_ns)
        header = getattr(msg, "header", None)
        if header is None:
            return
        self.stamp_ns.append(int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec))
        self.frame_ids[header.frame_id] = self.frame_ids.get(header.frame_id, 0) + 1
        if hasattr(msg, "width") and (hasattr(msg, "encoding") or hasattr(msg, "distortion_model")):
            size = (int(msg.width), int(msg.height))
            self.sizes[size] = self.sizes.get(size, 0) + 1
        self._compare(msg)

    def _compare(self, msg: Any) -> None:
        """Counts messages in a row that bring the same pixels (a camera that hangs); a sample of them settles it."""
        data = getattr(msg, "data", None)
        if data is None or len(data) < 64:
            return
        now = hash(np.asarray(data)[:: max(1, len(data) // 4096)].tobytes())
        self._run = self._run + 1 if now == self._last else 0
        self._last = now
        self.repeats = max(self.repeats, self._run)


@dataclass(frozen=True)
class TopicFigures:
    """What the headers of a topic say. Times in milliseconds, None where they cannot be known.

    Attributes:
        topic, msgtype, sensor: the topic, its type, and the rig's sensor that it belongs to or "".
        count: messages.
        rate_hz: by the median step between stamps (arrivals, where there is no header).
        expected_hz: the rig's rate; None for events, whose packets have none, and for other topics.
        longest_gap_ms: the longest step between two messages, and ``gap_at_s`` when it began.
        jitter_ms: how far the steps lie from their median, 95th percentile.
        back, duplicates, zero: stamps below the one before, equal to it, and equal to 0.
        lag_ms: arrival minus stamp, 5th, 50th and 95th percentile.
        repeats: messages in a row with the same content, at most.
        alive: spans (start, end) in seconds since the recording's start in which messages came.
    """

    topic: str
    msgtype: str
    sensor: str
    count: int
    rate_hz: float | None = None
    expected_hz: float | None = None
    longest_gap_ms: float | None = None
    gap_at_s: float | None = None
    jitter_ms: float | None = None
    back: int = 0
    duplicates: int = 0
    zero: int = 0
    lag_ms: tuple[float, float, float] | None = None
    repeats: int = 0
    alive: tuple[tuple[float, float], ...] = ()


def topic_figures(headers: Headers, sensor: Sensor | None, start_ns: int) -> TopicFigures:
    """The figures of one topic.

    Args:
        headers: what was noted.
        sensor: the sensor that the topic belongs to, or None.
        start_ns: arrival of the recording's first message.
    """
    arrival = np.frombuffer(headers.arrival_ns, np.int64)
    stamp = np.frombuffer(headers.stamp_ns, np.int64)
    stamped = len(stamp) == len(arrival) and len(stamp) > 0
    known: dict[str, Any] = {}
    if sensor is not None and sensor.modality is not Modality.EVENT:
        known["expected_hz"] = 1e9 / sensor.period_ns
    if len(arrival) > 1:
        known |= _steps(stamp if stamped else arrival, arrival, start_ns)
    if stamped:
        lag = (arrival - stamp)[stamp != 0]
        if len(lag) and np.abs(np.median(lag)) < JUMP_NS:
            known["lag_ms"] = tuple(float(p) for p in np.percentile(lag, (5, 50, 95)) / MS)
        steps = np.diff(stamp)
        known |= {
            "back": int((steps < 0).sum()),
            "duplicates": int((steps == 0).sum()),
            "zero": int((stamp == 0).sum()),
        }
    return TopicFigures(
        headers.topic,
        headers.msgtype,
        sensor.name if sensor else "",
        len(arrival),
        repeats=headers.repeats,
        alive=_alive(arrival, start_ns, sensor),
        **known,
    )


def _steps(times: np.ndarray, arrival: np.ndarray, start_ns: int) -> dict[str, float]:
    """Rate, jitter and the longest gap."""
    steps = np.diff(times)
    forward = steps[steps > 0]
    if not len(forward):
        return {}
    median = float(np.median(forward))
    waits = np.diff(arrival)
    longest = int(np.argmax(waits))
    return {
        "rate_hz": 1e9 / median,
        "jitter_ms": float(np.percentile(np.abs(forward - median), 95)) / MS,
        "longest_gap_ms": float(waits[longest]) / MS,
        "gap_at_s": float(arrival[longest] - start_ns) / 1e9,
    }


def _alive(arrival: np.ndarray, start_ns: int, sensor: Sensor | None) -> tuple[tuple[float, float], ...]:
    """Spans without a gap; a message counts for the step that usually follows it."""
    if not len(arrival):
        return ()
    waits = np.diff(arrival)
    step = float(np.median(waits)) if len(waits) else 0.0
    if sensor is not None and sensor.modality is not Modality.EVENT:
        step = float(sensor.period_ns)
    limit = max(GAP_PERIODS * step, 50 * MS)
    cuts = np.flatnonzero(waits > limit)
    starts, ends = np.r_[0, cuts + 1], np.r_[cuts, len(arrival) - 1]
    return tuple(
        (float(arrival[a] - start_ns) / 1e9, float(arrival[b] - start_ns + step) / 1e9)
        for a, b in zip(starts, ends, strict=True)
    )


@dataclass(frozen=True)
class Skew:
    """How far the nearest measurement of one sensor lies from those of the reference, on the rig's common clock.

    Attributes:
        sensor, reference: names in the rig.
        median_ms, low_ms, high_ms: of partner minus reference: median, 5th and 95th percentile.
        tolerance_ms: the sensor's, from the rig.
        within: share of the reference's measurements that have a partner within the tolerance, 0..1.
        histogram: counts, and ``edges_ms`` its K + 1 edges.
    """

    sensor: str
    reference: str
    median_ms: float
    low_ms: float
    high_ms: float
    tolerance_ms: float
    within: float
    histogram: tuple[int, ...]
    edges_ms: tuple[float, ...]


def skews(rig: Rig, stamps: dict[str, np.ndarray]) -> list[Skew]:
    """Skews of all sensors but event cameras against the first one that is there.

    Event packets come every few milliseconds, and a window is cut from them to the nanosecond: no skew is left.

    Args:
        rig: gives order, offsets and tolerances.
        stamps: by sensor name, int64 [N] as received.
    """
    there = [s for s in rig.sensors if s.modality is not Modality.EVENT and len(stamps.get(s.name, ()))]
    if len(there) < 2:
        return []
    reference = there[0]
    wanted = np.sort(stamps[reference.name]) - reference.offset_ns
    found = []
    for sensor in there[1:]:
        partner = nearest(np.sort(stamps[sensor.name]) - sensor.offset_ns, wanted)
        skew = (partner - wanted) / MS
        low, median, high = np.percentile(skew, (5, 50, 95))
        tolerance = sensor.tolerance_ns / MS
        reach = max(tolerance, 1.0)
        counts, edges = np.histogram(np.clip(skew, -reach, reach), bins=41, range=(-reach, reach))
        found.append(
            Skew(
                sensor.name,
                reference.name,
                float(median),
                float(low),
                float(high),
                tolerance,
                float(np.mean(np.abs(skew) <= tolerance)),
                tuple(int(c) for c in counts),
                tuple(float(e) for e in edges),
            )
        )
    return found


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted time the nearest of some sorted, at least one."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(times[before] - wanted) <= np.abs(times[after] - wanted), times[before], times[after])
