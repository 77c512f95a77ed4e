# SPDX-License-Identifier: Apache-2.0
"""The engine against the plain model."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.torch_network import TorchNetwork
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import CheckpointMeta
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

GRID = (48, 64)


@pytest.fixture(scope="module")
def model() -> AnySeg:
    torch.manual_seed(0)
    model = AnySeg(AnySegConfig(6, "b0-half", 24)).eval()
    bn = model.head.linear_fuse.bn
    bn.running_mean.normal_()
    bn.running_var.uniform_(0.2, 3.0)
    torch.nn.init.normal_(bn.weight)
    torch.nn.init.normal_(bn.bias)
    torch.nn.init.normal_(model.head.linear_pred.weight)
    return model


@pytest.fixture(scope="module")
def meta(model) -> CheckpointMeta:
    return CheckpointMeta(dataclasses.asdict(model.config), [], [], [], "", {}, list(GRID))


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_agrees_with_the_plain_model(model, meta, modalities):
    engine = Engine(TorchNetworks(model), meta, device="cpu")
    stack = torch.randn(modalities, 3, *GRID)
    with torch.inference_mode():
        plain = model(stack[None])[0]
        full = F.interpolate(plain[None], GRID, mode="bilinear", align_corners=False)[0]
    assert (engine.logits(stack) - plain).abs().max() < 1e-4
    labels, confidence = engine.infer(stack.numpy())
    assert labels.dtype == np.uint8 and confidence.dtype == np.float32
    assert labels.shape == confidence.shape == GRID
    top = full.topk(2, dim=0).values
    clear = ((top[0] - top[1]) > 1e-4).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], full.argmax(0).numpy()[clear])
    np.testing.assert_allclose(confidence, full.softmax(0).max(0).values.numpy(), atol=1e-4)


def test_the_model_given_is_left_alone(model, meta):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    Engine(TorchNetworks(model), meta, device="cpu").infer(np.zeros((1, 3, *GRID), np.float32))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("shape", [(3, 48, 64), (0, 3, 48, 64), (1, 4, 48, 64), (1, 3, 50, 64)])
def test_stacks_of_another_shape_are_refused(model, meta, shape):
    with pytest.raises(ValueError, match="expected|multiple of 4"):
        Engine(TorchNetworks(model), meta, device="cpu").infer(np.zeros(shape, np.float32))


def test_devices_that_do_not_exist_are_refused(model, meta):
    with pytest.raises(ValueError, match="'abacus' cannot be used"):
        Engine(TorchNetworks(model), meta, device="abacus")
    with pytest.raises(ValueError, match="at least 1"):
        Engine(TorchNetworks(model), meta, threads=0)


def test_threads_are_set(model, meta):
    before = torch.get_num_threads()
    try:
        Engine(TorchNetworks(model), meta, device="cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_failing_gpu_at_start_falls_back_loudly(model, meta, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    to = torch.nn.Module.to

    def broken(self, device, *rest):
        if torch.device(device).type == "cuda":
            raise RuntimeError("no kernel image")
        return to(self, device, *rest)

    monkeypatch.setattr(torch.nn.Module, "to", broken)
    with caplog.at_level(logging.ERROR):
        engine = Engine(TorchNetworks(model), meta)
    assert engine.device.type == "cpu"
    assert "no kernel image" in caplog.text
    assert engine.infer(np.zeros((1, 3, *GRID), np.float32))[0].shape == GRID


def test_a_gpu_lost_on_the_way_costs_no_frame(model, meta, caplog):
    class Lost:
        device = torch.device("cuda")

        def labels(self, images):
            raise RuntimeError("device lost")

    engine = Engine(TorchNetworks(model), meta, device="cpu")
    expected = engine.infer(np.ones((1, 3, *GRID), np.float32))[0]
    engine._network = Lost()
    with caplog.at_level(logging.ERROR):
        found = engine.infer(np.ones((1, 3, *GRID), np.float32))[0]
    np.testing.assert_array_equal(found, expected)
    assert "device cuda failed (device lost)" in caplog.text and engine.device.type == "cpu"


@pytest.mark.parametrize("modalities", [1, 3])
def test_whole_maps_elsewhere_agree_with_blocks_on_the_cpu(model, meta, modalities):
    engine = Engine(TorchNetworks(model), meta, device="cpu")
    elsewhere = TorchNetwork(model.encoder, FoldedHead(model.head), torch.device("cpu"))
    stack = torch.randn(modalities, 3, *GRID)
    with torch.inference_mode():
        torch.testing.assert_close(elsewhere.logits(stack), engine.logits(stack), atol=1e-4, rtol=0)
        labels, confidence = elsewhere.labels(stack)
    expected = engine.infer(stack)
    assert (labels == expected[0]).mean() > 0.999
    np.testing.assert_allclose(confidence, expected[1], atol=1e-4)
