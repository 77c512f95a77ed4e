# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train ablation``: what each part of the method adds, on simulated drives."""

from __future__ import annotations

import argparse
from pathlib import Path

from anyseg_training.ablation import load_plan
from anyseg_training.ablation_cells import run_cells
from anyseg_training.ablation_data import make_benchmark, open_benchmark
from anyseg_training.ablation_report import write_report
from anyseg_training.ablation_summary import summarise
from anyseg_training.commands import train


def add(commands: argparse._SubParsersAction) -> None:
    """Declare it."""
    grid = commands.add_parser("ablation", help="the parts of the method one by one, several seeds, simulated drives")
    grid.add_argument("--out", type=Path, required=True, help="folder of drives, packs and runs; resumed")
    grid.add_argument("--plan", type=Path, default=Path("config/training/ablation.yaml"), help="YAML: drives, recipes")
    grid.add_argument("--workers", type=int, default=2, help="processes that simulate and pack")
    grid.add_argument("--docs", type=Path, default=Path("docs"), help="where ablation.json, .md and the picture go")
    grid.add_argument("--report-only", action="store_true", help="make and train nothing; report finished seeds")
    grid.set_defaults(run=run_ablation)


def run_ablation(args: argparse.Namespace) -> None:
    """``anyseg-train ablation``."""
    plan = load_plan(args.plan)
    packs = open_benchmark(plan, args.out) if args.report_only else make_benchmark(plan, args.out, args.workers)
    if not args.report_only and not run_cells(plan, packs, args.out, run_training):
        print(f"{args.out}: stopped; the same command goes on")
        return
    summary = {"plan_file": args.plan.as_posix()} | summarise(plan, packs, args.out)
    for path in write_report(summary, args.docs):
        print(path)


def run_training(arguments: list[str]) -> None:
    """Run ``anyseg-train teacher`` or ``student`` in this process."""
    parser = argparse.ArgumentParser("anyseg-train ablation")
    train.add(parser.add_subparsers(dest="command", required=True))
    args = parser.parse_args(arguments)
    args.run(args)
