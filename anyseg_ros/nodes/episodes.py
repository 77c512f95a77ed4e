# SPDX-License-Identifier: Apache-2.0
"""One log line per trouble, not one per message; and the spread of latencies over the last frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np


class Episodes:
    """Says a sentence when a trouble begins and one when it is over; in between it only counts.

    Args:
        warn: takes the sentence of a beginning.
        info: takes the sentence of an end.

    Safe to use from two threads.
    """

    def __init__(self, warn: Callable[[str], object], info: Callable[[str], object]) -> None:
        self._warn = warn
        self._info = info
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def report(self, key: str, sentence: str) -> None:
        """Counts a trouble, and says the sentence if it was not there before."""
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            new = key not in self._open
            self._open[key] = self._open.get(key, 0) + 1
        if new:
            self._warn(sentence)

    @property
    def counts(self) -> dict[str, int]:
        """How often each trouble was reported, by key; a copy, for the worker reports while others read."""
        with self._lock:
            return dict(self._counts)

    def clear(self, key: str) -> None:
        """Ends a trouble if there is one."""
        with self._lock:
            times = self._open.pop(key, 0)
        if times:
            self._info(f"{key}: well again after {times} occurrence(s)")


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
        """``<stage>_p50_ms`` and ``<stage>_p99_ms`` for every stage seen so far."""
        with self._lock:
            stages = {stage: np.asarray(values) for stage, values in self._stages.items()}
        return {
            f"{stage}_p{share}_ms": float(np.percentile(values, share)) / 1e6
            for stage, values in stages.items()
            for share in (50, 99)
        }
