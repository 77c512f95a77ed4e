# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint fits a pack, and a pack another: encodings, classes, modalities, normalisation."""

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
        PackError: it does not fit (see ``check_fits``), its normalisation is not the run's, or it is not of ``config``.
    """
    model, meta = load_fitting(path, pack)
    if meta.normalisation != normalisation:
        raise PackError(
            f"{path} has another normalisation than the checkpoint that the run starts from; give --init and "
            "--teacher from the same first pack"
        )
    if config is not None and model.config != config:
        raise PackError(f"{path} is {model.config}, the recipe wants {config}")
    return model


def load_fitting(path: Path, pack: Pack) -> tuple[AnySeg, CheckpointMeta]:
    """A checkpoint, if it was trained on what the pack holds.

    Raises:
        PackError: it was not (see ``check_fits``).
    """
    model, meta = load_checkpoint(path)
    check_fits(path, meta, pack)
    return model, meta


def check_fits(path: Path, meta: CheckpointMeta, pack: Pack) -> None:
    """Compare what a network was trained on with what a pack holds.

    Raises:
        PackError: these are two encodings or other classes, or the pack has a modality that the network never saw; the
            message says what differs.
    """
    if meta.encoding != pack.index["encoding"]:
        raise PackError(
            f"{path} was trained on another encoding than {pack.root} was made with: "
            f"{differences(meta.encoding_parameters, pack.index['encoding_parameters'])}; "
            "train and score with packs of one encoding"
        )
    ours, theirs = meta.classes, pack.index["classes"]
    if ours != theirs:
        first = next((k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        where = "" if first is None else f"; class {first} is '{ours[first]}' and '{theirs[first]}'"
        raise PackError(
            f"{path} has other classes than {pack.root} ({len(ours)} and {len(theirs)}{where}); "
            "train and score with packs of the same classes in the same order"
        )
    unknown = [name for name in pack.modalities if name not in meta.modalities]
    if unknown:
        raise PackError(
            f"{pack.root} has {', '.join(unknown)}, on which {path} was not trained (it knows "
            f"{', '.join(meta.modalities)}); pack with a rig without {' and '.join(unknown)}, or take a checkpoint "
            "that was trained with it"
        )


def check_packed_alike(what: str, pack: Pack, training: Pack) -> None:
    """Compare a pack with the training set, beside which it is used.

    Args:
        what: begins the message.
        pack: the other pack.
        training: the training set.

    Raises:
        PackError: they differ in modalities, classes, encoding or grid.
    """
    for name, found, wanted in (
        ("modalities", pack.modalities, training.modalities),
        ("classes", pack.index["classes"], training.index["classes"]),
        ("encoding", pack.index["encoding"], training.index["encoding"]),
        ("grid", pack.grid, training.grid),
    ):
        if found != wanted:
            raise PackError(f"{what} has {name} {found}, the training set {wanted}; pack both alike")
