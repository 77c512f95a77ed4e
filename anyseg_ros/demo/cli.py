# SPDX-License-Identifier: Apache-2.0
"""``anyseg demo``: simulate two drives, play them over a real ROS 2 graph, cut sensors, judge, report."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.demo import gather
from anyseg_ros.demo.animation import write_animation
from anyseg_ros.demo.due import Due, after_cuts, frames_due
from anyseg_ros.demo.judge import judge_drive
from anyseg_ros.demo.pictures import Moment
from anyseg_ros.demo.plan import MS, Walk, walks
from anyseg_ros.demo.play import Run, TooFast, play
from anyseg_ros.demo.report import DriveReport, write_report
from anyseg_ros.demo.simulate import RIG, bag_path, simulate
from anyseg_ros.demo.stage import Stage, StageError, clean_environment, dds_profile, random_domain
from anyseg_ros.demo.summary import Judged, Machine, summarise
from anyseg_ros.demo.terminal import Step
from anyseg_ros.labels import LabelSet
from anyseg_ros.pipeline import checkpoint_encoding
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.rig import Rig, load_rig

CAMERA_HZ = 10.0
HEADROOM, SLOWEST = 0.3, 0.2  # player, recorder and DDS want their share of a small machine, too
SLOWER, CRAWL = 0.65, 0.1  # the next rate where one turned out too fast, and the last that is tried
WEIGHTS = "weights/anyseg_sim.safetensors"
FILM_EVERY, FILM_FRAMES = 2, 7


def add_parser(subparsers: Any) -> None:
    """Register ``anyseg demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="a drive through a real ROS 2 graph while sensors are cut, with a report",
        description="Simulates a drive by day and one by night, plays them over a real ROS 2 graph into the segmentor "
        "in separate processes, cuts sensors while it runs, compares what comes out with the ground truth, and writes "
        "report.html, demo.webp and summary.json.",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to (default: out/demo)")
    parser.add_argument("--checkpoint", type=Path, help="weights (default: the student that comes with the package)")
    parser.add_argument("--device", default="auto", help="where the network runs: auto, cpu or cuda")
    parser.add_argument("--rate", type=float, help="playback rate (default: what this machine sustains, at most 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten the drives, 0.1 to 1, for a quick look")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when the report was written.

    Raises:
        ValueError: an option cannot work.
        FileNotFoundError: the weights are not there.
    """
    if not 0.1 <= args.scale <= 1:
        raise ValueError(f"--scale is {args.scale}; expected 0.1 to 1")
    if args.rate is not None and not 0.05 <= args.rate <= 1:
        raise ValueError(f"--rate is {args.rate}; expected 0.05 to 1")
    out = args.out.resolve()
    checkpoint = args.checkpoint.resolve() if args.checkpoint else share_path(WEIGHTS)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"there are no weights at {checkpoint}; give the path of a safetensors file")
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    domain = random_domain()
    environment = clean_environment(os.environ, domain, logs / "ros", dds_profile(out))
    print(f"anyseg demo, writing to {_short(out)} (ROS_DOMAIN_ID {domain}, logs in {_short(logs)})\n")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the children are ended, too
    try:
        with Stage(logs, environment) as stage:
            return _Demo(args, out, checkpoint, stage).run()
    except StageError as error:
        print(f"\nanyseg demo: {error}")
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


class _Demo:
    """The steps of the demo, in order."""

    def __init__(self, args: argparse.Namespace, out: Path, checkpoint: Path, stage: Stage) -> None:
        self.args = args
        self.out = out
        self.checkpoint = checkpoint
        self.stage = stage
        self.walks = walks(args.scale)
        self.rig_path = share_path(RIG).resolve()
        self.rig: Rig = load_rig(self.rig_path)
        self.sensors = {sensor.modality: sensor.name for sensor in self.rig.sensors}

    def run(self) -> int:
        with Step("Simulate a drive by day and one by night") as step:
            simulate(self.stage, self.walks, self.out, step)
        with Step("Measure what this machine sustains") as step:
            machine = self._measure(step)
        runs: list[Run] = []
        for walk in self.walks:
            rate = runs[-1].rate if runs else machine.rate
            with Step(f"Drive by {walk.name} over ROS 2, cutting sensors") as step:
                runs.append(self._drive(self._run_of(walk, rate), step))
        with Step("Judge what came out, and write the report") as step:
            summary = self._judge(runs, machine, step)
        print(_closing(summary, self.out))
        return 0

    def _measure(self, step: Step) -> Machine:
        arguments = [str(bag_path(self.out, self.walks[0])), "--rig", str(self.rig_path)]
        arguments += ["--checkpoint", str(self.checkpoint), "--device", self.args.device]
        child = self.stage.start("speed", "anyseg_ros.demo.sustained", arguments)
        self.stage.wait(lambda: not child.running, 180, "the measurement of the speed", lambda: step.show(0.0))
        child.check()
        self.stage.stop(child)
        found = json.loads(child.tail(1))
        rate = self.args.rate or round(min(1.0, max(SLOWEST, HEADROOM * found["hz"] / CAMERA_HZ)), 2)
        step.result(f"{found['hz']:.1f} label images a second on {found['device']}; playing at {rate:g} x real speed")
        classes = LabelSet(tuple(found["classes"]), tuple(tuple(colour) for colour in found["palette"]))
        return Machine(found["hz"], rate, found["device"], self.checkpoint.name, found["validated_miou"], classes)

    def _drive(self, run: Run, step: Step) -> Run:
        """Play a drive; where the machine does not keep up, start over at a slower rate. The run as it was played."""
        while True:
            last = self.args.rate is not None or run.rate <= CRAWL
            try:
                play(self.stage, run, self.rig, step, to_the_end=last)
                return run
            except TooFast:
                slower = max(CRAWL, round(run.rate * SLOWER, 2))
                step.say(f"this machine does not keep up at {run.rate:g} x real speed; starting over at {slower:g}")
                run = replace(run, rate=slower)

    def _run_of(self, walk: Walk, rate: float) -> Run:
        return Run(
            walk=walk,
            cuts=walk.cuts(self.sensors),
            bag=bag_path(self.out, walk),
            folder=self.out / "recording" / walk.name,
            rate=rate,
            rig_path=self.rig_path,
            checkpoint=self.checkpoint,
            device=self.args.device,
        )

    def _judge(self, runs: Sequence[Run], machine: Machine, step: Step) -> dict[str, Any]:
        judged: list[Judged] = []
        reports: list[DriveReport] = []
        film: list[Moment] = []
        encoding = checkpoint_encoding(self.checkpoint)
        rules = gather.rules_from_rig(self.rig, encoding)
        for place, one in enumerate(runs):
            step.show(place / len(runs), one.walk.name)
            with BagReader(one.bag) as reader:
                start_ns = reader.start_ns
                due = frames_due(after_cuts(gather.deliveries(reader, self.rig), one.cuts, start_ns), rules)
                recording = gather.Recording(one.folder, one.player_log, one.rate)
                truth = gather.Truth(reader, rules)
                verdict = judge_drive(due, recording.outputs(due), truth, len(machine.classes))
                differing = recording.differing(due)
                judged.append(Judged(one.walk.name, verdict, one.cuts, start_ns, differing, one.rate))
                step.show((place + 0.6) / len(runs), one.walk.name)
                answered = [item for item in due if item.stamp_ns in verdict.answered]
                source = gather.Source(reader, self.rig, encoding, one.cuts, recording, machine.classes, one.walk.name)
                scores = {item["stamp_ns"]: item["miou"] for item in verdict.trace}
                samples, clips = _samples(answered), _clips(answered, one.walk, start_ns)
                shown = gather.moments(source, [*samples, *clips], gather.Truth(reader, rules), scores)
            reports.append(DriveReport(one.walk, one.cuts, verdict, start_ns, _pick(shown, samples)))
            film += _pick(shown, clips)
        summary = summarise(judged, rules, machine)
        self.out.joinpath("summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        animation = write_animation(film, self.out / "demo.webp")
        kinds = {modality.value: name for modality, name in self.sensors.items()}
        write_report(self.out / "report.html", reports, summary, kinds, machine.classes, animation)
        step.result(f"{summary['frames_out']} of {summary['frames_due']} label images that were due")
        return summary


def _samples(answered: Sequence[Due]) -> list[Due]:
    """One answer from the middle of each subset."""
    by_subset: dict[str, list[Due]] = {}
    for item in answered:
        by_subset.setdefault(item.subset, []).append(item)
    return [items[len(items) // 2] for items in by_subset.values()]


def _clips(answered: Sequence[Due], walk: Walk, start_ns: int) -> list[Due]:
    """A few answers from the beginning of every segment, so that each cut is seen."""
    chosen = []
    for segment in walk.segments:
        begin, end = start_ns + segment.start_ns + 250 * MS, start_ns + segment.end_ns
        inside = [item for item in answered if begin <= item.arrival_ns < end]
        chosen += inside[: FILM_EVERY * FILM_FRAMES : FILM_EVERY]
    return chosen


def _pick(shown: dict[int, Moment], items: Sequence[Due]) -> tuple[Moment, ...]:
    return tuple(shown[item.stamp_ns] for item in items)


def _closing(summary: dict[str, Any], out: Path) -> str:
    """What is said at the end."""
    lines = ["", f"  {'sensors':<10}{'answered':>12}{'mIoU %':>9}{'latency':>11}"]
    for name, row in summary["subsets"].items():
        score = "-" if row["miou"] is None else f"{row['miou']:.1f}"
        latency = "-" if row["latency_ms"]["p50"] is None else f"{row['latency_ms']['p50']:.0f} ms"
        lines.append(f"  {name:<10}{row['frames']:>6} / {row['due']:<4}{score:>8}{latency:>11}")
    return "\n".join(
        [*lines, "", f"  Report: {_short(out / 'report.html')}", f"  Figures: {_short(out / 'summary.json')}"]
    )


def _short(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
