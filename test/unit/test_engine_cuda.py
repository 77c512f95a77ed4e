# SPDX-License-Identifier: Apache-2.0
"""The GPU path: its arithmetic and its bookkeeping on a CPU, through the same code; on a GPU where there is one."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import torch
from engine_kit import MODEL, PLAIN
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anyseg_ros.engine import cuda_network, graphs, row_blocks
from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.cuda_network import CudaNetwork, FrameBuffers, PrecisionError, check_agreement
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.graphs import DirectRecorder, GraphRecorder
from anyseg_ros.engine.row_blocks import Between, RowTables, blocks, label_blocks

CPU = torch.device("cpu")
SIZE = (64, 96)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class CountingRecorder(DirectRecorder):
    """Counts what is recorded, repeated and awaited."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.recorded, self.repeated, self.waits = 0, [], 0

    def record(self, work):
        self.recorded += 1
        number, run = self.recorded, super().record(work)

        def repeat():
            self.repeated.append(number)
            run()

        return repeat

    def wait(self):
        self.waits += 1


def network(precision="fp32", modalities=3, sizes=(SIZE,), model=MODEL, device=CPU, **more) -> CudaNetwork:
    more.setdefault("progress", lambda text: None)
    return CudaNetwork(model.encoder, FoldedHead(model.head), device, precision, modalities, sizes, **more)


