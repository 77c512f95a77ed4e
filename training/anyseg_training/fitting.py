# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint fits a pack: encodings, classes, normalisation."""

from __future__ import annotations

from pathlib import Path

from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.presets import differences
from anyseg_training.data import Pack, PackError

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
    check_encoding(path, meta, pack)
    return model, meta


def check_encoding(path: Path, meta: CheckpointMeta, pack: Pack) -> None:
    """Compare what a network was trained on with what a pack holds.

    Raises:
        PackError: these are two encodings; the message says what differs.
    """
    if meta.encoding != pack.index["encoding"]:
        raise PackError(
            f"{path} was trained on another encoding than {pack.root} was made with: "
            f"{differences(meta.encoding_parameters, pack.index['encoding_parameters'])}; "
            "train and score with packs of one encoding"
        )
