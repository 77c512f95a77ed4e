# SPDX-License-Identifier: Apache-2.0
"""What a replay leaves behind: figures per subset, and the summary."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from anyseg_ros.bags.replay import Answer
from anyseg_ros.metrics import confusion, miou
from anyseg_ros.types import Segmentation

MS = 1_000_000


class Tally:
    """Counts what comes out of a replay.

    Args:
        classes: number of classes of the network.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.due = 0
        self.unscored = 0
        self.frames: Counter[str] = Counter()
        self.absences: dict[str, Counter[str]] = defaultdict(Counter)
        self.stamps_ns: list[int] = []
        self.latency_ms: list[float] = []
        self.stage_ms: dict[str, list[float]] = defaultdict(list)
        self._counts: dict[str, np.ndarray] = {}

    def add(self, answer: Answer, at_truth: Segmentation | None, truth: np.ndarray | None) -> None:
        """Takes in one answer.

        Args:
            answer: the answer.
            at_truth: its segmentation at the resolution of the truth.
            truth: uint8 [H,W] train ids, or None.
        """
        self.due += 1
        for sensor, why in answer.stack.absent.items():
            self.absences[sensor][why.value] += 1
        segmentation = answer.segmentation
        if segmentation is None:
            return
        subset = segmentation.subset
        self.frames[subset] += 1
        self.stamps_ns.append(segmentation.stamp_ns)
        waited_ns = answer.frame_set.closed_ns - answer.frame_set.due_ns
        self.latency_ms.append((waited_ns + sum(segmentation.stage_ns.values())) / MS)
        self.stage_ms["wait"].append(waited_ns / MS)
        for stage, spent_ns in segmentation.stage_ns.items():
            self.stage_ms[stage].append(spent_ns / MS)
        if truth is None or at_truth is None:
            self.unscored += 1
            return
        counts = confusion(at_truth.labels, truth, self.classes)
        self._counts[subset] = self._counts.get(subset, 0) + counts

    def miou(self, subset: str) -> float | None:
        """Mean IoU of a subset in percent, over all its pixels; None without ground truth."""
        return miou(self._counts[subset]) if subset in self._counts else None

    def summary(self) -> dict[str, Any]:
        """The figures, ready for JSON; the keys of the demo's summary, and what a replay adds."""
        ordered = sorted(self.frames, key=lambda name: (-len(name), name))
        gaps_ns = np.diff(self.stamps_ns)
        return {
            "frames_due": self.due,
            "frames_out": len(self.stamps_ns),
            "longest_gap_s": round(float(gaps_ns.max()) / 1e9, 6) if len(gaps_ns) else None,
            "stamps_strictly_increasing": bool((gaps_ns > 0).all()),
            "latency_ms": percentiles(self.latency_ms),
            "subsets": {name: {"frames": self.frames[name], "miou": _rounded(self.miou(name))} for name in ordered},
            "stage_ms": {stage: percentiles(spent) for stage, spent in self.stage_ms.items()},
            "absences": {sensor: dict(whys) for sensor, whys in sorted(self.absences.items())},
            "frames_without_truth": self.unscored,
        }


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile, rounded to a microsecond when the values are milliseconds."""
    if not values:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def table(summary: dict[str, Any]) -> str:
    """The subsets of a summary as text, one line each."""
    lines = [f"{'subset':<8}{'frames':>8}{'mIoU %':>9}"]
    for name, row in summary["subsets"].items():
        score = "-" if row["miou"] is None else f"{row['miou']:.1f}"
        lines.append(f"{name:<8}{row['frames']:>8}{score:>9}")
    return "\n".join(lines)
