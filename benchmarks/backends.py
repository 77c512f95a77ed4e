# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the shipped student by every backend and precision that a CPU has, from a stack to labels.

All have the same number of threads. Torch in float32 is the reference; the others' ratios are how many times as long
they take. What computes in another precision may answer differently in a share of the pixels that is written down. The
file in int8, for the student's own grid, is calibrated on random images like those that are timed: it takes the
time of one calibrated on a training set, and its labels say nothing about accuracy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.precision import INT8, check_cpu_int8, check_cpu_precision
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import CheckpointMeta, load_checkpoint
from anyseg_ros.model.segmentor import AnySeg
from anyseg_ros.pipeline import default_checkpoint
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.engine import Answer, same_answer

STUDENT_SIZE = (160, 288)
SIZES = (STUDENT_SIZE, (512, 512), (1024, 1024))
QUICK_SIZES = ((64, 96),)
MODALITIES = (1, 2, 3)
NEARLY_EQUAL_SHARE = 0.95
"""Noise, which the images here are, has more close calls than a street."""
INT8_NOTE = "calibrated on random images: its labels say nothing about accuracy"
CALIBRATING = 9
"""Random stacks, as many of each number of modalities."""


Other = tuple[str, Callable[[AnySeg, CheckpointMeta], Engine], Callable[[Answer, Answer], Agreement], str]
"""Name, what makes it, what compares it, what there is to say of it."""


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """Each grid and number of modalities."""
    for size in QUICK_SIZES if settings.quick else SIZES:
        for count in MODALITIES:
            yield partial(backend_case, size, count, settings.quick or size == STUDENT_SIZE)


def backend_case(size: tuple[int, int], count: int, with_int8: bool) -> Case:
    """One frame by each of them."""
    model, shipped = load_checkpoint(default_checkpoint())
    meta = replace(shipped, grid=list(size))
    stack = np.random.default_rng(5).standard_normal((count, 3, *size), np.float32)
    ours = Engine(TorchNetworks(model), meta, device="cpu")
    rivals: list[Rival] = []
    skipped: dict[str, str] = {}
    others: list[Other] = [
        ("ONNX Runtime", onnx_engine, same_answer, ""),
        ("torch in bf16", bf16_engine, nearly_same_labels, ""),
    ]
    if with_int8:
        others.append(("ONNX Runtime in int8", int8_engine, nearly_same_labels, INT8_NOTE))
    for name, make, agreement, note in others:
        try:
            engine = make(model, meta)
        except (ValueError, ImportError) as error:
            skipped[name] = str(error)
        else:
            rivals.append(Rival(name, partial(engine.infer, stack), agreement, note))
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
    """From the ONNX file that ``anyseg export`` writes."""
    from anyseg_ros.engine.onnx_export import exported

    return engine_of_file(exported(model, meta), meta, "fp32")


def int8_engine(model: AnySeg, meta: CheckpointMeta) -> Engine:
    """From the ONNX file that ``anyseg-train quantise`` would write with random images for a training set."""
    check_cpu_int8()
    return engine_of_file(student_in_int8(meta.grid[0], meta.grid[1]), meta, INT8)


@cache
def student_in_int8(height: int, width: int) -> bytes:
    """The content of the file; the calibration takes seconds."""
    from anyseg_training.quantise import described, in_int8

    model, shipped = load_checkpoint(default_checkpoint())
    draw = np.random.default_rng(6)
    stacks = (draw.standard_normal((1 + i % len(MODALITIES), 3, height, width), np.float32) for i in range(CALIBRATING))
    with tempfile.TemporaryDirectory() as folder:
        graph = in_int8(model, replace(shipped, grid=[height, width]), stacks, Path(folder))
    described(graph, {"precision": INT8, "calibration": "random images"})
    return bytes(graph.SerializeToString())


def engine_of_file(content: bytes, meta: CheckpointMeta, precision: str) -> Engine:
    """ONNX Runtime with a file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        path.write_bytes(content)
        networks, _ = open_networks(path, "onnxruntime", precision)
        return Engine(networks, meta, device="cpu")


def bf16_engine(model: AnySeg, meta: CheckpointMeta) -> Engine:
    """Where the processor has it."""
    check_cpu_precision("bf16")
    return Engine(TorchNetworks(model, "bf16"), meta, device="cpu")


def nearly_same_labels(ours: Answer, theirs: Answer) -> Agreement:
    """Labels equal but for a share."""
    equal = float((ours[0] == theirs[0]).mean())
    return Agreement(equal >= NEARLY_EQUAL_SHARE, f"{equal:.2%} of the labels equal")
