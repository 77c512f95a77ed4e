# SPDX-License-Identifier: Apache-2.0
"""What a soak tells: growth of memory and handles, drift of the latency, silences, and the fate of every set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from anyseg_ros.campaign.counted import COUNTERS

MAX_GROWTH_MIB = 10.0
MAX_HANDLES = 4
GAP_PERIODS = 6.0  # of the slowest sensor: two may be at fault at once, and one of them may lead before the other
UNDER_WAY = 5  # sets that are open, wait or are worked on while the segmentor counts
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
    """A label image: its stamp, when it came, and how long it took from its measurement."""

    at_s: float
    latency_ms: float
    stamp_ns: int = 0


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


def continuity(frames: Sequence[Frame], leaps: Sequence[tuple[float, float]], gap_limit_s: float) -> dict[str, Any]:
    """Stamps that go back, and the longest silence.

    Args:
        frames: label images, in order of receipt.
        leaps: spans, in seconds of the drive, in each of which the stamps of a sensor that may lead leap forward and
            back, so that one stamp may go back.
        gap_limit_s: the silence has to stay under it.
    """
    back = [late.at_s for early, late in pairwise(frames) if late.stamp_ns <= early.stamp_ns]
    followed = sum(min(1, sum(begin <= at_s < end for at_s in back)) for begin, end in leaps)
    gap_s = max((late.at_s - early.at_s for early, late in pairwise(frames)), default=float("inf"))
    broken = []
    if len(back) > followed:
        broken.append(f"{len(back) - followed} stamps went back where the stamps of no leading sensor leapt")
    if gap_s >= gap_limit_s:
        broken.append(f"a gap of {gap_s:.3f} s, expected less than {gap_limit_s:.3f} s")
    return {
        "backward_stamps": len(back),
        "backward_stamps_in_leaps": followed,
        "longest_gap_s": round(gap_s, 3),
        "limit_gap_s": gap_limit_s,
        "broken": broken,
    }


def reconciled(counts: Mapping[str, Any], received: int) -> dict[str, Any]:
    """Whether every set that was due came out or was counted.

    Args:
        counts: values of the last report of the output.
        received: label images that had been received by then.
    """
    due, told = int(counts.get("sets.due", 0)), {name: int(counts.get(name, 0)) for name in COUNTERS}
    left = due - received - sum(told.values())
    broken = []
    if not due:
        broken.append("the segmentor never counted the sets that are due")
    elif abs(left) > UNDER_WAY:
        sentence = f"{due} sets were due, but {received} label images came and {sum(told.values())} sets were counted"
        broken.append(f"{sentence} otherwise; at most {UNDER_WAY} are under way")
    return {
        "sets_due": due,
        "sets_out": received,
        **{name.replace(".", "_"): count for name, count in told.items()},
        "sets_under_way": left,
        "broken": broken,
    }


def _spread(frames: Sequence[Frame]) -> dict[str, float]:
    values = [frame.latency_ms for frame in frames]
    return {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 95, 99)}
