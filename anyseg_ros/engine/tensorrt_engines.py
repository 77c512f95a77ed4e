# SPDX-License-Identifier: Apache-2.0
"""TensorRT through ONNX Runtime's provider: engines that are built ahead, by a command.

TensorRT makes an engine for one GPU, one version of itself and one network, and takes minutes. So engines are kept in a
folder whose name is made of all that they depend on, and the vehicle takes what is there or refuses with a sentence.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
from pathlib import Path
from typing import Any

import torch

CACHE_VARIABLE = "ANYSEG_ENGINE_CACHE"
FINISHED = "finished"
"""File that the building command leaves at the end, so that a build that was stopped half-way serves nobody."""
MOST_MODALITIES = 4


class EngineMissingError(ValueError):
    """TensorRT's engine for this device and file has not been built; the message says how to."""


def cache_folder(path: Path, device_name: str, version: str, precision: str) -> Path:
    """Where the engine of one ONNX file, GPU, version of TensorRT and precision lies.

    Args:
        path: ONNX file; its content counts, not its name.
        device_name: as CUDA names it.
        version: TensorRT's.
        precision: of the engine.

    Raises:
        ValueError: nothing says where engines are kept.
    """
    parts = (device_name, version, precision, hashlib.sha256(path.read_bytes()).hexdigest())
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    if home := os.environ.get(CACHE_VARIABLE):
        return Path(home) / key
    try:
        return Path.home() / ".cache" / "anyseg_ros" / "tensorrt" / key
    except RuntimeError as error:
        raise ValueError(
            f"no home folder to keep TensorRT's engines in ({error}); set {CACHE_VARIABLE} to a folder"
        ) from error


def tensorrt_version() -> str:
    """Version of the TensorRT library that ONNX Runtime loads.

    Raises:
        ValueError: it is not installed, or does not load.
    """
    name = ctypes.util.find_library("nvinfer")
    if name is None:
        raise ValueError("TensorRT's library nvinfer is not installed; install TensorRT, or choose another backend")
    try:
        return str(ctypes.CDLL(name).getInferLibVersion())
    except (OSError, AttributeError) as error:
        raise ValueError(
            f"TensorRT's library {name} cannot be used ({error}); install TensorRT anew, or choose another backend"
        ) from error


def provider_options(folder: Path, grid: tuple[int, int], device: torch.device, precision: str) -> dict[str, Any]:
    """Options of ONNX Runtime's TensorRT provider, the same for building and for running.

    See https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.
    """
    shape = f"3x{grid[0]}x{grid[1]}"
    return {
        "device_id": device.index or 0,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": precision == "fp16",
        "trt_bf16_enable": precision == "bf16",
        "trt_profile_min_shapes": f"images:1x{shape}",
        "trt_profile_opt_shapes": f"images:3x{shape}",
        "trt_profile_max_shapes": f"images:{MOST_MODALITIES}x{shape}",
    }


def tensorrt_options(path: Path, grid: tuple[int, int], device: torch.device, precision: str) -> dict[str, Any]:
    """Options with which an engine that was built ahead is taken.

    Raises:
        EngineMissingError: none was built for this file, GPU, version and precision.
    """
    folder = cache_folder(path, torch.cuda.get_device_name(device), tensorrt_version(), precision)
    check_built(folder, path, precision)
    return provider_options(folder, grid, device, precision)


def check_built(folder: Path, path: Path, precision: str) -> None:
    """Refuse a folder without a finished engine.

    Raises:
        EngineMissingError: says the command that builds it, or why the folder cannot be read.
    """
    try:
        finished = (folder / FINISHED).is_file()
    except OSError as error:
        raise EngineMissingError(
            f"{folder}, where TensorRT's engine of {path} is looked for, cannot be read ({error}); let the node's user "
            f"read it, or set {CACHE_VARIABLE} to another folder"
        ) from error
    if not finished:
        raise EngineMissingError(
            f"no TensorRT engine of {path} in {precision} for this GPU and this version of TensorRT in {folder}; "
            f"build it ahead, which takes minutes: anyseg build-engine {path} --precision {precision}"
        )
