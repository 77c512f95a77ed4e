# SPDX-License-Identifier: Apache-2.0
"""Scores every subset of modalities in one pass.

The streams never meet before the mean, so each is encoded once; and the head is affine up to its ReLU, so each is
projected, upsampled and normalised once too. What is left for a subset is a mean, the ReLU and the last convolution.

A network as the node runs it (an ONNX file, another precision) has no such parts: it answers each subset in a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from anyseg_ros.engine.network import Network
from anyseg_ros.metrics import confusion
from anyseg_ros.modality import Modality, all_subsets, subset_name
from anyseg_ros.model.segmentor import AnySeg
from anyseg_ros.types import UNLABELLED
from anyseg_training.data import Normaliser, Pack, PackError, conditions_of
from anyseg_training.protocols import PROTOCOLS, Protocol
from anyseg_training.report import ALL, PRIOR, report

SKIP = PROTOCOLS["skip"]
SEED = 0


@dataclass(frozen=True)
class SubsetLogits:
    """What the network says with one subset; None where it was fed nothing."""

    subset: str
    logits: Tensor | None


def subset_logits(
    model: AnySeg,
    images: Tensor,
    present: np.ndarray,
    names: list[str],
    protocol: Protocol = SKIP,
    generator: torch.Generator | None = None,
) -> list[SubsetLogits]:
    """Logits [1,K,H/4,W/4] of every subset for one sample: an encoder pass per image, and a mean per subset.

    A modality that the sample lacks is, in every subset that names it, what the protocol makes of an absent one.

    Args:
        model: in evaluation mode.
        images: [M,3,H,W], normalised; those that are not present are not read.
        present: bool [M].
        names: modality name of each image.
        protocol: what absent means.
        generator: of the protocol's randomness, if it has any.
    """
    generator = generator or torch.Generator().manual_seed(SEED)
    there, away = encoded(model, images, present, protocol, generator)
    space = torch.empty_like(next(iter([*there.values(), *away.values()]), torch.empty(0)))
    return [
        SubsetLogits(name, model.head.classify(mean_of(used, space)) if used else None)
        for name, used in by_subset(names, there, away)
    ]


def encoded(
    model: AnySeg, images: Tensor, present: np.ndarray, protocol: Protocol, generator: torch.Generator
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Mixed features [1,E,h,w] of each modality as it is there, and as it is when away; one call of the encoder."""
    there, away = fed(images, present, protocol, generator)
    if len(there) + len(away) == 0:
        return {}, {}
    return placed(present, *model.head.mix(model.encoder(torch.cat([there, away]))).split([len(there), len(away)]))


