# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the shipped student by every backend and precision that a CPU has, from a stack to labels.

All have the same number of threads. Torch in float32 is the reference; the others' ratios are how many times as long
they take. What computes in another precision may answer differently in a share of the pixels that is written down.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.precision import check_cpu_precision
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint
from anyseg_ros.model.segmentor import AnySeg
from anyseg_ros.pipeline import default_checkpoint
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.engine import Answer, same_answer

SIZES = ((160, 288), (512, 512), (1024, 1024))
QUICK_SIZES = ((64, 96),)
MODALITIES = (1, 2, 3)
BF16_EQUAL_SHARE = 0.95
"""Noise, which the images here are, has more close calls than a street."""


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """Each grid and number of modalities."""
    for size in QUICK_SIZES if settings.quick else SIZES:
        for count in MODALITIES:
            yield partial(backend_case, size, count)


def backend_case(size: tuple[int, int], count: int) -> Case:
    """One frame by each of them."""
    model, shipped = load_checkpoint(default_checkpoint())
    meta = replace(shipped, grid=list(size))
    stack = np.random.default_rng(5).standard_normal((count, 3, *size), np.float32)
    ours = Engine(TorchNetworks(model), meta, device="cpu")
    rivals: list[Rival] = []
    skipped: dict[str, str] = {}
    for name, make, agreement in (
        ("ONNX Runtime", onnx_engine, same_answer),
        ("torch in bf16", bf16_engine, nearly_same_labels),
    ):
        try:
            engine = make(model, meta)
        except (ValueError, ImportError) as error:
            skipped[name] = str(error)
        else:
            rivals.append(Rival(name, partial(engine.infer, stack), agreement))
    return Case(
        f"backends_{size[0]}x{size[1]}_{count}",
        f"{count} modalities of {size[0]}x{size[1]}, the shipped student, to labels and confidence, on the CPU",
        1,
        "frame",
        lambda: ours.infer(stack),
        tuple(rivals),
        skipped,
    )


def onnx_engine(model: AnySeg, meta: CheckpointMeta) -> Engine:
    """From an ONNX file that is gone afterwards."""
    from anyseg_ros.engine.onnx_export import exported

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        path.write_bytes(exported(model, meta))
        networks, _ = open_networks(path, "onnxruntime")
        return Engine(networks, meta, device="cpu")


def bf16_engine(model: AnySeg, meta: CheckpointMeta) -> Engine:
    """Where the processor has it."""
    check_cpu_precision("bf16")
    return Engine(TorchNetworks(model, "bf16"), meta, device="cpu")


def nearly_same_labels(ours: Answer, theirs: Answer) -> Agreement:
    """Labels equal but for a share."""
    equal = float((ours[0] == theirs[0]).mean())
    return Agreement(equal >= BF16_EQUAL_SHARE, f"{equal:.2%} of the labels equal")
