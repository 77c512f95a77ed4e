# SPDX-License-Identifier: Apache-2.0
"""The ``anyseg`` command. Each subcommand lives in its own room; this file only gathers them."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from anyseg_ros import __version__

# Rooms are imported by name, so that a missing optional dependency costs its own command only.
ROOMS = {
    "simulate": "anyseg_ros.bags.simulate",
    "replay": "anyseg_ros.bags.replay_command",
    "inspect": "anyseg_ros.inspection.command",
    "demo": "anyseg_ros.demo.cli",
    "faults": "anyseg_ros.campaign.cli",
    "soak": "anyseg_ros.campaign.soak",
    "real": "anyseg_ros.real",
    "export": "anyseg_ros.engine.export_command",
    "build-engine": "anyseg_ros.engine.build_engine_command",
}
EXTRAS = {"open3d": "sim", "h5py": "sim", "rclpy": "ros", "onnx": "onnx", "onnxruntime": "onnx"}


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; one whose dependencies are missing says so when it is called."""
    parser = argparse.ArgumentParser(
        prog="anyseg",
        description="Semantic segmentation for ROS 2 that keeps running when sensors don't. These commands need no "
        "ROS installation; the node itself is started with ros2 launch.",
    )
    parser.add_argument("--version", action="version", version=f"anyseg {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command, room in ROOMS.items():
        try:
            importlib.import_module(room).add_parser(subparsers)
        except ModuleNotFoundError as error:
            _add_missing(subparsers, command, error)
    return parser


def _add_missing(subparsers: argparse._SubParsersAction, command: str, error: ModuleNotFoundError) -> None:
    """Registers a command that cannot run here, and says why when it is called."""

    def run(args: argparse.Namespace) -> int:
        raise error

    # No prefix is an option's here, so that whatever the command is given gets the answer.
    parser = subparsers.add_parser(
        command, help=f"(not available: {error.name} is not installed)", prefix_chars="\0", add_help=False
    )
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 when all went well, 2 when the input was at fault, with one sentence why."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return int(args.run(args) or 0)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        advice = f"; pip install 'anyseg_ros[{extra}]' brings it" if extra else ""
        print(f"anyseg {args.command}: the Python package '{error.name}' is missing{advice}", file=sys.stderr)
    except (ImportError, ValueError, OSError) as error:  # ImportError: a package that is there, but does not load
        print(f"anyseg {args.command}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"anyseg {args.command}: interrupted", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