def pictures(count: int, size=SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@given(
    h=st.integers(8, 30),
    w=st.integers(8, 30),
    streams=st.integers(1, 3),
    block=st.sampled_from([1, 3000, 20_000, 1 << 24]),
)
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_give_the_plain_answer(h, w, streams, block):
    images = pictures(streams, (4 * h, 4 * w), seed=h * w)
    plain = torch.from_numpy(PLAIN.logits(images.numpy()))
    full = F.interpolate(plain[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    top = full.topk(2, dim=0)
    with patch.object(row_blocks, "BLOCK_BYTES", block):
        ours = network(sizes=[(4 * h, 4 * w)], modalities=streams)
        logits, (labels, confidence) = ours.logits(images), ours.labels(images)
    assert (logits - plain).abs().max() < 1e-4
    clear = (top.values[0] - top.values[1] > 1e-4).numpy()
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(labels[clear], top.indices[0].numpy()[clear])
    np.testing.assert_allclose(confidence, full.softmax(0).max(0).values.numpy(), atol=1e-4)


@given(
    k=st.integers(1, 12),
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    block=st.sampled_from([1, 500, 1 << 24]),
    spread=st.sampled_from([0.1, 5.0]),
)
@settings(max_examples=80, deadline=None)
def test_labels_by_blocks_are_those_of_the_full_size(k, h, w, block, spread):
    logits = torch.randn(k, h, w, generator=torch.Generator().manual_seed(k * h * w)) * spread
    labels, confidence = torch.full((4 * h, 4 * w), 77, dtype=torch.uint8), torch.full((4 * h, 4 * w), torch.nan)
    with patch.object(row_blocks, "BLOCK_BYTES", block):
        label_blocks(logits, RowTables(), labels, confidence)
    full = F.interpolate(logits[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    top = full.topk(min(2, k), dim=0).values
    clear = (top[0] - top[-1] > 1e-6 * spread) | (k == 1)
    assert torch.equal(labels[clear], full.argmax(0)[clear].to(torch.uint8))
    torch.testing.assert_close(confidence, full.softmax(0).max(0).values, atol=1e-6 * max(spread, 1), rtol=0)


@given(height=st.integers(1, 60), small=st.integers(1, 40))
def test_each_row_lies_between_those_that_torch_takes(height, small):
    between = Between.of(height, small, torch.empty(0))
    column = torch.randn(small, 1, 1, generator=torch.Generator().manual_seed(small))
    expected = F.interpolate(column.permute(1, 2, 0)[None], (1, height), mode="bilinear")[0, 0, 0]
    torch.testing.assert_close(between.rows(column, 0, 0, height)[:, 0, 0], expected, atol=1e-5, rtol=0)


def test_blocks_cover_every_row_once():
    with patch.object(row_blocks, "BLOCK_BYTES", 100):
        for rows, row_bytes in ((7, 30), (1, 1000), (100, 1)):
            assert [r for first, last in blocks(rows, row_bytes) for r in range(first, last)] == list(range(rows))
            assert all((last - first) * row_bytes <= max(100, row_bytes) for first, last in blocks(rows, row_bytes))


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-6), ("fp16", 5e-3), ("bf16", 5e-2)])
def test_half_the_precision_stays_near(precision, most):
    images = pictures(2)
    found, expected = network(precision).logits(images).double(), torch.from_numpy(PLAIN.logits(images.numpy()))
    assert found.dtype == torch.float64 and (found - expected).norm() / expected.norm() < most


def test_a_graph_for_every_number_of_modalities_and_size_before_the_first_frame():
    said: list[str] = []
    recorder = CountingRecorder()
    ours = network(sizes=[SIZE, (32, 64)], recorder=recorder, progress=said.append)
    assert recorder.recorded == 6 and not recorder.repeated
    assert "MiB" in said[0] and [text.split()[0] for text in said[1:]] == ["3", "2", "1"] * 2 and "6 of 6" in said[-1]
    before = {id(frame.buffers) for frame in ours._recorded.values()}
    assert len(before) == 2, "frames of one size share their buffers"
    places = [frame.buffers.images.data_ptr() for frame in ours._recorded.values()]
    random = np.random.default_rng(3)
    with patch.object(cuda_network, "FrameBuffers", side_effect=AssertionError("memory was taken")):
        for number in range(12):
            count, size = int(random.integers(1, 4)), [SIZE, (32, 64)][number % 2]
            ours.labels(pictures(count, size))
            assert recorder.repeated[-1] == (4 - count) + 3 * (number % 2)
    assert recorder.recorded == 6 and recorder.waits == 12 and len(recorder.repeated) == 12
    assert places == [frame.buffers.images.data_ptr() for frame in ours._recorded.values()]


def test_frames_of_changing_subsets_do_not_see_each_other():
    ours = network()
    stacks = [pictures(count, seed=number) for number, count in enumerate([3, 1, 2, 1, 3])]
    answers = [ours.labels(stack) for stack in stacks]
    for stack, (labels, confidence) in zip(stacks, answers, strict=True):
        expected = PLAIN.infer(stack.numpy())
        assert (labels == expected[0]).mean() > 0.999
        np.testing.assert_allclose(confidence, expected[1], atol=1e-4)


@pytest.mark.parametrize(("count", "size"), [(4, SIZE), (2, (48, 64))])
def test_what_nobody_announced_runs_without_a_graph_and_is_said_once(count, size, caplog):
    recorder = CountingRecorder()
    ours = network(recorder=recorder)
    stack = pictures(count, size)
    with caplog.at_level(logging.WARNING):
        answers = [ours.labels(stack) for _ in range(2)]
    assert caplog.text.count(f"no graph was recorded for {count} images of {size[0]}x{size[1]}") == 1
    assert recorder.recorded == 3 and not recorder.repeated
    for labels, _ in answers:
        assert (labels == PLAIN.infer(stack.numpy())[0]).mean() > 0.999


def test_the_weights_given_stay_on_the_host_and_in_float32():
    head = FoldedHead(MODEL.head)
    before = [p.clone() for p in (*MODEL.encoder.parameters(), *head.parameters())]
    CudaNetwork(MODEL.encoder, head, CPU, "bf16", 1, [SIZE], progress=lambda text: None)
    after = list((*MODEL.encoder.parameters(), *head.parameters()))
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_lost_device_is_an_error_and_keeps_its_memory_until_the_end(monkeypatch):
    monkeypatch.setattr(cuda_network, "_lost", [])
    recorder = CountingRecorder()
    ours = network(recorder=recorder)
    recorder.wait = MagicMock(side_effect=RuntimeError("unspecified launch failure"))
    with pytest.raises(RuntimeError, match="launch failure"):
        ours.labels(pictures(1))
    assert cuda_network._lost == [ours]
    with pytest.raises(RuntimeError, match="cannot record"):
        network(recorder=MagicMock(spec=CountingRecorder, pinned=False, device=CPU,
                                   record=MagicMock(side_effect=RuntimeError("cannot record"))))  # fmt: skip
    assert len(cuda_network._lost) == 2


def test_too_little_memory_is_no_lost_device(monkeypatch):
    monkeypatch.setattr(cuda_network, "_lost", [])
    recorder = CountingRecorder()
    ours = network(recorder=recorder)
    recorder.wait = MagicMock(side_effect=torch.cuda.OutOfMemoryError("out of memory"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ours.labels(pictures(1))
    assert not cuda_network._lost


def test_precisions_and_sizes_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="'int3' is unknown; known are fp32, bf16, fp16"):
        network("int3")
    with pytest.raises(ValueError, match="multiple of 4"):
        network(sizes=[(50, 64)])
    with pytest.raises(ValueError, match="multiple of 4"):
        network().labels(torch.zeros(1, 3, 50, 64))


def test_a_device_that_computes_something_else_is_found_out():
    reference = CpuNetwork(MODEL.encoder, FoldedHead(MODEL.head)).logits
    with torch.inference_mode():
        assert check_agreement(network(), reference, SIZE) < 1e-5
        for wrong in (lambda x: 1.1 * reference(x), lambda x: reference(x).roll(1, 2), lambda x: reference(x) * np.nan):
            with pytest.raises(PrecisionError, match="fp32 on cpu is off by .* choose precision bf16 or fp32"):
                check_agreement(network(), wrong, SIZE)


def test_compilation_happens_before_the_first_frame_and_changes_nothing():
    seen: list[int] = []

    def compiler(answer):
        compiled = torch.compile(answer, backend="eager", fullgraph=True)

        def run(images, labels, confidence):
            seen.append(len(images))
            compiled(images, labels, confidence)

        return run

    said: list[str] = []
    recorder = CountingRecorder()
    ours = network(modalities=2, sizes=[SIZE, (32, 64)], compiler=compiler, recorder=recorder, progress=said.append)
    assert seen == [2, 1], "the first size alone"
    assert sum("compiling for" in text for text in said) == 2
    stack = pictures(2)
    assert (ours.labels(stack)[0] == PLAIN.infer(stack.numpy())[0]).mean() > 0.999 and seen == [2, 1, 2]
    ours.labels(pictures(2, (32, 64)))
    assert len(seen) == 3


def test_results_lie_where_floats_may():
    buffers = FrameBuffers(2, (36, 44), torch.float32, DirectRecorder(CPU))
    assert buffers.confidence.data_ptr() % 4 == 0 and buffers.labels.shape == buffers.confidence.shape == (36, 44)
    buffers.labels.fill_(200)
    buffers.confidence.fill_(0.5)
    buffers.fetch()
    labels, confidence = buffers.answer()
    buffers.labels.fill_(1)
    buffers.fetch()
    assert (labels == 200).all() and (confidence == 0.5).all(), "the next frame leaves an answer alone"


def test_a_graph_is_warmed_up_then_recorded_once_on_its_own_stream(monkeypatch):
    """torch.cuda is played by stand-ins: this is the order of calls, not that a GPU accepts them."""
    happened: list[str] = []

    @contextmanager
    def context(name, *_):
        happened.append(f"enter {name}")
        yield
        happened.append(f"leave {name}")

    stream = MagicMock(synchronize=lambda: happened.append("synchronize"))
    graph = MagicMock(replay=lambda: happened.append("replay"))
    record = MagicMock(side_effect=lambda *_, **__: context("recording"))
    for name, stand_in in {
        "Stream": lambda device: stream,
        "device": lambda device: context("device"),
        "stream": lambda s: context("stream"),
        "graph_pool_handle": lambda: "pool",
        "CUDAGraph": lambda: graph,
        "graph": record,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    recorder = GraphRecorder(torch.device("cuda:0"))
    happened.clear()
    replay = recorder.record(lambda: happened.append("work"))
    assert happened == [
        "enter stream", *["work"] * graphs.WARM_UPS, "synchronize",
        "enter recording", "work", "leave recording", "leave stream",
    ]  # fmt: skip
    record.assert_called_once_with(graph, pool="pool", stream=stream, capture_error_mode="thread_local")
    replay()
    assert happened[-1] == "replay" and recorder.pinned


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_needs_cuda_graphs_answer_like_the_plain_model(precision):
    ours = network(precision, device=torch.device("cuda"))
    assert check_agreement(ours, CpuNetwork(MODEL.encoder, FoldedHead(MODEL.head)).logits, SIZE) < 0.1
    for number, count in enumerate([3, 1, 2, 3, 1]):
        stack = pictures(count, seed=number)
        for buffers in {id(f.buffers): f.buffers for f in ours._recorded.values()}.values():
            with torch.inference_mode():
                buffers.labels.fill_(251)
                buffers.confidence.fill_(torch.nan)
        labels, confidence = ours.labels(stack)
        expected = PLAIN.infer(stack.numpy())
        assert (labels == expected[0]).mean() > (0.999 if precision == "fp32" else 0.9)
        assert np.isfinite(confidence).all()
    if precision == "fp32":
        assert np.abs(ours.logits(stack).cpu().numpy() - PLAIN.logits(stack.numpy())).max() < 1e-4


@needs_cuda
def test_needs_cuda_no_frame_takes_memory():
    ours = network("fp16", device=torch.device("cuda"))
    ours.labels(pictures(1))
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for count in (1, 3, 2, 1):
        ours.labels(pictures(count))
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


@needs_cuda
def test_needs_cuda_memory_stays_below_what_was_expected():
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    ours = network("fp16", sizes=[(512, 512)], device=torch.device("cuda"))
    ours.labels(pictures(3, (512, 512)))
    assert torch.cuda.max_memory_reserved() - before < ours.needed_bytes
