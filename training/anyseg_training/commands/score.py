# SPDX-License-Identifier: Apache-2.0
"""``anyseg-train evaluate``, ``pixel-baseline`` and ``figures``: what a checkpoint reaches, and pictures of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.precision import CHOICES
from anyseg_ros.model.checkpoint import CheckpointMeta
from anyseg_training.data import Normaliser, Pack, PackError
from anyseg_training.evaluate import evaluate, evaluate_network
from anyseg_training.figures import draw_figures
from anyseg_training.fitting import check_fits, load_fitting
from anyseg_training.networks import load_named
from anyseg_training.panels import draw_panels
from anyseg_training.pixel_baseline import pixel_baseline
from anyseg_training.precision import device_of
from anyseg_training.protocols import PROTOCOLS
from anyseg_training.report import AS_TRAINED, markdown
from anyseg_training.runinfo import describe_file, describe_pack
from anyseg_training.selection import how_chosen, trained_on
from anyseg_training.tsne import TooFewError, draw_tsne


def add(commands: argparse._SubParsersAction) -> None:
    """Declare them."""
    score = commands.add_parser("evaluate", help="score every subset of modalities")
    score.add_argument(
        "--checkpoint", type=Path, required=True, help="safetensors, or an ONNX file that the node takes"
    )
    score.add_argument(
        "--precision", choices=CHOICES, help="score what the node runs in it on a CPU (default: the network as trained)"
    )
    score.add_argument("--pack", type=Path, required=True, help="packed split to score")
    score.add_argument("--train-pack", type=Path, help="packed training set, for the prior to beat")
    score.add_argument("--out", type=Path, required=True, help="writes OUT.json and OUT.md")
    score.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N")
    score.add_argument("--protocol", choices=sorted(PROTOCOLS), default="skip", help="what a missing sensor means")
    score.set_defaults(run=run_evaluate)

    pixels = commands.add_parser("pixel-baseline", help="what a pixel's own channels give away: logistic regression")
    pixels.add_argument("--train-pack", type=Path, required=True, help="packed set to fit")
    pixels.add_argument("--pack", type=Path, required=True, help="packed split to score")
    pixels.add_argument("--out", type=Path, required=True, help="writes this JSON file")
    pixels.set_defaults(run=run_pixel_baseline)

    figures = commands.add_parser(
        "figures", help="pictures of what 'evaluate' wrote, and of what checkpoints say and see"
    )
    figures.add_argument("--scores", type=Path, nargs="+", default=[], help="JSON files of one protocol and split")
    figures.add_argument(
        "--checkpoints", nargs="+", default=[], metavar="[NAME=]PATH", help="networks to set side by side"
    )
    figures.add_argument("--pack", type=Path, help="packed split that the checkpoints are shown")
    figures.add_argument(
        "--samples", type=int, nargs="+", default=[], help="of the pack, for the panels (a few, spread)"
    )
    figures.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    figures.set_defaults(run=run_figures)


def run_evaluate(args: argparse.Namespace) -> None:
    """``anyseg-train evaluate``."""
    pack = Pack(args.pack)
    training = Pack(args.train_pack) if args.train_pack else None
    as_run = args.precision or args.checkpoint.suffix == ".onnx"
    result, meta = (evaluate_as_run if as_run else evaluate_as_trained)(args, pack, training)
    result["selection"] = trained_on(meta, pack, training) + how_chosen(meta, pack)
    result["checkpoint"], result["pack"] = describe_file(args.checkpoint)["content"], describe_pack(pack)["index"]
    computed = f"Computed in {result['precision']} by backend {result['backend']}."
    text = f"{result['selection']} {computed}\n\n{markdown(result)}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_name(args.out.name + ".json").write_text(json.dumps(result))  # a name may hold a dot: rmm-0.25
    args.out.with_name(args.out.name + ".md").write_text(text)
    print(text)


def evaluate_as_trained(args: argparse.Namespace, pack: Pack, training: Pack | None) -> tuple[dict, CheckpointMeta]:
    """Scores of a checkpoint.

    Raises:
        PackError: it does not fit a pack.
        ValueError: the device is not there.
    """
    model, meta = load_fitting(args.checkpoint, pack)
    prior = prior_of(args.checkpoint, meta, training)
    model.to(device_of(args.device))
    result = evaluate(model, pack, Normaliser(pack.modalities, meta.normalisation), prior, args.protocol)
    return result | {"precision": AS_TRAINED, "backend": "torch"}, meta


def evaluate_as_run(args: argparse.Namespace, pack: Pack, training: Pack | None) -> tuple[dict, CheckpointMeta]:
    """Scores of what the node runs: an ONNX file, or a checkpoint in another precision.

    Raises:
        PackError: the file does not fit a pack.
        ValueError: file, precision, device and processor do not go together.
    """
    if args.device not in ("auto", "cpu"):
        raise ValueError(
            f"--device {args.device}: ONNX files and --precision are scored as the node runs them on a CPU; "
            "leave --device out"
        )
    backend = "onnxruntime" if args.checkpoint.suffix == ".onnx" else "torch"
    precision = args.precision or AS_TRAINED
    networks, meta = open_networks(args.checkpoint, backend, precision)
    check_fits(args.checkpoint, meta, pack)
    prior = prior_of(args.checkpoint, meta, training)
    normaliser = Normaliser(pack.modalities, meta.normalisation)
    network = networks.make(torch.device("cpu"))
    result = evaluate_network(network, len(meta.classes), pack, normaliser, prior, args.protocol)
    return result | {"precision": precision, "backend": backend}, meta


def prior_of(checkpoint: Path, meta: CheckpointMeta, training: Pack | None) -> np.ndarray | None:
    """What ``evaluate`` takes as prior.

    Raises:
        PackError: the checkpoint does not fit its training set.
    """
    if training is None:
        return None
    check_fits(checkpoint, meta, training)
    return np.asarray(training.prior)


def run_pixel_baseline(args: argparse.Namespace) -> None:
    """``anyseg-train pixel-baseline``."""
    scores = pixel_baseline(Pack(args.train_pack), Pack(args.pack))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(scores, indent=1) + "\n")
    for name, score in scores.items():
        print(f"{name}: mIoU {score['best']:.1f} from a pixel's own three channels")


def run_figures(args: argparse.Namespace) -> None:
    """``anyseg-train figures``."""
    if not args.scores and not args.checkpoints:
        raise PackError("nothing to draw; give --scores, or --checkpoints and --pack")
    if (args.pack is None) != (not args.checkpoints):
        raise PackError("--checkpoints and --pack go together: networks are shown the samples of a pack")
    if args.scores:
        print(*draw_figures(args.scores, args.out), sep="\n")
    if args.pack is not None:
        pack = Pack(args.pack)
        networks = load_named(args.checkpoints, pack)
        print(*draw_panels(networks, pack, args.out, args.samples), sep="\n")
        try:
            print(*draw_tsne(networks, pack, args.out), sep="\n")
        except TooFewError as error:
            print(f"tsne.png is left out: {error}")
