# SPDX-License-Identifier: Apache-2.0
"""The clock of an event camera against the host's: what to add to its times, learned from when packets arrived.

A packet's header carries the host time at which its first events arrived. No event arrives before it happened, so
that every packet bounds the offset (host time minus sensor time) from above: header stamp minus time of the first
event = offset + latency, latency >= 0. The mean of these moves with the load of the machine; the lower envelope does
not. Crystals differ by some 10 ppm, so that a bound grows loose with age: one of age ``a`` only says that the offset
is at most ``bound + a * MAX_DRIFT``. The estimate is the least of these over a window.

It is never below the truth where the drift is within ``MAX_DRIFT``, and above it by no more than the latency of any
packet of the window plus twice the drift since then. What remains is the least latency, which no one-way measurement
can tell: with the drivers' defaults the time that the first chunk of events took to fill (up to 4 ms for evt3, 10 ms
for libcaer) and to travel. The rig's ``offset_ms`` takes it out, once it is calibrated.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numba import njit

JUMP_NS = 1_000_000_000
WINDOW_NS = 10_000_000_000
SPACING_NS = 10_000_000  # of the bounds that are kept: at most a thousand
MAX_DRIFT = 10_000  # one in so many: 100 ppm
SLEW = 10  # times are stretched or squeezed by at most one in so many while the offset changes
LONGEST_RAMP_NS = 5_000_000_000


class SensorClock:
    """Takes the times of one sensor to the host's clock; they never run back but for a reset.

    Attributes:
        offset_ns: host time minus sensor time as applied to the newest event, None before the first.
        lateness_ns: how much later than the earliest possible the last packet's header was.
        watermark_ns: host time up to which everything is known, None before the first.
        resets: how often a clock jumped or the sensor started over, so that the estimate began anew.
        held_back: times that ran back and were raised to the one before.
    """

    def __init__(self) -> None:
        self.resets = self.held_back = 0
        self.forget()

    def forget(self) -> None:
        """Know nothing of the past; counters stay."""
        self.offset_ns: int | None = None
        self.lateness_ns = 0
        self.watermark_ns: int | None = None
        self._until_ns = 0  # sensor time up to which offset_ns was brought
        self._last_ns: int | None = None
        # (sensor time, bound less the drift allowed since time 0); the least first, each newer one larger.
        self._bounds: deque[tuple[int, int]] = deque()
        self._estimate_ns = 0

    def reset(self) -> None:
        """Begin anew, as after a clock jump."""
        self.resets += 1
        self.forget()

    def to_host(self, t_ns: np.ndarray, now_ns: int | None, header_ns: int) -> np.ndarray:
        """The events of one packet in the host's clock.

        Args:
            t_ns: int64 [N], sensor times; small steps back are raised to the time before.
            now_ns: sensor time that the packet reaches, None where it does not say more than its events.
            header_ns: host time in the packet's header.

        Returns:
            int64 [N], non-decreasing, also against packets before. As they are while no offset is known.
        """
        if len(t_ns):
            self._take_bound(int(t_ns[0]), header_ns)
        if self.offset_ns is None:
            return t_ns
        ends = [int(t_ns.max())] if len(t_ns) else []
        ends += [] if now_ns is None else [now_ns]
        host = self._apply(t_ns, max(ends)) if ends else t_ns
        if len(t_ns):
            self.lateness_ns = header_ns - int(t_ns[0]) - self.offset_ns
        return host

    def _take_bound(self, first_ns: int, header_ns: int) -> None:
        """Learn from a packet's first event and its header; begin anew where they jump."""
        bound_ns = header_ns - first_ns
        if self.offset_ns is not None:
            jumped = abs(bound_ns - self.offset_ns) > JUMP_NS
            ran_back = self._last_ns is not None and first_ns + self.offset_ns < self._last_ns - JUMP_NS
            if jumped or ran_back:
                self.reset()
        self._add(first_ns, bound_ns)
        if self.offset_ns is None:
            self.offset_ns, self._until_ns = bound_ns, first_ns

    def _add(self, t_ns: int, bound_ns: int) -> None:
        """Keep a packet's bound, as long as none that is newer bounds better, and estimate anew."""
        bounds = self._bounds
        least = bound_ns - t_ns // MAX_DRIFT
        while bounds and bounds[-1][1] >= least:
            bounds.pop()
        if not bounds or t_ns - bounds[-1][0] >= SPACING_NS:
            bounds.append((t_ns, least))
        while bounds[0][0] < t_ns - WINDOW_NS:
            bounds.popleft()
        self._estimate_ns = bounds[0][1] + t_ns // MAX_DRIFT

    def _apply(self, t_ns: np.ndarray, end_ns: int) -> np.ndarray:
        """Times to host times in order, while the offset moves evenly towards the estimate until ``end_ns``."""
        assert self.offset_ns is not None
        start_ns = max(self._until_ns, end_ns - LONGEST_RAMP_NS)
        span = max(end_ns - start_ns, 1)
        step = min(max(self._estimate_ns - self.offset_ns, -(span // SLEW)), span // SLEW)
        least_ns = np.iinfo(np.int64).min if self._last_ns is None else self._last_ns
        host = np.empty(len(t_ns), dtype=np.int64)
        times = np.require(t_ns, np.int64, ["C", "W"])
        self.held_back += _move(times, self.offset_ns, start_ns, span, step, least_ns, host)
        self.offset_ns += step
        self._until_ns = max(self._until_ns, end_ns)
        self._last_ns = int(host[-1]) if len(host) else self._last_ns
        known = (end_ns + self.offset_ns, self._last_ns, self.watermark_ns)
        self.watermark_ns = max(n for n in known if n is not None)
        return host


@njit(cache=True, nogil=True, error_model="numpy")
def _move(t_ns, offset_ns, start_ns, span, step, least_ns, host):
    """Add the offset, which grows by ``step`` over ``span``; the number of times that ran back and were raised."""
    held_back = 0
    newest = moved = np.int64(0)
    for i in range(t_ns.shape[0]):
        if i > 0 and t_ns[i] < newest:
            held_back += 1
        elif i == 0 or t_ns[i] > newest:  # most events share their time with the one before
            newest = t_ns[i]
            moved = max(newest + offset_ns + min(max(newest - start_ns, 0), span) * step // span, least_ns)
        host[i] = moved
    return held_back
