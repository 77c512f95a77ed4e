# SPDX-License-Identifier: Apache-2.0
"""Features by modality in the plane (t-SNE), and how well a modality can be told from its features.

The paper's Figure 4 (arXiv 2411.17141) shows such pictures before and after distillation. A picture of t-SNE shows what
its seed and its perplexity make of the features, so two numbers of the features themselves stand beside each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from anyseg_training.data import Pack, PackError
from anyseg_training.figures import COLOURS, new_figure
from anyseg_training.networks import NamedNetwork, spread

# The last stage, whose maps are averaged over so many parts of the image (rows, columns).
STAGE = 4
REGIONS = (2, 2)
MAX_POINTS = 1500
SEED = 0
PERPLEXITY = 30.0
NEIGHBOURS = 5
FOLDS = 5


class TooFewError(PackError):
    """Features of one modality or one drive, of which there is nothing to compare."""


@dataclass(frozen=True)
class Features:
    """Standardised features of image regions.

    Attributes:
        values: float64 [N,C], each channel with mean 0 and standard deviation 1 over the points.
        modality: int64 [N], place in ``names``.
        drive: int64 [N], a number per drive.
        names: of the modalities.
    """

    values: np.ndarray
    modality: np.ndarray
    drive: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Separation:
    """How far apart the modalities' features are.

    Attributes:
        silhouette: Rousseeuw's mean silhouette with modalities as clusters, -1..1; 0: they overlap entirely.
        recognised_percent: regions whose modality is that of most of their nearest ``NEIGHBOURS`` in other drives.
        chance_percent: of the most frequent modality.
        points: number of regions.
    """

    silhouette: float
    recognised_percent: float
    chance_percent: float
    points: int


def draw_tsne(networks: Sequence[NamedNetwork], pack: Pack, out: Path) -> list[Path]:
    """Write ``tsne.png``, a picture per network side by side, and ``tsne.json``, its numbers; returns their paths.

    Raises:
        PackError: scikit-learn is missing.
        TooFewError: the samples have too few drives or modalities; nothing was written.
    """
    samples = spread(pack, max(1, MAX_POINTS // (REGIONS[0] * REGIONS[1] * len(pack.modalities))))
    columns = []
    for network in networks:
        features = region_features(network, pack, samples)
        columns.append((network.name, features, separation(features), in_the_plane(features)))
    out.mkdir(parents=True, exist_ok=True)
    numbers = {name: asdict(apart) for name, _, apart, _ in columns}
    about = {"split": pack.index["split"], "samples": len(samples), "stage": STAGE, "regions": list(REGIONS)}
    (out / "tsne.json").write_text(json.dumps(about | {"seed": SEED, "networks": numbers}, indent=1) + "\n")
    scatter(columns, f"{len(samples)} samples, split {pack.index['split']}", out / "tsne.png")
    return [out / "tsne.png", out / "tsne.json"]


@torch.inference_mode()
def region_features(network: NamedNetwork, pack: Pack, samples: Sequence[int]) -> Features:
    """The encoder's last maps of what is present, averaged over regions."""
    rows, modality, drive = [], [], []
    drives = {name: k for k, name in enumerate(dict.fromkeys(s["drive"] for s in pack.samples))}
    for i in samples:
        there = np.flatnonzero(pack.present[i])
        maps = network.model.encoder(network.stack(pack, i)[there])[STAGE - 1]
        pooled = F.adaptive_avg_pool2d(maps, REGIONS).flatten(2).transpose(1, 2)
        rows.append(pooled.flatten(0, 1).double().numpy())
        modality.append(there.repeat(pooled.shape[1]))
        drive.append(np.full(len(rows[-1]), drives[pack.samples[i]["drive"]]))
    values = np.concatenate(rows)
    spread_of = values.std(0)
    values = (values - values.mean(0)) / np.where(spread_of > 0, spread_of, 1.0)
    return Features(values, np.concatenate(modality), np.concatenate(drive), pack.modalities)


def separation(features: Features) -> Separation:
    """Numbers of the features themselves, not of their picture.

    Raises:
        TooFewError: one modality or one drive only.
    """
    require_sklearn()
    from sklearn.metrics import silhouette_score
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    counts = np.bincount(features.modality)
    drives = len(np.unique(features.drive))
    if (counts > 0).sum() < 2 or drives < 2:
        raise TooFewError(f"features of {(counts > 0).sum()} modalities and {drives} drives; two of each are wanted")
    folds = GroupKFold(min(FOLDS, drives))
    nearest = KNeighborsClassifier(NEIGHBOURS)
    right = cross_val_score(nearest, features.values, features.modality, groups=features.drive, cv=folds)
    sizes = [len(test) for _, test in folds.split(features.values, groups=features.drive)]
    return Separation(
        silhouette=float(silhouette_score(features.values, features.modality)),
        recognised_percent=float(100 * np.average(right, weights=sizes)),
        chance_percent=float(100 * counts.max() / counts.sum()),
        points=len(features.values),
    )


def in_the_plane(features: Features) -> np.ndarray:
    """Points [N,2] by t-SNE (van der Maaten and Hinton, JMLR 2008), started from the principal components."""
    require_sklearn()
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features.values) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=SEED).fit_transform(features.values)


def scatter(columns: Sequence[tuple[str, Features, Separation, np.ndarray]], about: str, path: Path) -> None:
    """A square per network, a colour per modality."""
    figure = new_figure(4.2 * len(columns), 4.9)
    for axes, (name, features, apart, places) in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        for k, modality in enumerate(features.names):
            of = features.modality == k
            axes.scatter(*places[of].T, s=7, alpha=0.7, linewidths=0, color=COLOURS[k], label=modality)
        axes.set_title(
            f"{name}\nsilhouette {apart.silhouette:.2f}; modality recognised in {apart.recognised_percent:.0f} % "
            f"(chance {apart.chance_percent:.0f} %)",
            fontsize=9,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_box_aspect(1)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, markerscale=2.5)
    figure.suptitle(f"t-SNE of the features of stage {STAGE}, {REGIONS[0]} x {REGIONS[1]} regions, {about}", fontsize=9)
    figure.savefig(path)


def require_sklearn() -> Any:
    """Say what to install where it is absent.

    Raises:
        PackError: it is.
    """
    try:
        import sklearn
    except ImportError as error:
        raise PackError("t-SNE needs scikit-learn; install it with: pip install 'anyseg_ros[train]'") from error
    return sklearn
