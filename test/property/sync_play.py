# SPDX-License-Identifier: Apache-2.0
"""Plays a tape into a synchroniser and notes every call: what went in, what came out, what changed."""

from collections import deque
from dataclasses import dataclass

from sync_rigs import Op
from sync_sources import is_usable

from anyseg_ros.sync.synchronizer import Reset, Synchronizer
from anyseg_ros.sync.timing import MS
from anyseg_ros.types import FrameSet

MOST_DELAY_NS = 120 * MS
"""What an answer to a set takes at most."""


class Violation(AssertionError):
    """A named check that does not hold."""

    def __init__(self, check: str, detail: object) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check


def demand(check: str, holds: bool, detail: object = "") -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(check, detail)


@dataclass
class Call:
    """One call of the synchroniser; the first ``old`` of the sets given closed before a reset of everything."""

    op: Op
    given: list[FrameSet]
    old: int
    resets: list[Reset]
    reference_before: str | None
    reference: str | None
    open_sets: int
    lost: int


class Answers:
    """The worker that answers sets, one after the other, each after a while."""

    def __init__(self):
        self._waiting = deque()  # (when, set)
        self._last_ns = 0

    def take(self, given, now_ns):
        """Sets to answer; how long it takes depends on the set alone."""
        self._last_ns = min(self._last_ns, now_ns + MOST_DELAY_NS)
        for each in given:
            delay = each.stamp_ns // MS * 7919 * MS % MOST_DELAY_NS
            self._last_ns = max(self._last_ns, now_ns + delay)
            self._waiting.append((self._last_ns, each))

    def due_ns(self, now_ns):
        """When the next answer comes, the clock being where it is; None where nothing waits."""
        if not self._waiting:
            return None
        due = self._waiting[0][0]
        return now_ns if due - now_ns > 2 * MOST_DELAY_NS else max(due, now_ns)  # the clock went back

    def next(self):
        """The set that is answered next."""
        return self._waiting.popleft()[1]


class Player:
    """A synchroniser whose deadlines are served exactly when they are due.

    Args:
        config: of the synchroniser.
        extra: draws further calls of ``advance`` in between; none where it is None.
        answering: whether anybody answers the sets.

    Attributes:
        sets: everything given out.
    """

    def __init__(self, config, extra=None, answering=True):
        self.sync = Synchronizer(config)
        self.sets: list[FrameSet] = []
        self._extra = extra
        self._answers = Answers() if answering else None
        self._now = 0

    def play(self, ops):
        """Play a part of a tape; returns the calls."""
        calls = []
        for op in ops:
            if not op.drained:
                self._wait(op.now_ns, calls)
            calls.append(self._call(op))
            self._now = op.now_ns
        return calls

    def _wait(self, until_ns, calls):
        if self._extra is not None and 0 < self._now < until_ns:
            for _ in range(self._extra.choice((0, 0, 1, 2))):
                at = self._extra.randint(self._now, until_ns)
                self._serve(at, calls)
                calls.append(self._call(Op("advance", at)))
                self._now = at
        self._serve(until_ns, calls)

    def _serve(self, until_ns, calls):
        last = None
        while True:
            deadline, answer = self.sync.next_deadline_ns(), self._answer_ns()
            if answer is not None and answer <= min(until_ns, until_ns if deadline is None else deadline):
                calls.append(self._call(Op("answer", answer, answer=self._answers.next())))
                self._now, last = answer, None
            elif deadline is not None and deadline <= until_ns:
                demand("deadlines_move_on", last is None or deadline > last, deadline)
                calls.append(self._call(Op("advance", deadline)))
                self._now, last = max(self._now, deadline), deadline
            else:
                return

    def _answer_ns(self):
        """When the next answer comes; none does before simulated time has started."""
        return self._answers.due_ns(self._now) if self._answers is not None and self._now else None

    def _call(self, op):
        sync = self.sync
        before, waiting = sync.reference, sync.open_sets
        lost = sync.set_counts()["reset"] if op.kind == "reset" else 0
        given = []
        if op.kind == "add":
            given = sync.add(op.measurement, op.now_ns)
        elif op.kind == "advance":
            given = sync.advance(op.now_ns)
        elif op.kind == "answer":
            used = [name for name, m in op.answer.present.items() if is_usable(m)]
            given = sync.answered(op.answer, used, op.now_ns)
        elif op.kind == "reset":
            sync.reset("asked for", op.now_ns)
            lost = sync.set_counts()["reset"] - lost
        else:
            sync.set_enabled(op.sensor, op.kind == "enable")
        resets = sync.take_resets()
        # A reset of everything first closes all sets that wait: they are the last of the old time.
        jumped = any(reset.sensor is None for reset in resets)
        old = waiting if jumped and op.kind != "reset" else 0
        self.sets += given
        if self._answers is not None:
            self._answers.take(given, op.now_ns)
        return Call(op, given, old, resets, before, sync.reference, sync.open_sets, lost)
