# SPDX-License-Identifier: Apache-2.0
"""Compares what came out of a drive with what was due: answers, gaps, stamps, latency and accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from anyseg_ros.demo.due import Due, SensorRule
from anyseg_ros.demo.plan import SECOND, Cut
from anyseg_ros.metrics import confusion, miou

RECENT = 10  # frames over which the accuracy of the timeline is taken


@dataclass(frozen=True)
class Output:
    """One label image as it was received.

    Attributes:
        stamp_ns: the stamp that it carries.
        received_ns: when it was received, in the time of the drive (slowed playback taken out).
        latency_ns: from the publication of the reference measurement to its receipt, by the wall clock; None: unknown.
        labels: uint8 [H,W].
    """

    stamp_ns: int
    received_ns: int
    latency_ns: int | None
    labels: np.ndarray


@dataclass
class Verdict:
    """What the judge found out about one drive.

    Attributes:
        due: what was owed, in order.
        answered: the stamps that were owed and came.
        missing: owed, but never came. extra: came, but not owed.
        duplicates, backwards: how many stamps came twice, or after a later one.
        received: when each new label image came, in the time of the drive.
        latency_ms: per subset, one figure for each answer.
        counts: per subset, int64 [K,K+1] as `anyseg_ros.metrics.confusion` gives them.
        trace: per answer: stamp_ns, subset, latency_ms (None if unknown), miou over the last ten frames (None without
            ground truth).
    """

    due: list[Due]
    answered: set[int] = field(default_factory=set)
    missing: list[Due] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)
    duplicates: int = 0
    backwards: int = 0
    received: list[int] = field(default_factory=list)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    trace: list[dict] = field(default_factory=list)


def judge_drive(
    due: Sequence[Due],
    outputs: Iterable[Output],
    truth_at: Callable[[Due], np.ndarray | None],
    classes: int,
) -> Verdict:
    """Judge the outputs of one drive.

    Args:
        due: what was owed.
        outputs: what came, in order of receipt; taken one by one, so it may be a generator over a large recording.
        truth_at: gives the ground truth of what was owed, uint8 [H,W], or None; asked for in rising order.
        classes: number of classes.
    """
    verdict = Verdict(list(due))
    owed = {item.stamp_ns: item for item in due}
    latest: int | None = None
    recent: list[np.ndarray] = []
    for output in outputs:
        if latest is not None and output.stamp_ns <= latest:
            same = output.stamp_ns in verdict.answered or output.stamp_ns in verdict.extra
            verdict.duplicates += same
            verdict.backwards += not same
            continue
        latest = output.stamp_ns
        verdict.received.append(output.received_ns)
        item = owed.get(output.stamp_ns)
        if item is None:
            verdict.extra.append(output.stamp_ns)
            continue
        verdict.answered.add(output.stamp_ns)
        if verdict.trace and verdict.trace[-1]["subset"] != item.subset:
            recent.clear()
        _score(verdict, item, output, truth_at(item), classes, recent)
    verdict.missing = [item for item in due if item.stamp_ns not in verdict.answered]
    return verdict


def _score(
    verdict: Verdict, item: Due, output: Output, truth: np.ndarray | None, classes: int, recent: list[np.ndarray]
) -> None:
    """Count one answer into the verdict; ``recent`` holds the last frames of the same subset."""
    if truth is not None:
        frame = confusion(output.labels, truth, classes)
        verdict.counts[item.subset] = verdict.counts.get(item.subset, 0) + frame
        recent.append(frame)
        del recent[:-RECENT]
    latency = None if output.latency_ns is None else output.latency_ns / 1e6
    if latency is not None:
        verdict.latency_ms.setdefault(item.subset, []).append(latency)
    verdict.trace.append(
        {"stamp_ns": item.stamp_ns, "subset": item.subset, "latency_ms": latency, "miou": _recent_miou(recent)}
    )


def _recent_miou(recent: list[np.ndarray]) -> float | None:
    return miou(np.sum(recent, axis=0)) if recent else None


def longest_gap_ns(received: Sequence[int]) -> int:
    """The longest time between neighbours; 0 for fewer than two."""
    return max((later - earlier for earlier, later in pairwise(received)), default=0)


def reference_gaps(
    due: Sequence[Due],
    received: Sequence[int],
    cuts: Sequence[Cut],
    rules: Sequence[SensorRule],
    start_ns: int,
) -> list[dict]:
    """The longest silence of the output around each cut that took the reference away.

    Args:
        due: what was owed.
        received: when label images came, in the time of the drive, in order.
        cuts: the cut list.
        rules: the sensors.
        start_ns: when the drive started, in the same time.

    Returns:
        For each such cut: at_s, sensor, successor, gap_s and limit_s, which is three periods of the slower of the two.
    """
    period = {rule.name: rule.period_ns for rule in rules}
    found = []
    for cut in cuts:
        at = start_ns + cut.start_ns
        led = [place for place, item in enumerate(due) if item.reference == cut.sensor and item.arrival_ns < at]
        if not led or at - due[led[-1]].arrival_ns > 2 * period[cut.sensor] or led[-1] + 1 == len(due):
            continue  # another sensor led when this one was cut, or nothing came after
        successor = due[led[-1] + 1].reference
        around = [time for time in received if at - SECOND <= time <= at + 2 * SECOND]
        found.append(
            {
                "at_s": round(cut.start_ns / SECOND, 3),
                "sensor": cut.sensor,
                "successor": successor,
                "gap_s": round(longest_gap_ns(around) / SECOND, 3),
                "limit_s": round(3 * max(period[cut.sensor], period[successor]) / SECOND, 3),
            }
        )
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """A percentile of figures, by linear interpolation, rounded to 0.1; None if there are no figures."""
    return round(float(np.percentile(values, share)), 1) if len(values) else None


def latency_ratios(latency_ms: dict[str, list[float]], full: str = "CEL") -> dict[str, float]:
    """Median latency of each subset over the full rig's, for the subsets with figures."""
    if not latency_ms.get(full):
        return {}
    base = statistics.median(latency_ms[full])
    return {
        name: round(statistics.median(values) / base, 3)
        for name, values in latency_ms.items()
        if name != full and values
    }
