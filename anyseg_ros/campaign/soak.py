# SPDX-License-Identifier: Apache-2.0
"""``anyseg soak``: a drive in a loop with random faults; memory, handles, drops and latency over time."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from anyseg_ros import __version__
from anyseg_ros.campaign.cli import add_common, opened
from anyseg_ros.campaign.evidence import Evidence
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.performance import Performance
from anyseg_ros.campaign.rows import Act, Inject, Row
from anyseg_ros.campaign.soak_figures import (
    GAP_PERIODS,
    MAX_GROWTH_MIB,
    Frame,
    Sample,
    continuity,
    figures,
    reconciled,
)
from anyseg_ros.campaign.soak_plot import plot
from anyseg_ros.demo.stage import StageError
from anyseg_ros.demo.terminal import Step
from anyseg_ros.sensors.rig import Rig

SAMPLE_S = 1.0
KINDS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "camera": (
        ("cut", {}),
        ("flap", {"hz": 1.0}),
        ("delay", {"by_ms": 300.0}),
        ("jitter", {"by_ms": 60.0}),
        ("freeze", {}),
        ("black", {}),
        ("truncate", {}),
        ("resize", {}),
        ("frame_id", {}),
        ("zero_stamp", {}),
        ("duplicate", {}),
    ),
    "lidar": (
        ("cut", {}),
        ("flap", {"hz": 1.0}),
        ("delay", {"by_ms": 300.0}),
        ("blocked", {}),
        ("empty", {}),
        ("point_step", {}),
        ("truncate", {}),
        ("reorder", {}),
        ("shift_stamp", {"by_s": 10.0}),
    ),
    "event": (
        ("cut", {}),
        ("flap", {"hz": 1.0}),
        ("delay", {"by_ms": 300.0}),
        ("silent", {}),
        ("out_of_bounds", {}),
        ("reorder", {}),
    ),
    "camera_info": (("recalibrate", {"scale": 1.1}), ("cut", {})),
}


def add_parser(subparsers: Any) -> None:
    """Register ``anyseg soak``."""
    parser = subparsers.add_parser(
        "soak",
        help="a drive in a loop with random faults; memory, handles, drops and latency over time",
        description="Plays a short drive in a loop over a real ROS 2 graph while random faults come and go, and "
        "watches the segmentor's process. Writes soak.json and soak.svg; the exit status is 1 if memory or handles "
        "grow, if the output falls silent, if its stamps go back or if a set is lost without being counted.",
    )
    add_common(parser, Path("out/soak"))
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, by the wall clock (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the soak; 0 when nothing grew and nothing died.

    Raises:
        ValueError: an option cannot work.
    """
    if not 0.1 <= args.minutes <= 24 * 60:
        raise ValueError(f"--minutes is {args.minutes}; expected 0.1 to 1440")
    samples: list[Sample] = []
    try:
        with opened(args) as (stage, setup), Step(f"Soak for {args.minutes:g} minutes") as step:
            act = Act("soak", random_rows(args.minutes * 60 * setup.rate, args.seed))
            performance = Performance(stage, setup, act, step, record_inputs=False)
            performance.watch = watcher(performance, samples)
            played = performance.play()
            data = summary(played, samples, args.minutes, setup.rig)
            setup.out.joinpath("soak.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
            frames = frames_of(Evidence(played.folder, played.began_ns, played.rate, {}))
            setup.out.joinpath("soak.svg").write_text(plot(samples, frames, data), encoding="utf-8")
            shutil.rmtree(played.folder / "labels", ignore_errors=True)
            step.result(_closing(data))
    except StageError as error:
        print(f"\nanyseg soak: {error}")
        return 1
    for sentence in data["broken"]:
        print(f"  {sentence}")
    return 1 if data["broken"] else 0


def random_rows(drive_s: float, seed: int) -> tuple[Row, ...]:
    """Faults one after the other, of one sensor or of two, for so many seconds of the drive."""
    random, spent = Random(seed), 0.0
    rows: list[Row] = []
    while True:
        routes = random.sample(list(KINDS), random.choice((1, 1, 2)))
        injects = tuple(Inject(route, *random.choice(KINDS[route])) for route in routes)
        row = Row(
            " and ".join(f"{i.kind} {i.route}" for i in injects),
            "",
            injects,
            fault_s=round(random.uniform(1.0, 6.0), 1),
            clean_s=round(random.uniform(1.0, 5.0), 1),
        )
        spent += row.fault_s + row.clean_s
        if spent > drive_s and rows:
            return tuple(rows)
        rows.append(row)


def watcher(performance: Performance, samples: list[Sample]) -> Callable[[float], None]:
    """Takes a sample of the segmentor's process every second; is called with the time of the drive."""
    last = [float("-inf")]

    def look(drive_s: float) -> None:
        child = performance.children.get("segmentor")
        if child is None or time.monotonic() - last[0] < SAMPLE_S:
            return
        last[0] = time.monotonic()
        process = Path("/proc") / str(child.process.pid)
        try:
            pages = int(process.joinpath("statm").read_text().split()[1])
            threads = len(os.listdir(process / "task"))
            handles = len(os.listdir(process / "fd"))
        except OSError:
            return  # it has ended; the stage will say so
        samples.append(Sample(drive_s, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, handles, threads))

    return look


def frames_of(evidence: Evidence) -> list[Frame]:
    """The label images and how long each took; 0 where no status came with one."""
    return [Frame(f.at_s, float(f.status.get("stage_ms.total", 0.0)), f.stamp_ns) for f in evidence.frames]


def leaps(placed: Sequence[Placed], rig: Rig) -> list[tuple[float, float]]:
    """When the stamps of a sensor leap that may lead, because all that it gives way to are at fault."""
    order = [sensor.name for sensor in rig.sensors]
    found = []
    for row in placed:
        at_fault = {inject.route for inject in row.row.injects}
        leaping = [inject.route for inject in row.row.injects if inject.kind == "shift_stamp"]
        if any(set(order[: order.index(name)]) <= at_fault for name in leaping):
            found.append((row.begin_s, row.until_s))
    return found


def summary(played: Played, samples: list[Sample], minutes: float, rig: Rig) -> dict[str, Any]:
    """What soak.json holds."""
    evidence = Evidence(played.folder, played.began_ns, played.rate, {})
    frames = frames_of(evidence)
    outputs = [report for report in evidence.reports if report.name == "segmentor: output"]
    counts = dict(outputs[-1].values) if outputs else {}
    received = sum(frame.at_s <= outputs[-1].at_s for frame in frames) if outputs else 0
    gap_limit_s = GAP_PERIODS * max(sensor.period_ns for sensor in rig.sensors) / 1e9
    parts = [
        figures(samples, frames),
        continuity(frames, leaps(played.placed, rig), gap_limit_s),
        reconciled(counts, received),
    ]
    broken = [sentence for part in parts for sentence in part.pop("broken")]
    return {
        "minutes": minutes,
        "rate": played.rate,
        "faults": len(played.placed),
        "version": __version__,
        **{name: value for part in parts for name, value in part.items()},
        "limit_growth_mib": MAX_GROWTH_MIB,
        "process_deaths": len(played.deaths),
        "broken": [*broken, *(f"died: {text}" for text in played.deaths)],
    }


def _closing(data: dict[str, Any]) -> str:
    return (
        f"{data['frames_out']} label images through {data['faults']} faults; memory grew by "
        f"{data['growth_mib']:.1f} MiB after the warm-up, handles by {data['handles_grown']}, "
        f"{data['worker_dropped']} sets dropped, longest silence {data['longest_gap_s']:.2f} s"
    )
