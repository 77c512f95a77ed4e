# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: run the suite, or show the JSON of a run as Markdown."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOMS = (
    "lidar",
    "events",
    "sensor_stage",
    "engine",
    "backends",
    "engine_gpu",
    "synchroniser",
    "subsets",
    "training_step",
)
BY_NAME_ONLY = ("engine_gpu",)
"""They need what few machines have, and refuse to run without it."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("--out", type=Path, default=Path("out/bench"), help="folder for benchmarks.json and .md")
    found.add_argument("--only", nargs="+", choices=ROOMS, help="which benchmarks (all but engine_gpu)")
    found.set_defaults(only=[room for room in ROOMS if room not in BY_NAME_ONLY])
    found.add_argument("--quick", action="store_true", help="small sizes and few rounds: does everything run?")
    found.add_argument("--repeats", type=int, help="rounds (15; quick: 2)")
    found.add_argument("--threads", type=int, help="CPU threads of every library (default: what each takes)")
    found.add_argument("--device", default="auto", help="what the network runs on: auto, cpu or cuda")
    found.add_argument("--markdown", type=Path, metavar="JSON", help="print this run as Markdown and run nothing")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 when two ways of doing the same work did not come to the same result."""
    options = parser().parse_args(arguments)
    for name in ("repeats", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser().error(f"--{name} is {value}, expected at least 1")
    if options.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    # The libraries read OMP_NUM_THREADS when they are loaded.
    from benchmarks.cases import Settings
    from benchmarks.machine import limit_threads
    from benchmarks.report import markdown
    from benchmarks.suite import refusals, run_suite, write, wrong_results

    if options.markdown is not None:
        print(markdown(json.loads(options.markdown.read_text(encoding="utf-8"))))
        return 0
    if options.threads is not None:
        limit_threads(options.threads)
    settings = Settings(
        quick=options.quick,
        repeats=options.repeats or (2 if options.quick else Settings.repeats),
        sample_s=0.0 if options.quick else Settings.sample_s,
        device=options.device,
    )
    if refused := refusals(settings, options.only):
        parser().error("; ".join(refused))
    run = run_suite(settings, options.only)
    write(run, options.out)
    print(markdown(run))
    print(f"written: {options.out / 'benchmarks.json'}, {options.out / 'benchmarks.md'}")
    wrong = wrong_results(run)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
