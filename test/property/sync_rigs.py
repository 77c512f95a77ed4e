# SPDX-License-Identifier: Apache-2.0
"""Random rigs and random schedules: what happens to the sensors, and the tape of arrivals that comes of it.

A schedule is plain data: a seed for the rig and a list of steps. ``Tape`` turns steps into what reaches the
synchroniser, and knows nothing of it, so that the same tape can be played to another one, or with a sensor left out.
"""

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from anyseg_ros.modality import Modality
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming, SyncConfig
from anyseg_ros.types import Measurement

STAMP0 = 1_700_000_000 * SECOND
NOW0 = 500_000 * SECOND
RATES = (1, 2, 5, 10, 10, 20, 30, 30, 50, 100, 200)
JUMPS_MS = (-3_600_000, -50_000, -3_000, -1_200, -600, -200, -60, 60, 200, 600, 1_200, 3_000, 50_000)
ARRIVALS_PER_UNIT = 5

Step = tuple[str, int, int]
"""What happens, to which sensor (-1: all, or none), and how much."""

STEPS = {
    "run": (1, 6),
    "stall": (1, 6),
    "cut": (0, 0),
    "heal": (0, 0),
    "flap": (1, 6),
    "burst": (1, 4),
    "shift": (0, len(JUMPS_MS) - 1),
    "shift_all": (0, len(JUMPS_MS) - 1),
    "leap": (0, len(JUMPS_MS) - 1),
    "zero": (0, 0),
    "outlier": (0, len(JUMPS_MS) - 1),
    "again": (1, 12),
    "enable": (0, 1),
    "reset": (0, 0),
}
"""Kinds of steps, with the range of their amount."""


class Ticks:
    """Events as the synchroniser sees them: times, and room for the rest."""

    width, height = 320, 180

    def __init__(self, t_ns: list[int]) -> None:
        self.t_ns = t_ns
        self.x = self.y = self.p = [0] * len(t_ns)
        self.nbytes = 13 * len(t_ns)

    def between(self, after_ns: int, until_ns: int) -> "Ticks":
        return Ticks([t for t in self.t_ns if after_ns < t <= until_ns])


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
            arrival = true + self.lag_ns + (self.rng.randint(0, self.lag_jitter_ns) if self.lag_jitter_ns else 0)
            if true < self.burst_until_ns:
                arrival = max(arrival, self.burst_until_ns)
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
            return Measurement(timing.name, timing.modality, stamp, b"", timing.name)
        start = stamp - self.step_ns
        count = 0 if self.rng.random() < self.quiet else self.rng.randint(1, 3)
        times = sorted(self.rng.randint(start + 1, stamp) for _ in range(count))
        return Measurement(timing.name, Modality.EVENT, stamp, Ticks(times), timing.name, start)


@dataclass(frozen=True)
class Op:
    """One thing that reaches the synchroniser: a measurement (kind add), or a call.

    Attributes:
        kind: add, advance, enable, disable, reset.
        now_ns: the clock.
        measurement: of add.
        sensor: of enable and disable.
        drained: it waited while the process stood still, so that no deadline was served before it.
        odd: its stamp is not what the sensor's clock says.
    """

    kind: str
    now_ns: int
    measurement: Measurement | None = None
    sensor: str = ""
    drained: bool = False
    odd: bool = False


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


