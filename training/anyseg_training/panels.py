# SPDX-License-Identifier: Apache-2.0
"""Pictures of samples: what the sensors saw, the truth, and what networks say with every subset of the sensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import torch

from anyseg_ros.labels import LabelSet
from anyseg_ros.metrics import confusion, miou
from anyseg_ros.modality import Modality
from anyseg_ros.painting import colour, show_encoded
from anyseg_training.data import Pack, PackError, conditions_of
from anyseg_training.evaluate import labels_from, subset_logits
from anyseg_training.figures import new_figure
from anyseg_training.networks import NamedNetwork, spread

SAMPLES = 4
# Cells of one row of predictions: the 7 subsets of three modalities, or half of the 15 of four.
COLUMNS = {3: 7, 4: 8}
# All sizes are for a page that shows the picture at half its width: text is large beside the cells.
WIDTH_IN = 14.0
CELL_AT_MOST_IN = 4.0
TEXT_PT = 16.0
LINE_IN = 0.34
CHARACTER_IN = 0.6 * TEXT_PT / 72
LEGEND_COLUMN_IN = 2.3


def draw_panels(networks: Sequence[NamedNetwork], pack: Pack, out: Path, samples: Sequence[int] = ()) -> list[Path]:
    """Write ``panel_<sample>.png`` for each sample; returns their paths.

    Args:
        networks: a block of rows each.
        pack: where the samples are from.
        out: folder.
        samples: their places in the pack; none for ``SAMPLES`` that are spread over it.

    Raises:
        PackError: a sample is not in the pack.
    """
    beyond = [i for i in samples if not 0 <= i < len(pack)]
    if beyond:
        raise PackError(f"samples {beyond} are not in {pack.root}, which holds 0 to {len(pack) - 1}")
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for i in samples or spread(pack, SAMPLES):
        files.append(out / f"panel_{i}.png")
        draw_panel(networks, pack, i, files[-1])
    return files


def draw_panel(networks: Sequence[NamedNetwork], pack: Pack, sample: int, path: Path) -> None:
    """One sample: a row of inputs and the truth, then rows of predictions for each network."""
    label_set = LabelSet(tuple(pack.index["classes"]), tuple(map(tuple, pack.index["palette"])))
    truth = np.asarray(pack.labels[sample])
    answers = {n.name: predictions(n, pack, sample) for n in networks}
    maps = [truth, *(found for labels in answers.values() for found in labels.values())]
    classes = sorted(set(np.unique(np.stack(maps)).tolist()) & set(range(len(label_set))))
    subsets = 2 ** len(pack.modalities) - 1
    columns = max(COLUMNS.get(len(pack.modalities), subsets), len(pack.modalities) + 1)
    rows_each = ceil(subsets / columns)
    figure, axes = cells(pack, sample, 1 + rows_each * len(networks), columns, len(classes))
    above = [*inputs(pack, sample), ("truth", colour(truth, label_set))]
    for cell, (name, picture) in zip(axes[0][: len(above)], above, strict=True):
        show(cell, name, picture)
    for k, (name, labels) in enumerate(answers.items()):
        first = 1 + k * rows_each
        for cell, (subset, found) in zip(axes[first : first + rows_each].flat[:subsets], labels.items(), strict=True):
            score = miou(confusion(found, truth, len(label_set)))
            show(cell, subset if score is None else f"{subset}  {score:.0f}", colour(found, label_set))
        write_beside(axes[first, 0], name)
    add_legend(figure, label_set, classes)
    figure.savefig(path)


def cells(pack: Pack, sample: int, rows: int, columns: int, classes: int) -> tuple[Any, np.ndarray]:
    """A figure with a headline and room for a legend of so many classes, and its empty axes [rows,columns]."""
    about = pack.samples[sample]
    text = (
        f"{pack.index['split']} sample {sample}: {about['scene']}, {', '.join(conditions_of(about))}. "
        "Numbers: mIoU of this picture in percent"
    )
    cell = min(CELL_AT_MOST_IN, WIDTH_IN / columns)
    width = cell * columns + 2 * LINE_IN
    lines = wrap(text, int(width / CHARACTER_IN))
    others = len(lines) + ceil(classes / legend_columns(width)) + 0.5
    height = rows * (cell * pack.grid[0] / pack.grid[1] + 1.2 * LINE_IN) + others * LINE_IN
    figure = new_figure(width, height)
    figure.suptitle("\n".join(lines), fontsize=TEXT_PT)
    axes = figure.subplots(rows, columns, squeeze=False)
    for empty in axes.flat:
        empty.set_axis_off()
    return figure, axes


def legend_columns(width_in: float) -> int:
    """How many classes stand beside each other under a figure of a width."""
    return max(1, int(width_in / LEGEND_COLUMN_IN))


@torch.inference_mode()
def predictions(network: NamedNetwork, pack: Pack, sample: int) -> dict[str, np.ndarray]:
    """Labels uint8 [H,W] with each subset; 255 everywhere where a subset has nothing."""
    found = subset_logits(network.model, network.stack(pack, sample), pack.present[sample], pack.modalities)
    return {answer.subset: labels_from(answer.logits, pack.grid) for answer in found}


def inputs(pack: Pack, sample: int) -> list[tuple[str, np.ndarray]]:
    """The name and a picture uint8 [H,W,3] of each modality; grey where the sample lacks it."""
    raw, _ = pack.raw(sample)
    shown = []
    for name, there in zip(pack.modalities, pack.present[sample], strict=True):
        stored = pack.arrays[name][sample]
        if not there:
            shown.append((f"{name}: absent", np.full((*pack.grid, 3), 200, np.uint8)))
        elif stored.dtype == np.uint8:
            shown.append((name, np.ascontiguousarray(stored.transpose(1, 2, 0))))
        else:
            shown.append((name, show_encoded(Modality(name), raw[name])))
    return shown


def show(axes: Any, title: str, picture: np.ndarray) -> None:
    """A picture under a title, in a thin frame: that of events is white at its edges."""
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(linewidth=0.4, color="0.6")
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=TEXT_PT, pad=4)


def write_beside(axes: Any, name: str) -> None:
    """The network's name, upright at the left of a row, as large as the row is high."""
    figure, rows = axes.figure, axes.get_gridspec().nrows
    size = min(TEXT_PT, TEXT_PT * figure.get_figheight() / (rows + 1) / (CHARACTER_IN * len(name)))
    axes.text(-0.04, 0.5, name, transform=axes.transAxes, rotation=90, ha="right", va="center", fontsize=size)


def add_legend(figure: Any, label_set: LabelSet, classes: Sequence[int]) -> None:
    """The colours of classes."""
    from matplotlib.patches import Patch

    patches = [Patch(color=hexadecimal(label_set.palette[k]), label=label_set.names[k]) for k in classes]
    columns = legend_columns(figure.get_figwidth())
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False, fontsize=TEXT_PT)


def hexadecimal(rgb: Sequence[int]) -> str:
    """#rrggbb, as drawing takes a colour."""
    return "#" + bytes(rgb).hex()
