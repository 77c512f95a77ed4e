# SPDX-License-Identifier: Apache-2.0
"""Work on a device that is recorded once and then repeated: CUDA graphs, and the same without any for a CPU.

A frame is some three hundred short operations; started one by one from Python they take longer to start than to run. A
CUDA graph starts all of them at once, on the memory that they had when they were recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

Work = Callable[[], None]
WARM_UPS = 3
"""Before a recording: libraries load and choose their kernels in the first runs, which cannot be recorded."""


class Recorder(Protocol):
    """Records work that reads and writes memory that stays where it is.

    Attributes:
        device: where the work runs.
        pinned: whether memory of the host should be pinned.
    """

    device: torch.device
    pinned: bool

    def turn(self) -> AbstractContextManager:
        """In this context work and copies are queued in order."""

    def record(self, work: Work) -> Work:
        """Runs the work until it is warm and returns what repeats it."""

    def wait(self) -> None:
        """Returns when all that was queued is done."""


class DirectRecorder:
    """No recording: the work itself is called again. For a CPU, where nothing is queued either."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pinned = False

    def turn(self) -> AbstractContextManager:
        """Nothing to prepare."""
        return nullcontext()

    def record(self, work: Work) -> Work:
        """Runs the work once, so that it fails here if it does."""
        work()
        return work

    def wait(self) -> None:
        """Everything is done when a call returns."""


class GraphRecorder:
    """CUDA graphs on a stream of their own.

    All graphs share one pool of memory, so that they take as much as the largest alone: they run one after another, and
    nothing in the pool outlives a run, since inputs and results lie outside.
    """

    def __init__(self, device: torch.device) -> None:
        """Make the stream and the pool.

        Args:
            device: of type cuda.

        Raises:
            RuntimeError: there is no such device.
        """
        self.device = device
        self.pinned = True
        self._stream = torch.cuda.Stream(device)
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    def turn(self) -> AbstractContextManager:
        """The stream, which makes its device the present one, too."""
        return torch.cuda.stream(self._stream)

    def record(self, work: Work) -> Work:
        """Warms up and records; other threads may go on using the device meanwhile."""
        with self.turn():
            for _ in range(WARM_UPS):
                work()
            self.wait()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                work()
        return graph.replay

    def wait(self) -> None:
        """The one synchronisation of a frame."""
        self._stream.synchronize()
