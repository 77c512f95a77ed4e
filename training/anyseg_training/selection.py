# SPDX-License-Identifier: Apache-2.0
"""Which of a run's averaged weights are the best, by their score on a split that is neither trained on nor reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from anyseg_ros.model.checkpoint import CheckpointMeta
from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.data import Normaliser, Pack, PackError
from anyseg_training.evaluate import evaluate
from anyseg_training.runinfo import scenes_digest

Record = dict[str, Any]
EVERY_SUBSET = "mean over all subsets"
# In a checkpoint's account of its training: digests of the scenes of the runs before, which it started or learned from.
EARLIER_SCENES = "earlier_scenes"


class Selection:
    """Scores averaged weights and keeps the best. It draws nothing, so the training goes on as without it.

    Attributes:
        record: what is selected on, and the best so far: split, scenes (digest), samples, score (what is compared),
            step and miou (null until something was scored).
    """

    def __init__(
        self,
        model: AnySeg,
        pack: Pack,
        normaliser: Normaliser,
        prior: np.ndarray,
        every_subset: bool,
        keep: Callable[[AnySeg, Record], None],
        device: torch.device,
    ) -> None:
        """Prepare.

        Args:
            model: of the architecture that is trained; copied.
            pack: the selection split.
            normaliser: of the run.
            prior: uint8 [H,W] of the training set, see ``evaluate``.
            every_subset: compare the mean over all subsets (student); else the mIoU of all sensors (teacher).
            keep: writes the weights that are the best so far.
            device: where it is scored.
        """
        self._model = copy.deepcopy(model).to(device)
        self._pack, self._normaliser, self._prior, self._keep = pack, normaliser, prior, keep
        self._every_subset = every_subset
        self.record: Record = {
            "split": pack.index["split"],
            "scenes": scenes_digest(pack),
            "samples": len(pack),
            "score": EVERY_SUBSET if every_subset else "all sensors",
            "step": None,
            "miou": None,
        }

    def __call__(self, average: dict[str, Tensor], step: int) -> float:
        """The mIoU in percent of averaged weights, which are kept if they are the best so far.

        Raises:
            PackError: the split cannot be scored.
        """
        self._model.load_state_dict(average)
        result = evaluate(self._model, self._pack, self._normaliser, self._prior, bar=False)
        score = result["miou_mean"] if self._every_subset else list(result["miou"].values())[-1]
        if score is None:
            raise PackError(f"{self._pack.root}: a subset has no mIoU, so nothing can be selected on it")
        best = self.record["miou"]
        if best is None or score > best:
            self.record |= {"step": step, "miou": score}
            self._keep(self._model, self.record)
        tqdm.write(
            f"step {step}: mIoU {score:.2f} on split '{self.record['split']}' ({self.record['score']}); "
            f"best {self.record['miou']:.2f} at step {self.record['step']}"
        )
        return score


def common_scenes(one: Pack, other: Pack) -> list[str]:
    """The names of the scenes that two packs have in common, sorted."""
    return sorted({sample["scene"] for sample in one.samples} & {sample["scene"] for sample in other.samples})


def scenes_seen(meta: CheckpointMeta) -> set[str]:
    """Digests (see ``scenes_digest``) of what a checkpoint and those that it came from were trained on, where known."""
    return {*meta.training.get(EARLIER_SCENES, []), *filter(None, [meta.training.get("scenes")])}


def trained_on(meta: CheckpointMeta, scored: Pack, training: Pack | None) -> str:
    """A warning for a report whose figures are of what was trained on; empty where they are not known to be.

    A checkpoint knows whole sets of scenes only; of a training set at hand every scene counts.
    """
    if scenes_digest(scored) in scenes_seen(meta):
        return f"WARNING: {scored.root} holds the very scenes that were trained on; these figures are not of others. "
    if training is None or not (common := common_scenes(scored, training)):
        return ""
    return (
        f"WARNING: {scored.root} shares {len(common)} of its scenes with {training.root}, such as {common[0]}, which "
        "were trained on; these figures flatter. "
    )


def how_chosen(meta: CheckpointMeta, scored: Pack) -> str:
    """A sentence for a report: on what the weights were selected, and whether that is what was scored."""
    if "selection" not in meta.training:
        return "The checkpoint does not say whether a split selected its weights."
    record = meta.training["selection"]
    if record is None:
        return "No split selected these weights: they are the last of their run."
    chosen = f"step {record['step']} was selected on split '{record['split']}' ({record['samples']} samples)"
    if record["scenes"] == scenes_digest(scored):
        return f"These figures flatter: {chosen}, the very scenes that are scored here. Report another split."
    return f"Of this run, {chosen}, not on what is scored here."
