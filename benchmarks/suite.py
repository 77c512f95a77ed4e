# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks and writes down what they said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import backends, engine, engine_gpu, events, lidar, sensor_stage, subsets, synchroniser, training_step
from benchmarks.cases import Settings, measure
from benchmarks.machine import describe, load_average
from benchmarks.report import markdown

ROOMS = {
    "lidar": lidar.cases,
    "events": events.cases,
    "sensor_stage": sensor_stage.cases,
    "engine": engine.cases,
    "backends": backends.cases,
    "engine_gpu": engine_gpu.cases,
    "synchroniser": synchroniser.cases,
    "subsets": subsets.cases,
    "training_step": training_step.cases,
}
TABLES = {"engine": engine.tables, "engine_gpu": engine_gpu.tables, "synchroniser": synchroniser.tables}
NEEDS = {"engine_gpu": engine_gpu.why_not}
FORMAT = 1


def run_suite(settings: Settings, rooms: Sequence[str]) -> dict[str, Any]:
    """Run the benchmarks of some rooms.

    Returns:
        what ``write`` writes: machine, settings, cases, tables.
    """
    machine = describe()
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    cases = [make for room in rooms for make in ROOMS[room](settings)]
    measured = [measure(make(), settings) for make in tqdm(cases, desc="benchmarks", unit="case")]
    tables = [make().as_dict() for room in rooms if room in TABLES for make in TABLES[room](settings)]
    return {
        "format": FORMAT,
        "started": started,
        "quick": settings.quick,
        "repeats": settings.repeats,
        "sample_s": settings.sample_s,
        "machine": machine,
        "load_average_after": load_average(),
        "cases": measured,
        "tables": tables,
    }


def refusals(settings: Settings, rooms: Sequence[str]) -> list[str]:
    """A sentence for each of the rooms that cannot run here."""
    reasons = [NEEDS[room](settings) for room in rooms if room in NEEDS]
    return [reason for reason in reasons if reason is not None]


def wrong_results(run: dict[str, Any]) -> list[str]:
    """A sentence for each rival whose result was not ours."""
    return [
        f"{case['name']}: ours and {rival['name']} do not agree: {rival['detail']}"
        for case in run["cases"]
        for rival in case["rivals"]
        if not rival["same"]
    ]


def write(run: dict[str, Any], folder: Path) -> None:
    """benchmarks.json and benchmarks.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(markdown(run), encoding="utf-8")
