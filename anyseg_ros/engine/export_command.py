# SPDX-License-Identifier: Apache-2.0
"""``anyseg export``: a checkpoint as an ONNX file for the vehicle."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "export",
        help="write a checkpoint as an ONNX file",
        description="Writes a checkpoint as an ONNX file that runs without it: any number of modalities, the "
        "checkpoint's grid, its description inside. The file is written once ONNX Runtime has come to torch's logits "
        "on random frames.",
    )
    parser.add_argument("checkpoint", type=Path, help="safetensors file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="file to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    if args.out.suffix != ".onnx":
        raise ValueError(f"--out is {args.out}; give a name that ends in .onnx, by which the node knows what it is")
    from anyseg_ros.engine.onnx_export import export  # onnx is an extra, and slow to load

    export(args.checkpoint, args.out, print)
    return 0
