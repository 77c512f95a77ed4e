# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train teacher`` and ``student``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anyseg_ros
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_training import parallel
from anyseg_training.config import Recipe, as_yaml, load_recipe
from anyseg_training.data import Normaliser, Pack, PackError, TrainingBatches
from anyseg_training.fit import STATE, Trainer, samples_at_once
from anyseg_training.fitting import Normalisation, check_packed_alike, fitting, load_fitting
from anyseg_training.foreign import load_backbone
from anyseg_training.objective import check_widths
from anyseg_training.precision import device_of
from anyseg_training.runinfo import describe_file, describe_pack, scenes_digest, write_run
from anyseg_training.selection import EARLIER_SCENES, Record, Selection, common_scenes, scenes_seen
from anyseg_training.state import read_average

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
AUGMENTATION = "flip, zoom, camera photometry, event and point thinning"


def add(commands: argparse._SubParsersAction) -> None:
    """Declare them."""
    for name, text in (("teacher", "train on all modalities"), ("student", "train with modalities missing")):
        train = commands.add_parser(
            name, help=text, epilog="Several GPUs: torchrun --nproc-per-node N -m anyseg_training.cli " + name + " ..."
        )
        train.add_argument("--pack", type=Path, help="packed training set (required)")
        train.add_argument("--recipe", type=Path, help="YAML, see config/training")
        train.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="changes to the recipe"
        )
        train.add_argument("--print-recipe", action="store_true", help="print the whole recipe as YAML, and stop")
        train.add_argument("--out", type=Path, help="folder of the run (required); resumed when it holds a state")
        train.add_argument(
            "--select-pack", type=Path, metavar="PACK", help="packed split that selects the best weights"
        )
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
    if args.print_recipe:
        print(as_yaml(recipe), end="")
        return
    if args.pack is None or args.out is None:
        raise ValueError("--pack PACK and --out FOLDER are needed: what to train on, and where the run goes")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    device = device_of(recipe.device)
    with parallel.joined(device):
        train(args, recipe, device)


def train(args: argparse.Namespace, recipe: Recipe, device: torch.device) -> None:
    """Train in this process, which may be one of several."""
    pack = Pack(args.pack)
    # A network is bound to the normalisation that it began with, whatever the statistics of the pack at hand.
    earlier = [load_fitting(path, pack)[1] for path in (args.init, args.teacher) if path]
    normalisation = earlier[0].normalisation if earlier else pack.normalisation
    seen = sorted(set().union(*map(scenes_seen, earlier)))
    teacher = fitting(args.teacher, pack, normalisation) if args.teacher else None
    if args.command == "student" and recipe.distils and teacher is None:
        raise ValueError(
            "the recipe distils (mad_weight, umd_weight or cmd_weight > 0); give --teacher CHECKPOINT, "
            "or --set mad_weight=0 umd_weight=0 cmd_weight=0"
        )
    if args.command == "student" and recipe.modality_dropout == "none":
        raise ValueError(
            "the recipe has modality_dropout 'none', with which a student never misses a sensor and is a second "
            "teacher; --set modality_dropout=sample (or batch), or train a 'teacher'"
        )
    model = fresh_model(args, recipe, pack, normalisation)
    if teacher is not None and recipe.umd_weight:
        check_widths(teacher, model, recipe.umd_weight)
    normaliser = Normaliser(pack.modalities, normalisation)

    def describe(record: Record | None, step: int) -> CheckpointMeta:
        return description(model, pack, normalisation, recipe, args.command, step, record, seen)

    def keep(best: AnySeg, record: Record) -> None:
        save_checkpoint(args.out / BEST, best, describe(record, record["step"]))

    selection = None
    if args.select_pack:
        chosen = selection_pack(args.select_pack, pack)
        selection = Selection(
            model, chosen, normaliser, np.asarray(pack.prior), args.command == "student", keep, device
        )
    batches = TrainingBatches(
        pack, normaliser, samples_at_once(recipe), recipe.zoom_max, recipe.seed, recipe.sensor_noise
    )
    trainer = Trainer(model, recipe, batches, pack.index["class_pixels"], teacher)
    trainer.state.inputs = contents_of(args)

    def started(step: int) -> None:
        (args.out / "recipe.yaml").write_text(as_yaml(recipe))
        write_run(args.out, recipe, inputs_of(args), device, step)

    outcome = trainer.run(args.out, args.time_budget_minutes, selection=selection, started=started)
    if parallel.rank() > 0:
        return
    model.load_state_dict(read_average(args.out / STATE))
    save_checkpoint(args.out / CHECKPOINT, model, describe(None, outcome.step))
    state = "finished" if outcome.finished else "stopped, resumable"
    print(f"{args.out / CHECKPOINT}: step {outcome.step} of {recipe.steps}, {state}")
    if selection is not None and selection.record["step"] is not None:
        best = selection.record
        print(f"{args.out / BEST}: step {best['step']}, mIoU {best['miou']:.2f} on split '{best['split']}'")


