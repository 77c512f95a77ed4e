# SPDX-License-Identifier: Apache-2.0
"""What a soak tells: growth of memory and handles, drift of the latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_GROWTH_MIB = 10.0
MAX_HANDLES = 4
WARM_UP = 0.2  # of the time: buffers fill, allocators settle, every kind of fault has been met


@dataclass(frozen=True)
class Sample:
    """The segmentor's process at a time of the drive: resident memory, open handles, threads."""

    at_s: float
    rss_mib: float
    handles: int
    threads: int


@dataclass(frozen=True)
class Frame:
    """A label image: when it came, and how long it took from its measurement."""

    at_s: float
    latency_ms: float


def figures(samples: Sequence[Sample], frames: Sequence[Frame]) -> dict[str, Any]:
    """Growth and drift after the warm-up.

    Memory grows by the slope of a straight line (least squares) times the time: a peak at the end is no leak.

    Args:
        samples: of the process, in order.
        frames: label images, in order.
    """
    settled = list(samples[round(WARM_UP * len(samples)) :])
    if len(settled) < 2 or not frames:
        return {"frames_out": len(frames), "growth_mib": 0.0, "handles_grown": 0, "broken": ["nothing was measured"]}
    times = np.array([s.at_s for s in settled])
    rss = np.array([s.rss_mib for s in settled])
    slope = float(np.polyfit(times - times[0], rss, 1)[0])
    growth = slope * float(times[-1] - times[0])
    handles = settled[-1].handles - settled[0].handles
    broken = []
    if growth >= MAX_GROWTH_MIB:
        broken.append(f"memory grew by {growth:.1f} MiB after the warm-up, expected less than {MAX_GROWTH_MIB:g} MiB")
    if handles > MAX_HANDLES:
        broken.append(f"{handles} handles more at the end than after the warm-up, expected at most {MAX_HANDLES}")
    quarter = max(1, len(frames) // 4)
    return {
        "frames_out": len(frames),
        "growth_mib": round(growth, 2),
        "slope_mib_per_hour": round(slope * 3600, 2),
        "rss_mib": {"first": round(rss[0], 1), "last": round(rss[-1], 1), "highest": round(rss.max(), 1)},
        "handles": {"first": settled[0].handles, "last": settled[-1].handles},
        "handles_grown": handles,
        "threads": {"first": settled[0].threads, "last": settled[-1].threads},
        "latency_ms": {"first_quarter": _spread(frames[:quarter]), "last_quarter": _spread(frames[-quarter:])},
        "broken": broken,
    }


def _spread(frames: Sequence[Frame]) -> dict[str, float]:
    values = [frame.latency_ms for frame in frames]
    return {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 95, 99)}
