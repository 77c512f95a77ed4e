# SPDX-License-Identifier: Apache-2.0
"""Plays a bag through synchroniser and pipeline in virtual time, as fast as the machine can."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from anyseg_ros.bags.drops import Drop
from anyseg_ros.bags.odometry import OdometryFeed
from anyseg_ros.bags.raw_reader import RawReader
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.topics import GROUND_TRUTH_TOPIC
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.messages import stamp_ns
from anyseg_ros.stack import Stack
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import FrameSet, Measurement, Segmentation

# Ground truth is stamped in true time; in 5 ms a street scene moves by less than a pixel or two.
TRUTH_TOLERANCE_NS = 5_000_000


@dataclass(frozen=True)
class Answer:
    """What one frame set led to.

    Attributes:
        frame_set: what belonged together.
        stack: what was left of it.
        segmentation: None when no payload could be used.
    """

    frame_set: FrameSet
    stack: Stack
    segmentation: Segmentation | None


Led = deque[tuple[FrameSet, Sequence[str]]]


def virtual_time(
    arrivals: Iterable[tuple[int, Measurement]], synchronizer: Synchronizer, led: Led | None = None
) -> Iterator[FrameSet]:
    """Drives a synchroniser by the arrival times of its measurements; every deadline falls when it is due.

    Args:
        arrivals: (arrival_ns, measurement), in order of arrival.
        synchronizer: a fresh one.
        led: who takes the sets may append each with the names of the sensors whose payloads were good: a reference
            whose payloads lead to nothing gives way to another sensor then.
    """
    led = deque() if led is None else led
    for arrival_ns, measurement in arrivals:
        deadline_ns = synchronizer.next_deadline_ns()
        while deadline_ns is not None and deadline_ns <= arrival_ns:
            yield from _and_what_follows(synchronizer.advance(deadline_ns), synchronizer, led)
            deadline_ns = _after(synchronizer, deadline_ns)
        yield from _and_what_follows(synchronizer.add(measurement, arrival_ns), synchronizer, led)
    # At the end of a recording nothing has fallen silent: what is open is closed, but no other sensor takes over.
    deadline_ns = synchronizer.next_deadline_ns()
    while synchronizer.open_sets and deadline_ns is not None:
        yield from _and_what_follows(synchronizer.advance(deadline_ns), synchronizer, led)
        deadline_ns = _after(synchronizer, deadline_ns)


def _and_what_follows(given: list[FrameSet], synchronizer: Synchronizer, led: Led) -> Iterator[FrameSet]:
    """The sets, and those that are complete by what they have led to."""
    while given:
        yield from given
        given = []
        while led:
            frame_set, used = led.popleft()
            given += synchronizer.answered(frame_set, used, frame_set.closed_ns)


def _after(synchronizer: Synchronizer, now_ns: int) -> int | None:
    """The next deadline, past ``now_ns``: time must pass even where one lies in the past, or a replay would hang."""
    deadline_ns = synchronizer.next_deadline_ns()
    return None if deadline_ns is None else max(deadline_ns, now_ns + 1)


def without(
    arrivals: Iterable[tuple[int, Measurement]], drops: Iterable[Drop], start_ns: int
) -> Iterator[tuple[int, Measurement]]:
    """The measurements that no drop covers."""
    drops = tuple(drops)
    for arrival_ns, measurement in arrivals:
        if not any(drop.covers(measurement.sensor, arrival_ns - start_ns) for drop in drops):
            yield arrival_ns, measurement


def answers(
    reader: BagReader | RawReader,
    pipeline: Pipeline,
    synchronizer: Synchronizer,
    drops: Iterable[Drop] = (),
    odometry: OdometryFeed | None = None,
) -> Iterator[Answer]:
    """Replays a bag: one answer for every frame set that is due.

    Args:
        reader: an open recording.
        pipeline: its rig is the one that the bag is read with.
        synchronizer: a fresh one for the same rig.
        drops: what to leave out.
        odometry: feeds the history that the pipeline has; it knows what had arrived when a set was closed.

    Raises:
        BagError: the bag does not fit the rig.
    """
    arrivals = without(reader.measurements(pipeline.rig), drops, reader.start_ns)
    led: Led = deque()
    for frame_set in virtual_time(arrivals, synchronizer, led):
        if odometry is not None:
            odometry.until(frame_set.closed_ns)
        for reset in synchronizer.take_resets():
            pipeline.reset(reset.sensor)
        stack = pipeline.encode(frame_set)
        led.append((frame_set, stack.sensors))
        segmentation = pipeline.segment(stack, frame_set) if stack.sensors else None
        yield Answer(frame_set, stack, segmentation)


class GroundTruth:
    """The ground-truth labels of a bag by time, read as they are needed and in order.

    Args:
        reader: an open recording.
        topic: an Image topic, mono8, train ids.
    """

    def __init__(self, reader: BagReader | RawReader, topic: str = GROUND_TRUTH_TOPIC):
        self.available = topic in reader.topics()
        self._messages = reader.messages([topic])
        self._window: dict[int, np.ndarray] = {}
        self._last_ns = -1

    def at(self, true_ns: int) -> np.ndarray | None:
        """uint8 [H,W] labels at a true time, or None when there are none within 5 ms.

        Times are to be asked for in rising order.
        """
        while self._last_ns < true_ns + TRUTH_TOLERANCE_NS:
            following = next(self._messages, None)
            if following is None:
                break
            msg = following[2]
            self._last_ns = stamp_ns(msg.header)
            self._window[self._last_ns] = np.asarray(msg.data, np.uint8).reshape(msg.height, msg.step)[:, : msg.width]
        self._window = {t: labels for t, labels in self._window.items() if t >= true_ns - TRUTH_TOLERANCE_NS}
        nearest = min(self._window, key=lambda t: abs(t - true_ns), default=None)
        if nearest is None or abs(nearest - true_ns) > TRUTH_TOLERANCE_NS:
            return None
        return self._window[nearest]
