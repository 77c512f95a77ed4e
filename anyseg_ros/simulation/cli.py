# SPDX-License-Identifier: Apache-2.0
"""``anyseg simulate``: write a simulated dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anyseg_ros.simulation.dataset import SPLITS, plan_drives, write_muses_dataset


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``simulate`` with what a dataset needs to know.

    Returns:
        The command's parser, so that the program can add other things to write.
    """
    parser = subparsers.add_parser(
        "simulate",
        help="simulate drives with ground truth",
        description="Simulates drives through procedural streets, and writes a dataset in the layout of MUSES.",
    )
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="write a dataset in the layout of MUSES here")
    parser.add_argument("--drives", type=int, default=10, help="how many drives (default 10)")
    parser.add_argument("--frames-per-drive", type=int, default=10, help="frames of each drive (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the (first) drive; further ones count up")
    parser.add_argument("--split", choices=SPLITS, default="train", help="part of the dataset (default train)")
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each (default 2)")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the dataset that the arguments describe; the process's exit status."""
    if args.dataset is None:
        raise ValueError("nothing to write: give --dataset DIR")
    jobs = plan_drives(args.split, args.drives, args.frames_per_drive, args.seed)
    written = write_muses_dataset(args.dataset, jobs, args.workers)
    scenes = sum(len(job.times_ns) for job in jobs)
    print(f"{args.dataset}: {scenes} scenes of {len(jobs)} drives, {written} of them new")
    return 0
