# SPDX-License-Identifier: Apache-2.0
"""Which sensor is the reference, and at which of its stamps a set is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anyseg_ros.sync.buffers import Item
from anyseg_ros.sync.timing import CATCH_UP_NS, RETURN_STREAK
from anyseg_ros.sync.track import SensorTrack


@dataclass(frozen=True)
class Floor:
    """Nothing at or below it is due.

    Both clocks count: sensors differ in offset, and outputs have to increase in their own stamps as well.
    """

    corrected_ns: int
    stamp_ns: int

    def raised_to(self, other: Floor) -> Floor:
        """The higher of the two in each clock."""
        return Floor(max(self.corrected_ns, other.corrected_ns), max(self.stamp_ns, other.stamp_ns))

    def is_below(self, corrected_ns: int, stamp_ns: int) -> bool:
        """Whether a reference measurement may be due."""
        return corrected_ns > self.corrected_ns and stamp_ns > self.stamp_ns


NO_FLOOR = Floor(-(1 << 63), 0)
"""Every measurement is above it."""


@dataclass(frozen=True)
class Due:
    """A stamp at which a set is due: corrected time, output stamp, measurement (none for events), arrival."""

    reference_ns: int
    stamp_ns: int
    item: Item | None
    arrival_ns: int


def standing(track: SensorTrack, reference: SensorTrack | None, now_ns: int) -> tuple[bool, bool, int]:
    """What sensors are preferred by, the smallest first: one that leads to nothing comes after all others.

    Before it come those whose stamps have jumped alone, and still tell another time than the reference's.
    """
    apart = reference is not None and track.is_apart(reference)
    return track.usability.refused(now_ns), apart, track.rank


def stands_before(track: SensorTrack, reference: SensorTrack, now_ns: int) -> bool:
    """Whether a sensor is to be preferred to the reference."""
    return standing(track, reference, now_ns) < standing(reference, reference, now_ns)


def best_reference(tracks: Sequence[SensorTrack], reference: SensorTrack | None, now_ns: int) -> SensorTrack | None:
    """The live sensor to be preferred, of those that stand alike one that delivers steadily before a new one."""

    def preferred(track: SensorTrack) -> tuple[bool, bool, bool, int]:
        refused, apart, rank = standing(track, reference, now_ns)
        return refused, apart, track.streak < RETURN_STREAK, rank

    return min((track for track in tracks if track.live), key=preferred, default=None)


def takes_over(track: SensorTrack, reference: SensorTrack, reached_ns: int, now_ns: int) -> bool:
    """Whether a sensor that has just delivered takes the place of a live reference.

    One whose stamps lie far below what has been reached may be catching up, as after a cut of its connection. In the
    lead it would be silent meanwhile, so that it waits; but not for ever, because its clock may be behind for good.
    """
    if not stands_before(track, reference, now_ns):
        return False
    if reference.usability.refused(now_ns):
        return True
    assert track.newest_ns is not None  # it has just delivered
    far_behind = reached_ns - track.newest_ns > track.timing.step_back_ns
    catches_up = far_behind and not track.jumped_lately(now_ns) and now_ns - track.streak_ns < CATCH_UP_NS
    return track.streak >= RETURN_STREAK and not catches_up


def due_stamps(track: SensorTrack, floor: Floor, most: int) -> tuple[list[Due], int]:
    """The stamps of the reference above the floor for which no set has been opened yet, in order.

    Returns:
        them, and how many output times of an event stream were skipped: those whose window has not arrived by half,
        and all but the last ``most`` where one chunk crosses more.
    """
    if track.timing.is_event:
        return _due_multiples(track, floor, most)
    due = []
    for item in track.buffer.after(floor.corrected_ns):
        if not item.due and floor.is_below(item.corrected_ns, item.measurement.stamp_ns):
            item.due = item.held = True
            due.append(Due(item.corrected_ns, item.measurement.stamp_ns, item, item.arrival_ns))
    return due, 0


def _due_multiples(track: SensorTrack, floor: Floor, most: int) -> tuple[list[Due], int]:
    """One due stamp for each multiple of the output period that the watermark has crossed since the last call."""
    watermark = track.newest_ns
    oldest = track.buffer.oldest_start_ns
    if watermark is None or oldest is None:
        return [], 0
    after = max(floor.corrected_ns, floor.stamp_ns, track.crossed_ns or 0, oldest)
    period = track.timing.period_ns
    first = after // period + 1
    last = watermark // period
    skipped = max(0, last - first + 1 - most)
    due = []
    for time_ns in range((first + skipped) * period, last * period + 1, period):
        if track.covers(track.window(time_ns)):
            crossing = track.buffer.after(time_ns - 1)[0]
            due.append(Due(time_ns, time_ns, None, crossing.arrival_ns))
        else:
            skipped += 1
    track.crossed_ns = watermark
    return due, skipped
