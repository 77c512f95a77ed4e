# SPDX-License-Identifier: Apache-2.0
"""Healthy rigs in which one thing fails, played to the synchroniser."""

import random
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from anyseg_ros.modality import Modality
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming, SyncConfig
from anyseg_ros.types import Events, Measurement

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
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def name(self):
        return self.timing.name

    def measurements(self, duration_ns, rng):
        """(true time, measurement), without what fails."""
        step = self.step_ns or self.timing.period_ns
        for k in range((duration_ns - self.phase_ns) // step):
            true = STAMP0 + self.phase_ns + k * step
            stamp = true + self.timing.offset_ns
            if not self.timing.is_event:
                yield true, Measurement(self.name, self.timing.modality, stamp, b"", self.name)
                continue
            start = STAMP0 + self.phase_ns + (k - 1) * step + self.timing.offset_ns
            stamp = start + step
            count = rng.randint(1, 6)
            t_ns = np.array(sorted(rng.randint(start + 1, stamp) for _ in range(count)), np.int64)
            side = np.zeros(count, np.uint16)
            events = Events(side, side, t_ns, side.astype(np.uint8), 320, 180)
            yield true, Measurement(self.name, Modality.EVENT, stamp, events, self.name, start)

    def arrivals(self, duration_ns, rng):
        """(now, measurement) as they come."""
        for true, measurement in self.measurements(duration_ns, rng):
            at = true - STAMP0
            if any(start <= at < end for start, end in self.cuts):
                continue
            lag = self.lag_ns + (rng.randint(0, self.lag_jitter_ns) if self.lag_jitter_ns else 0)
            yield NOW0 + at + lag, measurement


def schedule(sources, duration_ns, seed):
    """All arrivals of a rig in order of time."""
    found = []
    for rank, source in enumerate(sources):
        rng = random.Random(f"{seed}-{source.name}")  # a source is the same whatever the others are
        found += [(now, rank, k, m) for k, (now, m) in enumerate(source.arrivals(duration_ns, rng))]
    found.sort(key=lambda a: a[:3])
    return [(now, m) for now, _, _, m in found]


@st.composite
def sources(draw, least=1, most=6, periods_ms=(20, 33, 50, 100, 200), lag_share=0.6):
    """Rigs of random healthy sensors."""
    found = []
    for k in range(draw(st.integers(least, most))):
        modality = draw(st.sampled_from(list(Modality)))
        period = draw(st.sampled_from(periods_ms)) * MS
        timing = SensorTiming.from_period(
            f"{modality.value}{k}",
            modality,
            period,
            offset_ns=draw(st.integers(-5, 5)) * MS,
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
        found.append(source)
    return found


def config_of(rig, **others):
    """The configuration for a rig."""
    return SyncConfig(tuple(source.timing for source in rig), **others)


class Run:
    """Plays a schedule into a synchroniser and notes what came out.

    Attributes:
        sets: all sets in the order in which they were given out.
        epochs: for each set, how many resets there had been.
    """

    def __init__(self, config, arrivals):
        self.sync = Synchronizer(config)
        self.arrivals = arrivals
        self.sets, self.epochs = [], []
        self._resets = 0

    def exactly(self):
        """Deadlines fall when they are due, between the arrivals."""
        for now, measurement in self.arrivals:
            self._deadlines(now)
            self._add(measurement, now)
            self._deadlines(now)
        self._deadlines(self.arrivals[-1][0] + 2 * SECOND if self.arrivals else 0)
        return self

    def _deadlines(self, until):
        last = None
        while (deadline := self.sync.next_deadline_ns()) is not None and deadline <= until:
            assert last is None or deadline > last, "advance at the deadline did nothing about it"
            self._advance(deadline)
            last = deadline

    def _add(self, measurement, now):
        self._note(lambda: self.sync.add(measurement, now))

    def _advance(self, now):
        self._note(lambda: self.sync.advance(now))

    def _note(self, call):
        waiting = self.sync.open_sets
        given = call()
        epoch = self._resets
        self._resets += len(self.sync.take_resets())
        # A reset first closes all sets that wait: they are the last of the old time.
        old = waiting if self._resets > epoch else 0
        for k, each in enumerate(given):
            self.sets.append(each)
            self.epochs.append(epoch if k < old else self._resets)


def reference_ns(given, config):
    """Corrected time of a set's reference."""
    timing = next(t for t in config.sensors if t.name == given.reference)
    return given.stamp_ns - (0 if timing.is_event else timing.offset_ns)
