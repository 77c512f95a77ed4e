# SPDX-License-Identifier: Apache-2.0
"""The sets that are due and wait for partners, in stamp order, and the floor under which nothing is due any more."""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Sequence

from anyseg_ros.sync.buffers import Fate, Item
from anyseg_ros.sync.reference import NO_FLOOR, Floor, due_stamps
from anyseg_ros.sync.sets import OpenSet, close_set, is_final, waits_until
from anyseg_ros.sync.timing import SyncConfig
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import FrameSet

KEPT_CLOSED = 4


class SetQueue:
    """Opens a set for each due stamp, lets it wait for its partners, closes it, and gives sets out in stamp order.

    Attributes:
        floor: nothing at or below it is due.
        counts: sets by fate: due, given, reset (lost to an explicit reset); and skipped, the output times of an event
            reference at which none was due, because less than half of the window had arrived or one chunk crossed
            more of them than may be open.
    """

    def __init__(self, tracks: Sequence[SensorTrack], config: SyncConfig) -> None:
        self._tracks = {track.timing.name: track for track in tracks}
        self._config = config
        self._open: list[OpenSet] = []
        self._closed: deque[tuple[int, FrameSet]] = deque(maxlen=KEPT_CLOSED)
        self._ready: list[FrameSet] = []
        self.floor = NO_FLOOR
        self.counts: Counter[str] = Counter(due=0, given=0, reset=0, skipped=0)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def reached_ns(self) -> int:
        """Corrected time of the newest set that was given out or is open."""
        return max(self.floor.corrected_ns, self._open[-1].reference_ns if self._open else self.floor.corrected_ns)

    def open_due(self, track: SensorTrack, since: Floor, now_ns: int) -> bool:
        """Open a set for each stamp of the reference that is due and above ``since``; returns whether there was one."""
        due, skipped = due_stamps(track, self.floor.raised_to(since), self._config.max_open_sets)
        self.counts["skipped"] += skipped
        self.counts["due"] += len(due)
        for each in due:
            waiting = OpenSet(each.reference_ns, each.stamp_ns, track, each.item, each.arrival_ns)
            for name, other in self._tracks.items():
                until = None if other is track else waits_until(other, each.reference_ns, now_ns, self._config)
                if until is not None:
                    waiting.pending[name] = until
            waiting.asked = set(waiting.pending)
            insort(self._open, waiting, key=lambda s: s.reference_ns)
        return bool(due)

    def arrived(self, track: SensorTrack) -> None:
        """A sensor has delivered: sets for which its partner is final wait for it no longer."""
        name = track.timing.name
        for waiting in self._open:
            if name in waiting.pending and is_final(track, waiting.reference_ns):
                del waiting.pending[name]

    def came_late(self, track: SensorTrack, item: Item) -> bool:
        """Whether a set that has closed without a measurement, or with a farther partner, would have taken it."""
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

    def drop_partner(self, name: str) -> None:
        """Wait no longer for a sensor."""
        for waiting in self._open:
            waiting.pending.pop(name, None)
            waiting.asked.discard(name)

    def expire(self, now_ns: int) -> None:
        """Wait no longer for partners whose time is up or that have fallen silent."""
        for waiting in self._open:
            late = [n for n, until in waiting.pending.items() if until <= now_ns or self._tracks[n].stale]
            for name in late:
                del waiting.pending[name]

    def deadline_ns(self) -> int | None:
        """The ``now`` at which the next set stops waiting; None where none is open."""
        return min((max(self._until(s), default=0) for s in self._open), default=None)

    def give(self, now_ns: int) -> list[FrameSet]:
        """Close what waits for nobody, and with it everything earlier; what is too much closes as well.

        Returns:
            what has been closed since the last call, in stamp order.
        """
        complete = [at + 1 for at, waiting in enumerate(self._open) if not waiting.pending]
        count = max(complete[-1] if complete else 0, len(self._open) - self._config.max_open_sets)
        if count > 0:
            self._close(count, now_ns)
            self._prune()
        given, self._ready = self._ready, []
        return given

    def raise_floor(self, reached: Floor) -> None:
        """Nothing at or below ``reached`` is due any more."""
        self.floor = self.floor.raised_to(reached)

    def raise_floor_to_open(self) -> None:
        """Nothing at or below a set that is open is due any more."""
        for waiting in self._open:
            self.raise_floor(Floor(waiting.reference_ns, waiting.stamp_ns))

    def start_clock(self, now_ns: int) -> None:
        """Let the sets that were opened before simulated time began wait from now on."""
        for waiting in self._open:
            waiting.due_ns = now_ns
            waiting.pending = dict.fromkeys(waiting.pending, now_ns + self._config.max_wait_ns)

    def flush(self, now_ns: int) -> None:
        """Close all open sets with what they have, because their time is over; forget the floor.

        Nothing is pruned: what lies below these sets may be of the time that begins.
        """
        self._close(len(self._open), now_ns)
        self.floor = NO_FLOOR
        self._closed.clear()

    def lose(self) -> None:
        """Drop all open sets, counted; forget the floor."""
        for waiting in self._open:
            self.counts["reset"] += 1
            if waiting.item is not None:
                waiting.item.held = False
                waiting.track.settle(waiting.item, Fate.RESET)
        self._open.clear()
        self.floor = NO_FLOOR
        self._closed.clear()

    def _until(self, waiting: OpenSet) -> list[int]:
        return [min(until, self._tracks[name].stale_at_ns) for name, until in waiting.pending.items()]

    def _close(self, count: int, now_ns: int) -> None:
        for waiting in self._open[:count]:
            closed = close_set(waiting, self._tracks.values(), now_ns)
            for name in waiting.asked:  # by what the set holds, which does not depend on how often anybody looked
                self._tracks[name].arrivals.waited(in_vain=name not in closed.present)
            self._ready.append(closed)
            self._closed.append((waiting.reference_ns, closed))
            self.raise_floor(Floor(waiting.reference_ns, waiting.stamp_ns))
            self.counts["given"] += 1
        del self._open[:count]

    def _prune(self) -> None:
        """Let go of what no set that is open or to come can use."""
        horizon = min([self.floor.corrected_ns, *(waiting.reference_ns for waiting in self._open[:1])])
        for track in self._tracks.values():
            track.prune(horizon)
