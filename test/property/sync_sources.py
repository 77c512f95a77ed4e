# SPDX-License-Identifier: Apache-2.0
"""Random sensors: what each measures, and what is wrong with it."""

import random
from dataclasses import dataclass, field

from anyseg_ros.modality import Modality
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming
from anyseg_ros.types import Measurement

STAMP0 = 1_700_000_000 * SECOND
RATES = (1, 2, 5, 10, 10, 20, 30, 30, 50, 100, 200)


GOOD, BAD = b"good", b"bad"
"""Payloads of frames."""


class Ticks:
    """Events as the synchroniser sees them: times, a mark of what cannot be used, and room for the rest."""

    width, height = 320, 180

    def __init__(self, t_ns: list[int], bad: int = 0) -> None:
        self.t_ns = t_ns
        self.x = self.y = [0] * len(t_ns)
        self.p = [bad] * len(t_ns)
        self.nbytes = 13 * len(t_ns)

    def between(self, after_ns: int, until_ns: int) -> "Ticks":
        kept = [k for k, t in enumerate(self.t_ns) if after_ns < t <= until_ns]
        return Ticks([self.t_ns[k] for k in kept], bad=int(any(self.p[k] for k in kept)))


def is_usable(measurement: Measurement) -> bool:
    """Whether whoever answers a set can use a payload."""
    if measurement.modality is Modality.EVENT:
        return not any(measurement.payload.p)
    return not measurement.payload.startswith(BAD)


@dataclass
class Source:
    """A sensor with what is wrong with it from the start; times in ns."""

    timing: SensorTiming
    step_ns: int
    lag_ns: int
    lag_jitter_ns: int
    stamp_jitter_ns: int
    loss: float
    repeat: float
    quiet: float
    rng: random.Random
    next_ns: int
    shift_ns: int = 0
    cut: bool = False
    bad: bool = False
    more_lag_ns: int = 0
    arrived_ns: int = 0
    not_before_ns: int = 0
    flap_ns: int = 0
    burst_until_ns: int = 0
    recent: list[Measurement] = field(default_factory=list)

    def produce(self, until_ns: int) -> list[tuple[int, Measurement]]:
        """(arrival, measurement) of what it measures up to a true time."""
        found = []
        while self.next_ns <= until_ns:
            true = self.next_ns
            self.next_ns += self.step_ns
            measurement = self._measure(true)
            off = self.cut or (self.flap_ns and true // self.flap_ns % 2)
            if off or self.rng.random() < self.loss:
                continue
            lag = self.lag_ns + self.more_lag_ns
            arrival = true + lag + (self.rng.randint(0, self.lag_jitter_ns) if self.lag_jitter_ns else 0)
            if true < self.burst_until_ns:
                arrival = max(arrival, self.burst_until_ns)
            arrival = max(arrival, self.not_before_ns)
            self.arrived_ns = max(self.arrived_ns, arrival)
            self.recent = [*self.recent[-11:], measurement]
            found.append((arrival, measurement))
            if self.repeat and self.rng.random() < self.repeat:
                found.append((arrival + self.rng.randint(0, 50 * MS), measurement))
        return found

    def _measure(self, true_ns: int) -> Measurement:
        timing = self.timing
        stamp = STAMP0 + true_ns + timing.offset_ns + self.shift_ns
        if not timing.is_event:
            if self.stamp_jitter_ns:
                stamp += self.rng.randint(-self.stamp_jitter_ns, self.stamp_jitter_ns)
            return Measurement(timing.name, timing.modality, stamp, BAD if self.bad else GOOD, timing.name)
        start = stamp - self.step_ns
        count = 0 if self.rng.random() < self.quiet else self.rng.randint(1, 3)
        times = sorted(self.rng.randint(start + 1, stamp) for _ in range(count))
        return Measurement(timing.name, Modality.EVENT, stamp, Ticks(times, int(self.bad)), timing.name, start)


def make_sources(rng: random.Random) -> list[Source]:
    """1 to 6 sensors, several of a modality, in random order of preference."""
    found = []
    troubled = rng.random() < 0.6
    for k in range(rng.randint(1, 6)):
        modality = rng.choice(list(Modality))
        rate = rng.choice(RATES)
        period = SECOND // rate
        step = period
        if modality is Modality.EVENT:
            period = max(period, 20 * MS)
            step = max(5 * MS, period // rng.choice((1, 2, 4, 10)))
        timing = SensorTiming.from_period(
            f"{modality.value}{k}",
            modality,
            period,
            offset_ns=rng.choice((0, 0, rng.randint(-40, 40) * MS)),
            tolerance_ns=round(period * rng.choice((0.3, 0.5, 1.0, 1.0))),
            window_ns=rng.choice((10, 30, 30, 100)) * MS,
        )
        found.append(_make_source(timing, step, troubled, random.Random(rng.getrandbits(64))))
    return found


def _make_source(timing: SensorTiming, step: int, troubled: bool, rng: random.Random) -> Source:
    def some(choices: tuple[float, ...]) -> float:
        return rng.choice(choices) if troubled else 0

    return Source(
        timing,
        step,
        lag_ns=round(step * rng.choice((0, 0.1, 0.6, 1.5))) + rng.randint(0, 9) * MS,
        lag_jitter_ns=round(step * some((0, 0.1, 0.5, 2.5))),
        stamp_jitter_ns=round(step * some((0, 0.1, 0.4))),
        loss=some((0, 0, 0.05, 0.3)),
        repeat=some((0, 0, 0.2, 1.0)),
        quiet=rng.choice((0, 0.5)),
        rng=rng,
        next_ns=rng.randint(0, step),
    )
