# SPDX-License-Identifier: Apache-2.0
"""``anyseg build-engine``: TensorRT's engine of an ONNX file, built before the vehicle drives."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from anyseg_ros.engine.onnx_network import CUDA, INPUT, TENSORRT, OnnxNetworks, failures, open_session
from anyseg_ros.engine.precision import PRECISIONS
from anyseg_ros.engine.tensorrt_engines import (
    CACHE_VARIABLE,
    FINISHED,
    MOST_MODALITIES,
    EngineMissingError,
    cache_folder,
    provider_options,
    tensorrt_version,
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "build-engine",
        help="build TensorRT's engine of an ONNX file ahead of the drive",
        description="Builds the engine that the backend 'tensorrt' takes: for this GPU, this version of TensorRT, this "
        "file and this precision. It takes minutes; the node never builds one.",
    )
    parser.add_argument("file", type=Path, help="what 'anyseg export' wrote")
    parser.add_argument("--device", default="cuda:0", help="the GPU (default: cuda:0)")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of the engine (default: fp32)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    meta = OnnxNetworks(args.file, "tensorrt", args.precision).meta
    device, name = gpu(args.device)
    folder = cache_folder(args.file, name, tensorrt_version(), args.precision)
    if (folder / FINISHED).is_file():
        print(f"{folder} holds the engine already")
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error}); set {CACHE_VARIABLE} to another folder") from error
    options = provider_options(folder, (meta.grid[0], meta.grid[1]), device, args.precision)
    providers = [(TENSORRT, options), (CUDA, {"device_id": device.index or 0})]
    print("building; this takes minutes")
    session = open_session(args.file, providers, torch.get_num_threads())
    try:
        for count in tqdm(range(1, MOST_MODALITIES + 1), desc="build-engine", unit=" subset size"):
            session.run(None, {INPUT: np.zeros((count, 3, *meta.grid), np.float32)})
    except failures() as error:
        raise ValueError(f"TensorRT could not build the engine of {args.file}: {error}") from error
    if TENSORRT not in session.get_providers() or not any(folder.glob("*.engine")):
        raise EngineMissingError(f"TensorRT left no engine in {folder}; ONNX Runtime's log above says why")
    (folder / FINISHED).touch()
    print(f"{folder} holds the engine")
    return 0


def gpu(name: str) -> tuple[torch.device, str]:
    """A device, and what CUDA calls it.

    Raises:
        ValueError: it is no GPU that works here.
    """
    try:
        device = torch.device(name)
        return device, torch.cuda.get_device_name(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"device '{name}' is no GPU that torch can use here ({error}); an engine is built on the GPU that runs it"
        ) from error
