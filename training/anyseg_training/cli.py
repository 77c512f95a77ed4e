# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train``: pack, teacher, student, evaluate, figures, export, convert."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import anyseg_ros
from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.presets import DEFAULT, PRESETS, differences
from anyseg_training.check import check_split
from anyseg_training.config import Recipe, load_recipe, save_recipe
from anyseg_training.data import Normaliser, Pack, PackError, TrainingBatches
from anyseg_training.evaluate import evaluate
from anyseg_training.figures import draw_figures
from anyseg_training.fit import Trainer
from anyseg_training.foreign import convert_release, load_backbone
from anyseg_training.muses import DatasetError
from anyseg_training.pack import make_pack
from anyseg_training.pixel_baseline import pixel_baseline
from anyseg_training.protocols import PROTOCOLS
from anyseg_training.report import markdown
from anyseg_training.state import read_average

CHECKPOINT = "checkpoint.safetensors"


def grid_from(text: str) -> tuple[int, int]:
    """``160x288`` -> (160, 288).

    Raises:
        argparse.ArgumentTypeError: it is not HEIGHTxWIDTH.
    """
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no grid; write HEIGHTxWIDTH, such as 160x288") from None
    return height, width


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("anyseg-train", description="Train and score the anymodal segmentor.")
    commands = parser.add_subparsers(dest="command", required=True)

    pack = commands.add_parser("pack", help="encode a dataset in the MUSES layout for training")
    pack.add_argument("--data", type=Path, required=True, help="dataset folder")
    pack.add_argument("--split", default="train")
    pack.add_argument("--grid", type=grid_from, default=(160, 288), metavar="HxW", help="network grid (160x288)")
    target = pack.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, help="folder of the pack; resumed when unfinished")
    target.add_argument("--check", action="store_true", help="pack nothing; read all files, list missing and broken")
    pack.add_argument("--workers", type=int, default=2)
    pack.add_argument("--encoding", choices=sorted(PRESETS), default=DEFAULT.name, help="see docs/encodings.md")
    pack.add_argument(
        "--void-as-road", action="store_true", help="unlabelled pixels become class 0, as the AnySeg release has it"
    )
    pack.set_defaults(run=run_pack)

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

    score = commands.add_parser("evaluate", help="score every subset of modalities")
    score.add_argument("--checkpoint", type=Path, required=True)
    score.add_argument("--pack", type=Path, required=True, help="packed split to score")
    score.add_argument("--train-pack", type=Path, required=True, help="packed training set, for the prior to beat")
    score.add_argument("--out", type=Path, required=True, help="writes OUT.json and OUT.md")
    score.add_argument("--protocol", choices=sorted(PROTOCOLS), default="skip", help="what a missing sensor means")
    score.set_defaults(run=run_evaluate)

    pixels = commands.add_parser("pixel-baseline", help="what a pixel's own channels give away: logistic regression")
    pixels.add_argument("--train-pack", type=Path, required=True, help="packed set to fit")
    pixels.add_argument("--pack", type=Path, required=True, help="packed split to score")
    pixels.add_argument("--out", type=Path, required=True, help="writes this JSON file")
    pixels.set_defaults(run=run_pixel_baseline)

    export = commands.add_parser("export", help="the checkpoint that ships: float16, with its scores inside")
    export.add_argument("--checkpoint", type=Path, required=True)
    export.add_argument("--scores", type=Path, required=True, help="JSON that 'evaluate' wrote")
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(run=run_export)

    figures = commands.add_parser("figures", help="bars over subsets and class maps of what 'evaluate' wrote")
    figures.add_argument("--scores", type=Path, nargs="+", required=True, help="JSON files of one protocol and split")
    figures.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    figures.set_defaults(run=run_figures)

    convert = commands.add_parser("convert", help="the AnySeg release's checkpoint for MUSES, under our names")
    convert.add_argument("--weights", type=Path, required=True, help=".safetensors, .pth or .bin; never unpickled")
    convert.add_argument("--grid", type=grid_from, default=(1024, 1024), metavar="HxW", help="grid to run it at")
    convert.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    convert.set_defaults(run=run_convert)
    return parser


