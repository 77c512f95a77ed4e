# SPDX-License-Identifier: Apache-2.0
"""Pictures of samples: what the sensors saw, the truth, and what networks say with every subset of the sensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
from anyseg_training.networks import Network, spread

SAMPLES = 4
# Cells of one row of predictions: the 7 subsets of three modalities, or half of the 15 of four.
COLUMNS = {3: 7, 4: 8}
CELL_IN = 2.0
TITLE_IN = 0.24
LEGEND_COLUMNS = 10


def draw_panels(networks: Sequence[Network], pack: Pack, out: Path, samples: Sequence[int] = ()) -> list[Path]:
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


def draw_panel(networks: Sequence[Network], pack: Pack, sample: int, path: Path) -> None:
    """One sample: a row of inputs and the truth, then rows of predictions for each network."""
    label_set = LabelSet(tuple(pack.index["classes"]), tuple(map(tuple, pack.index["palette"])))
    truth = np.asarray(pack.labels[sample])
    answers = {n.name: predictions(n, pack, sample) for n in networks}
    columns = COLUMNS.get(len(pack.modalities), 2 ** len(pack.modalities) - 1)
    rows_each = -(-(2 ** len(pack.modalities) - 1) // columns)
    rows = 1 + rows_each * len(networks)
    cell_height = CELL_IN * pack.grid[0] / pack.grid[1] + TITLE_IN
    figure = new_figure(CELL_IN * columns + 0.4, cell_height * rows + 1.0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for cell, (name, picture) in zip(
        axes[0], [*inputs(pack, sample), ("truth", colour(truth, label_set))], strict=False
    ):
        show(cell, name, picture)
    for k, (name, labels) in enumerate(answers.items()):
        first = 1 + k * rows_each
        for cell, (subset, found) in zip(axes[first : first + rows_each].flat, labels.items(), strict=False):
            score = miou(confusion(found, truth, len(label_set)))
            show(cell, subset if score is None else f"{subset}  {score:.0f}", colour(found, label_set))
        write_beside(axes[first, 0], name)
    about = pack.samples[sample]
    figure.suptitle(
        f"{pack.index['split']} sample {sample}: {about['scene']}, {', '.join(conditions_of(about))}. "
        "Beside each subset: mIoU of this picture in percent",
        fontsize=9,
    )
    add_legend(figure, label_set, [truth, *(found for labels in answers.values() for found in labels.values())])
    figure.savefig(path)


@torch.inference_mode()
def predictions(network: Network, pack: Pack, sample: int) -> dict[str, np.ndarray]:
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
    axes.set_title(title, fontsize=8, pad=2)


def write_beside(axes: Any, name: str) -> None:
    """The network's name, upright at the left of a row."""
    axes.text(-0.04, 0.5, name, transform=axes.transAxes, rotation=90, ha="right", va="center", fontsize=9)


def add_legend(figure: Any, label_set: LabelSet, maps: Sequence[np.ndarray]) -> None:
    """The colours of the classes that occur in a map."""
    from matplotlib.patches import Patch

    there = sorted(set(np.unique(np.stack(maps)).tolist()) & set(range(len(label_set))))
    patches = [Patch(color=hexadecimal(label_set.palette[k]), label=label_set.names[k]) for k in there]
    figure.legend(handles=patches, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False, fontsize=8)


def hexadecimal(rgb: Sequence[int]) -> str:
    """#rrggbb, as drawing takes a colour."""
    return "#" + bytes(rgb).hex()
