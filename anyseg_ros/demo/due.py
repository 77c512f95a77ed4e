# SPDX-License-Identifier: Apache-2.0
"""Which label images a drive owes, worked out afterwards from the recording and the cut list alone.

This is the yardstick for the synchroniser, so it shares no code with it: the rules are written out here a second
time, offline, where everything that will ever arrive is known.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from anyseg_ros.demo.plan import Cut
from anyseg_ros.modality import Modality, subset_name

NEVER = -(1 << 62)
RETURN_AFTER = 3  # consecutive in-period measurements after which a better sensor leads again
KEPT = 16  # what a sensor said longer ago than this is too old to be answered
IN_PERIOD = 1.5  # two measurements no farther apart than this many periods are consecutive


@dataclass(frozen=True)
class SensorRule:
    """What the judge knows about a sensor. Times in ns; for events ``period_ns`` is the output period."""

    name: str
    modality: Modality
    period_ns: int
    offset_ns: int = 0
    tolerance_ns: int = 0
    stale_ns: int = 0
    window_ns: int = 0


@dataclass(frozen=True)
class Delivery:
    """One message of the recording: its sensor, its stamp, and when it was recorded (same clock, ns)."""

    sensor: str
    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True)
class Due:
    """A label image that is owed.

    Attributes:
        stamp_ns: its stamp.
        reference: the sensor that it answers.
        subset: the modalities that have something to say about that moment, such as ``EL``.
        arrival_ns: when the message that it answers was recorded.
        owed_ns: when an answer was owed, on the same clock: at that arrival, or when its sensor came to lead after it.
    """

    stamp_ns: int
    reference: str
    subset: str
    arrival_ns: int
    owed_ns: int


def after_cuts(deliveries: Iterable[Delivery], cuts: Sequence[Cut], start_ns: int) -> list[Delivery]:
    """What is left of a recording when the sensors of the cut list are silenced, in order of arrival."""
    kept = [
        delivery
        for delivery in deliveries
        if not any(
            cut.sensor == delivery.sensor and cut.start_ns <= delivery.arrival_ns - start_ns < cut.end_ns
            for cut in cuts
        )
    ]
    return sorted(kept, key=lambda delivery: delivery.arrival_ns)


@dataclass(frozen=True)
class _Spoken:
    """Something that a sensor could be answered for: the output's stamp, its time on the common clock, its arrival."""

    stamp_ns: int
    corrected_ns: int
    arrival_ns: int


