# SPDX-License-Identifier: Apache-2.0
"""Writes the page, the figures and the picture of an ablation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anyseg_training.ablation_findings import limits, says
from anyseg_training.ablation_text import Summary, labels, paragraph, setup
from anyseg_training.figures import COLOURS, new_figure
from anyseg_training.report import row

ALL_SENSORS = -2  # in the columns: the subsets, the last of which has every sensor, then their mean
DIFFERENCES = {
    "joint_training_mean_over_subsets": "student - teacher, mean over the subsets",
    "teacher_all_sensors": "student - teacher, all sensors",
    "recipe_before_mean_over_subsets": "against the row above, mean over the subsets",
    "recipe_before_all_sensors": "against the row above, all sensors",
}


def write_report(summary: Summary, docs: Path) -> list[Path]:
    """Write ``ablation.json``, ``ablation.md`` and ``images/ablation.png`` below ``docs``; returns their paths."""
    paths = [docs / "ablation.json", docs / "ablation.md", docs / "images/ablation.png"]
    paths[-1].parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_text(json.dumps(rounded(summary)) + "\n")
    paths[1].write_text(page(summary))
    draw(summary, paths[2])
    return paths


def rounded(value: Any) -> Any:
    """All floats to five decimals; the figures are percent and seconds."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def page(summary: Summary) -> str:
    """The page in Markdown."""
    lines = ["# Ablation: what each part of the method adds", *setup(summary)]
    lines += ["", "## Scores", *scores_table(summary)]
    lines += ["", "![mean over the subsets and all sensors, by recipe](images/ablation.png)"]
    lines += ["", "## Differences", *differences_table(summary)]
    lines += ["", "## What it says", *says(summary), "", limits(summary)]
    return "\n".join(lines) + "\n"


def scores_table(summary: Summary) -> list[str]:
    """Recipes by subsets."""
    columns, called = summary["columns"], labels(summary)
    about = paragraph(
        "mIoU in percent on the test drives, over the classes that occur; a sensor that a subset lacks is left",
        "out of the",
        "mean (`skip`). Mean ± standard deviation over the seeds; below it the 95 % bootstrap interval over drives",
        f"({summary['bootstrap']['resamples']} resamples of whole drives, the mean over the seeds in each). The last",
        "row looks at nothing: it answers each pixel's position with its most frequent class of the training drives.",
    )
    lines = [about, "", row("recipe", columns), row("---", ["---:"] * len(columns))]
    for name, scores in summary["table"].items():
        lines.append(row(called[name], [cell_text(scores[c]) for c in columns]))
    lines.append(row("no sensor, no network", [cell_text(summary["prior"])] * len(columns)))
    return lines


def differences_table(summary: Summary) -> list[str]:
    """The two differences of every student, and what each part adds to the recipe before it."""
    called = labels(summary)
    about = paragraph(
        "In points of mIoU, paired by seed and by resample: mean ± standard deviation over the seeds, 95 %",
        "interval over",
        f"drives. The row above the first is {called[next(iter(called))]}.",
    )
    lines = [about, "", row("student", list(DIFFERENCES.values())), row("---", ["---:"] * len(DIFFERENCES))]
    for name, found in summary["differences"].items():
        lines.append(row(called[name], [cell_text(found[key], "+") for key in DIFFERENCES]))
    return lines


def cell_text(e: dict[str, Any], sign: str = "") -> str:
    """``41.2 ± 0.3``, and the interval in the next line."""
    spread = "" if e["spread"] is None else f" ± {e['spread']:.1f}"
    return f"{e['mean']:{sign}.1f}{spread}<br>{e['low']:{sign}.1f} to {e['high']:{sign}.1f}"


def draw(summary: Summary, path: Path) -> None:
    """Bars of the mean over the subsets and of all sensors by recipe: interval over drives, a dot per seed.

    The values stand below the axis, where nothing can run through them.
    """
    table, columns = summary["table"], summary["columns"]
    figure = new_figure(9.0, 4.4)
    axes = figure.subplots()
    feet: dict[float, str] = {}
    for k, (column, what) in enumerate(((columns[-1], "mean over the subsets"), (columns[ALL_SENSORS], "all sensors"))):
        found = [scores[column] for scores in table.values()]
        where = [i + (k - 0.5) * 0.4 for i in range(len(found))]
        means = [e["mean"] for e in found]
        # Resamples lack rare classes now and then, so an interval may lie beside its figure: no negative bar.
        errors = [[max(e["mean"] - e["low"], 0) for e in found], [max(e["high"] - e["mean"], 0) for e in found]]
        axes.bar(where, means, 0.36, label=what, color=COLOURS[k], yerr=errors, capsize=4)
        feet |= {x: f"{mean:.1f}" for x, mean in zip(where, means, strict=True)}
        for x, e in zip(where, found, strict=True):
            axes.plot([x + 0.08] * len(e["per_seed"]), e["per_seed"], ".", color="black", markersize=5)
    axes.axhline(summary["prior"]["mean"], color="black", linestyle=":", label="no sensor, no network")
    axes.set_xticks(list(feet), list(feet.values()), minor=True)
    axes.tick_params(axis="x", which="minor", length=0, labelsize=10)
    names = [name.replace(" (", "\n(") for name in labels(summary).values()]
    axes.set_xticks(range(len(table)), [name.replace(", ", ",\n").replace(" + UMD", "\n+ UMD") for name in names])
    axes.tick_params(axis="x", which="major", length=0, labelsize=9, pad=20)
    axes.set_ylabel("mIoU in percent, test drives")
    axes.set_title("Whiskers: 95 % bootstrap interval over drives; dots: seeds", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)
