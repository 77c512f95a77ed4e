# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train quantise``: a checkpoint as an ONNX file in int8."""

from __future__ import annotations

import argparse
from pathlib import Path

from anyseg_training.data import Pack


def add(commands: argparse._SubParsersAction) -> None:
    """Declare it."""
    parser = commands.add_parser(
        "quantise", help="an ONNX file in int8 for the backend onnxruntime on a CPU, calibrated on the training set"
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True, help="packed training set; never a split that is scored")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="file to write")
    parser.add_argument("--frames", type=int, default=64, help="of the pack, that calibrate (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of frames and their subsets (default: 0)")
    parser.set_defaults(run=run_quantise)


def run_quantise(args: argparse.Namespace) -> None:
    """``anyseg-train quantise``."""
    if args.out.suffix != ".onnx":
        raise ValueError(f"--out is {args.out}; give a name that ends in .onnx, by which the node knows what it is")
    pack = Pack(args.pack)
    try:
        from anyseg_training.quantise import Plan, quantise
    except ModuleNotFoundError as error:  # onnx and onnxruntime are an extra
        raise ValueError(f"{error.name} is not installed; pip install 'anyseg_ros[onnx]' brings it") from error
    quantise(args.checkpoint, pack, args.out, Plan(args.frames, args.seed), print)
