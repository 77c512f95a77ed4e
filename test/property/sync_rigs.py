# SPDX-License-Identifier: Apache-2.0
"""Random rigs and random schedules: what happens to the sensors, and the tape of arrivals that comes of it.

A schedule is plain data: a seed for the rig and a list of steps. ``Tape`` turns steps into what reaches the
synchroniser, and knows nothing of it, so that the same tape can be played to another one, or with a sensor left out.
"""

import heapq
import random
from dataclasses import dataclass
from typing import Any

from sync_sources import GOOD, STAMP0, Source, Ticks, make_sources

from anyseg_ros.sync.timing import MS, SECOND, SyncConfig
from anyseg_ros.types import FrameSet, Measurement

NOW0 = 500_000 * SECOND
JUMPS_MS = (-3_600_000, -50_000, -3_000, -1_200, -600, -200, -60, 60, 200, 600, 1_200, 3_000, 50_000)
LAGS_MS = (0, 60, 200, 340, 700)
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

MORE_STEPS = {
    "spoil": (0, 3),
    "lag": (0, len(LAGS_MS) - 1),
    "lag_others": (0, len(LAGS_MS) - 1),
}
"""Kinds that ``random_steps`` strews in between, so that those above do not change."""


@dataclass(frozen=True)
class Op:
    """One thing that reaches the synchroniser: a measurement (kind add), or a call.

    Attributes:
        kind: add, advance, enable, disable, reset; answer, of a set that was given out.
        now_ns: the clock.
        measurement: of add.
        sensor: of enable and disable.
        drained: it waited while the process stood still, so that no deadline was served before it.
        odd: its stamp is not what the sensor's clock says.
        answer: the set that is answered.
    """

    kind: str
    now_ns: int
    measurement: Measurement | None = None
    sensor: str = ""
    drained: bool = False
    odd: bool = False
    answer: FrameSet | None = None


class Tape:
    """Turns steps into what reaches the synchroniser.

    Attributes:
        config: of the synchroniser.
        ops: everything so far.
        shifted: whether any sensor's clock was moved so far.
        lagged_ns: the most that any sensor's lag was changed by so far.
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
        self.lagged_ns = 0
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
        self._pass(5 * self.unit_ns)  # simulated time has begun by then
        self._pass(2 * SECOND)
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
        payload = Ticks([]) if timing.is_event else GOOD
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

    def _spoil(self, source: Source, amount: int) -> None:
        source.bad = amount > 0

    def _lag(self, source: Source, amount: int) -> None:
        source.more_lag_ns = LAGS_MS[amount] * MS
        source.not_before_ns = source.arrived_ns  # a connection that gets quicker keeps the order
        self.lagged_ns = max(self.lagged_ns, source.more_lag_ns)

    def _lag_others(self, source: Source, amount: int) -> None:
        for other in self.sources:
            if other is not source:
                self._lag(other, amount)

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


TALES: tuple[tuple[Step, ...], ...] = (
    # The first sensor's clock is behind, it is cut, and it comes back for long enough to lead again.
    (("shift", 0, 4), ("run", 0, 12), ("cut", 0, 0), ("run", 0, 12), ("heal", 0, 0), ("run", 0, 36)),
    # Another one's clock jumps, and the first is cut.
    (("shift", 1, 11), ("run", 0, 6), ("run", 0, 6), ("cut", 0, 0), ("run", 0, 6), ("run", 0, 6), ("heal", 0, 0)),
)
"""Things that happen one after the other, and would hardly do by chance."""

WEIGHTS = {"run": 14, "stall": 2, "cut": 3, "heal": 3, "enable": 2}


def random_steps(seed: int, more: bool = True) -> list[Step]:
    """A schedule: mostly time that passes, with things that happen in between; ``more`` of them, or not."""
    rng = random.Random(~seed)
    kinds = list(STEPS)
    weights = [WEIGHTS.get(kind, 1) for kind in kinds]
    steps: list[Step] = [("run", 0, 3)]
    for kind in rng.choices(kinds, weights, k=rng.randint(3, 12)):
        low, high = STEPS[kind]
        steps.append((kind, rng.randint(0, 5), rng.randint(low, high)))
    rng = random.Random(f"more {seed}")
    for kind in rng.choices(list(MORE_STEPS), k=rng.choice((0, 0, 2, 3)) if more else 0):
        low, high = MORE_STEPS[kind]
        at = rng.randint(1, len(steps))
        what = (kind, rng.choice((0, 0, 0, 1, 2, 3)), rng.randint(low, high))
        steps[at:at] = [what, *[("run", 0, 6)] * rng.choice((0, 2, 6))]
    if more and rng.random() < 0.2:
        steps += rng.choice(TALES)
    return [*steps, ("run", 0, 2)]
