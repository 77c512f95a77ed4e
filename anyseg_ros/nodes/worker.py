# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the newest item; older ones that still wait are dropped and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs ``work(item)`` in a thread of its own.

    A slow network must not queue up frames: an answer about an old street is worth less than a fresh one.
    An exception in ``work`` reaches ``on_error`` and the thread lives on.

    Attributes:
        done: items that ``work`` finished.
        failed: items on which ``work`` raised.
        dropped: items that a newer one replaced before ``work`` took them.
    """

    def __init__(self, work: Callable[[T], None], on_error: Callable[[Exception], None]) -> None:
        self._work = work
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting: T | None = None
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
        """Hands over an item; one that still waits is dropped."""
        with self._condition:
            if self._waiting is not None:
                self.dropped += 1
            self._waiting = item
            self._condition.notify()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Lets the current item finish, drops the waiting one, ends the thread.

        Returns:
            False when the thread was still busy after the timeout.
        """
        with self._condition:
            self._running = False
            self.dropped += self._waiting is not None
            self._waiting = None
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting is not None or not self._running)
                item, self._waiting = self._waiting, None
            if item is None:
                return
            try:
                self._work(item)
                self.done += 1
            except Exception as error:  # the node outlives any frame
                self.failed += 1
                self._on_error(error)
