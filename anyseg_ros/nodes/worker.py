# SPDX-License-Identifier: Apache-2.0
"""One thread that answers frame sets in order, and lets go of old ones when it cannot keep up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs ``work(item)`` in a thread of its own.

    Items are worked on in order. When the oldest one has waited longer than ``patience_ns``, the thread is
    overloaded, and all but the newest are dropped and counted: an answer about an old street is worth less than a
    fresh one. A patience above 0 lets through bursts, such as the sets that close together when a sensor is lost.
    An exception in ``work`` reaches ``on_error`` and the thread lives on.

    Args:
        work: takes an item.
        on_error: takes what ``work`` raised.
        patience_ns: longest wait of an item; 0 works on the newest only.

    Attributes:
        done: items that ``work`` finished.
        failed: items on which ``work`` raised.
        dropped: items that were never worked on.
    """

    def __init__(self, work: Callable[[T], None], on_error: Callable[[Exception], None], patience_ns: int = 0) -> None:
        self._work = work
        self._on_error = on_error
        self._patience_ns = patience_ns
        self._condition = threading.Condition()
        self._waiting: deque[tuple[int, T]] = deque()
        self._running = False
        self._thread: threading.Thread | None = None
        self.done = 0
        self.failed = 0
        self.dropped = 0

    def start(self) -> None:
        """Starts the thread."""
        self._running = True
        self._thread = threading.Thread(target=self._loop, name="segmentation", daemon=True)
        self._thread.start()

    def submit(self, item: T) -> None:
        """Hands over an item; does not wait."""
        with self._condition:
            self._waiting.append((time.monotonic_ns(), item))
            self._drop_old()
            self._condition.notify()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Lets the current item finish, drops the waiting ones, ends the thread.

        Returns:
            False when the thread was still busy after the timeout.
        """
        with self._condition:
            self._running = False
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _drop_old(self) -> None:
        if time.monotonic_ns() - self._waiting[0][0] <= self._patience_ns:
            return
        while len(self._waiting) > 1:
            self._waiting.popleft()
            self.dropped += 1

    def _take(self) -> T | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or not self._running)
            if not self._waiting:
                return None
            self._drop_old()
            return self._waiting.popleft()[1]

    def _loop(self) -> None:
        while (item := self._take()) is not None:
            try:
                self._work(item)
                self.done += 1
            except Exception as error:  # the node outlives any frame
                self.failed += 1
                self._on_error(error)
