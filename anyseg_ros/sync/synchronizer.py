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

from collections.abc import Collection, Sequence

from anyseg_ros.sync.buffers import Fate, Item
from anyseg_ros.sync.health import HealthJudge, SensorHealth
from anyseg_ros.sync.jumps import Verdict
from anyseg_ros.sync.output_health import OutputHealth, OutputJudge
from anyseg_ros.sync.reference import NO_FLOOR, Floor, best_reference, stands_before, takes_over
from anyseg_ros.sync.resets import Reset, ResetLog
from anyseg_ros.sync.set_queue import SetQueue
from anyseg_ros.sync.timing import READY_COUNT, SyncConfig
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import FrameSet, Measurement

__all__ = ["Reset", "Synchronizer"]


class Synchronizer:
    """Groups the measurements of a rig into frame sets.

    Attributes:
        config: what it was made with.
    """

    def __init__(self, config: SyncConfig) -> None:
        self.config = config
        self._tracks = {t.name: SensorTrack(t, rank, config) for rank, t in enumerate(config.sensors)}
        self._order = tuple(self._tracks.values())
        self._queue = SetQueue(self._order, config)
        self._reference: SensorTrack | None = None
        self._since = NO_FLOOR
        self._answered = False
        self._resets = ResetLog()
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
        return len(self._queue)

    def counts(self) -> dict[str, dict[str, int]]:
        """Per sensor: received, buffered (fate still open), and the number of measurements by fate."""
        return {name: track.count_all() for name, track in self._tracks.items()}

    def set_counts(self) -> dict[str, int]:
        """Sets: due, given, reset (lost to an explicit reset), skipped (output times of events without coverage)."""
        return dict(self._queue.counts)

    def take_resets(self) -> list[Reset]:
        """The resets since the last call, for the log and for whoever keeps state beside (an event decoder)."""
        return self._resets.take()

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
        item = track.admit(measurement, now_ns)
        if item is not None:
            verdict, before = track.judge(item)
            if verdict is Verdict.JUMP:
                self._follow_jump(track, [item] if before is None else [before, item], now_ns)
            elif verdict is Verdict.GOOD and item.repeated:
                track.settle(item, Fate.DUPLICATE)
            elif verdict is Verdict.GOOD:
                self._accept(track, item, now_ns)
        return self._give(now_ns)

    def advance(self, now_ns: int) -> list[FrameSet]:
        """Let time pass; returns the sets that are closed by it, in stamp order.

        Args:
            now_ns: the clock. Nothing is closed by deadline while it is 0, because simulated time has not started,
                nor after a small step back until it has caught up.
        """
        clock_ns, now_ns = now_ns, self._move_clock(now_ns)
        if now_ns == clock_ns != 0:
            for track in self._order:
                track.age(now_ns)
            if self._reference is not None and not self._reference.live:
                self._switch(best_reference(self._order, self._reference, now_ns), now_ns)
            self._queue.expire(now_ns)
        return self._give(now_ns)

    def answered(self, given: FrameSet, used: Collection[str], now_ns: int) -> list[FrameSet]:
        """Learn what a set has led to; returns the sets that are complete by that, in stamp order.

        A reference that leads to nothing loses its rank; see ``usability``. The next sensor takes over at once, as
        from one that is stale. To be called once for each set that was looked at, in order; not for one that was
        dropped unseen, or whose answer failed for another reason. As every other call it belongs into the thread that
        calls ``add``: a worker hands its answers over to that. Late ones, even of before a reset, do no harm.

        Args:
            given: a set that was given out.
            used: names of the sensors whose payloads were good; none where nothing came of the set.
            now_ns: the clock, as of ``add``.

        Raises:
            ValueError: a sensor is not in the configuration.
        """
        leader, held = self._track(given.reference), [self._track(name) for name in given.present]
        now_ns = self._move_clock(now_ns)
        for track in held:
            track.usability.held(track.timing.name in used)
        leader.usability.led(bool(used), now_ns)
        if leader is self._reference and leader.usability.refused(now_ns):
            best = best_reference(self._order, leader, now_ns)
            if best is not None and best is not leader:
                self._switch(best, now_ns)
        return self._give(now_ns)

    def next_deadline_ns(self) -> int | None:
        """The ``now`` at which ``advance`` next has something to do; None where only arrivals matter."""
        if self._now_ns == 0:
            return None
        closing = self._queue.deadline_ns()
        times = [] if closing is None else [closing]
        times += [track.stale_at_ns for track in self._order if track.ages]
        if self._reference is not None and not self._reference.live:
            times.append(self._now_ns)
        return max(min(times), self._now_ns) if times else None

    def reset(self, reason: str, now_ns: int) -> None:
        """Forget all measurements and all that was learned, because the clock has jumped.

        Open sets are lost, and counted.

        Args:
            reason: for the log.
            now_ns: the clock after the jump.
        """
        self._queue.lose()
        self._now_ns = now_ns
        self._start_over(reason, now_ns)

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Use a sensor or do not. A disabled one is neither waited for nor used; open sets go on without it.

        Raises:
            ValueError: there is no such sensor.
        """
        track = self._track(name)
        if track.enabled != enabled:
            track.switch(enabled, self._now_ns)
            self._queue.drop_partner(name)

    def health(self, now_ns: int) -> dict[str, SensorHealth]:
        """How each sensor does, by name. States have hysteresis from call to call; once a second is right."""
        lags = [track.arrivals.lags_ns for track in self._order]
        quickest_ns = min((lag[0] for lag in lags if lag is not None), default=0)
        return {
            name: self._judges[name].judge(track, now_ns, track is self._reference, quickest_ns)
            for name, track in self._tracks.items()
        }

    def output_health(self, now_ns: int) -> OutputHealth:
        """How the output does."""
        return self._output_judge.judge(self._order, self._reference, self.set_counts(), now_ns)

    def _track(self, name: str) -> SensorTrack:
        track = self._tracks.get(name)
        if track is None:
            raise ValueError(f"there is no sensor '{name}'; the configuration has {', '.join(self._tracks)}")
        return track

    def _give(self, now_ns: int) -> list[FrameSet]:
        given = self._queue.give(now_ns)
        for each in given:
            self._output_judge.record(each)
        return given

    def _accept(self, track: SensorTrack, item: Item, now_ns: int) -> None:
        """Take in a good measurement: as partner, as reference, or as what makes its sensor the reference."""
        item.late = self._queue.came_late(track, item)
        track.accept(item)
        self._queue.arrived(track)
        reference = self._reference
        if reference is None or (not self._answered and stands_before(track, reference, now_ns)):
            self._switch(
                track, now_ns, since=Floor(item.start_ns if track.timing.is_event else item.corrected_ns - 1, 0)
            )
        elif track is reference:
            self._open_due(track, now_ns)
        elif takes_over(track, reference, self._queue.reached_ns, now_ns):
            self._switch(track, now_ns, returns=not reference.usability.refused(now_ns))
        if track is self._reference and not track.timing.is_event:
            track.late_in_a_row = 0 if item.due else track.late_in_a_row + 1
            if not item.due:
                track.settle(item, Fate.LATE)

    def _switch(self, track: SensorTrack | None, now_ns: int, since: Floor = NO_FLOOR, returns: bool = False) -> None:
        """Make a sensor the reference, or none. Open sets still close; nothing at or below them is due again.

        Args:
            track: the new reference.
            now_ns: the clock.
            since: the first of all is answered from its present measurement on; what was waiting there while no
                sensor was alive is not.
            returns: it takes the place of a sensor that is alive.
        """
        self._queue.raise_floor_to_open()
        self._since = since
        self._reference = track
        self._answered = self._answered and track is not None
        if track is not None:
            track.crossed_ns = None
            self._open_due(track, now_ns, returns)

    def _open_due(self, track: SensorTrack, now_ns: int, returns: bool = False) -> None:
        """Open a set for each stamp of the reference ``track`` that is due.

        A reference whose steady stamps lie far below the last output lives in an earlier time than the sensor before
        it did. It would be silent until it had caught up, so that its time is taken for the time from now on. Less is
        enough where its own stamps have just jumped, and where it took the lead from a sensor that is alive.
        """
        assert track.newest_ns is not None  # a live sensor has delivered
        behind_ns = self._queue.floor.corrected_ns - track.newest_ns
        least_ns = 0 if returns or track.jumped_lately(now_ns) else self.config.jump_ns
        if track.ready >= READY_COUNT and behind_ns > max(least_ns, track.timing.step_back_ns):
            self._queue.flush(now_ns)
            reason = f"'{track.timing.name}' is now the reference, {behind_ns / 1e9:.3f} s behind the last output"
            self._start_over(reason, now_ns, [track])
            self._reference = track
            self._since = Floor(track.newest_ns - 1, 0)
        if self._queue.open_due(track, self._since, now_ns):
            self._answered = True

    def _follow_jump(self, track: SensorTrack, agreed: Sequence[Item], now_ns: int) -> None:
        """Stamps of a sensor agree that its time has jumped: start over, all of it if it is the reference."""
        moved_ns = agreed[-1].corrected_ns - (track.newest_ns if track.newest_ns is not None else 0)
        reason = f"the stamps of '{track.timing.name}' jumped by {moved_ns / 1e9:+.3f} s"
        if self._reference is None or self._reference is track:
            self._queue.flush(now_ns)
            others = [t for t in self._order if t is not track]
            self._start_over(reason, now_ns, [t for t in others if t.jumped_lately(now_ns)])
        else:
            track.forget(now_ns)
            track.jumped_ns = now_ns
            self._resets.note(now_ns, reason, track.timing.name)
        for each in sorted(agreed, key=lambda i: i.corrected_ns):
            track.readmit(each)
            self._accept(track, each, now_ns)

    def _start_over(self, reason: str, now_ns: int, keep: Sequence[SensorTrack] = ()) -> None:
        """Forget everything but the sensors to keep, which already live in the new time."""
        for track in self._order:
            if track not in keep:
                track.forget(now_ns)
        self._reference = None
        self._answered = False
        self._output_judge.start_over(now_ns)
        self._resets.note(now_ns, reason)

    def _move_clock(self, now_ns: int) -> int:
        """Follow the clock: start it, hold it over a small step back, start over after a jump back."""
        if now_ns < self._now_ns:
            back_ns = self._now_ns - now_ns
            if now_ns != 0 and back_ns <= self.config.now_slack_ns:
                return self._now_ns
            self._queue.flush(self._now_ns)
            self._start_over(f"the clock went back by {back_ns / 1e9:.3f} s", now_ns)
        elif self._now_ns == 0 and now_ns > 0:
            for track in self._order:
                track.start_clock(now_ns)
            self._queue.start_clock(now_ns)
        self._now_ns = now_ns
        return now_ns
