# SPDX-License-Identifier: Apache-2.0
"""The part of ``anyseg simulate`` that writes a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a dataset needs to know."""
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="write a dataset in the layout of MUSES here")
    parser.add_argument("--drives", type=int, default=10, help="how many drives (default 10)")
    parser.add_argument("--frames-per-drive", type=int, default=10, help="frames of each drive (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the (first) drive; further ones count up")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: train")
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each (default 2)")


def run(args: argparse.Namespace) -> int:
    """Write the dataset that the arguments describe; the process's exit status."""
    from anyseg_ros.simulation.dataset import plan_drives, write_muses_dataset  # slow to import

    jobs = plan_drives(args.split, args.drives, args.frames_per_drive, args.seed)
    written = write_muses_dataset(args.dataset, jobs, args.workers)
    scenes = sum(len(job.times_ns) for job in jobs)
    print(f"{args.dataset}: {scenes} scenes of {len(jobs)} drives, {written} of them new")
    return 0
