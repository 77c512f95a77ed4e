# SPDX-License-Identifier: Apache-2.0
"""The engine on a GPU beside what the GPU could do: exactness, a drive of changing subsets, roofline, parts, memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from anyseg_ros.engine.cuda_network import CudaNetwork
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.memory import MIB
from anyseg_ros.engine.precision import PRECISIONS
from anyseg_ros.model.segmentor import AnySeg
from benchmarks.cases import Table
from benchmarks.engine_tables import FLOAT, STREAMS, best_of, published_work, work
from benchmarks.published import PublishedAnySeg

MATRIX = 8192
COPY_BYTES = 1 << 30
RUNS = 20
CLEAR = 1e-4
"""Promised difference of logits in float32, and the margin above which labels must be equal."""
KERNELS = 15


def network_of(model: AnySeg, device: torch.device, precision: str, sizes: Sequence[tuple[int, int]]) -> CudaNetwork:
    """The engine's GPU path, without the engine."""
    return CudaNetwork(model.encoder, FoldedHead(model.head), device, precision, STREAMS, sizes)


def title(what: str, model: AnySeg) -> str:
    """Name of a table."""
    return f"engine_gpu_{what}_{model.config.backbone}"


def exactness_table(model: AnySeg, size: tuple[int, int], device: torch.device) -> Table:
    """Ours against the plain implementation in true float32, on the same device, for each number of pictures."""
    plain = PublishedAnySeg(model).to(device)
    rows = []
    for precision in PRECISIONS:
        network = network_of(model, device, precision, [size])
        for count in range(1, STREAMS + 1):
            stack = torch.randn(count, 3, *size)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), torch.inference_mode():
                expected = torch.from_numpy(plain.logits(stack.numpy()))
                rows.append((precision, count, *differences(network, stack, expected)))
    columns = ("precision", "modalities", "largest logit difference", "relative", "labels equal", "wrong beyond margin",
               "largest probability difference")  # fmt: skip
    name = title("exactness", model)
    note = f"{name}: {size[0]}x{size[1]}, against the plain implementation without TF32; margin {CLEAR}."
    return Table(name, note, columns, tuple(rows))


