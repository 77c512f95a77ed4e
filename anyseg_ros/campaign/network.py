# SPDX-License-Identifier: Apache-2.0
"""A small network with random weights: its labels mean nothing, but they depend on every sensor, and it is fast."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.resources import share_path

GRID = (64, 128)
SHIPPED = "weights/anyseg_sim.safetensors"


def write_network(path: Path) -> None:
    """Writes the checkpoint; encodings and normalisation are those of the student that comes with the package."""
    _, shipped = load_checkpoint(share_path(SHIPPED))
    torch.manual_seed(0)
    config = AnySegConfig(classes=len(CITYSCAPES), backbone="b0-half", head_width=32)
    model = AnySeg(config).eval()
    with torch.no_grad():  # random maps differ little from place to place; this spreads what the classes say of them
        model.head.linear_pred.weight.mul_(20.0)
    names = [modality for modality in shipped.modalities if modality != "depth"]
    meta = CheckpointMeta(
        architecture=asdict(config),
        classes=list(CITYSCAPES.names),
        palette=[list(colour) for colour in CITYSCAPES.palette],
        modalities=names,
        encoding=shipped.encoding,
        normalisation={name: shipped.normalisation[name] for name in names},
        grid=list(GRID),
        miou={"C": 10.0, "E": 11.0, "L": 12.0, "CE": 13.0, "CL": 14.0, "EL": 15.0, "CEL": 16.0},
    )
    save_checkpoint(path, model, meta)
