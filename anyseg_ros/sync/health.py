# SPDX-License-Identifier: Apache-2.0
"""How each sensor and the output do, in states that a person can act on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from anyseg_ros.sync.timing import READY_COUNT, SensorTiming
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.types import FrameSet

DEGRADED_RATE = 0.7
RECOVERED_RATE = 0.85
DEGRADED_SHARE = 0.5
RECOVERED_SHARE = 0.25
ENOUGH_OUTCOMES = 8
KEPT_WAITS = 256
KEPT_OUTPUTS = 32
SILENT_PERIODS = 3


class SensorState(str, Enum):
    """Where a sensor stands."""

    OK = "ok"
    DEGRADED = "degraded"
    STALE = "stale"
    LOST = "lost"
    NEVER_SEEN = "never_seen"
    DISABLED = "disabled"


class OutputState(str, Enum):
    """Where the output stands."""

    OK = "ok"
    DEGRADED = "degraded"
    SILENT = "silent"


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
        skew_ns: corrected stamp minus that of the reference, in the last set that it was in.
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
        state, reason = self._state_of(track, silent)
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
            skew_ns=track.skew_ns,
            period_ns=track.arrivals.period_ns,
            lag_ns=None if lags is None else lags[1],
            delay_ns=None if lags is None else lags[1] - quickest_ns,
            jitter_ns=None if lags is None else lags[1] - lags[0],
            counts=track.count_all(),
        )

    def _state_of(self, track: SensorTrack, silent_ns: int | None) -> tuple[SensorState, str]:
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
        complaint = self._complaint(track)
        return (SensorState.DEGRADED, complaint) if complaint else (SensorState.OK, "")

    def _complaint(self, track: SensorTrack) -> str:
        """What is wrong with a sensor that delivers; empty where nothing is."""
        was = self._state is SensorState.DEGRADED
        rate, expected = track.arrivals.rate_hz, 1e9 / self._timing.period_ns
        if rate and rate < (RECOVERED_RATE if was else DEGRADED_RATE) * expected:
            return f"{rate:.1f} Hz, expected {expected:.1f} Hz"
        share = RECOVERED_SHARE if was else DEGRADED_SHARE
        if _share(track.verdicts) > share:
            return f"{sum(track.verdicts)} of the last {len(track.verdicts)} stamps were rejected"
        if _share(track.outcomes) > share:
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


class OutputJudge:
    """Judges the output from the sets that were given out."""

    def __init__(self) -> None:
        self._waits: deque[int] = deque(maxlen=KEPT_WAITS)
        self._times: deque[int] = deque(maxlen=KEPT_OUTPUTS)
        self._began_ns: int | None = None
        self._state: OutputState | None = None
        self._since_ns = 0

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
        missing = [track for track in tracks if track.enabled and not track.live]
        if not missing:
            return OutputState.OK, Level.OK, ""
        level = Level.ERROR if any(track.timing.required for track in missing) else Level.WARN
        return OutputState.DEGRADED, level, "without " + ", ".join(track.timing.name for track in missing)


def _share(flags: Sequence[bool]) -> float:
    """Share of the flags that are set; 0 while there are too few to say."""
    return sum(flags) / len(flags) if len(flags) >= ENOUGH_OUTCOMES else 0.0
