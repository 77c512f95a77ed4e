# SPDX-License-Identifier: Apache-2.0
"""Everything the synchroniser knows of one sensor."""

from __future__ import annotations

from collections import deque

from anyseg_ros.sync.arrivals import Arrivals
from anyseg_ros.sync.buffers import Buffer, Fate, Item
from anyseg_ros.sync.jumps import StampGuard, Verdict
from anyseg_ros.sync.timing import IN_PERIOD, READY_COUNT, SensorTiming, SyncConfig
from anyseg_ros.sync.usability import Usability
from anyseg_ros.sync.windows import Window, cut_out, look_up
from anyseg_ros.types import Absence, Measurement

KEPT_STAMPS = 64
KEPT_OUTCOMES = 16


class SensorTrack:
    """One sensor: its buffer, what was learned of it, and where it stands.

    Attributes:
        ready: good measurements since it was last silent, disabled or reset.
        streak: the last so many of them came in period; streak_ns: ``now`` when the first of those did.
        stale: silent by ``now`` for its stale time.
        newest_ns: its newest corrected stamp, for events the watermark.
        crossed_ns: events as reference: the newest multiple of the period that was looked at.
        jumped_ns: ``now`` when its stamps last jumped without the reference.
        seen_ns: ``now`` of its last good measurement.
        beat_ns: the same, for events of the last chunk that crossed a multiple of the output period (or came first):
            silence counts from it, so that a cut of a stream is noticed as soon as that of frames.
        late_in_a_row: as reference: how many of its last stamps were at or below the last output.
        skew_ns: of its last use as a partner.
        outcomes: of the last sets: whether it was missing for being late.
        verdicts: of the last measurements: whether it was rejected.
        usability: what became of its payloads.
    """

    def __init__(self, timing: SensorTiming, rank: int, config: SyncConfig) -> None:
        self.timing = timing
        self.rank = rank
        self.enabled = timing.enabled
        self.buffer = Buffer(config.max_chunks if timing.is_event else config.max_frames, config.max_bytes)
        self._jump_ns = config.jump_ns
        self.guard = StampGuard(config.jump_ns, min(config.jump_ns, timing.step_back_ns))
        self.arrivals = Arrivals(timing.period_ns)
        self.received = 0
        self.counts = dict.fromkeys(Fate, 0)
        self.outcomes: deque[bool] = deque(maxlen=KEPT_OUTCOMES)
        self.verdicts: deque[bool] = deque(maxlen=KEPT_OUTCOMES)
        self.usability = Usability()
        self.ready = self.streak = self.streak_ns = 0
        self.late_in_a_row = 0
        self.stale = False
        self.newest_ns: int | None = None
        self.crossed_ns: int | None = None
        self.jumped_ns: int | None = None
        self.seen_ns: int | None = None
        self.beat_ns: int | None = None
        self.skew_ns: int | None = None
        self._refused_ns: int | None = None
        self._stamps: dict[int, int] = {}  # the last ones, each with the ``now`` of its first arrival

    @property
    def live(self) -> bool:
        """It delivers."""
        return self.enabled and self.ready > 0

    @property
    def waited_for(self) -> bool:
        """It delivers reliably enough to wait for."""
        return self.enabled and self.ready >= READY_COUNT

    @property
    def ages(self) -> bool:
        """It has delivered, and is not stale yet."""
        return self.enabled and self.beat_ns is not None and not self.stale

    @property
    def stale_at_ns(self) -> int:
        """The ``now`` at which it is stale if nothing more comes; to be asked once something has come."""
        assert self.beat_ns is not None
        return self.beat_ns + self.timing.stale_ns

    def jumped_lately(self, now_ns: int) -> bool:
        """Whether its stamps have jumped alone, at most ``jump_ns`` ago."""
        return self.jumped_ns is not None and now_ns - self.jumped_ns <= self._jump_ns

    def is_apart(self, other: SensorTrack) -> bool:
        """Whether its stamps have jumped alone, and differ from another sensor's by more than ``jump_ns`` since."""
        if self.jumped_ns is None:
            return False
        mine, others = self.arrivals.recent_lag_ns, other.arrivals.recent_lag_ns
        return mine is not None and others is not None and abs(mine - others) > self._jump_ns

    def admit(self, measurement: Measurement, now_ns: int) -> Item | None:
        """A measurement as the buffer keeps it, or None where it is refused; the refusal is counted.

        Raises:
            ValueError: the stamp is not an integer.
        """
        stamp_ns = measurement.stamp_ns
        if not isinstance(stamp_ns, int):
            raise ValueError(f"'{measurement.sensor}': the stamp is {stamp_ns!r}, expected integer nanoseconds")
        self.received += 1
        if not self.enabled:
            self.counts[Fate.DISABLED] += 1
            return None
        offset = self.timing.offset_ns
        before_ns = self._stamps.get(stamp_ns)
        if before_ns is not None and not self.guard.goes_back(stamp_ns - offset, now_ns - before_ns):
            self.counts[Fate.DUPLICATE] += 1
            return None
        start_ns = self._start_of(measurement)
        if stamp_ns <= 0 or start_ns > stamp_ns:
            self.counts[Fate.REJECTED_STAMP] += 1
            self._note(rejected=True, now_ns=now_ns)
            return None
        self._remember(stamp_ns, now_ns)
        item = Item(measurement, stamp_ns - offset, start_ns - offset, now_ns)
        item.repeated = before_ns is not None
        return item

    def judge(self, item: Item) -> tuple[Verdict, Item | None]:
        """Whether a measurement fits the sequence of stamps; see StampGuard. An outlier that it exposes is counted."""
        verdict, before = self.guard.judge(item)
        self._note(rejected=verdict is Verdict.HELD and not item.repeated, now_ns=item.arrival_ns)
        if before is not None and verdict is not Verdict.JUMP:
            self.settle(before, Fate.DUPLICATE if before.repeated else Fate.REJECTED_OUTLIER)
        return verdict, before

    def readmit(self, item: Item) -> None:
        """Begin the new sequence of stamps with a measurement that confirmed a jump."""
        self._remember(item.measurement.stamp_ns, item.arrival_ns)
        self.guard.judge(item)

    def accept(self, item: Item) -> None:
        """Take in a good measurement."""
        before = self.newest_ns
        interval = None if before is None else item.corrected_ns - before
        if interval is None or interval > 0:
            in_period = interval is not None and interval <= IN_PERIOD * self.timing.period_ns
            self.streak = self.streak + 1 if in_period else 1
            if self.streak == 1:
                self.streak_ns = item.arrival_ns
            self.newest_ns = item.corrected_ns
        started = item.arrival_ns != 0
        lag = item.arrival_ns - item.start_ns if started else None
        self.arrivals.record(lag, item.arrival_ns, interval if interval is not None and interval > 0 else None)
        self.seen_ns = item.arrival_ns
        if self.ready == 0 or before is None or not self.timing.is_event or self._crosses_period(before):
            self.beat_ns = item.arrival_ns
        self.ready += 1
        self.stale = False
        for gone, fate in self.buffer.add(item):
            self.settle(gone, fate)

    def switch(self, enabled: bool, now_ns: int) -> None:
        """Use it from now on, or no more; what it did before counts for nothing, its silence meanwhile neither."""
        self.enabled = enabled
        self.usability = Usability()
        self.forget(now_ns, Fate.DISABLED)
        self.stale = False
        if self.beat_ns is not None:
            self.beat_ns = now_ns

    def start_clock(self, now_ns: int) -> None:
        """Simulated time begins: what was seen before is as good as seen now."""
        if self.seen_ns is not None:
            self.seen_ns = self.beat_ns = self.streak_ns = now_ns

    def settle(self, item: Item, fate: Fate) -> None:
        """Decide the fate of a measurement, unless it is decided or an open set holds it."""
        if item.fate is None and not item.held:
            item.fate = fate
            self.counts[fate] += 1

    def prune(self, horizon_ns: int) -> None:
        """Let go of what no set at or after ``horizon_ns`` can use."""
        reach = self.timing.window_ns if self.timing.is_event else self.timing.tolerance_ns
        for item in self.buffer.prune(horizon_ns - reach):
            self.settle(item, Fate.LATE if item.late else Fate.UNUSED)

    def age(self, now_ns: int) -> None:
        """Notice silence."""
        if self.ages and now_ns >= self.stale_at_ns:
            self.stale = True
            self.ready = self.streak = 0
            self.arrivals.pause()

    def forget(self, now_ns: int, fate: Fate = Fate.RESET) -> None:
        """Drop what is buffered and learned: its clock has jumped, or it has been disabled."""
        held = self.guard.held
        for item in [*self.buffer.clear(), *([held] if held else [])]:
            self.settle(item, fate)
        self.guard.forget()
        self.arrivals.forget()
        self.usability.follow_clock(now_ns)
        self._stamps.clear()
        self.ready = self.streak = 0
        self.newest_ns = self.crossed_ns = self.jumped_ns = None
        if self.seen_ns is not None and self.beat_ns is not None:
            self.seen_ns = min(self.seen_ns, now_ns)
            self.beat_ns = min(self.beat_ns, now_ns)

    def _crosses_period(self, before_ns: int) -> bool:
        """Whether the newest stamp has passed an output time since ``before_ns``."""
        assert self.newest_ns is not None
        return before_ns // self.timing.period_ns < self.newest_ns // self.timing.period_ns

    def count_all(self) -> dict[str, int]:
        """Measurements received, still buffered with an open fate, and by fate; received is the sum of the others."""
        by_fate = {fate.value: count for fate, count in self.counts.items()}
        return {"received": self.received, "buffered": self.received - sum(by_fate.values()), **by_fate}

    def window(self, reference_ns: int) -> Window:
        """Events: the state of the window that ends at ``reference_ns`` (corrected)."""
        return look_up(self.buffer, reference_ns - self.timing.window_ns, reference_ns)

    def covers(self, window: Window) -> bool:
        """Events: whether at least half of a window has arrived."""
        return 2 * window.covered_ns >= self.timing.window_ns

    def events(self, reference_ns: int, now_ns: int) -> tuple[Measurement, int] | Absence:
        """Events: the window that ends at ``reference_ns`` and its skew, or why there is none."""
        window = self.window(reference_ns)
        if not self.covers(window):
            return self.absence(now_ns)
        for item in window.chunks:
            self.settle(item, Fate.USED)
        found = cut_out(window, reference_ns - self.timing.window_ns, reference_ns, self.timing.offset_ns)
        return Absence.EMPTY if found is None else (found, window.until_ns - reference_ns)

    def absence(self, now_ns: int) -> Absence:
        """Why it has nothing for a set that closes now."""
        if not self.enabled:
            return Absence.DISABLED
        if self._refused_ns is not None and now_ns - self._refused_ns < self.timing.stale_ns:
            return Absence.REJECTED
        if self.beat_ns is None:
            return Absence.NEVER_SEEN
        if not self.stale:
            return Absence.LATE
        return Absence.LOST if now_ns - self.beat_ns >= self.timing.lost_ns else Absence.STALE

    def _note(self, rejected: bool, now_ns: int) -> None:
        self.verdicts.append(rejected)
        self._refused_ns = now_ns if rejected else None

    def _remember(self, stamp_ns: int, now_ns: int) -> None:
        self._stamps.setdefault(stamp_ns, now_ns)
        if len(self._stamps) > KEPT_STAMPS:
            del self._stamps[next(iter(self._stamps))]

    def _start_of(self, measurement: Measurement) -> int:
        """The time after which a measurement holds everything; for frames their stamp."""
        if not self.timing.is_event:
            return measurement.stamp_ns
        if measurement.start_ns is not None:
            return int(measurement.start_ns)
        times = measurement.payload.t_ns
        return min(measurement.stamp_ns, int(times[0]) - 1) if len(times) else measurement.stamp_ns
