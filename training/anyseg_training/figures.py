# SPDX-License-Identifier: Apache-2.0
"""Pictures of scores: bars over the subsets for one or several models, and IoU by class and subset as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anyseg_training.data import PackError
from anyseg_training.report import AS_TRAINED, read_report

# Colours that people with deficient colour vision tell apart (Okabe and Ito).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def read_scores(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """Reports that ``evaluate`` wrote, by the name of their file.

    Raises:
        PackError: two are of different protocols, splits, packs, classes or subsets, or a file is no report.
    """
    found = {path.stem: read_report(path) for path in paths}
    if len(found) != len(paths):
        raise PackError("two of the files have one name; it is what the legend shows, so name them apart")
    for what in ("protocol", "split", "classes", "pack"):
        kinds = {str(scores[what]) for scores in found.values()}
        if len(kinds) > 1:
            raise PackError(
                f"the files differ in {what} ({', '.join(sorted(kinds))}); do not set them beside each other"
            )
    if len({tuple(scores["miou"]) for scores in found.values()}) > 1:
        raise PackError("the files are of different modalities; do not set them beside each other")
    return found


def draw_figures(paths: list[Path], out: Path) -> list[Path]:
    """Write ``subsets.png``, and ``classes_<name>.png`` for each report; returns their paths."""
    scores = read_scores(paths)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "subsets.png"]
    subset_bars(scores, files[0])
    for name, one in scores.items():
        files.append(out / f"classes_{name}.png")
        class_map(name, one, files[-1])
    return files


def title_of(name: str, one: dict[str, Any]) -> str:
    """A report's name; with the precision, where that is not the one of the network as trained."""
    return name if one["precision"] == AS_TRAINED else f"{name} ({one['precision']})"


def new_figure(width: float, height: float) -> Any:
    """A figure without a display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PackError("figures need matplotlib; install it with: pip install 'anyseg_ros[train]'") from error
    return Figure((width, height), dpi=120, layout="constrained")


def subset_bars(scores: dict[str, dict[str, Any]], path: Path) -> None:
    """Grouped bars: mIoU of every subset, and the mean."""
    first = next(iter(scores.values()))
    subsets = [*first["miou"], "mean"]
    figure = new_figure(max(6.0, 0.4 * len(subsets) * len(scores) + 3.0), 4.0)
    axes = figure.subplots()
    places, width = np.arange(len(subsets)), 0.8 / len(scores)
    for k, (name, one) in enumerate(scores.items()):
        values = [np.nan if v is None else v for v in [*one["miou"].values(), one["miou_mean"]]]
        where = places + (k - (len(scores) - 1) / 2) * width
        bars = axes.bar(where, values, width, label=title_of(name, one), color=COLOURS[k % len(COLOURS)])
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
    if first["prior_miou"] is not None:
        axes.axhline(first["prior_miou"], color="0.4", linestyle=":", label="position prior")
    axes.set_xticks(places, subsets)
    axes.set_ylabel("mIoU in percent")
    axes.set_title(f"{first['samples']} samples, split {first['split']}, protocol {first['protocol']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def class_map(name: str, one: dict[str, Any], path: Path) -> None:
    """IoU of each class (rows) with each subset (columns); classes without labels stay white."""
    subsets = list(one["miou"])
    table = np.array([[np.nan if v is None else v for v in one["iou_per_class"][s]] for s in subsets], float).T
    figure = new_figure(0.6 * len(subsets) + 3.0, 0.3 * len(table) + 1.5)
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > 60 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(subsets)), subsets)
    axes.set_yticks(range(len(table)), one["classes"])
    axes.set_title(f"{title_of(name, one)}: IoU in percent, protocol {one['protocol']}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.6)
    figure.savefig(path)
