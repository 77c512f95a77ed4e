# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train pack``: a dataset, encoded."""

from __future__ import annotations

import argparse
from pathlib import Path

from anyseg_ros.sensors.presets import DEFAULT, PRESETS
from anyseg_training.check import check_source
from anyseg_training.commands.grids import grid_from
from anyseg_training.layouts import open_source
from anyseg_training.muses import DatasetError
from anyseg_training.pack import PackPlan, pack_source
from anyseg_training.projected import FOLDER


def add(commands: argparse._SubParsersAction) -> None:
    """Declare them."""
    pack = commands.add_parser("pack", help="encode a dataset for training: MUSES, simulated, DELIVER, extracted bags")
    pack.add_argument("--data", type=Path, required=True, help="dataset folder; its layout is recognised")
    pack.add_argument("--split", default="train")
    pack.add_argument("--grid", type=grid_from, default=(160, 288), metavar="HxW", help="network grid (160x288)")
    target = pack.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, help="folder of the pack; resumed when unfinished")
    target.add_argument("--check", action="store_true", help="pack nothing; read all files, list missing and broken")
    pack.add_argument("--workers", type=int, default=2)
    pack.add_argument(
        "--encoding", choices=sorted(PRESETS), help=f"of raw files, see docs/encodings.md ({DEFAULT.name})"
    )
    pack.add_argument(
        "--projected", nargs="?", const=FOLDER, metavar="FOLDER",
        help=f"MUSES: the images that its SDK has drawn, instead of the raw files ({FOLDER})",
    )  # fmt: skip
    pack.add_argument(
        "--motion", action="store_true", help="MUSES: bring points to the picture's time by the vehicle's motion (gnss)"
    )
    pack.add_argument(
        "--void-as-road", action="store_true", help="unlabelled pixels become class 0, as the AnySeg release has it"
    )
    pack.set_defaults(run=run_pack)


def run_pack(args: argparse.Namespace) -> None:
    """``anyseg-train pack``."""
    encoding = PRESETS[args.encoding] if args.encoding else None
    source = open_source(args.data, args.split, encoding, args.projected, args.motion)
    if args.check:
        findings = check_source(source)
        print(findings.text())
        if findings.fatal:
            raise DatasetError(f"{len(findings.fatal)} files of {args.data} are missing or unusable; listed above")
        return
    counts = pack_source(PackPlan(source, args.grid, args.void_as_road), args.out, args.workers)
    print(f"{args.out}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
