# SPDX-License-Identifier: Apache-2.0
"""Threads that share the work on one frame by pieces of their own.

Torch's own threads share every single operation, and the fastest waits for the slowest after each. On a machine that
does other things as well some thread is always late, and small operations then take many times as long. Here a piece
of work is a band of rows through several operations, and one waits for the others only between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from math import prod
from threading import Barrier, local
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def _alone() -> None:
    """In a thread of the crew torch uses that thread alone."""
    torch.get_num_threads()  # the first look in a thread takes over the number last set in any; after it ours stays
    torch.set_num_threads(1)


class Crew:
    """A leader and its helpers.

    The leader works, too: it starts the helpers, does a piece of its own, and then those that no helper has begun. So
    a helper that is late, because its core does other things, holds nobody up, and the system has one thread to place
    for each core: two that are woken together by a third often get the core of that third, both.

    Attributes:
        threads: how many there are: torch's number of threads.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()
        self._kept = local()
        self._leader: ThreadPoolExecutor | None = None
        if self.threads > 1:
            self._leader = ThreadPoolExecutor(1, "engine", _alone)
            self._helpers = ThreadPoolExecutor(self.threads - 1, "engine", _alone)
            started = Barrier(self.threads)  # a piece for each, or an idle thread would take two and one never start
            for pool, count in ((self._leader, 1), (self._helpers, self.threads - 1)):
                futures = [pool.submit(started.wait) for _ in range(count)]
            wait(futures)
            # What a thread sets for itself is also what threads to come take over; the caller's number stays.
            torch.set_num_threads(self.threads)

    def lead(self, work: Callable[[], T]) -> T:
        """Does some work in the leader's thread, for which ``run`` is cheap there."""
        if self._leader is None or self._leads:
            return _infer(work)
        return self._leader.submit(self._as_leader, work).result()

    def run(self, pieces: Iterable[Callable[[], T]]) -> list[T]:
        """Does all pieces of work, returns when the last is done; what one raises is raised here."""
        if self._leader is None:
            return [_infer(piece) for piece in pieces]
        return self.lead(partial(self._share, list(pieces)))

    @property
    def _leads(self) -> bool:
        """Whether the calling thread is the leader."""
        return getattr(self._kept, "leads", False)

    def _as_leader(self, work: Callable[[], T]) -> T:
        self._kept.leads = True
        return _infer(work)

    def _share(self, pieces: list[Callable[[], T]]) -> list[T]:
        """The leader's part."""
        futures = [self._helpers.submit(_infer, piece) for piece in pieces[1:]]
        try:
            results = [piece() for piece in pieces[:1]]
            for piece, future in zip(pieces[1:], futures, strict=True):
                results.append(piece() if future.cancel() else future.result())
            return results
        finally:
            wait(futures)

    def memory(self, name: str, *shape: int) -> Tensor:
        """Uninitialised float32 memory of the calling thread, the same whenever it asks under the same name.

        The system clears and maps every page that it gives, which takes longer than most operations on it.
        """
        buffers = self._kept.__dict__
        size = prod(shape)
        if name not in buffers or len(buffers[name]) < size:
            with torch.inference_mode(False):  # what is made in that mode can be changed in no other
                buffers[name] = torch.empty(size)
        return buffers[name][:size].view(shape)

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
