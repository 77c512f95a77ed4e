# SPDX-License-Identifier: Apache-2.0
"""One thread that answers frame sets in order, and lets go of old ones when it cannot keep up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """What one source, such as a rig, has given the worker; one lane never makes another lose anything.

    Made by ``Worker.add_lane``. When its oldest item has waited longer than ``patience_ns``, all but its newest are
    dropped and counted: an answer about an old street is worth less than a fresh one. A patience above 0 lets through
    bursts, such as the sets that close together when a sensor is lost.

    Attributes:
        done: items that the work finished.
        failed: items on which the work failed.
        dropped: items that were never worked on.
    """

    def __init__(self, condition: threading.Condition, on_error: Callable[[Exception], None], patience_ns: int) -> None:
        self._condition = condition
        self._on_error = on_error
        self._patience_ns = patience_ns
        self._waiting: deque[tuple[int, T]] = deque()
        self.served = 0  # the last round in which an item was taken
        self.done = 0
        self.failed = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, item: T) -> None:
        """Hands over an item; does not wait."""
        with self._condition:
            self._waiting.append((time.monotonic_ns(), item))
            self._drop_old()
            self._condition.notify()

    def take(self, turn: int) -> T:
        """The item that is next; the worker calls it, with the condition held and something waiting."""
        self._drop_old()
        self.served = turn
        return self._waiting.popleft()[1]

    def drop_all(self) -> None:
        """Drops what waits; the worker calls it, with the condition held."""
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def finish(self, error: Exception | None) -> None:
        """Counts an item that was worked on, and tells of what went wrong."""
        if error is None:
            self.done += 1
            return
        self.failed += 1
        self._on_error(error)

    def _drop_old(self) -> None:
        if time.monotonic_ns() - self._waiting[0][0] <= self._patience_ns:
            return
        while len(self._waiting) > 1:
            self._waiting.popleft()
            self.dropped += 1


class Worker(Generic[T]):
    """Works in rounds in a thread of its own: on the next item of each lane, and never waits for a lane to have one.

    Items of a lane are worked on in order. Where more lanes have something than a round may hold, those whose turn was
    longest ago come first. An exception reaches the lane's ``on_error`` and the thread lives on.

    Args:
        work: takes the items of one round and returns for each the exception on which it failed, or None; what it
            raises itself counts for all of them.
        at_once: most items of a round.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Exception | None]], at_once: int = 1) -> None:
        self._work = work
        self._at_once = at_once
        self._condition = threading.Condition()
        self._lanes: list[Lane[T]] = []
        self._running = False
        self._round = 0
        self._thread: threading.Thread | None = None

    def add_lane(self, on_error: Callable[[Exception], None], patience_ns: int = 0) -> Lane[T]:
        """A lane for another source; to be called before the start.

        Args:
            on_error: takes that on which an item failed.
            patience_ns: longest wait of an item; 0 works on the newest only.
        """
        self._lanes.append(Lane(self._condition, on_error, patience_ns))
        return self._lanes[-1]

    def start(self) -> None:
        """Starts the thread."""
        self._running = True
        self._thread = threading.Thread(target=self._loop, name="segmentation", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Lets the current items finish, drops the waiting ones, ends the thread.

        Returns:
            False when the thread was still busy after the timeout.
        """
        with self._condition:
            self._running = False
            for lane in self._lanes:
                lane.drop_all()
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self) -> list[tuple[Lane[T], T]]:
        """The items of the next round; none when the thread is to end."""
        with self._condition:
            self._condition.wait_for(lambda: any(self._lanes) or not self._running)
            self._round += 1
            due = sorted((lane for lane in self._lanes if lane), key=lambda lane: lane.served)
            return [(lane, lane.take(self._round)) for lane in due[: self._at_once]]

    def _loop(self) -> None:
        while taken := self._take():
            try:
                errors = self._work([item for _, item in taken])
            except Exception as error:  # the node outlives any frame
                errors = [error] * len(taken)
            for (lane, _), failure in zip(taken, errors, strict=True):
                lane.finish(failure)
