# SPDX-License-Identifier: Apache-2.0
"""When the messages of one route go on: lost, late, shuffled or doubled."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from random import Random

from anyseg_ros.faults.schedule import Fault

REORDER_LIMIT_NS = 1_000_000_000  # a message that waits to be overtaken goes on after this, overtaken or not


class Delivery:
    """Takes messages in and gives them out again; times are in nanoseconds from the start.

    Args:
        faults: of this route; those of other kinds are passed over.
        seed: for jitter.
    """

    def __init__(self, faults: Sequence[Fault], seed: int | str = 0) -> None:
        self._faults = tuple(faults)
        self._random = Random(seed)
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, bytes]] = []
        self._overtaken: tuple[int, bytes] | None = None

    def take(self, message: bytes, now_ns: int) -> None:
        """Take in a message that arrived at ``now_ns``."""
        due_ns, copies = now_ns, 1
        held = False
        for fault in self._faults:
            if not fault.covers(now_ns):
                continue
            if fault.kind == "cut" or (fault.kind == "flap" and self._is_down(fault, now_ns)):
                return
            if fault.kind == "delay":
                due_ns += round(fault.arguments["by_ms"] * 1e6)
            elif fault.kind == "jitter":
                due_ns += round(self._random.uniform(0.0, fault.arguments["by_ms"]) * 1e6)
            elif fault.kind == "duplicate":
                copies += 1
            elif fault.kind == "reorder":
                held = True
        if held and self._overtaken is None:
            self._overtaken = (now_ns, message)
            return
        for _ in range(copies):
            self._push(due_ns, message)
        self._release(due_ns)

    def ready(self, now_ns: int) -> list[bytes]:
        """The messages that are due, in the order in which they go on."""
        if self._overtaken is not None and now_ns - self._overtaken[0] > REORDER_LIMIT_NS:
            self._release(now_ns)
        given = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            given.append(heapq.heappop(self._waiting)[2])
        return given

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._waiting) + (self._overtaken is not None)

    def _release(self, due_ns: int) -> None:
        """Let the message that was to be overtaken follow."""
        if self._overtaken is not None:
            self._push(due_ns, self._overtaken[1])
            self._overtaken = None

    def _push(self, due_ns: int, message: bytes) -> None:
        heapq.heappush(self._waiting, (due_ns, next(self._order), message))

    @staticmethod
    def _is_down(fault: Fault, now_ns: int) -> bool:
        """A flapping line is down in the first half of every cycle."""
        cycle_ns = 1e9 / fault.arguments["hz"]
        return (now_ns - fault.from_ns) % cycle_ns < cycle_ns / 2
