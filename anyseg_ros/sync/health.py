# SPDX-License-Identifier: Apache-2.0
"""How each sensor does, in states that a person can act on; the output's are in ``output_health``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from anyseg_ros.sync.timing import READY_COUNT, SensorTiming
from anyseg_ros.sync.track import SensorTrack

DEGRADED_RATE = 0.7
RECOVERED_RATE = 0.85
DEGRADED_SHARE = 0.5
RECOVERED_SHARE = 0.25
ENOUGH_OUTCOMES = 8


class SensorState(str, Enum):
    """Where a sensor stands."""

    OK = "ok"
    DEGRADED = "degraded"
    STALE = "stale"
    LOST = "lost"
    NEVER_SEEN = "never_seen"
    DISABLED = "disabled"


class Level(str, Enum):
    """How bad it is, in the words of diagnostics."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True)
class SensorHealth:
    """The health of one sensor.

    Attributes:
        state: where it stands; reason: why, in words; since_ns: ``now`` since when.
        level: ERROR for a required sensor that delivers nothing, OK for one that is disabled.
        is_reference: whether sets follow its stamps.
        rate_hz, expected_hz: measurements per second; for events, chunks against output times.
        age_ns: since its last good measurement; None before the first.
        skew_ns: corrected stamp minus that of the reference, in the last set that it was in; None where most sets go
            without it.
        period_ns: learned period.
        lag_ns: learned robust largest lag from corrected stamp to arrival. It contains the difference of the two
            clocks, which may be anything.
        delay_ns: the same beyond the smallest lag of all sensors, so that the clocks cancel: how much later than the
            quickest sensor it arrives. None, as lag_ns, where nothing has been learned.
        jitter_ns: learned robust largest minus smallest lag.
        counts: received, buffered, and measurements by fate.
    """

    state: SensorState
    reason: str
    since_ns: int
    level: Level
    is_reference: bool
    rate_hz: float
    expected_hz: float
    age_ns: int | None
    skew_ns: int | None
    period_ns: int
    lag_ns: int | None
    delay_ns: int | None
    jitter_ns: int | None
    counts: dict[str, int]


class HealthJudge:
    """Judges one sensor; a degraded one has to recover by more than what made it degraded."""

    def __init__(self, timing: SensorTiming) -> None:
        self._timing = timing
        self._state: SensorState | None = None
        self._since_ns = 0

    def judge(self, track: SensorTrack, now_ns: int, is_reference: bool, quickest_ns: int) -> SensorHealth:
        """The health of the sensor at ``now``; ``quickest_ns`` is the smallest lag of all sensors."""
        age = None if track.seen_ns is None else max(0, now_ns - track.seen_ns)
        silent = None if track.beat_ns is None else max(0, now_ns - track.beat_ns)
        state, reason = self._state_of(track, silent, now_ns)
        if state is not self._state:
            self._since_ns = self._start_of(state, track, now_ns)
            self._state = state
        lags = track.arrivals.lags_ns
        return SensorHealth(
            state=state,
            reason=reason,
            since_ns=self._since_ns,
            level=self._level(state),
            is_reference=is_reference,
            rate_hz=track.arrivals.rate_hz,
            expected_hz=1e9 / self._timing.period_ns,
            age_ns=age,
            skew_ns=None if share(track.outcomes) > DEGRADED_SHARE else track.skew_ns,
            period_ns=track.arrivals.period_ns,
            lag_ns=None if lags is None else lags[1],
            delay_ns=None if lags is None else lags[1] - quickest_ns,
            jitter_ns=None if lags is None else lags[1] - lags[0],
            counts=track.count_all(),
        )

    def _state_of(self, track: SensorTrack, silent_ns: int | None, now_ns: int) -> tuple[SensorState, str]:
        if not track.enabled:
            return SensorState.DISABLED, "disabled"
        if silent_ns is None:
            if track.received:
                return SensorState.DEGRADED, f"none of {track.received} measurements had a usable stamp"
            return SensorState.NEVER_SEEN, "nothing has arrived"
        if silent_ns >= self._timing.lost_ns:
            return SensorState.LOST, f"silent for {silent_ns / 1e9:.1f} s"
        if silent_ns >= self._timing.stale_ns:
            return SensorState.STALE, f"silent for {silent_ns / 1e9:.2f} s, expected every {self._period_s():.3f} s"
        if track.ready < READY_COUNT and self._state in (SensorState.STALE, SensorState.LOST):
            return self._state, "first measurement after silence"
        complaint = "its payloads cannot be used" if track.usability.refused(now_ns) else self._complaint(track)
        return (SensorState.DEGRADED, complaint) if complaint else (SensorState.OK, "")

    def _complaint(self, track: SensorTrack) -> str:
        """What is wrong with a sensor that delivers; empty where nothing is."""
        was = self._state is SensorState.DEGRADED
        rate, expected = track.arrivals.rate_hz, 1e9 / self._timing.period_ns
        if rate and rate < (RECOVERED_RATE if was else DEGRADED_RATE) * expected:
            return f"{rate:.1f} Hz, expected {expected:.1f} Hz"
        limit = RECOVERED_SHARE if was else DEGRADED_SHARE
        if share(track.verdicts) > limit:
            return f"{sum(track.verdicts)} of the last {len(track.verdicts)} stamps were rejected"
        if share(track.outcomes) > limit:
            return f"too late for, or too far from, {sum(track.outcomes)} of the last {len(track.outcomes)} sets"
        return ""

    def _start_of(self, state: SensorState, track: SensorTrack, now_ns: int) -> int:
        """When a state began: silence by the clock, the others when they are noticed."""
        if state is SensorState.STALE and track.stale:
            return track.stale_at_ns
        if state is SensorState.LOST and track.beat_ns is not None:
            return track.beat_ns + self._timing.lost_ns
        return now_ns

    def _level(self, state: SensorState) -> Level:
        if state in (SensorState.OK, SensorState.DISABLED):
            return Level.OK
        return Level.ERROR if self._timing.required and state is not SensorState.DEGRADED else Level.WARN

    def _period_s(self) -> float:
        return self._timing.period_ns / 1e9


def share(flags: Sequence[bool]) -> float:
    """Share of the flags that are set; 0 while there are too few to say."""
    return sum(flags) / len(flags) if len(flags) >= ENOUGH_OUTCOMES else 0.0