def fresh_model(args: argparse.Namespace, recipe: Recipe, pack: Pack, normalisation: Normalisation) -> AnySeg:
    """The network as the run begins with it."""
    torch.manual_seed(recipe.seed)
    model = AnySeg(AnySegConfig(len(pack.index["classes"]), recipe.backbone, recipe.head_width))
    if args.init:
        model.load_state_dict(fitting(args.init, pack, normalisation, model.config).state_dict())
    elif args.backbone_weights:
        load_backbone(args.backbone_weights, model)
    return model


def selection_pack(path: Path, training: Pack) -> Pack:
    """The split that selects.

    Raises:
        PackError: it shares a scene with the training set, is not packed like it, or has no labels.
    """
    pack = Pack(path)
    common = common_scenes(pack, training)
    if common:
        raise PackError(
            f"--select-pack {path} holds {len(common)} of the scenes that are trained on, such as {common[0]}; "
            "select on another split"
        )
    check_packed_alike(f"--select-pack {path}", pack, training)
    if not pack.has_labels:
        raise PackError(f"--select-pack {path} has no labelled pixel; select on a split that has labels")
    return pack


def inputs_of(args: argparse.Namespace) -> dict[str, Any]:
    """What a run reads, for ``run.json``."""
    packs = {"train": args.pack, "selection": args.select_pack}
    files = {"init": args.init, "backbone": args.backbone_weights, "teacher": args.teacher}
    found: dict[str, Any] = {name: describe_pack(Pack(path)) for name, path in packs.items() if path}
    return found | {name: describe_file(path) for name, path in files.items() if path}


def contents_of(args: argparse.Namespace) -> dict[str, str]:
    """Digests by name of what a resumed run must share; the selection split is told apart by its own record."""
    found = inputs_of(args)
    return {name: entry.get("index") or entry["content"] for name, entry in found.items() if name != "selection"}


def description(
    model: AnySeg,
    pack: Pack,
    normalisation: Normalisation,
    recipe: Recipe,
    role: str,
    step: int,
    record: Record | None,
    seen: list[str],
) -> CheckpointMeta:
    """The description that goes with a trained model.

    Args:
        model: the network.
        pack: the training set.
        normalisation: of the run.
        recipe: of the run.
        role: ``teacher`` or ``student``.
        step: at which these weights stand.
        record: what selected them; None that nothing did.
        seen: digests of the scenes that ``--init`` and ``--teacher`` were trained on.
    """
    samples = pack.samples
    training = {
        "role": role,
        "step": step,
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "samples": len(samples),
        "drives": len({s["drive"] for s in samples}),
        "scenes": scenes_digest(pack),
        EARLIER_SCENES: seen,
        "augmentation": AUGMENTATION + ", sensor noise" * recipe.sensor_noise,
        "selection": record,
    }
    return CheckpointMeta(
        asdict(model.config), pack.index["classes"], pack.index["palette"], pack.modalities, pack.index["encoding"],
        normalisation, list(pack.grid), training, anyseg_ros.__version__,
        encoding_parameters=pack.index["encoding_parameters"],
    )  # fmt: skip
