# SPDX-License-Identifier: Apache-2.0
"""One log line per trouble, not one per message; and the spread of latencies over the last frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

HOLD_NS = 1_000_000_000  # a trouble that comes back sooner than this never went


@dataclass
class Trouble:
    """A trouble that is there, or was a moment ago.

    Attributes:
        sentence: what was said of it last. about: the sensor that it concerns, or ``output``.
        since_ns, last_ns: when it was first and last reported, by the steady clock.
        times: how often it was reported.
        over: it has not been reported since something went well.
        unused: it keeps what the sensor delivers from being used.
    """

    sentence: str
    about: str
    since_ns: int
    last_ns: int
    times: int = 1
    over: bool = False
    unused: bool = False


class Episodes:
    """Says a sentence when a trouble begins and one when it is over; in between it only counts.

    A trouble is over when it was cleared and has not come back for a while: one that comes and goes with every second
    message is one episode.

    Args:
        warn: takes the sentence of a beginning.
        info: takes the sentence of an end.
        steady_ns: the steady clock.

    Safe to use from two threads.
    """

    def __init__(
        self,
        warn: Callable[[str], object],
        info: Callable[[str], object],
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._warn = warn
        self._info = info
        self._steady_ns = steady_ns
        self._lock = threading.Lock()
        self._open: dict[str, Trouble] = {}
        self._counts: dict[str, int] = {}

    def report(self, key: str, sentence: str, about: str = "output", unused: bool = False) -> None:
        """Counts a trouble, and says the sentence if it was not there before.

        Args:
            key: names the trouble.
            sentence: what was found, and what to do.
            about: the sensor that it concerns, or ``output``; diagnostics show it there.
            unused: it keeps what the sensor delivers from being used.
        """
        now_ns = self._steady_ns()
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            trouble = self._open.get(key)
            if trouble is None:
                self._open[key] = Trouble(sentence, about, now_ns, now_ns, unused=unused)
            else:
                trouble.sentence, trouble.last_ns, trouble.over = sentence, now_ns, False
                trouble.times += 1
        if trouble is None:
            self._warn(sentence)

    @property
    def counts(self) -> dict[str, int]:
        """How often each trouble was reported, by key; a copy, for the worker reports while others read."""
        with self._lock:
            return dict(self._counts)

    def clear(self, key: str) -> None:
        """Ends a trouble if there is one, unless it comes back soon."""
        with self._lock:
            trouble = self._open.get(key)
            if trouble is not None:
                trouble.over = True

    def about(self, what: str) -> list[Trouble]:
        """The troubles of a sensor, or of the ``output``, the oldest first; copies."""
        with self._lock:
            return [replace(trouble) for trouble in self._open.values() if trouble.about == what]

    def settle(self) -> None:
        """Says of the troubles that were cleared a while ago that they are over; to be called every now and then."""
        now_ns = self._steady_ns()
        with self._lock:
            past = [k for k, trouble in self._open.items() if trouble.over and now_ns - trouble.last_ns >= HOLD_NS]
            ended = [(key, self._open.pop(key)) for key in past]
        for key, trouble in ended:
            self._info(f"{key}: well again after {trouble.times} occurrence(s)")


class Latencies:
    """Percentiles of durations over the last frames, by stage. Safe to use from two threads."""

    def __init__(self, frames: int = 300) -> None:
        self._frames = frames
        self._lock = threading.Lock()
        self._stages: dict[str, deque[int]] = {}

    def add(self, stage_ns: dict[str, int]) -> None:
        """Takes in the durations of one frame in nanoseconds."""
        with self._lock:
            for stage, duration_ns in stage_ns.items():
                self._stages.setdefault(stage, deque(maxlen=self._frames)).append(duration_ns)

    def percentiles_ms(self) -> dict[str, float]:
        """``<stage>_p50_ms``, ``<stage>_p95_ms`` and ``<stage>_p99_ms`` for every stage seen so far."""
        with self._lock:
            stages = {stage: np.asarray(values) for stage, values in self._stages.items()}
        return {
            f"{stage}_p{share}_ms": float(np.percentile(values, share)) / 1e6
            for stage, values in stages.items()
            for share in (50, 95, 99)
        }