def fed(images: Tensor, present: np.ndarray, protocol: Protocol, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [n,3,H,W] of the modalities that are there, and those [m,3,H,W] of the ones that are away (m may be 1)."""
    seen = torch.as_tensor(present, device=images.device)[:, None, None, None]
    whole = torch.where(seen, images, torch.zeros_like(images))
    there = (protocol.there(whole, generator) if protocol.there else whole)[np.flatnonzero(present).tolist()]
    return there, protocol.away(whole, generator) if protocol.away else whole[:0]


def placed(present: np.ndarray, there: Tensor, away: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """What was made of ``fed`` images, one [1,...] for each place in the stack."""
    gone = {i: away[i % len(away)][None] for i in range(len(present))} if len(away) else {}
    return {i: there[n : n + 1] for n, i in enumerate(np.flatnonzero(present).tolist())}, gone


def network_logits(
    network: Network,
    images: Tensor,
    present: np.ndarray,
    names: list[str],
    protocol: Protocol,
    generator: torch.Generator,
) -> list[SubsetLogits]:
    """As ``subset_logits``, of a network that is run once for every subset."""
    there, away = placed(present, *fed(images, present, protocol, generator))
    return [
        SubsetLogits(name, network.logits(torch.cat(used))[None] if used else None)
        for name, used in by_subset(names, there, away)
    ]


def by_subset(
    names: list[str], there: dict[int, Tensor], away: dict[int, Tensor]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Each subset's name, and what it is made of."""
    modalities = [Modality(name) for name in names]
    for subset in all_subsets(modalities):
        used = [there[i] if m in subset and i in there else away.get(i) for i, m in enumerate(modalities)]
        yield subset_name(subset), [part for part in used if part is not None]


def mean_of(streams: Sequence[Tensor], space: Tensor) -> Tensor:
    """The plain mean of streams, in ``space``: fresh memory of this size costs more than the sum."""
    space.copy_(streams[0])
    for stream in streams[1:]:
        space += stream
    return space.div_(len(streams)) if len(streams) > 1 else space


def labels_from(logits: Tensor | None, grid: tuple[int, int]) -> np.ndarray:
    """uint8 [H,W]: argmax of the logits upsampled to the grid; 255 everywhere when there are none."""
    if logits is None:
        return np.full(grid, UNLABELLED, np.uint8)
    full = F.interpolate(logits, grid, mode="bilinear", align_corners=False)
    return full[0].argmax(0).to(torch.uint8).cpu().numpy()


def evaluate(
    model: AnySeg,
    pack: Pack,
    normaliser: Normaliser,
    prior: np.ndarray | None,
    protocol: str = "skip",
    bar: bool = True,
) -> dict:
    """Score a model on a pack.

    Args:
        model: the network.
        pack: the split to score.
        normaliser: of the checkpoint.
        prior: uint8 [H,W], each position's most frequent class in the training set: the answer to beat; None leaves
            it out of the report.
        protocol: name in ``PROTOCOLS``: what a missing modality means.
        bar: show progress.

    Returns:
        A JSON-ready report (see ``report``).

    Raises:
        PackError: the training set's grid or the model's classes are not those of the pack.
    """
    device = next(model.parameters()).device
    ask = partial(subset_logits, model.eval())
    return scored(ask, model.config.classes, pack, normaliser, prior, protocol, device, bar)


def evaluate_network(
    network: Network, classes: int, pack: Pack, normaliser: Normaliser, prior: np.ndarray | None, protocol: str = "skip"
) -> dict:
    """Score a network as the node runs it: any backend and precision. Else as ``evaluate``."""
    ask = partial(network_logits, network)
    return scored(ask, classes, pack, normaliser, prior, protocol, network.device)


@torch.inference_mode()
def scored(
    ask: Callable[..., list[SubsetLogits]],
    classes: int,
    pack: Pack,
    normaliser: Normaliser,
    prior: np.ndarray | None,
    protocol: str,
    device: torch.device,
    bar: bool = True,
) -> dict:
    """What ``ask(images, present, names, protocol, generator)`` reaches on a pack; else as ``evaluate``."""
    grid = pack.grid if prior is None else prior.shape
    if grid != pack.grid or classes != len(pack.index["classes"]):
        raise PackError(
            f"grid {grid} and {classes} classes do not fit {pack.root} with grid {pack.grid} "
            f"and {len(pack.index['classes'])} classes"
        )
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((classes, classes + 1), np.int64))
    for i in tqdm(range(len(pack)), unit="sample", disable=not bar, desc="evaluate"):
        images, labels = pack.raw(i)
        stack = torch.from_numpy(normaliser(images)).to(device)
        generator = torch.Generator().manual_seed(SEED + i)
        found = ask(stack, pack.present[i], pack.modalities, PROTOCOLS[protocol], generator)
        answers = {a.subset: labels_from(a.logits, pack.grid) for a in found}
        if prior is not None:
            answers[PRIOR] = prior
        sample = pack.samples[i]
        for subset, answer in answers.items():
            added = confusion(answer, labels, classes)
            for condition in dict.fromkeys((ALL, *conditions_of(sample))):  # one may have the name of the total
                counts[subset, condition] += added
    return report(counts, pack, protocol)