def differences(network: CudaNetwork, stack: torch.Tensor, expected: torch.Tensor) -> tuple[str, str, str, int, str]:
    """How far an answer [M,3,H,W] is off expected logits [K,h,w] and what follows from them, as text."""
    found = network.logits(stack).cpu()
    labels, confidence = (torch.from_numpy(part) for part in network.labels(stack))
    full = F.interpolate(expected[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    top = full.topk(2, dim=0)
    clear = top.values[0] - top.values[1] > CLEAR
    unequal = labels != top.indices[0]
    off = float((found - expected).abs().max())
    relative = float((found - expected).double().norm() / expected.double().norm())
    probability = float((confidence - full.softmax(0).max(0).values).abs().max())
    wrong = int((unequal & clear).sum())
    return f"{off:.1e}", f"{relative:.1e}", f"{1 - float(unequal.float().mean()):.4%}", wrong, f"{probability:.1e}"


def frames_table(model: AnySeg, size: tuple[int, int], device: torch.device, frames: int) -> Table:
    """Latency of whole frames, their subset changing at random, and whether memory was taken on the way."""
    random = np.random.default_rng(7)
    subsets = [[i for i in range(STREAMS) if 1 << i & int(bits)] for bits in random.integers(1, 1 << STREAMS, frames)]
    pictures = torch.randn(2 * STREAMS, 3, *size)
    rows = []
    for precision in PRECISIONS:
        network = network_of(model, device, precision, [size])
        taken = allocations(device)
        times = []
        for number, subset in enumerate(subsets):
            stack = pictures[[i + STREAMS * (number % 2) for i in subset]]
            begin = perf_counter()
            network.labels(stack)
            times.append((perf_counter() - begin) * 1e3)
        taken = allocations(device) - taken
        rows += [(precision, *row, taken) for row in latencies([len(s) for s in subsets], times)]
    columns = ("precision", "modalities", "frames", "p50 ms", "p99 ms", "largest ms", "p99/p50", "allocations")
    name = title("frames", model)
    note = f"{name}: {frames} frames of {size[0]}x{size[1]}, each of a random subset, host to host, one after another."
    return Table(name, note, columns, tuple(rows))


def latencies(counts: Sequence[int], times_ms: Sequence[float]) -> list[tuple[Any, ...]]:
    """Count, median, 99th percentile, largest and ratio: over all frames, then per number of modalities."""
    groups = {"any": list(times_ms)}
    for count in sorted(set(counts)):
        groups[str(count)] = [t for c, t in zip(counts, times_ms, strict=True) if c == count]
    found: list[tuple[Any, ...]] = []
    for name, group in groups.items():
        middle, high = statistics.median(group), float(np.percentile(group, 99))
        found.append((name, len(group), f"{middle:.3f}", f"{high:.3f}", f"{max(group):.3f}", f"{high / middle:.2f}"))
    return found


def allocations(device: torch.device) -> int:
    """How many times torch has asked its allocator for memory of the device."""
    return int(torch.cuda.memory_stats(device)["allocation.all.allocated"])


def roofline_table(model: AnySeg, sizes: Sequence[tuple[int, int]], device: torch.device, quick: bool) -> Table:
    """Operations, bytes, the time that the GPU's own rates allow, and the share of it that is reached."""
    rows = []
    for precision, dtype in PRECISIONS.items():
        rate, bandwidth = rates(device, dtype, 512 if quick else MATRIX, COPY_BYTES >> (8 if quick else 0))
        for size in sizes:
            network = network_of(model, device, precision, [size])
            run = network._recorded[(STREAMS, *size)].run
            with torch.inference_mode(), network._recorder.turn():
                ours_s = event_seconds(run)
            macs, moved, floor_s = floor(model, size, dtype.itemsize, rate, bandwidth)
            rows.append((
                precision, f"{size[0]}x{size[1]}", f"{macs / 1e9:.1f}",
                f"{published_work(model, size, STREAMS) / 1e9:.1f}", f"{moved / 1e6:.0f}", f"{2 * rate / 1e12:.0f}",
                f"{bandwidth / 1e9:.0f}", f"{floor_s * 1e3:.3f}", f"{ours_s * 1e3:.3f}", f"{floor_s / ours_s:.0%}",
            ))  # fmt: skip
    columns = ("precision", "size", "GMAC", "GMAC as published", "MB", "TFLOP/s of a matrix product", "GB/s of a copy",
               "floor ms", "graph ms", "share reached")  # fmt: skip
    name = title("roofline", model)
    note = (
        f"{name}: {STREAMS} modalities, the graph alone, without transfers. The floor is the sum over the parts of the "
        "longer of operations over matrix rate and bytes over bandwidth; exponentials and norms are not in it."
    )
    return Table(name, note, columns, tuple(rows))


def floor(
    model: AnySeg, size: tuple[int, int], element_bytes: int, rate: float, bandwidth: float
) -> tuple[float, float, float]:
    """Multiply-adds, least bytes, and the seconds that they take at multiply-adds and bytes a second."""
    parts = [(macs, moved * element_bytes / FLOAT) for macs, moved in work(model, size, STREAMS).values()]
    seconds = sum(max(macs / rate, moved / bandwidth) for macs, moved in parts)
    return sum(macs for macs, _ in parts), sum(moved for _, moved in parts), seconds


def rates(device: torch.device, dtype: torch.dtype, side: int, copied: int) -> tuple[float, float]:
    """Multiply-adds a second of a large matrix product, bytes a second (read and written) of a copy."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.randn(copied // FLOAT, device=device)
    target = torch.empty_like(source)
    with torch.cuda.device(device):
        return side**3 / event_seconds(lambda: a @ b), 2 * copied / event_seconds(lambda: target.copy_(source))


def event_seconds(run: Callable[[], Any]) -> float:
    """Median time of a call on the present stream, by the device's own clock."""
    for _ in range(3):
        run()
    times = []
    for _ in range(RUNS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def parts_table(model: AnySeg, size: tuple[int, int], device: torch.device) -> Table:
    """What a frame is made of, each part alone and awaited."""
    rows = []
    stack = torch.randn(STREAMS, 3, *size)
    for precision in PRECISIONS:
        network = network_of(model, device, precision, [size])
        frame, wait = network._recorded[(STREAMS, *size)], network._recorder.wait
        parts: dict[str, Callable[[], Any]] = {
            "cast and send": lambda b=frame.buffers: b.send(stack),
            "graph": frame.run,
            "fetch": frame.buffers.fetch,
            "copy of the answer": frame.buffers.answer,
            "whole frame": lambda n=network: n.labels(stack),
        }
        with torch.inference_mode(), network._recorder.turn():
            for part, run in parts.items():
                rows.append((precision, part, f"{best_of(lambda r=run, w=wait: (r(), w()), RUNS) * 1e3:.3f}"))
    name = title("parts", model)
    note = f"{name}: {STREAMS} modalities of {size[0]}x{size[1]}; the fastest of {RUNS} calls, each awaited."
    return Table(name, note, ("precision", "part", "ms"), tuple(rows))


def kernels_table(model: AnySeg, size: tuple[int, int], device: torch.device) -> Table:
    """The operations that take most of the device's time."""
    rows = []
    stack = torch.randn(STREAMS, 3, *size)
    for precision in PRECISIONS:
        network = network_of(model, device, precision, [size])
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            network.labels(stack)
        spent = sorted(((e.self_device_time_total, e.count, e.key) for e in found.key_averages()), reverse=True)
        total = sum(time for time, _, _ in spent) or 1.0
        rows += [(precision, k[:80], n, f"{t / 1e3:.3f}", f"{t / total:.0%}") for t, n, k in spent[:KERNELS] if t]
    name = title("kernels", model)
    note = f"{name}: one frame of {STREAMS} modalities of {size[0]}x{size[1]} under torch's profiler."
    return Table(name, note, ("precision", "kernel", "calls", "ms", "share"), tuple(rows))


def memory_table(model: AnySeg, size: tuple[int, int], device: torch.device) -> Table:
    """The most memory that torch held, from before the weights were there to after a frame."""
    stack = torch.randn(STREAMS, 3, *size)
    rows = []
    for precision in PRECISIONS:
        held, reserved, network = peak(lambda p=precision: network_of(model, device, p, [size]), stack, device)
        rows.append((f"ours, {precision}", held, reserved, f"{network.needed_bytes / MIB:.0f}"))
        del network
    plain = peak(lambda: PlainNetwork(model, device), stack, device)
    rows.append(("plain, float32", *plain[:2], ""))
    name = title("memory", model)
    note = f"{name}: {STREAMS} modalities of {size[0]}x{size[1]}; weights, buffers and graphs included, libraries not."
    return Table(name, note, ("by", "most allocated MiB", "reserved MiB", "expected MiB"), tuple(rows))


class PlainNetwork:
    """The plain implementation, called as ours is."""

    def __init__(self, model: AnySeg, device: torch.device) -> None:
        self._plain = PublishedAnySeg(model).to(device)

    def labels(self, stack: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """One frame [M,3,H,W]."""
        return self._plain.infer(stack.numpy())


def peak(make: Callable[[], Any], stack: torch.Tensor, device: torch.device) -> tuple[str, str, Any]:
    """Most memory allocated and reserved, in MiB, by a network that is made and answers a frame; and the network."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    held, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    network = make()
    network.labels(stack)
    held = torch.cuda.max_memory_allocated(device) - held
    reserved = torch.cuda.max_memory_reserved(device) - reserved
    return f"{held / MIB:.0f}", f"{reserved / MIB:.0f}", network
