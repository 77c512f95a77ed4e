# SPDX-License-Identifier: Apache-2.0
"""A set that waits for its partners: whom it waits for, how long, and what it becomes when it closes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anyseg_ros.sync.buffers import Fate, Item
from anyseg_ros.sync.timing import SyncConfig
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import Absence, FrameSet, Measurement


@dataclass
class OpenSet:
    """A due set that has not been given out.

    Attributes:
        reference_ns: corrected time of the reference.
        stamp_ns: the stamp that the output will carry.
        track: the reference sensor.
        item: the reference's measurement; None for events, whose window is cut out at the end.
        due_ns: ``now`` when the reference's measurement was taken in.
        pending: sensors that it waits for, each with the ``now`` at which it stops waiting.
        asked: those that it began to wait for.
    """

    reference_ns: int
    stamp_ns: int
    track: SensorTrack
    item: Item | None
    due_ns: int
    pending: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


def is_final(track: SensorTrack, reference_ns: int) -> bool:
    """Whether no measurement that is still to come can be a better partner than the best that has arrived.

    A frame sensor is expected on the grid of its period from its newest stamp; the expected stamp nearest to the
    reference decides, so that nothing is waited for that would be farther off than what is there.
    """
    newest = track.newest_ns
    if newest is None:
        return False
    if newest >= reference_ns:
        return True
    if track.timing.is_event:
        return False
    away = abs(expected_stamp(track, reference_ns) - reference_ns)
    return away >= reference_ns - newest or away > track.timing.tolerance_ns


def expected_stamp(track: SensorTrack, reference_ns: int) -> int:
    """The corrected stamp nearest to the reference that a sensor is expected to deliver."""
    if track.timing.is_event or track.newest_ns is None:
        return reference_ns
    period = track.arrivals.period_ns
    return track.newest_ns + (reference_ns - track.newest_ns + period // 2) // period * period


def waits_until(track: SensorTrack, reference_ns: int, now_ns: int, config: SyncConfig) -> int | None:
    """How long a set that opens now waits for a partner; None where it does not.

    Returns:
        the ``now`` at which the partner's measurement is there by the robust largest of the learned lags and a
        margin, at most ``max_wait_ns`` from now. None where it is final, not to be waited for, or would
        not arrive within ``max_wait_ns`` even with its smallest lag, or has become too late for that of late.
    """
    if not track.waited_for or is_final(track, reference_ns):
        return None
    latest = now_ns + config.max_wait_ns
    lags, least_ns = track.arrivals.lags_ns, track.arrivals.least_lag_ns
    if lags is None or least_ns is None:
        return latest
    expected = expected_stamp(track, reference_ns)
    if expected + least_ns > latest:
        return None
    return max(now_ns, min(latest, expected + lags[1] + config.margin_ns))


def close_set(waiting: OpenSet, tracks: Iterable[SensorTrack], now_ns: int) -> FrameSet:
    """Give a set its partners: of each sensor the nearest that has arrived, or the reason why there is none."""
    present: dict[str, Measurement] = {}
    absent: dict[str, Absence] = {}
    skew: dict[str, int] = {}
    for track in tracks:
        name = track.timing.name
        found = _take(track, waiting, now_ns)
        if isinstance(found, Absence):
            absent[name] = found
        else:
            present[name], skew[name] = found
            track.skew_ns = skew[name]
        track.outcomes.append(found is Absence.LATE)
    return FrameSet(
        stamp_ns=waiting.stamp_ns,
        reference=waiting.track.timing.name,
        present=present,
        absent=absent,
        skew_ns=skew,
        due_ns=waiting.due_ns,
        closed_ns=now_ns,
    )


def _take(track: SensorTrack, waiting: OpenSet, now_ns: int) -> tuple[Measurement, int] | Absence:
    if track is waiting.track and waiting.item is not None:
        waiting.item.held = False
        track.settle(waiting.item, Fate.USED)
        return waiting.item.measurement, 0
    if not track.enabled:
        return Absence.DISABLED
    if track.timing.is_event:
        return track.events(waiting.reference_ns, now_ns)
    partner = track.buffer.nearest(waiting.reference_ns, track.timing.tolerance_ns)
    if partner is None:
        return track.absence(now_ns)
    track.settle(partner, Fate.USED)
    return partner.measurement, partner.corrected_ns - waiting.reference_ns
