# SPDX-License-Identifier: Apache-2.0
"""What is learned from the arrivals of one sensor: lag, period, rate."""

from __future__ import annotations

from collections import deque

KEPT_LAGS = 64
KEPT_TIMES = 32
KEPT_INTERVALS = 15
ENOUGH_INTERVALS = 5
OUTLIERS_ONE_IN = 32
VAIN_WAITS = 3
AGREEING_LAGS = 2
RECENT_LAGS = 4
PLAUSIBLE = 4


class Arrivals:
    """Sliding statistics of one sensor.

    A lag is ``now`` at arrival minus the corrected stamp. It contains the difference between the two clocks, which
    may be anything; it cancels because lags are only ever added to stamps to predict an arrival in ``now``.
    """

    def __init__(self, period_ns: int) -> None:
        self._nominal_ns = period_ns
        self._lags: deque[int] = deque(maxlen=KEPT_LAGS)
        self._times: deque[int] = deque(maxlen=KEPT_TIMES)
        self._intervals: deque[int] = deque(maxlen=KEPT_INTERVALS)
        self._cached_lags: tuple[int, int] | None = None
        self._cached_period: int | None = None
        self._vain = 0

    def record(self, lag_ns: int | None, now_ns: int, interval_ns: int | None) -> None:
        """Take one arrival in.

        Args:
            lag_ns: its lag, None while ``now`` has not started.
            now_ns: when it came.
            interval_ns: corrected stamp minus the newest one before, None for the first one or an older one.
        """
        if lag_ns is not None:
            self._lags.append(lag_ns)
            self._times.append(now_ns)
            self._cached_lags = None
        if interval_ns is not None:
            self._intervals.append(interval_ns)
            self._cached_period = None

    def forget(self) -> None:
        """Start again: after a clock jump nothing that was learned holds."""
        self._lags.clear()
        self._intervals.clear()
        self._cached_lags = self._cached_period = None
        self._vain = 0
        self.pause()

    def pause(self) -> None:
        """Start the rate again: after a silence, the time of silence is not counted in."""
        self._times.clear()

    def waited(self, in_vain: bool) -> None:
        """A set has waited for it, in vain or not."""
        self._vain = self._vain + 1 if in_vain else 0

    @property
    def least_lag_ns(self) -> int | None:
        """The lag with which the next measurement comes at best; None where nothing has been learned.

        It is the smallest that is remembered, but after a few waits in vain the largest of the last two: it may have
        become late for good, and a single quick one is an exception.
        """
        if self.lags_ns is None:
            return None
        return self.lags_ns[0] if self._vain < VAIN_WAITS else max(list(self._lags)[-AGREEING_LAGS:])

    @property
    def recent_lag_ns(self) -> int | None:
        """The smallest of the last few lags: what the clock says now, which may have been set; None without any."""
        return min(list(self._lags)[-RECENT_LAGS:], default=None)

    @property
    def lags_ns(self) -> tuple[int, int] | None:
        """Smallest and robust largest lag (one in 32 may be above it); None where nothing has been learned."""
        if not self._lags:
            return None
        if self._cached_lags is None:
            ordered = sorted(self._lags)
            self._cached_lags = (ordered[0], ordered[-1 - len(ordered) // OUTLIERS_ONE_IN])
        return self._cached_lags

    @property
    def period_ns(self) -> int:
        """Median interval of the recent stamps; the nominal period as long as that is unknown or implausible."""
        if self._cached_period is None:
            self._cached_period = self._nominal_ns
            if len(self._intervals) >= ENOUGH_INTERVALS:
                median = sorted(self._intervals)[len(self._intervals) // 2]
                if self._nominal_ns <= median * PLAUSIBLE and median <= self._nominal_ns * PLAUSIBLE:
                    self._cached_period = median
        return self._cached_period

    @property
    def rate_hz(self) -> float:
        """Arrivals per second of ``now`` over the recent ones; 0 where that cannot be said."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return 0.0
        return (len(self._times) - 1) * 1e9 / (self._times[-1] - self._times[0])
