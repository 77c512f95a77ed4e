# SPDX-License-Identifier: Apache-2.0
"""A network that ONNX Runtime runs, from what ``anyseg export`` or ``anyseg-train quantise`` wrote and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyseg_ros.engine.cpu_network import label_grid
from anyseg_ros.engine.crew import Crew
from anyseg_ros.engine.network import Network
from anyseg_ros.engine.precision import CHOICES, INT8, check_cpu_int8
from anyseg_ros.engine.tensorrt_engines import tensorrt_options
from anyseg_ros.model.checkpoint import WEIGHTS_KEY, CheckpointError, CheckpointMeta, parse_meta

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
INPUT = "images"
QUANTISATION_KEY = "anyseg_quantisation"
"""Metadata of a file in int8: how it was calibrated, and what it changes."""
ERROR = 3
"""ONNX Runtime's levels of severity: warnings of its optimiser are of no use to anybody here."""


class OnnxNetworks:
    """Makes the network of one ONNX file for a device.

    Attributes:
        meta: the checkpoint's description, from the file.
        weights_sha256: of the weights that the file was made of, as it says.
    """

    def __init__(self, path: Path, backend: str, precision: str = "fp32") -> None:
        """Look at the file.

        Args:
            path: what ``anyseg export`` or ``anyseg-train quantise`` wrote.
            backend: ``onnxruntime`` or ``tensorrt``.
            precision: that of the file, ``fp32`` or ``int8``; of a file in ``fp32`` TensorRT makes ``fp16`` and
                ``bf16``, too.

        Raises:
            CheckpointError: the file is no network of ours.
            ValueError: ONNX Runtime or what it needs for the backend is not installed, or the precision is not there.
        """
        self._path, self._backend, self._precision = path, backend, precision
        self._providers = providers_here(backend)
        session = open_session(path, [CPU], 1)
        self.meta = meta_of(session, path)
        self.weights_sha256 = weights_of(session, path)
        self._stored = precision_of(session)
        check_stored(precision, self._stored, backend, path)

    def best_device(self) -> str:
        """The fastest that ONNX Runtime may have here."""
        on_cpu = CUDA not in self._providers or self._precision == INT8
        return "cpu" if self._backend == "onnxruntime" and on_cpu else "cuda"

    def make(self, device: torch.device) -> Network:
        """The network on a device.

        Raises:
            ValueError: ONNX Runtime or the processor has nothing for it, or TensorRT's engine has not been built.
            RuntimeError: the device does not work.
        """
        if self._precision == INT8:
            if device.type != "cpu":
                raise ValueError(f"precision 'int8' is for the CPU; device '{device}' cannot be used with {self._path}")
            check_cpu_int8()
        if device.type == "cpu" and self._backend == "onnxruntime":
            return self.spare()
        if device.type != "cuda" or CUDA not in self._providers:
            raise ValueError(
                f"backend '{self._backend}' cannot use device '{device}': ONNX Runtime has "
                f"{', '.join(sorted(self._providers))} here; a GPU needs onnxruntime-gpu, the CPU backend onnxruntime"
            )
        wanted: list[Any] = [(CUDA, {"device_id": device.index or 0})]
        if self._backend == "tensorrt":
            grid = (self.meta.grid[0], self.meta.grid[1])
            wanted.insert(0, (TENSORRT, tensorrt_options(self._path, grid, device, self._precision)))
        session = open_session(self._path, wanted, torch.get_num_threads())
        first = wanted[0][0]
        if first not in session.get_providers():
            raise RuntimeError(f"ONNX Runtime could not load its {first}; its log says why")
        return OnnxNetwork(session, device, self._precision)

    def spare(self) -> Network:
        """The network on the CPU, as the file has it."""
        session = open_session(self._path, [CPU], torch.get_num_threads())
        return OnnxNetwork(session, torch.device("cpu"), self._stored)