@dataclass
class _Track:
    """What is known of one sensor while the recording is walked through."""

    rule: SensorRule
    spoken: deque[_Spoken] = field(default_factory=lambda: deque(maxlen=KEPT))
    newest_ns: int = 0  # corrected
    arrived_ns: int = NEVER
    streak: int = 0

    def silent(self, now_ns: int) -> bool:
        """Whether it has said nothing for its stale time."""
        return now_ns - self.arrived_ns >= self.rule.stale_ns

    def only_newest(self, arrival_ns: int) -> None:
        """Forget what was said before ``arrival_ns``: nobody was there to answer it."""
        kept = [item for item in self.spoken if item.arrival_ns >= arrival_ns]
        self.spoken = deque(kept, maxlen=KEPT)

    def take(self, delivery: Delivery) -> None:
        """Take in a message: a camera or lidar is answered for each, events for each multiple of the period crossed."""
        corrected = delivery.stamp_ns - self.rule.offset_ns
        fresh = self.silent(delivery.arrival_ns)
        before = corrected if fresh else self.newest_ns
        near = not fresh and corrected - before <= IN_PERIOD * self.rule.period_ns
        self.streak = self.streak + 1 if near else 1
        self.newest_ns, self.arrived_ns = corrected, delivery.arrival_ns
        if self.rule.modality is not Modality.EVENT:
            self.spoken.append(_Spoken(delivery.stamp_ns, corrected, delivery.arrival_ns))
        else:
            period = self.rule.period_ns
            crossed = range((before // period + 1) * period, corrected + 1, period)
            # A multiple that fell into a short silence is owed nothing: of its window, half has to be there.
            covered = [tick for tick in crossed if tick - before < self.rule.window_ns // 2]
            self.spoken.extend(_Spoken(tick, tick, delivery.arrival_ns) for tick in covered)


def frames_due(deliveries: Sequence[Delivery], rules: Sequence[SensorRule]) -> list[Due]:
    """The label images owed for what was delivered.

    One for each measurement of the reference, which is the first sensor in the order of ``rules`` that is alive. A
    reference silent for its stale time hands over; the next one answers what it delivered since the last output. A
    better sensor leads again once it has spoken three times running, or at once where nothing has been answered yet.
    Stamps never go backwards.

    Args:
        deliveries: what was left by the cuts, in order of arrival (`after_cuts`).
        rules: the sensors, best reference first.
    """
    ledger = _Ledger(rules)
    for delivery in deliveries:
        ledger.hand_over(delivery.arrival_ns)
        ledger.take(delivery)
    partners = _Partners(deliveries, rules)
    return [
        Due(item.stamp_ns, name, partners.subset(item.corrected_ns, item.arrival_ns, name), item.arrival_ns, owed_ns)
        for item, name, owed_ns in ledger.owed
    ]


class _Ledger:
    """Walks through a recording and writes down what is owed."""

    def __init__(self, rules: Sequence[SensorRule]) -> None:
        self.tracks = {rule.name: _Track(rule) for rule in rules}
        self.rank = {rule.name: position for position, rule in enumerate(rules)}
        self.owed: list[tuple[_Spoken, str, int]] = []
        self.reference: str | None = None
        self.answered = False  # anything, since there was last no living sensor

    def owe(self, now_ns: int) -> None:
        """Write down what the reference has said since the last output."""
        if self.reference is None:
            return
        for item in self.tracks[self.reference].spoken:
            last = self.owed[-1][0] if self.owed else None
            if last is None or (item.stamp_ns > last.stamp_ns and item.corrected_ns > last.corrected_ns):
                self.owed.append((item, self.reference, max(item.arrival_ns, now_ns)))
                self.answered = True

    def hand_over(self, now_ns: int) -> None:
        """Let the next living sensor lead if the reference fell silent before ``now_ns``."""
        while self.reference is not None and self.tracks[self.reference].silent(now_ns):
            track = self.tracks[self.reference]
            moment = track.arrived_ns + track.rule.stale_ns
            alive = [name for name in self.tracks if not self.tracks[name].silent(moment)]
            steady = [name for name in alive if self.tracks[name].streak >= RETURN_AFTER]
            self.reference = min(steady or alive, key=self.rank.__getitem__, default=None)
            self.owe(moment)

    def take(self, delivery: Delivery) -> None:
        """Take in one message, and owe an answer if its sensor leads."""
        name, track = delivery.sensor, self.tracks[delivery.sensor]
        track.take(delivery)
        first = self.reference is None
        better = self.reference is not None and self.rank[name] < self.rank[self.reference]
        if first:
            self.answered = False
        if first or (better and not self.answered):
            track.only_newest(delivery.arrival_ns)
            self.reference = name
        elif better and track.streak >= RETURN_AFTER:
            self.reference = name
        if name == self.reference:
            self.owe(delivery.arrival_ns)


class _Partners:
    """Looks up which sensors have something to say about a moment."""

    def __init__(self, deliveries: Sequence[Delivery], rules: Sequence[SensorRule]) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self.arrivals = {
            rule.name: sorted((d.stamp_ns - rule.offset_ns, d.arrival_ns) for d in deliveries if d.sensor == rule.name)
            for rule in rules
        }

    def subset(self, moment_ns: int, arrival_ns: int, reference: str) -> str:
        """The modalities that had a measurement near enough to a moment when the reference's arrived."""
        return subset_name(
            rule.modality
            for rule in self.rules.values()
            if rule.name == reference or self._near(rule, moment_ns, arrival_ns)
        )

    def _near(self, rule: SensorRule, moment_ns: int, arrival_ns: int) -> bool:
        # Of the events, the later half of the window must hold something.
        event = rule.modality is Modality.EVENT
        first = moment_ns - (rule.window_ns // 2 - 1 if event else rule.tolerance_ns)
        last = moment_ns if event else moment_ns + rule.tolerance_ns
        times = self.arrivals[rule.name]
        here = times[bisect.bisect_left(times, (first, 0)) : bisect.bisect_right(times, (last, 2**63))]
        return any(arrived <= arrival_ns for _, arrived in here)
