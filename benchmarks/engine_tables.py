# SPDX-License-Identifier: Apache-2.0
"""The engine beside what the machine could do: operations, bytes, measured rates, time by stage, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from anyseg_ros.engine import blocked_encoder, cpu_network
from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.mit import MLP_RATIO, PATCH_KERNELS, PATCH_STRIDES, REDUCTIONS, VARIANTS
from anyseg_ros.model.segmentor import AnySeg
from benchmarks.cases import Settings, Table

STREAMS = 3
MATRIX = 1536
COPY_BYTES = 1 << 28
RUNS = 3
FLOAT = 4


def best_of(run: Callable[[], Any], times: int = RUNS) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    run()
    found = []
    for _ in range(times):
        begin = perf_counter()
        run()
        found.append(perf_counter() - begin)
    return min(found)


def machine_rates() -> tuple[float, float]:
    """Multiply-adds a second of a large float32 matrix product, and bytes a second (read and written) of a copy."""
    a = torch.randn(MATRIX, MATRIX)
    source = torch.randn(COPY_BYTES // FLOAT)
    target = torch.empty_like(source)
    return MATRIX**3 / best_of(lambda: a @ a), 2 * COPY_BYTES / best_of(lambda: target.copy_(source))


def work(model: AnySeg, size: tuple[int, int], streams: int) -> dict[str, tuple[float, float]]:
    """Multiply-adds and least bytes of each part of the engine.

    Bytes: the tokens are read and written once by each half of a transformer block, weights once, pictures and maps
    once; nothing between is counted.
    """
    variant, width = VARIANTS[model.config.backbone], model.config.head_width
    found: dict[str, tuple[float, float]] = {}
    (h, w), channels = size, 3
    maps = []
    for stage in range(4):
        dim, depth, reduction, stride = (
            variant.dims[stage],
            variant.depths[stage],
            REDUCTIONS[stage],
            PATCH_STRIDES[stage],
        )
        pixels = h * w
        h, w = -(-h // stride), -(-w // stride)
        n, m = h * w, (h // reduction) * (w // reduction)
        embed = n * dim * channels * PATCH_KERNELS[stage] ** 2
        reduced = n * dim * dim if reduction > 1 else 0
        attention = n * dim * dim * 2 + reduced + m * dim * dim * 2 + 2 * n * m * dim
        ffn = 2 * n * dim * dim * MLP_RATIO + n * dim * MLP_RATIO * 9
        tokens = 2 * n * dim * FLOAT
        found[f"stage {stage + 1} embedding"] = streams * embed, streams * (pixels * channels + n * dim) * FLOAT
        found[f"stage {stage + 1} attention"] = streams * depth * attention, streams * depth * tokens
        found[f"stage {stage + 1} Mix-FFN"] = streams * depth * ffn, streams * depth * tokens
        maps.append((n, dim))
        channels = dim
    finest = maps[0][0]
    classes = model.config.classes
    macs = sum(n * dim * width for n, dim in maps) + 3 * 4 * finest * width + finest * width * classes
    found["head"] = macs, FLOAT * (sum(n * dim for n, dim in maps) + finest * classes)
    found["labels"] = 16 * finest * classes * 5, FLOAT * finest * classes + size[0] * size[1] * 5
    return found


def published_work(model: AnySeg, size: tuple[int, int], streams: int) -> float:
    """Multiply-adds of the network as published: the encoder's, and the head with its wide convolution."""
    parts = work(model, size, streams)
    encoder = sum(macs for name, (macs, _) in parts.items() if name.startswith("stage"))
    width, classes = model.config.head_width, model.config.classes
    finest = -(-size[0] // 4) * -(-size[1] // 4)
    linears = sum(finest / 4**i * dim * width for i, dim in enumerate(VARIANTS[model.config.backbone].dims))
    return encoder + linears + finest * 4 * width * width + finest * width * classes


def network_of(model: AnySeg) -> CpuNetwork:
    """The engine's CPU path, without the engine."""
    return CpuNetwork(model.encoder, FoldedHead(model.head))


def roofline_table(model: AnySeg, size: tuple[int, int], settings: Settings) -> Table:
    """Operations, bytes, the time that the machine's own rates allow, and the share of it that is reached."""
    rate, bandwidth = machine_rates()
    parts = work(model, size, STREAMS)
    macs, moved = (sum(part[i] for part in parts.values()) for i in (0, 1))
    floor_s = sum(max(m / rate, b / bandwidth) for m, b in parts.values())
    images = torch.randn(STREAMS, 3, *size)
    network = network_of(model)
    with torch.inference_mode():
        ours_s = best_of(lambda: network.labels(images), 1 if settings.quick else RUNS)
    row = (
        f"{macs / 1e9:.1f}", f"{published_work(model, size, STREAMS) / 1e9:.1f}", f"{moved / 1e6:.0f}",
        f"{rate / 1e9:.1f}", f"{bandwidth / 1e9:.1f}", f"{floor_s * 1e3:.1f}", f"{ours_s * 1e3:.1f}",
        f"{floor_s / ours_s:.0%}",
    )  # fmt: skip
    name = f"engine_roofline_{model.config.backbone}_{size[0]}x{size[1]}"
    columns = ("GMAC", "GMAC as published", "MB", "GMAC/s of a matrix product", "GB/s of a copy", "floor ms", "ours ms")
    note = (
        f"{name}: {STREAMS} modalities on the CPU. The floor is the sum over the parts of the longer of operations "
        "over matrix rate and bytes over bandwidth; exponentials, norms and other functions are not in it."
    )
    return Table(name, note, (*columns, "share reached"), (row,))


def stage_table(model: AnySeg, size: tuple[int, int]) -> Table:
    """Time of each part, in order of the network."""
    times: Counter[str] = Counter()

    def timed(name: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            begin = perf_counter()
            result = function(*args)
            times[name(*args)] += perf_counter() - begin
            return result

        return run

    stage = {dim: f"stage {i + 1}" for i, dim in enumerate(VARIANTS[model.config.backbone].dims)}
    network, images = network_of(model), torch.randn(STREAMS, 3, *size)
    names: dict[str, Callable[..., str]] = {
        "embed": lambda patches, *_: f"{stage[patches.dense.width]} embedding",
        "run_layer": lambda layer, *_: f"{stage[layer.fc2.width]} blocks",
        "attend": lambda *_: "of these, the attention proper",
    }
    with torch.inference_mode():
        network.labels(images)
        with patch.multiple(blocked_encoder, **{n: timed(f, getattr(blocked_encoder, n)) for n, f in names.items()}):
            begin = perf_counter()
            maps = cpu_network.encode(network._stages, images, [STREAMS], network._crew)[0]
            times["encoder"] = perf_counter() - begin
        begin = perf_counter()
        network.decode(maps)
        times["head"] = perf_counter() - begin
        times["head, labels and encoder"] = best_of(lambda: network.labels(images), 1)
    rows = tuple((part, f"{seconds * 1e3:.2f}") for part, seconds in times.items())
    name = f"engine_stages_{model.config.backbone}_{size[0]}x{size[1]}"
    return Table(name, f"{name}: one run of {STREAMS} modalities on the CPU, by part.", ("part", "ms"), rows)


def memory_table(size: tuple[int, int]) -> Table:
    """Peak memory of a process that answers one frame, in a process of its own each."""
    columns = ("by", "before MB", "peak MB", "grown MB")
    if not sys.platform.startswith("linux"):
        return Table("engine_memory", "engine_memory", columns, (), {"peak memory": "it is measured on Linux only"})
    rows = []
    for way in ("engine", "plain"):
        command = [sys.executable, "-m", "benchmarks.engine_memory", way, *map(str, size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append((way, f"{found['before_mb']:.0f}", f"{found['peak_mb']:.0f}", f"{found['grown_mb']:.0f}"))
    note = (
        f"engine_memory: one frame of {STREAMS} modalities of {size[0]}x{size[1]}, B0, head 768 wide, on the CPU: the "
        "most memory that the process held with everything loaded, while it answered, and the difference."
    )
    return Table("engine_memory", note, columns, tuple(rows))
