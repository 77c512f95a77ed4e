# SPDX-License-Identifier: Apache-2.0
"""Random rigs and schedules for the synchroniser, and a plain reference for what its sets must hold."""

import random
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from anyseg_ros.modality import Modality
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming, SyncConfig
from anyseg_ros.types import Absence, Events, Measurement

STAMP0 = 1_700_000_000 * SECOND
NOW0 = 5_000 * SECOND


@dataclass(frozen=True)
class Source:
    """A sensor with its faults; times in ns."""

    timing: SensorTiming
    phase_ns: int = 0
    step_ns: int = 0  # events: length of a chunk
    lag_ns: int = 10 * MS
    lag_jitter_ns: int = 0
    stamp_jitter_ns: int = 0
    loss: float = 0.0
    repeat: float = 0.0
    quiet: float = 0.0  # events: share of chunks without a single event
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def name(self):
        return self.timing.name

    def measurements(self, duration_ns, rng):
        """(true time, measurement) without loss."""
        step = self.step_ns or self.timing.period_ns
        for k in range((duration_ns - self.phase_ns) // step):
            true = STAMP0 + self.phase_ns + k * step
            true += rng.randint(-self.stamp_jitter_ns, self.stamp_jitter_ns) if self.stamp_jitter_ns else 0
            stamp = true + self.timing.offset_ns
            if not self.timing.is_event:
                yield true, Measurement(self.name, self.timing.modality, stamp, b"", self.name)
                continue
            start = STAMP0 + self.phase_ns + (k - 1) * step + self.timing.offset_ns
            stamp = start + step
            count = 0 if rng.random() < self.quiet else rng.randint(1, 6)
            t_ns = np.array(sorted(rng.randint(start + 1, stamp) for _ in range(count)), np.int64)
            side = np.zeros(count, np.uint16)
            events = Events(side, side, t_ns, side.astype(np.uint8), 320, 180)
            yield true, Measurement(self.name, Modality.EVENT, stamp, events, self.name, start)

    def arrivals(self, duration_ns, rng):
        """(now, measurement) as they come."""
        for true, measurement in self.measurements(duration_ns, rng):
            at = true - STAMP0
            if rng.random() < self.loss or any(start <= at < end for start, end in self.cuts):
                continue
            lag = self.lag_ns + (rng.randint(0, self.lag_jitter_ns) if self.lag_jitter_ns else 0)
            yield NOW0 + at + lag, measurement
            if rng.random() < self.repeat:
                yield NOW0 + at + lag + rng.randint(0, 50 * MS), measurement


def schedule(sources, duration_ns, seed):
    """All arrivals of a rig in order of time."""
    found = []
    for rank, source in enumerate(sources):
        rng = random.Random(f"{seed}-{source.name}")  # a source is the same whatever the others are
        found += [(now, rank, k, m) for k, (now, m) in enumerate(source.arrivals(duration_ns, rng))]
    found.sort(key=lambda a: a[:3])
    return [(now, m) for now, _, _, m in found]


@st.composite
def sources(draw, least=1, most=6, faults=True, periods_ms=(20, 33, 50, 100, 200), lag_share=0.6):
    """Rigs of random sensors.

    With faults: jitter of stamps and arrival (enough to reorder), loss, duplicates, cuts.
    """
    found = []
    for k in range(draw(st.integers(least, most))):
        modality = draw(st.sampled_from(list(Modality)))
        period = draw(st.sampled_from(periods_ms)) * MS
        timing = SensorTiming.from_period(
            f"{modality.value}{k}",
            modality,
            period,
            offset_ns=draw(st.integers(-5, 5)) * MS,
            tolerance_ns=round(period * draw(st.sampled_from([0.3, 0.5, 1.0]))) if faults else period,
        )
        step = 0
        if timing.is_event:
            step = draw(st.sampled_from([5, 10, 20])) * MS
        pace = step or period
        source = Source(
            timing,
            phase_ns=draw(st.integers(0, pace // MS - 1)) * MS,
            step_ns=step,
            lag_ns=draw(st.integers(0, round(pace * lag_share) // MS)) * MS,
        )
        if faults:
            source = replace(
                source,
                lag_jitter_ns=draw(st.sampled_from([0, 0.1, 0.5, 2.5])) * pace // 1,
                stamp_jitter_ns=round(draw(st.sampled_from([0, 0.1, 0.4])) * pace),
                loss=draw(st.sampled_from([0, 0, 0.05, 0.3])),
                repeat=draw(st.sampled_from([0, 0, 0.1])),
                quiet=draw(st.sampled_from([0, 0.5])),
                cuts=tuple(
                    (start * MS, (start + length) * MS)
                    for start, length in draw(
                        st.lists(st.tuples(st.integers(0, 2500), st.sampled_from([80, 300, 1500])), max_size=2)
                    )
                ),
            )
            source = replace(source, lag_jitter_ns=int(source.lag_jitter_ns))
        found.append(source)
    return found


def config_of(rig, **others):
    """The configuration for a rig."""
    return SyncConfig(tuple(source.timing for source in rig), **others)


class Run:
    """Plays a schedule into a synchroniser and notes what came out, when, and what had arrived by then.

    Attributes:
        sets: all sets in the order in which they were given out.
        known: for each set, how many arrivals had been handed over when it closed.
        epochs: for each set, how many resets there had been.
        switched_ns: for each set, when its reference last changed.
    """

    def __init__(self, config, arrivals):
        self.sync = Synchronizer(config)
        self.arrivals = arrivals
        self.sets, self.known, self.epochs, self.switched_ns = [], [], [], []
        self._handed = self._resets = 0
        self._switched_ns = 0

    def exactly(self):
        """Deadlines fall when they are due, between the arrivals."""
        for now, measurement in self.arrivals:
            self._deadlines(now)
            self._add(measurement, now)
            self._deadlines(now)
        self._deadlines(self.arrivals[-1][0] + 2 * SECOND if self.arrivals else 0)
        return self

    def in_batches(self, rng, longest_ns):
        """What has arrived is drained at once, then time passes: a busy node."""
        at = 0
        now = self.arrivals[0][0] if self.arrivals else 0
        while at < len(self.arrivals):
            now += rng.randint(1, longest_ns)
            while at < len(self.arrivals) and self.arrivals[at][0] <= now:
                self._add(self.arrivals[at][1], now)
                at += 1
            self._advance(now)
        self._advance(now + 2 * SECOND)
        return self

    def _deadlines(self, until):
        last = None
        while (deadline := self.sync.next_deadline_ns()) is not None and deadline <= until:
            assert last is None or deadline > last, "advance at the deadline did nothing about it"
            self._advance(deadline)
            last = deadline

    def _add(self, measurement, now):
        self._handed += 1
        self._note(now, lambda: self.sync.add(measurement, now))

    def _advance(self, now):
        self._note(now, lambda: self.sync.advance(now))

    def _note(self, now, call):
        before, waiting = self.sync.reference, self.sync.open_sets
        given = call()
        epoch = self._resets
        self._resets += len(self.sync.take_resets())
        if self.sync.reference != before:
            self._switched_ns = now
        # A reset first closes all sets that wait: they are the last of the old time.
        old = waiting if self._resets > epoch else 0
        for k, each in enumerate(given):
            self.sets.append(each)
            self.known.append(self._handed)
            self.epochs.append(epoch if k < old else self._resets)
            self.switched_ns.append(self._switched_ns)


def reference_ns(given, config):
    """Corrected time of a set's reference."""
    timing = next(t for t in config.sensors if t.name == given.reference)
    return given.stamp_ns - (0 if timing.is_event else timing.offset_ns)


def expected(given, timing, arrived, config):
    """What a sensor contributes to a set, by brute force over all that had arrived: measurement, events or None."""
    at = reference_ns(given, config)
    reach = timing.tolerance_ns + timing.window_ns + SECOND
    near = [m for m in reversed(arrived) if abs(m.stamp_ns - at) < reach and m.sensor == timing.name]
    mine = {m.stamp_ns: m for m in near}.values()
    if timing.is_event:
        return _expected_window(at + timing.offset_ns, timing, mine)
    within = [m for m in mine if abs(m.stamp_ns - timing.offset_ns - at) <= timing.tolerance_ns]
    return min(within, key=lambda m: (abs(m.stamp_ns - timing.offset_ns - at), m.stamp_ns), default=None)


def _expected_window(end, timing, mine):
    start = end - timing.window_ns
    mine = [m for m in mine if m.stamp_ns > start and m.start_ns < end]
    covered = 0
    marks = sorted({start, end, *(t for m in mine for t in (m.start_ns, m.stamp_ns) if start < t < end)})
    for left, right in zip(marks, marks[1:], strict=False):
        if any(m.start_ns <= left and m.stamp_ns >= right for m in mine):
            covered += right - left
    if 2 * covered < timing.window_ns:
        return None
    times = sorted(int(t) for m in mine for t in m.payload.t_ns if start < t <= end)
    return times if times else Absence.EMPTY
