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
    except (ValueError, FileNotFoundError) as error:
        print(f"anyseg-train {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
