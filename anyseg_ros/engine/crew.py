# SPDX-License-Identifier: Apache-2.0
"""Threads that share the work on one frame by pieces of their own.

Torch's own threads share every single operation, and the fastest waits for the slowest after each. On a machine that
does other things as well some thread is always late, and small operations then take many times as long. Here a piece
of work is a band of rows through several operations, and one waits for the others only between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

T = TypeVar("T")


def _alone() -> None:
    """In a thread of the crew torch uses that thread alone."""
    torch.get_num_threads()  # the first look in a thread takes over the number last set in any; after it ours stays
    torch.set_num_threads(1)


class Crew:
    """Worker threads.

    Attributes:
        threads: how many there are: torch's number of threads.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="engine", initializer=_alone)
            started = Barrier(self.threads)  # a piece for each, or an idle thread would take two and one never start
            self.run([started.wait] * self.threads)
            # What a thread sets for itself is also what threads to come take over; the caller's number stays.
            torch.set_num_threads(self.threads)

    def run(self, pieces: Iterable[Callable[[], T]]) -> list[T]:
        """Does all pieces of work, returns when the last is done; what one raises is raised here."""
        if self._pool is None:
            return [piece() for piece in pieces]
        return [future.result() for future in [self._pool.submit(_infer, piece) for piece in pieces]]

    def bands(self, rows: int, multiple: int = 1) -> list[tuple[int, int]]:
        """Splits rows into as many bands as there are threads.

        Args:
            rows: how many.
            multiple: what the first row of each band is a multiple of.
        """
        steps = max(1, -(-rows // (self.threads * multiple))) * multiple
        return [(first, min(first + steps, rows)) for first in range(0, rows, steps)]


@torch.inference_mode()
def _infer(piece: Callable[[], T]) -> T:
    """Inference mode belongs to a thread, so that each piece enters it."""
    return piece()
