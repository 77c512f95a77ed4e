# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train extract``: a rosbag2 plus label images to a dataset."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.sensors.presets import DEFAULT, PRESETS
from anyseg_training.extract import ExtractPlan, extract
from anyseg_training.label_files import load_classes


def add(commands: argparse._SubParsersAction) -> None:
    """Declare it."""
    parser = commands.add_parser("extract", help="a rosbag2 plus label images to a dataset that 'pack' reads")
    parser.add_argument("--bag", type=Path, required=True, help="folder of the rosbag2, or .mcap or .db3 file")
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="FOLDER",
        help="label images named by the stamp of their picture in ns, or with a stamps.csv of name,stamp_ns",
    )  # fmt: skip
    parser.add_argument("--rig", type=Path, required=True, help="rig file; CameraInfo and TF of the bag go before it")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="each bag becomes a folder of it")
    parser.add_argument("--drive", default="", help="name of that folder (default: the bag's)")
    parser.add_argument(
        "--shares", type=float, nargs=3, default=(0.7, 0.15, 0.15), metavar=("TRAIN", "VAL", "TEST"),
        help="the drive's time is cut into these blocks (0.7 0.15 0.15); 0 1 0 makes all of it val",
    )  # fmt: skip
    parser.add_argument(
        "--conditions", nargs="*", default=[], metavar="WORD", help="what holds for the drive, such as night rain"
    )
    parser.add_argument("--classes", type=Path, help="YAML of 'name: [r, g, b]' lines (default: Cityscapes' trainIds)")
    parser.add_argument("--encoding", choices=sorted(PRESETS), default=DEFAULT.name, help="that it will be packed with")
    parser.add_argument("--odometry", metavar="TOPIC", help="bring points to the picture's time by this topic, or auto")
    parser.set_defaults(run=run_extract)


def run_extract(args: argparse.Namespace) -> None:
    """``anyseg-train extract``."""
    classes = load_classes(args.classes) if args.classes else CITYSCAPES
    plan = ExtractPlan(
        args.bag, args.labels, args.rig, args.out, args.drive, tuple(args.shares), PRESETS[args.encoding], classes,
        tuple(args.conditions), args.odometry,
    )  # fmt: skip
    result = extract(plan)
    for line in [*result.notes, *result.without_frame]:
        print(line)
    splits = Counter(sample["split"] for sample in result.samples)
    print(f"{plan.folder}: {len(result.samples)} samples ({', '.join(f'{k} {n}' for k, n in splits.items())})")
    print(f"{len(result.without_frame)} labels have no frame, {len(result.without_label)} frames no label")
