# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train``: extract, pack, teacher, student, evaluate, figures, export, convert, quantise."""

from __future__ import annotations

import argparse
import sys

from anyseg_training.commands import ablate, extract, pack, quantise, score, ship, train

GROUPS = (extract, pack, train, score, ship, quantise, ablate)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("anyseg-train", description="Train and score the anymodal segmentor.")
    commands = parser.add_subparsers(dest="command", required=True)
    for group in GROUPS:
        group.add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point; bad input ends with a sentence and status 2."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"anyseg-train {args.command}: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


def sentence(error: ValueError | OSError) -> str:
    """What a bad input says, and of a file that cannot be read or written which and why."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return (
        f"{error.filename}: {error.strerror}; check that the path is the one you mean, a file where a file is wanted, "
        "a folder where a folder is, and may be read or written"
    )


if __name__ == "__main__":
    sys.exit(main())
