# SPDX-License-Identifier: Apache-2.0
"""Rendering ahead in other processes: a drive's stream at the speed of all cores, bytes unchanged."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

CHUNK_NS = 200_000_000  # how much drive one task renders
THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_build: Callable[..., Any]
_arguments: tuple
_drive: Any = None


@contextmanager
def one_thread_per_process() -> Iterator[None]:
    """Start processes inside: numeric libraries read these once, at import, and would fight for the cores."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _remember(build: Callable[..., Any], arguments: tuple) -> None:
    global _build, _arguments
    _build, _arguments = build, arguments


def _work(method: str, sensor: str, times_ns: Sequence[int]) -> list[Any]:
    global _drive
    if _drive is None:
        _drive = _build(*_arguments)
    return [getattr(_drive, method)(sensor, t_ns) for t_ns in times_ns]


class Ahead:
    """A pool of processes, each with the same drive, that calls the drive's methods for many times at once.

    Args:
        build: makes the drive, with ``arguments``; both are sent to the processes.
        arguments: of ``build``.
        workers: how many processes.
    """

    def __init__(self, build: Callable[..., Any], arguments: tuple, workers: int) -> None:
        self._workers = workers
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _remember, (build, arguments))

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, method: str, sensor: str, times_ns: range) -> Iterator[Any]:
        """``drive.method(sensor, t_ns)`` for every time, in order, at most a few chunks ahead of the reader."""
        size = max(1, CHUNK_NS // times_ns.step)
        chunks = iter([times_ns[i : i + size] for i in range(0, len(times_ns), size)])
        running: deque = deque()
        while True:
            while len(running) < self._workers + 1 and (chunk := next(chunks, None)) is not None:
                with one_thread_per_process():
                    running.append(self._pool.submit(_work, method, sensor, chunk))
            if not running:
                return
            yield from running.popleft().result()