class Tape:
    """Turns steps into what reaches the synchroniser.

    Attributes:
        config: of the synchroniser.
        ops: everything so far.
        shifted: whether any sensor's clock was moved so far.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.sources = make_sources(rng)
        bounds: dict[str, Any] = rng.choice(({}, {}, {}, {"max_frames": 6, "max_chunks": 12, "max_open_sets": 3}))
        max_wait = rng.choice((0, 30, 150, 150, 400)) * MS
        self.config = SyncConfig(tuple(s.timing for s in self.sources), max_wait_ns=max_wait, **bounds)
        self.unit_ns = ARRIVALS_PER_UNIT * SECOND // sum(SECOND // s.step_ns for s in self.sources)
        self.ops: list[Op] = []
        self.shifted = False
        self._now0 = NOW0
        self._clock_from_ns = rng.choice((0, 0, 0, 2)) * self.unit_ns  # simulated time that begins later
        self._true_ns = 0
        self._waiting: list[tuple[int, int, Measurement]] = []
        self._seq = 0

    def step(self, kind: str, sensor: int, amount: int) -> list[Op]:
        """Let something happen; returns what reaches the synchroniser by it."""
        before = len(self.ops)
        source = self.sources[sensor % len(self.sources)]
        getattr(self, f"_{kind}")(source, amount)
        return self.ops[before:]

    def finish(self) -> list[Op]:
        """Everything that is on its way arrives, and time goes on until nobody waits."""
        before = len(self.ops)
        for source in self.sources:
            source.cut = True
        self._pass(5 * self.unit_ns + 2 * SECOND)
        return self.ops[before:]

    def now_ns(self, true_ns: int | None = None) -> int:
        """The clock, now or at a true time."""
        true_ns = self._true_ns if true_ns is None else true_ns
        return 0 if true_ns < self._clock_from_ns else self._now0 + true_ns

    def _pass(self, length_ns: int, stalled: bool = False) -> None:
        until = self._true_ns + length_ns
        for source in self.sources:
            for arrival, measurement in source.produce(until):
                self._seq += 1
                heapq.heappush(self._waiting, (max(arrival, self._true_ns), self._seq, measurement))
        while self._waiting and self._waiting[0][0] <= until:
            arrival, _, measurement = heapq.heappop(self._waiting)
            now = self.now_ns(until if stalled else arrival)
            self.ops.append(Op("add", now, measurement, drained=stalled))
        self._true_ns = until
        self.ops.append(Op("advance", self.now_ns(), drained=stalled))

    def _add_odd(self, source: Source, stamp_ns: int) -> None:
        timing = source.timing
        start = stamp_ns - source.step_ns if timing.is_event else None
        payload = Ticks([]) if timing.is_event else b""
        odd = Measurement(timing.name, timing.modality, stamp_ns, payload, timing.name, start)
        self.ops.append(Op("add", self.now_ns(), odd, odd=True))

    def _run(self, _: Source, amount: int) -> None:
        self._pass(amount * self.unit_ns)

    def _stall(self, _: Source, amount: int) -> None:
        self._pass(amount * self.unit_ns // 2, stalled=True)

    def _cut(self, source: Source, _: int) -> None:
        source.cut = True

    def _heal(self, source: Source, _: int) -> None:
        source.cut, source.flap_ns = False, 0

    def _flap(self, source: Source, amount: int) -> None:
        source.flap_ns = amount * source.timing.period_ns

    def _burst(self, source: Source, amount: int) -> None:
        source.burst_until_ns = self._true_ns + amount * self.unit_ns

    def _shift(self, source: Source, amount: int) -> None:
        source.shift_ns += JUMPS_MS[amount] * MS
        self.shifted = True

    def _shift_all(self, _: Source, amount: int) -> None:
        for source in self.sources:
            source.shift_ns += JUMPS_MS[amount] * MS
        self.shifted = True

    def _leap(self, _: Source, amount: int) -> None:
        self._now0 += JUMPS_MS[amount] * MS
        self.ops.append(Op("advance", self.now_ns(), drained=True))

    def _zero(self, source: Source, _: int) -> None:
        self._add_odd(source, 0)

    def _outlier(self, source: Source, amount: int) -> None:
        shift = source.shift_ns + JUMPS_MS[amount] * MS
        self._add_odd(source, STAMP0 + self._true_ns + source.timing.offset_ns + shift)

    def _again(self, source: Source, amount: int) -> None:
        for measurement in source.recent[-amount:]:
            self.ops.append(Op("add", self.now_ns(), measurement, odd=True))

    def _enable(self, source: Source, amount: int) -> None:
        self.ops.append(Op("enable" if amount else "disable", self.now_ns(), sensor=source.timing.name))

    def _reset(self, _: Source, __: int) -> None:
        self.ops.append(Op("reset", self.now_ns()))


WEIGHTS = {"run": 14, "stall": 2, "cut": 3, "heal": 3, "enable": 2}


def random_steps(seed: int) -> list[Step]:
    """A schedule: mostly time that passes, with things that happen in between."""
    rng = random.Random(~seed)
    kinds = list(STEPS)
    weights = [WEIGHTS.get(kind, 1) for kind in kinds]
    steps: list[Step] = [("run", 0, 3)]
    for kind in rng.choices(kinds, weights, k=rng.randint(3, 12)):
        low, high = STEPS[kind]
        steps.append((kind, rng.randint(0, 5), rng.randint(low, high)))
    return [*steps, ("run", 0, 2)]