def run_pack(args: argparse.Namespace) -> None:
    """``anyseg-train pack``."""
    if args.check:
        findings = check_split(args.data, args.split)
        print(findings.text())
        if findings.fatal:
            raise DatasetError(f"{len(findings.fatal)} files of {args.data} are missing or unusable; listed above")
        return
    counts = make_pack(
        args.data, args.split, args.grid, args.out, args.workers,
        encoding=PRESETS[args.encoding], void_as_road=args.void_as_road,
    )  # fmt: skip
    print(f"{args.out}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


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


Normalisation = dict[str, dict[str, list[float]]]


def fitting(path: Path, pack: Pack, normalisation: Normalisation, config: AnySegConfig | None = None) -> AnySeg:
    """A checkpoint's model for use with a pack.

    Raises:
        PackError: its encodings or classes are not the pack's, its normalisation not the run's, or it is not of
            ``config``.
    """
    model, meta = load_fitting(path, pack)
    if meta.classes != pack.index["classes"]:
        raise PackError(f"{path} has other classes than {pack.root}; train both from packs with the same classes")
    if meta.normalisation != normalisation:
        raise PackError(
            f"{path} has another normalisation than the checkpoint that the run starts from; give --init and "
            "--teacher from the same first pack"
        )
    if config is not None and model.config != config:
        raise PackError(f"{path} is {model.config}, the recipe wants {config}")
    return model


def load_fitting(path: Path, pack: Pack) -> tuple[AnySeg, CheckpointMeta]:
    """A checkpoint, if it was trained on the encoding that the pack was made with.

    Raises:
        PackError: it was not; the message says what differs.
    """
    model, meta = load_checkpoint(path)
    if meta.encoding != pack.index["encoding"]:
        raise PackError(
            f"{path} was trained on another encoding than {pack.root} was made with: "
            f"{differences(meta.encoding_parameters, pack.index['encoding_parameters'])}; "
            "train and score with packs of one encoding"
        )
    return model, meta


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


def run_evaluate(args: argparse.Namespace) -> None:
    """``anyseg-train evaluate``."""
    pack = Pack(args.pack)
    model, meta = load_fitting(args.checkpoint, pack)
    normaliser = Normaliser(pack.modalities, meta.normalisation)
    result = evaluate(model, pack, normaliser, np.asarray(Pack(args.train_pack).prior), args.protocol)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(result))
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def run_pixel_baseline(args: argparse.Namespace) -> None:
    """``anyseg-train pixel-baseline``."""
    scores = pixel_baseline(Pack(args.train_pack), Pack(args.pack))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(scores, indent=1) + "\n")
    for name, score in scores.items():
        print(f"{name}: mIoU {score['best']:.1f} from a pixel's own three channels")


def run_export(args: argparse.Namespace) -> None:
    """``anyseg-train export``."""
    model, meta = load_checkpoint(args.checkpoint)
    scores = json.loads(args.scores.read_text())
    if scores["protocol"] != "skip":
        raise ValueError(f"{args.scores} is of protocol {scores['protocol']}; a checkpoint carries those of 'skip'")
    miou = {name: round(value, 2) for name, value in scores["miou"].items()}
    save_checkpoint(args.out, model, CheckpointMeta(**(asdict(meta) | {"miou": miou})), half=True)
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB, mIoU {miou}")


def run_figures(args: argparse.Namespace) -> None:
    """``anyseg-train figures``."""
    for path in draw_figures(args.scores, args.out):
        print(path)


def run_convert(args: argparse.Namespace) -> None:
    """``anyseg-train convert``."""
    model, meta = convert_release(args.weights, args.grid)
    save_checkpoint(args.out, model, meta)
    print(f"{args.out}: MiT {model.config.backbone}, head of width {model.config.head_width}, encoding 'release'")


def main(argv: list[str] | None = None) -> int:
    """Entry point; bad input ends with a sentence and status 2."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"anyseg-train {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
