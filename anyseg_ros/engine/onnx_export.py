# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint as an ONNX file that needs neither torch nor the checkpoint any more.

What comes out are logits at a quarter of the grid. Labels and their probabilities are taken outside the graph, by the
same kernel as for every other backend on a CPU: nobody resamples a second time or by another rule.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.onnx_graph import INPUT, network_graph
from anyseg_ros.model.checkpoint import (
    FORMAT,
    METADATA_KEY,
    WEIGHTS_KEY,
    CheckpointMeta,
    load_checkpoint,
    weights_sha256,
    write_bytes_atomically,
)
from anyseg_ros.model.segmentor import AnySeg

TOLERANCE = 1e-4
"""Largest difference of a logit from torch's; of logits that spread by more than 1, in their standard deviations."""
MOST_MODALITIES = 4
ROUNDS = 2


class ExportError(ValueError):
    """The exported network is not the checkpoint's; the message says by how much."""


def export(checkpoint: Path, out: Path, say: Callable[[str], None]) -> None:
    """Write a checkpoint as ONNX, once ONNX Runtime has come to torch's logits on random frames.

    The first dimension of the input, the number of modalities, is free; the grid is the checkpoint's. The file's
    ``metadata_props`` hold the checkpoint's whole description and the sha256 of its weights.

    Args:
        checkpoint: safetensors file.
        out: file to write.
        say: is told each step.

    Raises:
        CheckpointError: the file is no checkpoint.
        ExportError: the logits are not torch's; nothing is written then.
    """
    model, meta = load_checkpoint(checkpoint)
    say(f"{checkpoint}: MiT-{model.config.backbone.upper()}, grid {meta.grid[0]}x{meta.grid[1]}")
    written = exported(model, meta)
    for count, difference in check(written, model, meta):
        say(f"{count} modalities: logits within {difference:.1e} of torch's")
    write_bytes_atomically(out, written)
    say(f"{out}: {len(written) / 2**20:.1f} MiB, checked")


def exported(model: AnySeg, meta: CheckpointMeta) -> bytes:
    """The content of the ONNX file of a checkpoint."""
    network = network_graph(model.encoder, FoldedHead(model.head), (meta.grid[0], meta.grid[1]))
    described = {METADATA_KEY: json.dumps({"format": FORMAT, **asdict(meta)}), WEIGHTS_KEY: weights_sha256(model)}
    onnx.helper.set_model_props(network, described)
    onnx.checker.check_model(network, full_check=True)
    return network.SerializeToString()


@torch.inference_mode()
def check(written: bytes, model: AnySeg, meta: CheckpointMeta) -> list[tuple[int, float]]:
    """Compare ONNX Runtime with the plain model on random subsets of random frames.

    Args:
        written: content of the ONNX file.
        model: in evaluation mode.
        meta: its description.

    Returns:
        Each number of modalities and the largest difference of a logit, as ``TOLERANCE`` counts it.

    Raises:
        ExportError: a difference is above ``TOLERANCE``.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    images = torch.randn(MOST_MODALITIES, 3, *meta.grid, generator=torch.Generator().manual_seed(7))
    draw, found = random.Random(7), []
    for count in range(1, MOST_MODALITIES + 1):
        subsets = [draw.sample(range(MOST_MODALITIES), count) for _ in range(ROUNDS)]
        found.append((count, max(_difference(session, model, images[subset]) for subset in subsets)))
        if not found[-1][1] <= TOLERANCE:
            raise ExportError(
                f"with {count} modalities the logits of ONNX Runtime {onnxruntime.__version__} are {found[-1][1]:.1e} "
                f"off torch's, expected at most {TOLERANCE:.0e}; nothing was written"
            )
    return found


def _difference(session: object, model: AnySeg, images: Tensor) -> float:
    expected = model(images[None])[0].numpy()
    logits = session.run(None, {INPUT: images.numpy()})[0]  # type: ignore[attr-defined]
    return float(np.abs(logits - expected).max() / max(1.0, expected.std()))
