# SPDX-License-Identifier: Apache-2.0
"""Telling a clock jump from an outlier: one stamp out of sequence is held back, a second that agrees confirms it."""

from __future__ import annotations

from enum import Enum

from anyseg_ros.sync.buffers import Item


class Verdict(Enum):
    """What to do with a measurement."""

    GOOD = "good"
    HELD = "held"
    JUMP = "jump"


class StampGuard:
    """Watches the stamps of one sensor.

    A stamp leaves the sequence when it lies more than ``jump_ns`` below the newest, or when it has advanced
    by more than ``jump_ns`` over what ``now`` has: silence, a paused player and a stalled process let ``now``
    advance at least as far as the stamps, so that none of them looks like a jump.
    """

    def __init__(self, jump_ns: int) -> None:
        self._jump_ns = jump_ns
        self._newest: tuple[int, int] | None = None
        self.held: Item | None = None

    def judge(self, item: Item) -> tuple[Verdict, Item | None]:
        """Judge the next measurement.

        Returns:
            the verdict, and the measurement held back before: with JUMP the first of the two that agree (in order
            of arrival), otherwise one that is now known to be an outlier, or None.
        """
        at = (item.corrected_ns, item.arrival_ns)
        before, self.held = self.held, None
        if before is not None and self._confirms(before, at):
            self.forget()
            return Verdict.JUMP, before
        if self._newest is None or not self._leaves(self._newest, at):
            if self._newest is None or at[0] > self._newest[0]:
                self._newest = at
            return Verdict.GOOD, before
        self.held = item
        return Verdict.HELD, before

    def forget(self) -> None:
        """Start a new sequence with whatever comes next."""
        self._newest = None
        self.held = None

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
