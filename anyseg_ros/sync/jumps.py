# SPDX-License-Identifier: Apache-2.0
"""Telling a clock jump from an outlier or from messages in the wrong order."""

from __future__ import annotations

from enum import Enum

from anyseg_ros.sync.buffers import Item
from anyseg_ros.sync.timing import STEP_BACK_COUNT


class Verdict(Enum):
    """What to do with a measurement."""

    GOOD = "good"
    HELD = "held"
    JUMP = "jump"


class StampGuard:
    """Watches the stamps of one sensor.

    A stamp leaves the sequence when it lies more than ``jump_ns`` below the newest, or when it has advanced
    by more than ``jump_ns`` over what ``now`` has: silence, a paused player and a stalled process let ``now``
    advance at least as far as the stamps, so that none of them looks like a jump. One such stamp is held back, a
    second that agrees confirms a jump.

    A smaller step back, as of a clock that is corrected, cannot be told from messages in the wrong order by one
    stamp or two. It is a jump once ``STEP_BACK_COUNT`` consecutive stamps, the first of them more than
    ``step_back_ns`` below the second newest, rise from one to the next without reaching that one; until then they
    are good, and late. The second newest, because a single message that overtook others, or whose stamp was a little
    too high, makes all that follow look as if they had stepped back. The first stamp of a sequence counts as both: it
    may be the last of an earlier time, and where it is not, nothing has been learned yet that a jump could cost.

    Args:
        jump_ns: see above.
        step_back_ns: what disorder does not reach; at most ``jump_ns``.
    """

    def __init__(self, jump_ns: int, step_back_ns: int) -> None:
        self._jump_ns = jump_ns
        self._step_back_ns = step_back_ns
        self._newest: tuple[int, int] | None = None
        self._second_ns: int | None = None
        self._last_ns = 0
        self._behind = 0
        self.held: Item | None = None

    def goes_back(self, corrected_ns: int, age_ns: int) -> bool:
        """Whether a stamp that was seen before may begin a repetition of the past (a short bag in a loop).

        Args:
            corrected_ns: the stamp.
            age_ns: how long ago by ``now`` it first came. Duplicates come soon after, even where all came in a burst.
        """
        if self._second_ns is None or corrected_ns == self._last_ns or age_ns <= self._step_back_ns:
            return False
        goes_on = self._behind > 0 and corrected_ns > self._last_ns
        return goes_on or self._second_ns - corrected_ns > self._step_back_ns

    def judge(self, item: Item) -> tuple[Verdict, Item | None]:
        """Judge the next measurement.

        Returns:
            the verdict, and the measurement held back before: with JUMP the first of the two that agree (in order
            of arrival; None after a small step), otherwise one that is now known to be an outlier, or None.
        """
        at = (item.corrected_ns, item.arrival_ns)
        before, self.held = self.held, None
        follows, self._last_ns = at[0] > self._last_ns, at[0]
        if before is not None and self._confirms(before, at):
            self.forget()
            return Verdict.JUMP, before
        if self._newest is None or not self._leaves(self._newest, at):
            if self._stepped_back(at[0], follows):
                self.forget()
                return Verdict.JUMP, None
            self._remember(at)
            return Verdict.GOOD, before
        self._behind = 0
        self.held = item
        return Verdict.HELD, before

    def forget(self) -> None:
        """Start a new sequence with whatever comes next."""
        self._newest = self._second_ns = None
        self._last_ns = self._behind = 0
        self.held = None

    def _stepped_back(self, corrected_ns: int, follows: bool) -> bool:
        """Whether enough consecutive stamps have gone on behind the second newest."""
        if self._second_ns is None:
            return False
        if self._behind and follows and corrected_ns < self._second_ns:
            self._behind += 1
        else:
            self._behind = int(self._second_ns - corrected_ns > self._step_back_ns)
        return self._behind >= STEP_BACK_COUNT

    def _remember(self, at: tuple[int, int]) -> None:
        if self._newest is None or at[0] > self._newest[0]:
            self._second_ns = at[0] if self._newest is None else self._newest[0]
            self._newest = at
        elif at[0] < self._newest[0] and (self._second_ns is None or at[0] > self._second_ns):
            self._second_ns = at[0]

    def _confirms(self, before: Item, at: tuple[int, int]) -> bool:
        """Whether a measurement goes on from the one that was held back, rather than from the newest good one."""
        if self._leaves((before.corrected_ns, before.arrival_ns), at):
            return False
        assert self._newest is not None  # one is only held back against a newest good one
        if self._leaves(self._newest, at):
            return True
        went_back = before.corrected_ns < self._newest[0]
        return went_back and abs(at[0] - before.corrected_ns) < self._newest[0] - at[0]

    def _leaves(self, last: tuple[int, int], at: tuple[int, int]) -> bool:
        advanced = at[0] - last[0]
        if advanced < -self._jump_ns:
            return True
        if last[1] == 0 or at[1] == 0:
            return False
        return advanced - max(0, at[1] - last[1]) > self._jump_ns
