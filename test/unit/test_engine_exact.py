# SPDX-License-Identifier: Apache-2.0
"""Every float32 path of the engine against the plain model: logits to 1e-4, and every label that is not a tie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_kit import randomised
from torch.nn import functional as F

from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.cuda_network import CudaNetwork
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.checkpoint import load_checkpoint
from anyseg_ros.pipeline import default_checkpoint
from benchmarks.published import PublishedAnySeg

TOLERANCE = 1e-4


def blocks_of_the_cpu(model, size):
    return CpuNetwork(model.encoder, FoldedHead(model.head))


def code_of_the_gpu(model, size):
    return CudaNetwork(model.encoder, FoldedHead(model.head), torch.device("cpu"), "fp32", 1, [size])


@pytest.mark.parametrize("make", [blocks_of_the_cpu, code_of_the_gpu])
@pytest.mark.parametrize(
    ("backbone", "count", "size"),
    [
        ("b0", 3, (96, 160)),
        ("b2", 2, (64, 96)),
        ("b0-half", 1, (540, 960)),
        pytest.param("b0-half", 1, (1024, 1024), marks=pytest.mark.slow),
    ],
)
def test_random_weights(make, backbone, count, size):
    # Every weight is random, so that the larger networks are kept from logits of thousands, where 1e-4 is one bit.
    model = randomised(backbone, 32, 19, by=0.03)
    compare(model, make(model, size), torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("make", [blocks_of_the_cpu, code_of_the_gpu])
@pytest.mark.parametrize("count", [1, 3])
def test_the_shipped_student(make, count):
    model, meta = load_checkpoint(default_checkpoint())
    size = (meta.grid[0], meta.grid[1])
    compare(model, make(model, size), torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(4)))


def compare(model, network, images):
    plain = torch.from_numpy(PublishedAnySeg(model).logits(images.numpy()))
    with torch.inference_mode():
        logits, (labels, confidence) = network.logits(images), network.labels(images)
    assert plain.std() > 0.05 and float((logits - plain).abs().max()) < TOLERANCE
    full = F.interpolate(plain[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    top = full.topk(2, dim=0)
    clear = (top.values[0] - top.values[1] > TOLERANCE).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], top.indices[0].numpy()[clear])
    np.testing.assert_allclose(confidence, full.softmax(0).max(0).values.numpy(), atol=TOLERANCE)
