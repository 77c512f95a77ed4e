# SPDX-License-Identifier: Apache-2.0
"""The engine's CPU path, block by block and row by row, against whole maps in plain torch."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from engine_kit import MODEL, PLAIN
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anyseg_ros.engine import blocked_encoder, cpu_network
from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.crew import Crew
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.row_kernels import add_upsampled, label_rows


@given(
    h=st.integers(8, 30),
    w=st.integers(8, 30),
    streams=st.integers(1, 3),
    block=st.sampled_from([1, 3000, 20_000, 1 << 21]),
    threads=st.sampled_from([1, 2, 3]),
    whole=st.sampled_from([0, 0, 60_000]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_plain_logits(h, w, streams, block, threads, whole):
    images = torch.randn(streams, 3, 4 * h, 4 * w, generator=torch.Generator().manual_seed(h * w))
    limits = {"BLOCK_BYTES": block, "WHOLE_BYTES": whole}
    heads = patch.object(cpu_network, "HEAD_BLOCK_BYTES", block)
    with patch.multiple(blocked_encoder, **limits), heads, torch.inference_mode():
        found = network(threads).logits(images).numpy()
    np.testing.assert_allclose(found, PLAIN.logits(images.numpy()), atol=1e-4, rtol=0)


def test_the_plain_implementation_is_the_same_function_as_the_model():
    images = torch.randn(2, 2, 3, 64, 96)
    with torch.inference_mode():
        assert (PLAIN(list(images)) - MODEL(images)).abs().max() < 1e-4


def test_the_stack_given_is_left_alone(monkeypatch):
    monkeypatch.setattr(blocked_encoder, "WHOLE_BYTES", 0)
    images = torch.randn(2, 3, 64, 64)
    before = images.clone()
    with torch.inference_mode():
        CpuNetwork(MODEL.encoder, FoldedHead(MODEL.head)).labels(images)
    assert torch.equal(images, before)


@given(k=st.integers(1, 12), h=st.integers(1, 9), w=st.integers(1, 9), spread=st.sampled_from([0.1, 3.0, 200.0]))
@settings(max_examples=60, deadline=None)
def test_labels_by_rows_are_those_of_the_full_size(k, h, w, spread):
    logits = torch.randn(1, k, h, w, generator=torch.Generator().manual_seed(h * w * k)) * spread
    labels, confidence = np.empty((4 * h, 4 * w), np.uint8), np.empty((4 * h, 4 * w), np.float32)
    for first in range(0, 4 * h, 3):
        label_rows(logits[0].numpy(), first, min(first + 3, 4 * h), labels, confidence)
    full = F.interpolate(logits.double(), scale_factor=4, mode="bilinear", align_corners=False)[0]
    top = full.topk(min(2, k), dim=0).values
    clear = (top[0] - top[-1] > 1e-4 * spread).numpy() | (k == 1)
    np.testing.assert_array_equal(labels[clear], full.argmax(0).numpy()[clear])
    expected = full.softmax(0).max(0).values.numpy()
    np.testing.assert_allclose(confidence, expected, atol=3e-6 * max(1.0, spread))


@given(h=st.integers(1, 20), w=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_upsampled_maps_are_added_as_torch_upsamples_them(h, w):
    half = [((h + 2**i - 1) // 2**i, (w + 2**i - 1) // 2**i) for i in (1, 2, 3)]
    rows, coarse = torch.randn(h, w, 5), [torch.randn(*size, 5) for size in half]
    expected = rows.clone()
    for m in coarse:
        up = F.interpolate(m.permute(2, 0, 1)[None], (h, w), mode="bilinear", align_corners=False)
        expected += up[0].permute(1, 2, 0)
    for first in range(0, h, 4):
        scratch = np.empty(half[0][1:] + (5,), np.float32)
        add_upsampled(rows[first : first + 4].numpy(), first, h, *(m.numpy() for m in coarse), scratch)
    np.testing.assert_allclose(rows.numpy(), expected.relu().numpy(), atol=2e-6)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_cannot_hurt(score):
    logits = np.full((3, 2, 2), score, np.float32)
    labels, confidence = np.empty((8, 8), np.uint8), np.empty((8, 8), np.float32)
    label_rows(logits, 0, 8, labels, confidence)
    assert labels.max() < 3


@pytest.mark.parametrize("threads", [1, 3])
def test_a_crew_does_every_piece_once_and_leaves_torch_as_it_was(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        crew = Crew()
        assert crew.run([torch.get_num_threads] * 5) == [1] * 5 and torch.get_num_threads() == threads
        assert all(crew.run([torch.is_inference_mode_enabled] * 3)) or threads == 1
        for rows, multiple in ((10, 1), (1, 1), (24, 8), (8, 8)):
            bands = crew.bands(rows, multiple)
            assert [row for band in bands for row in range(*band)] == list(range(rows)) and len(bands) <= threads
            assert all(first % multiple == 0 for first, _ in bands)
        with pytest.raises(ZeroDivisionError):
            crew.run([lambda: 1 // 0])
    finally:
        torch.set_num_threads(before)


def network(threads: int) -> CpuNetwork:
    """The CPU path with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return CpuNetwork(MODEL.encoder, FoldedHead(MODEL.head))
    finally:
        torch.set_num_threads(before)
