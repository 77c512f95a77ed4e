# SPDX-License-Identifier: Apache-2.0
"""How many threads the network takes on a processor that it shares with the rest of a vehicle."""

from __future__ import annotations

import os

MOST_THREADS = 4


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_threads(cores: int | None = None) -> int:
    """Half the cores, from 1 to ``MOST_THREADS``.

    Torch's own choice is all cores, and then every thread that finds its core taken by a driver or the planner is one
    that the others wait for. See docs/engine.md for what was measured.

    Args:
        cores: how many there are; None asks.
    """
    return max(1, min(MOST_THREADS, (usable_cores() if cores is None else cores) // 2))
