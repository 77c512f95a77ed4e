# SPDX-License-Identifier: Apache-2.0
"""``anyseg faults``: every fault on a live graph, one row each, judged from a recording."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from anyseg_ros.campaign import report, table
from anyseg_ros.campaign.evidence import thin_blobs
from anyseg_ros.campaign.graph import Setup
from anyseg_ros.campaign.judge import judge_act
from anyseg_ros.campaign.network import write_network
from anyseg_ros.campaign.performance import Performance
from anyseg_ros.campaign.rows import Act
from anyseg_ros.campaign.verdict import Verdict
from anyseg_ros.demo.node_arguments import has_event_packets
from anyseg_ros.demo.simulate import RIG
from anyseg_ros.demo.stage import Stage, StageError, clean_environment, dds_profile, random_domain
from anyseg_ros.demo.terminal import Step
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.rig import load_rig

DRIVE_S, SEED = 6, 4101
ENOUGH = 3.0  # so much faster than the camera has to be what a process of its own sustains, for a rate of 1
SLOWEST = 0.2
NO_PACKETS = "event_camera_msgs is not installed, so that nobody can publish EventPackets here"


def add_parser(subparsers: Any) -> None:
    """Register ``anyseg faults``."""
    parser = subparsers.add_parser(
        "faults",
        help="every fault on a live graph, one row each, judged from a recording",
        description="Plays a short simulated drive in a loop over a real ROS 2 graph, puts one fault after the "
        "other on it, and judges from a recording what the segmentor made of it. Writes faults.md and faults.json; "
        "the exit status is 1 if a promise was broken.",
    )
    add_common(parser, Path("out/faults"))
    parser.add_argument("--acts", help="acts to play, separated by commas (default: all)")
    parser.add_argument("--rows", help="only rows whose name contains one of these, separated by commas")
    parser.add_argument("--keep", action="store_true", help="keep the messages of all rows, not of broken ones only")
    parser.set_defaults(run=run)


def add_common(parser: argparse.ArgumentParser, out: Path) -> None:
    """Options that the campaign and the soak share."""
    parser.add_argument("--out", type=Path, default=out, help=f"folder to write to (default: {out})")
    parser.add_argument("--bag", type=Path, help="what is played in a loop (default: a short drive, simulated once)")
    parser.add_argument("--rig", type=Path, help="its rig (default: the simulator's)")
    parser.add_argument("--checkpoint", type=Path, help="weights (default: a small network with random weights)")
    parser.add_argument("--rate", type=float, help="playback rate (default: what this machine sustains, at most 1)")


def run(args: argparse.Namespace) -> int:
    """Run the campaign; 0 when every promise was kept.

    Raises:
        ValueError: an option cannot work.
    """
    acts = chosen(args.acts, args.rows)
    began = time.monotonic()
    try:
        return _run(args, acts, began)
    except StageError as error:
        print(f"\nanyseg faults: {error}")
        return 1


def _run(args: argparse.Namespace, acts: tuple[Act, ...], began: float) -> int:
    with opened(args) as (stage, setup):
        verdicts: list[Verdict] = []
        for act in acts:
            verdicts += perform(stage, setup, act, args.keep)
        facts = {"rate": setup.rate, "bag": setup.bag.name, "checkpoint": setup.checkpoint.name}
        data = report.summary(verdicts, {**facts, "took_s": round(time.monotonic() - began, 1)})
        report.write(setup.out, data)
    print(report.table(data))
    return 1 if data["rows_broken"] else 0


def chosen(acts: str | None, rows: str | None) -> tuple[Act, ...]:
    """The acts that were asked for, with the rows that were asked for.

    Raises:
        ValueError: there are none.
    """
    known = {act.name: act for act in (*table.ACTS, *table.SHORT)}
    names = acts.split(",") if acts else [act.name for act in table.ACTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no act '{unknown[0]}'; known are {', '.join(known)}")
    found = [known[name].only(rows.split(",") if rows else ()) for name in names]
    if not any(act.rows for act in found):
        raise ValueError(f"no row of {', '.join(names)} has '{rows}' in its name")
    return tuple(act for act in found if act.rows)


def perform(stage: Stage, setup: Setup, act: Act, keep: bool = False) -> list[Verdict]:
    """Play an act and judge it; of the recorded messages those of broken rows stay, and all that are to be kept."""
    if act.packets and not has_event_packets(stage):
        return [Verdict(act.name, row.name, row.must, skipped=NO_PACKETS) for row in act.rows]
    with Step(f"Act '{act.name}': {len(act.rows)} rows") as step:
        performance = Performance(stage, setup, act, step)
        played = performance.play()
        step.show(1.0, "judging")
        topics = {name: topic for name, (topic, _) in performance.routes.items()}
        verdicts = judge_act(played, setup.rig, setup.checkpoint, topics)
        broken = [verdict.name for verdict in verdicts if verdict.broken]
        if not keep:
            thin_blobs(played.folder, [played.steady_ns(p) for p in played.placed if p.row.name in broken])
        step.result(f"broken: {', '.join(broken)}" if broken else "all promises kept")
    return verdicts


class opened:  # noqa: N801 - used as a function in a with statement
    """Everything that acts need: a stage with a clean environment, a bag, a network, a rate."""

    def __init__(self, args: argparse.Namespace) -> None:
        if (args.bag is None) != (args.rig is None):
            raise ValueError("--bag and --rig belong together: give both or none")
        if args.rate is not None and not 0.05 <= args.rate <= 1:
            raise ValueError(f"--rate is {args.rate}; expected 0.05 to 1")
        self._args = args
        self._before: Any = None

    def __enter__(self) -> tuple[Stage, Setup]:
        args, out = self._args, self._args.out.resolve()
        logs = out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        environment = clean_environment(os.environ, random_domain(), logs / "ros", dds_profile(out))
        self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the children are ended, too
        self._stage = Stage(logs, {**environment, "OMP_NUM_THREADS": "1"})
        try:
            checkpoint = args.checkpoint.resolve() if args.checkpoint else out / "network.safetensors"
            if not args.checkpoint:
                write_network(checkpoint)
            bag, rig_path = (args.bag, args.rig) if args.bag else (self._simulated(out), share_path(RIG))
            bag, rig_path = bag.resolve(), rig_path.resolve()
            rate = args.rate or self._measured(bag, rig_path, checkpoint)
            return self._stage, Setup(out, bag, rig_path, load_rig(rig_path), checkpoint, rate)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        self._stage.close()
        signal.signal(signal.SIGTERM, self._before)

    def _simulated(self, out: Path) -> Path:
        bag = out / "bags" / "day"
        with Step(f"Simulate {DRIVE_S} s of driving") as step:
            if bag.joinpath("metadata.yaml").is_file():
                step.result("reused from the last run")
                return bag
            arguments = ["simulate", "--bag", str(bag), "--force", "--seed", str(SEED), "--duration", str(DRIVE_S)]
            child = self._stage.start("simulator", "anyseg_ros.cli", [*arguments, "--time-of-day", "day"])
            self._stage.wait(lambda: not child.running, 1200, "the simulator", lambda: step.show(0.0))
            child.check()
            self._stage.stop(child)
        return bag

    def _measured(self, bag: Path, rig: Path, checkpoint: Path) -> float:
        with Step("Measure what this machine sustains") as step:
            arguments = [str(bag), "--rig", str(rig), "--checkpoint", str(checkpoint), "--device", "cpu"]
            child = self._stage.start("speed", "anyseg_ros.demo.sustained", arguments)
            self._stage.wait(lambda: not child.running, 180, "the measurement of the speed", lambda: step.show(0.0))
            child.check()
            self._stage.stop(child)
            hz = json.loads(child.tail(1))["hz"]
            camera_hz = 1e9 / load_rig(rig).sensors[0].period_ns
            rate = round(min(1.0, max(SLOWEST, hz / (ENOUGH * camera_hz))), 2)
            step.result(f"{hz:.0f} label images a second; playing at {rate:g} x real speed")
        return rate
