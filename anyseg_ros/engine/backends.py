# SPDX-License-Identifier: Apache-2.0
"""The backends by name."""

from __future__ import annotations

from pathlib import Path

from anyseg_ros.engine.network import Networks
from anyseg_ros.engine.onnx_network import OnnxNetworks
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint

BACKENDS = ("torch", "onnxruntime", "tensorrt")


def open_networks(path: Path, backend: str = "torch", precision: str = "fp32") -> tuple[Networks, CheckpointMeta]:
    """What makes a file's network, and the file's description.

    Args:
        path: a checkpoint for torch; for the others an ONNX file that ``anyseg export`` or ``anyseg-train quantise``
            wrote.
        backend: one of ``BACKENDS``.
        precision: one of ``precision.CHOICES``.

    Raises:
        CheckpointError: the file cannot be used.
        ValueError: the backend is unknown or not installed, the precision is not there, or the file is another's.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is unknown; known are {', '.join(BACKENDS)}")
    exported = path.suffix == ".onnx"
    if exported and backend == "torch":
        raise ValueError(f"backend 'torch' cannot run {path}; choose backend onnxruntime, or give the checkpoint")
    if not exported and backend != "torch":
        raise ValueError(
            f"backend '{backend}' cannot run {path}; it needs an ONNX file: anyseg export {path} "
            f"--out {path.with_suffix('.onnx').name}"
        )
    if backend == "torch":
        model, meta = load_checkpoint(path)
        return TorchNetworks(model, precision, len(meta.modalities), [(meta.grid[0], meta.grid[1])]), meta
    networks = OnnxNetworks(path, backend, precision)
    return networks, networks.meta
