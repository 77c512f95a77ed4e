# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train teacher`` and ``student``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

import anyseg_ros
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_training.config import Recipe, load_recipe, save_recipe
from anyseg_training.data import Normaliser, Pack, TrainingBatches
from anyseg_training.fit import Trainer
from anyseg_training.fitting import Normalisation, fitting, load_fitting
from anyseg_training.foreign import load_backbone
from anyseg_training.state import read_average

CHECKPOINT = "checkpoint.safetensors"


def add(commands: argparse._SubParsersAction) -> None:
    """Declare them."""
    for name, text in (("teacher", "train on all modalities"), ("student", "train with modalities missing")):
        train = commands.add_parser(name, help=text)
        train.add_argument("--pack", type=Path, required=True, help="packed training set")
        train.add_argument("--recipe", type=Path, help="YAML, see config/training")
        train.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="changes to the recipe"
        )
        train.add_argument("--out", type=Path, required=True, help="folder of the run; resumed when it holds a state")
        train.add_argument("--time-budget-minutes", type=float, help="stop (resumable) after this time")
        start = train.add_mutually_exclusive_group()
        start.add_argument("--init", type=Path, help="checkpoint to start from (default: fresh weights)")
        start.add_argument(
            "--backbone-weights", type=Path, metavar="FILE", help="pretrained MiT, names of NVIDIA or Hugging Face"
        )
        if name == "student":
            train.add_argument("--teacher", type=Path, help="checkpoint to distil from")
        train.set_defaults(run=run_train, teacher=None)


def run_train(args: argparse.Namespace) -> None:
    """``anyseg-train teacher`` and ``student``."""
    recipe = load_recipe(args.recipe, args.set)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    pack = Pack(args.pack)
    # A network is bound to the normalisation that it began with, whatever the statistics of the pack at hand.
    normalisation = (
        load_fitting(args.init or args.teacher, pack)[1].normalisation if args.init or args.teacher else None
    )
    normalisation = normalisation or pack.normalisation
    teacher = fitting(args.teacher, pack, normalisation) if args.teacher else None
    if args.command == "student" and recipe.distils and teacher is None:
        raise ValueError(
            "the recipe distils (mad_weight, umd_weight or cmd_weight > 0); give --teacher CHECKPOINT, "
            "or --set mad_weight=0 umd_weight=0 cmd_weight=0"
        )
    torch.manual_seed(recipe.seed)
    model = AnySeg(AnySegConfig(len(pack.index["classes"]), recipe.backbone, recipe.head_width))
    if args.init:
        model.load_state_dict(fitting(args.init, pack, normalisation, model.config).state_dict())
    elif args.backbone_weights:
        load_backbone(args.backbone_weights, model)
    normaliser = Normaliser(pack.modalities, normalisation)
    batches = TrainingBatches(pack, normaliser, recipe.batch, recipe.zoom_max, recipe.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    save_recipe(recipe, args.out / "recipe.yaml")
    outcome = Trainer(model, recipe, batches, pack.index["class_pixels"], teacher).run(
        args.out, args.time_budget_minutes
    )
    model.load_state_dict(read_average(args.out / "state.safetensors"))
    save_checkpoint(
        args.out / CHECKPOINT, model, describe(model, pack, normalisation, recipe, args.command, outcome.step)
    )
    state = "finished" if outcome.finished else "stopped, resumable"
    print(f"{args.out / CHECKPOINT}: step {outcome.step} of {recipe.steps}, {state}")


def describe(
    model: AnySeg, pack: Pack, normalisation: Normalisation, recipe: Recipe, role: str, step: int
) -> CheckpointMeta:
    """The description that goes with a trained model."""
    samples = pack.samples
    training = {
        "role": role,
        "step": step,
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "samples": len(samples),
        "drives": len({s["drive"] for s in samples}),
        "augmentation": "flip, zoom, camera photometry, event and point thinning",
    }
    return CheckpointMeta(
        asdict(model.config), pack.index["classes"], pack.index["palette"], pack.modalities, pack.index["encoding"],
        normalisation, list(pack.grid), training, anyseg_ros.__version__,
        encoding_parameters=pack.index["encoding_parameters"],
    )  # fmt: skip
