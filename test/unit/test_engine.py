# SPDX-License-Identifier: Apache-2.0
"""The engine against the plain model."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anyseg_ros.engine import torch_networks
from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.cuda_network import CudaNetwork
from anyseg_ros.engine.engine import Engine
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


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_network_that_fails_on_the_cpu_is_not_said_to_work_there(model, meta, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(CpuNetwork, "labels", Mock(side_effect=RuntimeError("out of memory")))
    with pytest.raises(ValueError, match="^the network does not run on the CPU: out of memory$"):
        Engine(TorchNetworks(model), meta, device=device)


def test_threads_are_set_and_more_than_there_are_cores_are_warned_of(model, meta, monkeypatch, caplog):
    before = torch.get_num_threads()
    monkeypatch.setattr("anyseg_ros.engine.engine.usable_cores", lambda: 2)
    try:
        for threads in (1, 2):
            assert Engine(TorchNetworks(model), meta, device="cpu", threads=threads).threads == threads
            assert torch.get_num_threads() == threads and not caplog.text
        Engine(TorchNetworks(model), meta, device="cpu", threads=3)
        assert "3 threads for 2 cores: they will wait for each other" in caplog.text
    finally:
        torch.set_num_threads(before)


def test_a_failing_gpu_at_start_falls_back_loudly(model, meta, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    broken = Mock(side_effect=RuntimeError("no kernel image"))
    monkeypatch.setattr("anyseg_ros.engine.cuda_network.check_memory", broken)
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


def on_the_cpu(off: float, *args, **more) -> CudaNetwork:
    """The GPU's network on a CPU; its logits are off by so much of their size."""
    encoder, head, _, *rest = args
    network = CudaNetwork(encoder, head, torch.device("cpu"), *rest, **more)
    logits = network.logits
    network.logits = lambda images: (1 + off) * logits(images)
    return network


@pytest.mark.parametrize("modalities", [1, 3])
def test_another_device_is_checked_and_answers_as_the_cpu_does(model, meta, modalities, monkeypatch):
    monkeypatch.setattr(torch_networks, "CudaNetwork", partial(on_the_cpu, 0.0))
    expected = Engine(TorchNetworks(model), meta, device="cpu")
    elsewhere = Engine(TorchNetworks(model, "fp32", 3, [GRID]), meta, device="cuda")
    stack = torch.randn(modalities, 3, *GRID)
    torch.testing.assert_close(elsewhere.logits(stack), expected.logits(stack), atol=1e-4, rtol=0)
    found, wanted = elsewhere.infer(stack), expected.infer(stack)
    assert (found[0] == wanted[0]).mean() > 0.999
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-4)


def test_another_device_that_computes_something_else_is_left_for_the_cpu(model, meta, monkeypatch, caplog):
    monkeypatch.setattr(torch_networks, "CudaNetwork", partial(on_the_cpu, 0.1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.ERROR):
        engine = Engine(TorchNetworks(model, "fp32", 1, [GRID]), meta)
    assert "is off by 0.1" in caplog.text and isinstance(engine._network, CpuNetwork)
    assert Engine(TorchNetworks(model, "fp16", 1, [GRID]), meta).precision == "fp32", "the CPU's, not what was asked"
    with pytest.raises(ValueError, match="'cuda' cannot be used: the network in fp32 .* is off by 0.1"):
        Engine(TorchNetworks(model, "fp32", 1, [GRID]), meta, device="cuda")