class OnnxNetwork:
    """One session of ONNX Runtime.

    Attributes:
        device: where it runs.
        precision: what it computes in.
    """

    def __init__(self, session: Any, device: torch.device, precision: str = "fp32") -> None:
        self._session = session
        self._grid = tuple(session.get_inputs()[0].shape[2:])
        self._crew = Crew()
        self.device, self.precision = device, precision

    def logits(self, images: Tensor) -> Tensor:
        """Images [M,3,H,W] -> logits [K,H/4,W/4], on the CPU.

        Raises:
            ValueError: the images are not of the file's size.
            RuntimeError: ONNX Runtime or the device failed.
        """
        if tuple(images.shape[2:]) != self._grid:
            raise ValueError(
                f"images of {images.shape[2]}x{images.shape[3]} (height x width); this ONNX file is for "
                f"{self._grid[0]}x{self._grid[1]}: export a checkpoint of the other grid, or use the backend torch"
            )
        try:
            return torch.from_numpy(self._session.run(None, {INPUT: images.cpu().contiguous().numpy()})[0])
        except failures() as error:
            raise RuntimeError(str(error)) from error

    def labels(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Images [M,3,H,W] -> labels uint8 [H,W] and the labels' probability float32 [H,W]. Errors as in ``logits``."""
        return label_grid(self.logits(images).numpy(), self._crew)


def providers_here(backend: str) -> set[str]:
    """Execution providers of the installed ONNX Runtime.

    Raises:
        ValueError: it is not installed, or lacks the one that the backend needs.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"backend '{backend}' needs ONNX Runtime, which cannot be loaded ({error}); pip install "
            "'anyseg_ros[onnx]' brings it, or choose the backend torch"
        ) from error
    found = set(onnxruntime.get_available_providers())
    if backend == "tensorrt" and TENSORRT not in found:
        raise ValueError(
            f"backend 'tensorrt' needs {TENSORRT}; ONNX Runtime {onnxruntime.__version__} has "
            f"{', '.join(sorted(found))} here: pip install onnxruntime-gpu and TensorRT, or choose another backend"
        )
    return found


def open_session(path: Path, providers: list[Any], threads: int) -> Any:
    """A session whose threads sleep while they wait: on a vehicle others need the processor.

    Raises:
        CheckpointError: the file is missing, or ONNX Runtime cannot read it.
    """
    import onnxruntime

    if not path.is_file():
        raise CheckpointError(f"no file at {path}; give the path of an .onnx file that 'anyseg export' wrote")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
    except failures() as error:
        raise CheckpointError(f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {error}") from error
    session.disable_fallback()  # a device that fails is told and counted by the engine
    return session


def meta_of(session: Any, path: Path) -> CheckpointMeta:
    """The checkpoint's description in an ONNX file.

    Raises:
        CheckpointError: there is none, or the graph is not the one that it describes.
    """
    meta = parse_meta(path, session.get_modelmeta().custom_metadata_map)
    inputs = [(v.name, v.type, [d if isinstance(d, int) else "any" for d in v.shape]) for v in session.get_inputs()]
    expected = [(INPUT, "tensor(float)", ["any", 3, *meta.grid])]
    if inputs != expected or session.get_outputs()[0].shape[:1] != [len(meta.classes)]:
        raise CheckpointError(
            f"{path} takes {inputs} and gives {session.get_outputs()[0].shape}; its description says {expected} and "
            f"{len(meta.classes)} classes: export the checkpoint again"
        )
    return meta


def weights_of(session: Any, path: Path) -> str:
    """The sha256 of the weights that an ONNX file was made of.

    Raises:
        CheckpointError: the file does not say.
    """
    found = session.get_modelmeta().custom_metadata_map.get(WEIGHTS_KEY)
    if not found:
        raise CheckpointError(f"{path} has no '{WEIGHTS_KEY}' metadata; export the checkpoint again")
    return str(found)


def precision_of(session: Any) -> str:
    """What a file of ours computes in."""
    return INT8 if QUANTISATION_KEY in session.get_modelmeta().custom_metadata_map else "fp32"


def check_stored(precision: str, stored: str, backend: str, path: Path) -> None:
    """Compare what is asked for with what the file is in.

    Raises:
        ValueError: the file's precision is another, or one that the backend cannot use.
    """
    if precision not in CHOICES:
        raise ValueError(f"precision '{precision}' is unknown; known are {', '.join(CHOICES)}")
    if backend == "tensorrt" and INT8 in (precision, stored):
        raise ValueError(
            f"backend 'tensorrt' does not run int8: it makes fp32, bf16 or fp16 of a file in fp32, and {path} is in "
            f"{stored} with precision '{precision}' asked for"
        )
    if backend == "onnxruntime" and precision != stored:
        raise ValueError(
            f"precision '{precision}' is not there for backend 'onnxruntime' with {path}, which is in {stored}; choose "
            f"{stored}, or a file or backend of the other precision"
        )


def failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its exceptions have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
