# SPDX-License-Identifier: Apache-2.0
"""``anyseg inspect``: what a bag holds, and which of it a rig can use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anyseg_ros.bags.calibration import calibrated
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.rig import load_rig


def add_parser(subparsers: Any) -> None:
    """Registers ``anyseg inspect``."""
    parser = subparsers.add_parser(
        "inspect",
        help="list what a rosbag2 holds and which sensors of a rig are in it",
        description="Lists the topics of a rosbag2 and says which of them belong to the sensors of a rig, and "
        "where their calibration would come from.",
    )
    parser.add_argument("bag", type=Path, help="folder of the rosbag2")
    parser.add_argument("--rig", type=Path, help="rig file (default: the simulated rig)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    rig = load_rig(args.rig or share_path("config/rigs/sim.yaml"))
    with BagReader(args.bag) as reader:
        counts = reader.counts()
        seconds = (reader.end_ns - reader.start_ns) / 1e9
        print(f"{args.bag}: {seconds:.2f} s, {sum(counts.values())} messages")
        for topic, msgtype in sorted(reader.topics().items()):
            print(f"{counts[topic]:>8}  {counts[topic] / max(seconds, 1e-9):>7.1f} Hz  {topic}  {msgtype}")
        print(f"with rig '{rig.name}':")
        for name, topic in reader.match(rig).items():
            print(f"  {name}: {topic}")
        for note in calibrated(rig, reader)[1]:
            print(f"  {note}")
    return 0
