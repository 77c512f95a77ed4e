# SPDX-License-Identifier: Apache-2.0
"""Which measurements belong together: a deterministic state machine that one silent sensor cannot silence.

The machine has no clock and no thread. Hand it every measurement with ``add`` and let time pass with ``advance``:

    for measurement in drained:
        sets += synchronizer.add(measurement, now_ns)
    sets += synchronizer.advance(now_ns)
    sleep until synchronizer.next_deadline_ns() or the next arrival

``add`` closes sets that are complete; deadlines and silence are acted on by ``advance`` alone, so that after a stall
everything that has arrived is taken in before anything is given up.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from anyseg_ros.sync.buffers import Fate, Item
from anyseg_ros.sync.health import HealthJudge, OutputHealth, OutputJudge, SensorHealth
from anyseg_ros.sync.jumps import Verdict
from anyseg_ros.sync.reference import Floor, best_reference, due_stamps
from anyseg_ros.sync.sets import OpenSet, close_set, is_final, waits_until
from anyseg_ros.sync.timing import READY_COUNT, RETURN_STREAK, SyncConfig
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import FrameSet, Measurement

KEPT_RESETS = 64
KEPT_CLOSED = 4


@dataclass(frozen=True)
class Reset:
    """A reset: of everything, or of the one sensor that is named."""

    now_ns: int
    reason: str
    sensor: str | None = None


class Synchronizer:
    """Groups the measurements of a rig into frame sets.

    Attributes:
        config: what it was made with.
        set_counts: sets by fate: due, given, reset (lost to an explicit reset), uncovered (an output time of an
            event reference whose window had not arrived by half; no set was due).
    """

    def __init__(self, config: SyncConfig) -> None:
        self.config = config
        self.set_counts: Counter[str] = Counter(due=0, given=0, reset=0, uncovered=0)
        self._tracks = {t.name: SensorTrack(t, rank, config) for rank, t in enumerate(config.sensors)}
        self._order = tuple(self._tracks.values())
        self._reference: SensorTrack | None = None
        self._open: list[OpenSet] = []
        self._ready: list[FrameSet] = []
        self._floor: Floor | None = None
        self._closed: deque[tuple[int, FrameSet]] = deque(maxlen=KEPT_CLOSED)
        self._resets: deque[Reset] = deque(maxlen=KEPT_RESETS)
        self._now_ns = 0
        self._judges = {name: HealthJudge(track.timing) for name, track in self._tracks.items()}
        self._output_judge = OutputJudge()

    @property
    def reference(self) -> str | None:
        """Name of the sensor that is the reference; None while no sensor is alive."""
        return None if self._reference is None else self._reference.timing.name

    @property
    def open_sets(self) -> int:
        """How many due sets wait for partners."""
        return len(self._open)

    def counts(self) -> dict[str, dict[str, int]]:
        """Per sensor: received, buffered (fate still open), and the number of measurements by fate."""
        return {name: track.count_all() for name, track in self._tracks.items()}

    def take_resets(self) -> list[Reset]:
        """The resets since the last call, for the log and for whoever keeps state beside (an event decoder)."""
        taken = list(self._resets)
        self._resets.clear()
        return taken

    def add(self, measurement: Measurement, now_ns: int) -> list[FrameSet]:
        """Take in a measurement; returns the sets that are complete with it, in stamp order.

        Args:
            measurement: what arrived.
            now_ns: the clock at its arrival; 0 while simulated time has not started.

        Raises:
            ValueError: the sensor is not in the configuration, or the stamp is not an integer.
        """
        track = self._track(measurement.sensor)
        now_ns = self._move_clock(now_ns)
        track.received += 1
        item = self._admit(track, measurement, now_ns)
        if item is not None:
            verdict, before = track.guard.judge(item)
            track.verdicts.append(verdict is Verdict.HELD)
            if verdict is Verdict.JUMP:
                self._follow_jump(track, before, item, now_ns)
            else:
                if before is not None:
                    track.settle(before, Fate.REJECTED_OUTLIER)
                if verdict is Verdict.GOOD:
                    self._accept(track, item, now_ns)
        return self._give(now_ns)

    def advance(self, now_ns: int) -> list[FrameSet]:
        """Let time pass; returns the sets that are closed by it, in stamp order.

        Args:
            now_ns: the clock; 0 while simulated time has not started, which closes nothing by deadline.
        """
        now_ns = self._move_clock(now_ns)
        if now_ns != 0:
            for track in self._order:
                track.age(now_ns)
            if self._reference is not None and not self._reference.live:
                self._switch(best_reference(self._order), now_ns)
            for waiting in self._open:
                self._stop_waiting(waiting, now_ns)
        return self._give(now_ns)

    def next_deadline_ns(self) -> int | None:
        """The ``now`` at which ``advance`` next has something to do; None where only arrivals matter."""
        if self._now_ns == 0:
            return None
        times = [self._deadline(waiting) for waiting in self._open]
        if self._reference is not None and self._reference.seen_ns is not None:
            times.append(self._reference.seen_ns + self._reference.timing.stale_ns)
        return min(times, default=None)

    def reset(self, reason: str, now_ns: int) -> None:
        """Forget all measurements and everything learned, because the clock has jumped; open sets are lost and counted.

        Args:
            reason: for the log.
            now_ns: the clock after the jump.
        """
        for waiting in self._open:
            self.set_counts["reset"] += 1
            if waiting.item is not None:
                waiting.item.held = False
                waiting.track.settle(waiting.item, Fate.RESET)
        self._open.clear()
        self._now_ns = now_ns
        self._start_over(reason, now_ns, keep=())

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Use a sensor or do not. A disabled one is neither waited for nor used; open sets go on without it.

        Raises:
            ValueError: there is no such sensor.
        """
        track = self._track(name)
        if track.enabled == enabled:
            return
        track.enabled = enabled
        track.forget(self._now_ns, Fate.DISABLED)
        for waiting in self._open:
            waiting.pending.pop(name, None)

    def health(self, now_ns: int) -> dict[str, SensorHealth]:
        """How each sensor does, by name. Call it at a steady rate: its hysteresis counts calls."""
        return {n: self._judges[n].judge(t, now_ns, is_reference=t is self._reference) for n, t in self._tracks.items()}

    def output_health(self, now_ns: int) -> OutputHealth:
        """How the output does."""
        return self._output_judge.judge(self._order, self._reference, dict(self.set_counts), now_ns)

    def _track(self, name: str) -> SensorTrack:
        track = self._tracks.get(name)
        if track is None:
            raise ValueError(f"there is no sensor '{name}'; the configuration has {', '.join(self._tracks)}")
        return track

    def _admit(self, track: SensorTrack, measurement: Measurement, now_ns: int) -> Item | None:
        """The measurement as an item, or None where it is refused; the refusal is counted."""
        stamp_ns = measurement.stamp_ns
        if not isinstance(stamp_ns, int):
            raise ValueError(f"'{measurement.sensor}': the stamp is {stamp_ns!r}, expected integer nanoseconds")
        fate = None
        item = None
        if not track.enabled:
            fate = Fate.DISABLED
        elif stamp_ns <= 0:
            fate = Fate.REJECTED_STAMP
        elif track.is_duplicate(stamp_ns):
            fate = Fate.DUPLICATE
        else:
            item = track.item(measurement, stamp_ns, now_ns)
            fate = Fate.REJECTED_STAMP if item is None else None
        if fate is not None:
            track.counts[fate] += 1
            if fate is Fate.REJECTED_STAMP:
                track.verdicts.append(True)
        return item

    def _accept(self, track: SensorTrack, item: Item, now_ns: int) -> None:
        item.late = self._came_late(track, item)
        track.accept(item)
        for waiting in self._open:
            if track.timing.name in waiting.pending and is_final(track, waiting.reference_ns):
                del waiting.pending[track.timing.name]
        if self._reference is None:
            before = Floor(item.start_ns, 0) if track.timing.is_event else Floor(item.corrected_ns - 1, 0)
            self._floor = before if self._floor is None else self._floor.raised_to(before)
            self._switch(track, now_ns)
        elif track is self._reference:
            self._open_due(now_ns)
        elif track.rank < self._reference.rank and track.streak >= RETURN_STREAK:
            self._switch(track, now_ns)
        if track is self._reference and not track.timing.is_event and not item.due:
            track.settle(item, Fate.LATE)

    def _came_late(self, track: SensorTrack, item: Item) -> bool:
        """Whether a set that has closed without it, or with a farther partner, would have taken it."""
        for reference_ns, closed in self._closed:
            if track.timing.is_event:
                if item.start_ns < reference_ns and item.corrected_ns > reference_ns - track.timing.window_ns:
                    return True
                continue
            away = abs(item.corrected_ns - reference_ns)
            taken = closed.skew_ns.get(track.timing.name)
            if away <= track.timing.tolerance_ns and (taken is None or away < abs(taken)):
                return True
        return False

    def _switch(self, track: SensorTrack | None, now_ns: int) -> None:
        """Make a sensor the reference, or none. Open sets still close; nothing at or below them is due again."""
        for waiting in self._open:
            self._raise_floor(waiting.reference_ns, waiting.stamp_ns)
        self._reference = track
        if track is not None:
            track.crossed_ns = None
            self._open_due(now_ns)

    def _open_due(self, now_ns: int) -> None:
        """Open a set for each stamp of the reference that is due."""
        track = self._reference
        if track.ready >= READY_COUNT and track.newest_ns < self._floor.corrected_ns - self.config.jump_ns:
            self._flush(now_ns)
            self._start_over(f"the reference '{track.timing.name}' lives in an earlier time", now_ns, keep=(track,))
            self._reference = track
            self._floor = Floor(track.newest_ns - 1, 0)
        due, uncovered = due_stamps(track, self._floor)
        self.set_counts["uncovered"] += uncovered
        for each in due:
            self.set_counts["due"] += 1
            waiting = OpenSet(each.reference_ns, each.stamp_ns, track, each.item, each.arrival_ns)
            for other in self._order:
                until = None if other is track else waits_until(other, each.reference_ns, now_ns, self.config)
                if until is not None:
                    waiting.pending[other.timing.name] = until
            insort(self._open, waiting, key=lambda s: s.reference_ns)

    def _stop_waiting(self, waiting: OpenSet, now_ns: int) -> None:
        """Wait no longer for partners whose time is up or that have fallen silent."""
        over = [n for n, until in waiting.pending.items() if until <= now_ns or not self._tracks[n].waited_for]
        for name in over:
            del waiting.pending[name]

    def _deadline(self, waiting: OpenSet) -> int:
        times = [self._now_ns]
        for name, until in waiting.pending.items():
            track = self._tracks[name]
            times.append(min(until, track.seen_ns + track.timing.stale_ns))
        return max(times)

    def _give(self, now_ns: int) -> list[FrameSet]:
        """Close what waits for nobody, and with it everything earlier; what is too much closes as well."""
        complete = [at + 1 for at, waiting in enumerate(self._open) if not waiting.pending]
        count = max(complete[-1] if complete else 0, len(self._open) - self.config.max_open_sets)
        if count > 0:
            self._close(count, now_ns)
        given, self._ready = self._ready, []
        return given

    def _close(self, count: int, now_ns: int) -> None:
        for waiting in self._open[:count]:
            closed = close_set(waiting, self._order, now_ns)
            self._ready.append(closed)
            self._closed.append((waiting.reference_ns, closed))
            self._raise_floor(waiting.reference_ns, waiting.stamp_ns)
            self.set_counts["given"] += 1
            self._output_judge.record(closed)
        del self._open[:count]
        horizon = min([self._floor.corrected_ns, *(waiting.reference_ns for waiting in self._open[:1])])
        for track in self._order:
            track.prune(horizon)

    def _raise_floor(self, reference_ns: int, stamp_ns: int) -> None:
        reached = Floor(reference_ns, stamp_ns)
        self._floor = reached if self._floor is None else self._floor.raised_to(reached)

    def _flush(self, now_ns: int) -> None:
        """Close all open sets with what they have: their time is over."""
        if self._open:
            self._close(len(self._open), now_ns)

    def _follow_jump(self, track: SensorTrack, before: Item, item: Item, now_ns: int) -> None:
        """Two stamps of a sensor agree that its time has jumped: start over, all of it if it is the reference."""
        name = track.timing.name
        moved_s = (item.corrected_ns - (track.newest_ns or 0)) / 1e9
        reason = f"the stamps of '{name}' jumped by {moved_s:+.3f} s"
        if self._reference is None or self._reference is track:
            self._flush(now_ns)
            recent = [t for t in self._order if t.jumped_ns is not None and now_ns - t.jumped_ns <= self.config.jump_ns]
            self._start_over(reason, now_ns, keep=[t for t in recent if t is not track])
        else:
            track.forget(now_ns)
            track.jumped_ns = now_ns
            self._resets.append(Reset(now_ns, reason, name))
        for each in sorted((before, item), key=lambda i: i.corrected_ns):
            track.is_duplicate(each.measurement.stamp_ns)
            track.guard.judge(each)
            self._accept(track, each, now_ns)

    def _start_over(self, reason: str, now_ns: int, keep: Iterable[SensorTrack]) -> None:
        """Forget everything but the sensors to keep, which already live in the new time."""
        kept = set(keep)
        for track in self._order:
            if track not in kept:
                track.forget(now_ns)
        self._reference = None
        self._floor = None
        self._closed.clear()
        self._resets.append(Reset(now_ns, reason))

    def _move_clock(self, now_ns: int) -> int:
        """Follow the clock: start it, hold it over a small step back, start over after a jump back."""
        if now_ns < self._now_ns:
            if now_ns != 0 and self._now_ns - now_ns <= self.config.now_slack_ns:
                return self._now_ns
            self._flush(self._now_ns)
            self._start_over(f"the clock went back by {(self._now_ns - now_ns) / 1e9:.3f} s", now_ns, keep=())
        elif self._now_ns == 0 and now_ns > 0:
            for track in self._order:
                track.seen_ns = None if track.seen_ns is None else now_ns
            for waiting in self._open:
                waiting.due_ns = now_ns
                waiting.pending = dict.fromkeys(waiting.pending, now_ns + self.config.max_wait_ns)
        self._now_ns = now_ns
        return now_ns
