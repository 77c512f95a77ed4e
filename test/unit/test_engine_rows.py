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
from anyseg_ros.engine.encoder_kernels import (
    convolve_gelu,
    mean_of_streams,
    normalise,
    patches_of_images,
    patches_of_maps,
)
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.row_kernels import add_upsampled, label_rows


@given(
    h=st.integers(8, 30),
    w=st.integers(8, 30),
    streams=st.integers(1, 3),
    block=st.sampled_from([1, 3000, 20_000, 1 << 21]),
    threads=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_plain_logits(h, w, streams, block, threads):
    images = torch.randn(streams, 3, 4 * h, 4 * w, generator=torch.Generator().manual_seed(h * w))
    blocks = patch.object(blocked_encoder, "BLOCK_BYTES", block)
    heads = patch.object(cpu_network, "HEAD_BLOCK_BYTES", block)
    with blocks, heads, torch.inference_mode():
        found = network(threads).logits(images).numpy()
    np.testing.assert_allclose(found, PLAIN.logits(images.numpy()), atol=1e-4, rtol=0)


def test_the_plain_implementation_is_the_same_function_as_the_model():
    images = torch.randn(2, 2, 3, 64, 96)
    with torch.inference_mode():
        assert (PLAIN(list(images)) - MODEL(images)).abs().max() < 1e-4


def test_the_stack_given_is_left_alone():
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


@given(size=st.tuples(st.integers(1, 3), st.integers(8, 40), st.integers(8, 40)), first=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_products_of_patches_are_the_convolutions(size, first):
    streams, height, width = size
    images, weight = torch.randn(streams, 3, height, width), torch.randn(4, 3, 7, 7)
    read = torch.empty(streams * -(-height // 4) - first % 2, -(-width // 4), 147)
    patches_of_images(images.numpy(), first % 2, -(-height // 4), read.numpy())
    expected = F.conv2d(images, weight, stride=4, padding=3).permute(0, 2, 3, 1).flatten(0, 1)
    np.testing.assert_allclose(read @ weight.flatten(1).T, expected[first % 2 :], atol=1e-4)
    for kernel, stride, padding in ((3, 2, 1), (2, 2, 0), (8, 8, 0)):
        maps, weight = torch.randn(streams, height, width, 5), torch.randn(4, 5, kernel, kernel)
        expected = F.conv2d(maps.permute(0, 3, 1, 2), weight, stride=stride, padding=padding).permute(0, 2, 3, 1)
        read = torch.empty(streams * expected.shape[1], expected.shape[2], 5 * kernel**2)
        patches_of_maps(maps.numpy(), 0, expected.shape[1], kernel, stride, padding, read.numpy())
        product = read @ weight.permute(0, 2, 3, 1).flatten(1).T
        np.testing.assert_allclose(product, expected.flatten(0, 1), atol=1e-4)


@given(h=st.integers(1, 7), w=st.integers(1, 7), streams=st.integers(1, 3), spread=st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_hidden_rows_of_a_stack_are_convolved_image_by_image(h, w, streams, spread):
    hidden = torch.randn(streams, h, w, 6) * spread
    conv = torch.nn.Conv2d(6, 6, 3, padding=1, groups=6)
    with torch.inference_mode():
        expected = F.gelu(conv(hidden.permute(0, 3, 1, 2))).permute(0, 2, 3, 1).flatten(0, 1).numpy()
    stack = F.pad(hidden.flatten(0, 1), (0, 0, 0, 0, 1, 1), value=float("nan")).numpy()
    weight, bias = conv.weight.detach().flatten(1).T.contiguous().numpy(), conv.bias.detach().numpy()
    for first in range(0, streams * h, 3):
        out = np.empty_like(expected[first : first + 3])
        convolve_gelu(stack[first : first + len(out) + 2], first, h, weight, bias, out)
        np.testing.assert_allclose(out, expected[first : first + 3], atol=3e-6 * max(1.0, spread))


@given(n=st.integers(1, 9), c=st.integers(1, 40), offset=st.sampled_from([0.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_rows_are_normalised_as_torch_does_it(n, c, offset):
    norm, rows = torch.nn.LayerNorm(c, eps=1e-6), torch.randn(n, c) + offset
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    with torch.inference_mode():
        expected = norm.double()(rows.double()).numpy() if c > 1 else norm(rows).numpy()
    weight, bias = (p.detach().float().numpy() for p in (norm.weight, norm.bias))
    normalise(rows.numpy(), weight, bias, np.float32(norm.eps), rows.numpy())
    np.testing.assert_allclose(rows.numpy(), expected, atol=2e-5 * (1 + offset))


def test_the_mean_of_streams():
    streams = torch.randn(3, 5, 7)
    out = np.empty((5, 7), np.float32)
    mean_of_streams(streams.numpy(), out)
    np.testing.assert_allclose(out, streams.mean(0), atol=1e-6)


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
        assert all(crew.run([torch.is_inference_mode_enabled] * 3))
        assert crew.lead(lambda: crew.run([torch.get_num_threads] * 5)) == [1] * 5
        assert crew.memory("a", 3, 2).data_ptr() == crew.memory("a", 2, 2).data_ptr() != crew.memory("b", 1).data_ptr()
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
