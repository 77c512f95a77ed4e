# SPDX-License-Identifier: Apache-2.0
"""How the output does, in states that a person can act on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from anyseg_ros.sync.health import DEGRADED_SHARE, RECOVERED_SHARE, Level, share
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import FrameSet

KEPT_WAITS = 256
KEPT_OUTPUTS = 32
SILENT_PERIODS = 3


class OutputState(str, Enum):
    """Where the output stands."""

    OK = "ok"
    DEGRADED = "degraded"
    SILENT = "silent"


@dataclass(frozen=True)
class OutputHealth:
    """The health of the output.

    Attributes:
        state: where it stands; reason: why, in words; since_ns: ``now`` since when; level: how bad it is.
        reference: name of the reference sensor, None while none is alive.
        rate_hz: sets per second of ``now``; age_ns: since the last set closed, or since everything started over if that
            was later; None before the first.
        wait_ns: how long the recent sets waited for partners, by percentile: p50, p95, p99.
        counts: sets by fate.
    """

    state: OutputState
    reason: str
    since_ns: int
    level: Level
    reference: str | None
    rate_hz: float
    age_ns: int | None
    wait_ns: dict[str, int]
    counts: dict[str, int]


class OutputJudge:
    """Judges the output from the sets that were given out."""

    def __init__(self) -> None:
        self._waits: deque[int] = deque(maxlen=KEPT_WAITS)
        self._times: deque[int] = deque(maxlen=KEPT_OUTPUTS)
        self._began_ns: int | None = None
        self._state: OutputState | None = None
        self._since_ns = 0
        self._unused: list[str] = []

    def record(self, given: FrameSet) -> None:
        """Take a set into account that has been given out."""
        self._waits.append(given.closed_ns - given.due_ns)
        if self._times and given.closed_ns < self._times[-1]:
            self._times.clear()
        self._times.append(given.closed_ns)

    def start_over(self, now_ns: int) -> None:
        """Begin anew after a jump: times from before it say nothing about now.

        Args:
            now_ns: from here silence counts, unless there has been no set at all.
        """
        self._began_ns = now_ns if self._times or self._began_ns is not None else None
        self._times.clear()

    def judge(
        self, tracks: Sequence[SensorTrack], reference: SensorTrack | None, counts: dict[str, int], now_ns: int
    ) -> OutputHealth:
        """The health of the output at ``now``."""
        last_ns = self._times[-1] if self._times else self._began_ns
        age = None if last_ns is None else max(0, now_ns - last_ns)
        state, level, reason = self._state_of(tracks, reference, age)
        if state is not self._state:
            self._state, self._since_ns = state, now_ns
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0
        waits = sorted(self._waits)
        return OutputHealth(
            state=state,
            reason=reason,
            since_ns=self._since_ns,
            level=level,
            reference=None if reference is None else reference.timing.name,
            rate_hz=(len(self._times) - 1) * 1e9 / span if span else 0.0,
            age_ns=age,
            wait_ns={f"p{p}": waits[min(len(waits) - 1, len(waits) * p // 100)] for p in (50, 95, 99)} if waits else {},
            counts=counts,
        )

    def _state_of(
        self, tracks: Sequence[SensorTrack], reference: SensorTrack | None, age_ns: int | None
    ) -> tuple[OutputState, Level, str]:
        if reference is None:
            return OutputState.SILENT, Level.ERROR, "no sensor is alive"
        if age_ns is not None and age_ns > SILENT_PERIODS * reference.timing.period_ns:
            late = reference.late_in_a_row
            why = f"; the last {late} stamps of '{reference.timing.name}' are not above the last output" if late else ""
            return OutputState.SILENT, Level.ERROR, f"no set for {age_ns / 1e9:.2f} s{why}"
        # One that was switched on or forgotten a moment ago is awaited, not missing.
        missing = [track for track in tracks if track.enabled and not track.live and not track.ages]
        others = [track for track in tracks if track.live and track is not reference]
        unused = [track for track in others if share(track.outcomes) > self._limit(track)]
        self._unused = [track.timing.name for track in unused]
        if not missing and not unused:
            return OutputState.OK, Level.OK, ""
        level = Level.ERROR if any(track.timing.required for track in missing + unused) else Level.WARN
        reasons = ["without " + ", ".join(track.timing.name for track in missing)] if missing else []
        if unused:
            reasons.append(_far_apart(reference, self._unused, len(others)))
        return OutputState.DEGRADED, level, "; ".join(reasons)

    def _limit(self, track: SensorTrack) -> float:
        return RECOVERED_SHARE if track.timing.name in self._unused else DEGRADED_SHARE


def _far_apart(reference: SensorTrack, unused: Sequence[str], others: int) -> str:
    """Who delivers and is in hardly any set. If all others agree against the reference, it is the one to look at."""
    leader = reference.timing.name
    if len(unused) == others > 1:
        return f"every other sensor is too late for, or too far from, '{leader}', which leads: compare its clock"
    return f"hardly any set holds {', '.join(unused)}: too late for, or too far from, '{leader}'"
