# SPDX-License-Identifier: Apache-2.0
"""The figures of the demo as one dictionary: what summary.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from anyseg_ros import __version__
from anyseg_ros.demo.due import SensorRule
from anyseg_ros.demo.judge import Verdict, latency_ratios, longest_gap_ns, percentile, reference_gaps
from anyseg_ros.demo.plan import SECOND, Cut
from anyseg_ros.labels import LabelSet
from anyseg_ros.metrics import iou, miou

FULL = "CEL"
ONE_DEAD = ("CE", "CL", "EL")
ORDER = ("CEL", "CE", "CL", "EL", "C", "E", "L")


@dataclass(frozen=True)
class Judged:
    """A drive that was judged.

    Attributes:
        name: of the drive.
        verdict: what the judge found.
        cuts: the cut list.
        start_ns: when it started, in the clock of the stamps.
        differing: answers for which the segmentor used other sensors than were there by the judge.
        rate: playback rate.
    """

    name: str
    verdict: Verdict
    cuts: tuple[Cut, ...]
    start_ns: int
    differing: int
    rate: float


@dataclass(frozen=True)
class Machine:
    """What was measured before the drive, and what the checkpoint says of itself.

    Attributes:
        hz: label images a second when nothing else runs. rate: playback rate that was picked.
        device: where the network ran.
        checkpoint: its file name.
        validated_miou: by subset, in percent, from the checkpoint.
        classes: what it knows.
    """

    hz: float
    rate: float
    device: str
    checkpoint: str
    validated_miou: dict[str, float]
    classes: LabelSet


def summarise(drives: Sequence[Judged], rules: Sequence[SensorRule], machine: Machine) -> dict[str, Any]:
    """The summary over all drives; keys as in DESIGN.md 7, and more."""
    verdicts = [drive.verdict for drive in drives]
    latencies = list(chain.from_iterable(chain.from_iterable(v.latency_ms.values() for v in verdicts)))
    merged = _latency(verdicts)
    full = _counts(verdicts, FULL)
    return {
        "frames_due": sum(len(v.due) for v in verdicts),
        "frames_out": sum(len(v.answered) for v in verdicts),
        "longest_gap_s": round(max(longest_gap_ns(v.received) for v in verdicts) / SECOND, 3),
        "latency_ms": {"p50": percentile(latencies, 50), "p99": percentile(latencies, 99)},
        "subsets": _subsets(verdicts, machine),
        "device": machine.device,
        "checkpoint": machine.checkpoint,
        "cuts": sum(len(drive.cuts) for drive in drives),
        "reference_cuts": [
            {"drive": d.name, **gap}
            for d in drives
            for gap in reference_gaps(d.verdict.due, d.verdict.received, d.cuts, rules, d.start_ns)
        ],
        "latency_ratio": {k: v for k, v in latency_ratios(merged, FULL).items() if k in ONE_DEAD},
        "stamps_backwards": sum(v.backwards for v in verdicts),
        "stamps_duplicate": sum(v.duplicates for v in verdicts),
        "frames_extra": sum(len(v.extra) for v in verdicts),
        "subset_differs": sum(drive.differing for drive in drives),
        "iou_full_rig": _per_class(full, machine.classes),
        "drives": {
            d.name: {
                "frames_due": len(d.verdict.due),
                "frames_out": len(d.verdict.answered),
                "playback_rate": d.rate,
                "longest_gap_s": round(longest_gap_ns(d.verdict.received) / SECOND, 3),
                "not_answered_at_s": [round((m.stamp_ns - d.start_ns) / SECOND, 3) for m in d.verdict.missing],
                "cuts": [str(cut) for cut in d.cuts],
                "subsets": _subsets([d.verdict], machine),
            }
            for d in drives
        },
        "playback_rate": min(drive.rate for drive in drives),
        "sustained_hz": machine.hz,
        "version": __version__,
    }


def _subsets(verdicts: Sequence[Verdict], machine: Machine) -> dict[str, Any]:
    merged = _latency(verdicts)
    found = {}
    for subset in ORDER:
        due = sum(item.subset == subset for v in verdicts for item in v.due)
        if not due:
            continue
        counts = _counts(verdicts, subset)
        score = None if counts is None else miou(counts)
        validated = machine.validated_miou.get(subset)
        figures = merged.get(subset, [])
        found[subset] = {
            "frames": sum(item["subset"] == subset for v in verdicts for item in v.trace),
            "due": due,
            "miou": None if score is None else round(score, 2),
            "validated_miou": None if validated is None else round(float(validated), 2),
            "latency_ms": {"p50": percentile(figures, 50), "p99": percentile(figures, 99)},
        }
    return found


def _latency(verdicts: Sequence[Verdict]) -> dict[str, list[float]]:
    """Latencies of all drives by subset."""
    merged: dict[str, list[float]] = {}
    for verdict in verdicts:
        for subset, figures in verdict.latency_ms.items():
            merged.setdefault(subset, []).extend(figures)
    return merged


def _counts(verdicts: Sequence[Verdict], subset: str) -> np.ndarray | None:
    found = [v.counts[subset] for v in verdicts if subset in v.counts]
    return np.sum(found, axis=0) if found else None


def _per_class(counts: np.ndarray | None, classes: LabelSet) -> dict[str, float]:
    """IoU by class name in percent, for the classes that occurred."""
    if counts is None:
        return {}
    return {
        name: round(float(value), 1)
        for name, value in zip(classes.names, iou(counts), strict=True)
        if not np.isnan(value)
    }
