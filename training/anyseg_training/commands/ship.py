# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train export`` and ``convert``: checkpoints that go elsewhere, and that come from elsewhere."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from anyseg_training.commands.grids import grid_from
from anyseg_training.foreign import convert_release
from anyseg_training.report import AS_TRAINED, read_report
from anyseg_training.runinfo import describe_file


def add(commands: argparse._SubParsersAction) -> None:
    """Declare them."""
    export = commands.add_parser("export", help="the checkpoint that ships: float16, with its scores inside")
    export.add_argument("--checkpoint", type=Path, required=True)
    export.add_argument("--scores", type=Path, required=True, help="JSON that 'evaluate' wrote")
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(run=run_export)

    convert = commands.add_parser("convert", help="the AnySeg release's checkpoint for MUSES, under our names")
    convert.add_argument("--weights", type=Path, required=True, help=".safetensors, .pth or .bin; never unpickled")
    convert.add_argument("--grid", type=grid_from, default=(1024, 1024), metavar="HxW", help="grid to run it at")
    convert.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    convert.set_defaults(run=run_convert)


def run_export(args: argparse.Namespace) -> None:
    """``anyseg-train export``."""
    model, meta = load_checkpoint(args.checkpoint)
    scores = scores_of(args.checkpoint, args.scores)
    miou = {name: round(value, 2) for name, value in scores["miou"].items()}
    save_checkpoint(args.out, model, CheckpointMeta(**(asdict(meta) | {"miou": miou})), half=True)
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB, mIoU {miou}")


def scores_of(checkpoint: Path, path: Path) -> dict[str, Any]:
    """The report of a checkpoint, as ``evaluate`` wrote it.

    Raises:
        ValueError: it is none, of another protocol or precision, or of another checkpoint.
    """
    scores = read_report(path)
    if scores["protocol"] != "skip":
        raise ValueError(f"{path} is of protocol {scores['protocol']}; a checkpoint carries those of 'skip'")
    if scores["precision"] != AS_TRAINED:
        raise ValueError(
            f"{path} is of precision {scores['precision']}; a checkpoint carries the scores of the network as trained: "
            "run 'anyseg-train evaluate' without --precision"
        )
    found, wanted = scores["checkpoint"], describe_file(checkpoint)["content"]
    if found != wanted:
        raise ValueError(
            f"{path} has the scores of another checkpoint (digest {found}) than {checkpoint} ({wanted}); "
            "run 'anyseg-train evaluate' on this one"
        )
    return scores


def run_convert(args: argparse.Namespace) -> None:
    """``anyseg-train convert``."""
    model, meta = convert_release(args.weights, args.grid)
    save_checkpoint(args.out, model, meta)
    print(f"{args.out}: MiT {model.config.backbone}, head of width {model.config.head_width}, encoding 'release'")
