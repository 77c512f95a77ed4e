# SPDX-License-Identifier: Apache-2.0
"""What a set must hold, by brute force over the log of arrivals, and which sets are due, by counting.

Nothing here looks into the synchroniser. Where a stamp is so odd that only the rules on jumps decide what it is, the
measurement is *unsure*: it may be used or not. Everything else is sure, and judged exactly.
"""

from collections import deque
from dataclasses import dataclass, field

from sync_play import demand

from anyseg_ros.types import Absence, Measurement

KEPT_STAMPS = 64


@dataclass(frozen=True)
class Late:
    """Stamps of the reference that rise below its last set: of which set, the last one, how many, how many may be."""

    of: tuple | None
    at_ns: int
    count: int
    most: int


NO_LATE = Late(None, 0, 0, 0)


@dataclass
class Arrived:
    """A measurement that has arrived: corrected stamp, start (events), whether it is sure to be kept."""

    at_ns: int
    start_ns: int
    measurement: Measurement
    sure: bool


@dataclass
class Sensor:
    """The log of one sensor since it last started over."""

    timing: object
    kept: int
    enabled: bool = True
    log: list[Arrived] = field(default_factory=list)
    stamps: deque = field(default_factory=lambda: deque(maxlen=KEPT_STAMPS))
    newest: tuple[int, int] | None = None
    held: Arrived | None = None
    steady_since_ns: int | None = None
    jumped_ns: int | None = None

    def start_over(self):
        self.log.clear()
        self.stamps.clear()
        self.newest = self.held = self.steady_since_ns = None

    def keep_nearest(self, count, stamp_ns):
        """Keep of the unsure ones those nearest to a stamp, in order of arrival."""
        near = sorted((a for a in self.log if not a.sure), key=lambda a: abs(a.measurement.stamp_ns - stamp_ns))[:count]
        self.log = [a for a in self.log if any(a is each for each in near)]

    def read(self, measurement, sure):
        """A measurement as the log keeps it."""
        at, start = measurement.stamp_ns, measurement.start_ns
        offset = self.timing.offset_ns
        return Arrived(at - offset, (at if start is None else start) - offset, measurement, sure)

    def arrive(self, measurement, now_ns, jump_ns):
        """Log a measurement; returns it where it is sure to be taken for good, else None."""
        timing, stamp = self.timing, measurement.stamp_ns
        if not self.enabled or stamp <= 0:
            return None
        repeated = stamp in self.stamps
        if not repeated:
            self.stamps.append(stamp)
        at = stamp - timing.offset_ns
        after_odd, self.held = self.held is not None, None
        newest = self.newest
        odd = newest is not None and self._leaves(newest, at, now_ns, jump_ns)
        arrived = self.read(measurement, not (odd or repeated or after_odd))
        if newest is not None and now_ns - newest[1] > 1.5 * timing.period_ns:
            self.steady_since_ns = None
        if repeated and not odd and any(a.at_ns == at and a.sure for a in self.log):
            return None
        self.log.append(arrived)
        if odd:
            self.held, self.steady_since_ns = arrived, None
        elif repeated:
            return None
        elif newest is None or at > newest[0]:
            if not arrived.sure or self.steady_since_ns is None:
                self.steady_since_ns = now_ns
            self.newest = (at, now_ns)
        return arrived if arrived.sure else None

    @staticmethod
    def _leaves(newest, at, now_ns, jump_ns):
        if at - newest[0] < -jump_ns:
            return True
        started = newest[1] != 0 and now_ns != 0
        return started and at - newest[0] - max(0, now_ns - newest[1]) > jump_ns

    def candidates(self, low_ns, high_ns):
        """What lies in a stretch of time; unsure as well is what the bound on the buffer may have driven out."""
        found = [a for a in self.log if a.at_ns >= low_ns and a.start_ns <= high_ns]
        if len(self.log) >= self.kept:
            edge = sorted(a.at_ns for a in self.log)[-self.kept]
            found = [a if a.at_ns > edge else Arrived(a.at_ns, a.start_ns, a.measurement, False) for a in found]
        return found


def check_partner(sensor, each, reference_ns):
    """The nearest within the tolerance of what had arrived; the earlier of two as near."""
    timing = sensor.timing
    reach = timing.tolerance_ns
    found = sensor.candidates(reference_ns - reach, reference_ns + reach)
    sure = [a for a in found if a.sure]
    best = min(sure, key=lambda a: (abs(a.at_ns - reference_ns), a.at_ns), default=None)
    taken = each.present.get(timing.name)
    name = "partner_is_the_nearest"
    if taken is None:
        demand(name, best is None, (timing.name, "is absent", each.absent, best))
        return
    away = taken.stamp_ns - timing.offset_ns - reference_ns
    demand(name, any(a.measurement.stamp_ns == taken.stamp_ns for a in found), (timing.name, "never arrived", taken))
    demand("skew_is_true", each.skew_ns[timing.name] == away, (timing.name, away))
    nearest = best is None or (abs(away), away) <= (abs(best.at_ns - reference_ns), best.at_ns - reference_ns)
    demand(name, nearest, (timing.name, away, best))


def covered_ns(chunks, start_ns, end_ns):
    """How much of a window lies inside chunks."""
    marks = sorted({start_ns, end_ns, *(t for a in chunks for t in (a.start_ns, a.at_ns) if start_ns < t < end_ns)})
    return sum(
        right - left
        for left, right in zip(marks, marks[1:], strict=False)
        if any(a.start_ns <= left and a.at_ns >= right for a in chunks)
    )


def check_window(sensor, each, reference_ns):
    """All events of a window that is covered by half; returns False where it cannot be judged."""
    timing, name = sensor.timing, "window_is_whole"
    start = reference_ns - timing.window_ns
    chunks = [a for a in sensor.candidates(start + 1, reference_ns - 1) if a.start_ns < reference_ns]
    ordered = sorted(chunks, key=lambda a: a.start_ns)
    overlap = any(b.start_ns < a.at_ns for a, b in zip(ordered, ordered[1:], strict=False))
    if overlap or not all(a.sure for a in chunks):
        return False  # of two that overlap, as after a small step back, one is taken
    covered = 2 * covered_ns(chunks, start, reference_ns) >= timing.window_ns
    times = sorted(
        t - timing.offset_ns
        for a in chunks
        for t in a.measurement.payload.t_ns
        if start < t - timing.offset_ns <= reference_ns
    )
    taken = each.present.get(timing.name)
    if taken is None:
        empty = each.absent[timing.name] is Absence.EMPTY
        demand(name, empty == (covered and not times), (timing.name, each.absent[timing.name], times))
        demand(name, empty or not covered, (timing.name, each.absent[timing.name], "though half was covered"))
        return True
    demand(name, covered, (timing.name, "was not covered by half"))
    demand(name, [int(t) - timing.offset_ns for t in taken.payload.t_ns] == times, (timing.name, times))
    return True
