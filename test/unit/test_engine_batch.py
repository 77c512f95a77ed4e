# SPDX-License-Identifier: Apache-2.0
"""Several sets in one run against single runs, by every backend."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from engine_kit import MODEL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anyseg_ros.engine import batch, onnx_network, precision
from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.cpu_network import CpuNetwork
from anyseg_ros.engine.cuda_network import CudaNetwork
from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint

GRID = (52, 68)
NAMES = [f"class {i}" for i in range(MODEL.config.classes)]
META = CheckpointMeta(
    asdict(MODEL.config), NAMES, [[i, i, i] for i in range(len(NAMES))], ["camera"], "none", {}, [*GRID]
)
IMAGES = torch.randn(12, 3, *GRID, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("batch") / "small.safetensors"
    save_checkpoint(path, MODEL, META)
    return path


def engine_of(path, backend="torch", kind="fp32"):
    networks, meta = open_networks(path, backend, kind)
    return Engine(networks, meta, device="cpu")


@pytest.fixture(scope="module")
def engines(checkpoint):
    """One engine for each backend and precision that a CPU can run, and the GPU's network without graphs."""
    made = {"torch": engine_of(checkpoint)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
        made["torch bf16"] = engine_of(checkpoint, kind="bf16")
    made["cuda network"] = engine_of(checkpoint)
    made["cuda network"]._network = CudaNetwork(
        MODEL.encoder, FoldedHead(MODEL.head), torch.device("cpu"), "fp32", 3, [GRID]
    )
    try:
        from anyseg_ros.engine import onnx_export
    except ImportError:
        return made
    onnx_export.export(checkpoint, checkpoint.with_suffix(".onnx"), lambda line: None)
    made["onnxruntime"] = engine_of(checkpoint.with_suffix(".onnx"), "onnxruntime")
    return made


# A batch's sums are taken in another order where the network batches; set by set nothing may differ. In bf16 one bit of
# a feature is 1/256 of it.
@pytest.mark.parametrize(
    ("backend", "off"), [("torch", 1e-5), ("torch bf16", 0.05), ("cuda network", 0.0), ("onnxruntime", 0.0)]
)
@settings(max_examples=12, deadline=None)
@given(subsets=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=3, unique=True), min_size=1, max_size=4))
def test_a_batch_answers_as_single_runs_do(engines, backend, off, subsets):
    if backend not in engines:
        pytest.skip("onnx is not installed")
    engine, stacks = engines[backend], [IMAGES[subset].numpy() for subset in subsets]
    found = engine.infer_batch(stacks)
    assert len(found) == len(stacks)
    for (labels, confidence), stack in zip(found, stacks, strict=True):
        alone, sure = engine.infer(stack)
        assert labels.dtype == np.uint8 and confidence.dtype == np.float32 and labels.shape == GRID
        np.testing.assert_allclose(confidence, sure, atol=off, rtol=0)
        clear = margin(engine, stack) >= 2 * off
        assert clear.mean() > 0.3
        np.testing.assert_array_equal(labels[clear], alone[clear])


def margin(engine, stack):
    """How much more probable the best class is than the next, [H,W]."""
    full = F.interpolate(engine.logits(stack)[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    best = full.softmax(0).topk(2, dim=0).values
    return (best[0] - best[1]).numpy()


def test_the_sets_of_a_batch_are_one_run_of_the_network(engines, monkeypatch):
    seen, run = [], CpuNetwork.labels_of_sets

    def watched(self, sets):
        seen.append([len(images) for images in sets])
        return run(self, sets)

    monkeypatch.setattr(CpuNetwork, "labels_of_sets", watched)
    monkeypatch.setattr(CpuNetwork, "labels", lambda self, images: pytest.fail("one by one"))
    engines["torch"].infer_batch([IMAGES[:2], IMAGES[2:3], IMAGES[3:6]])
    assert seen == [[2, 1, 3]]


def test_more_sets_than_a_run_may_hold_are_split(engines, monkeypatch):
    monkeypatch.setattr(batch, "MOST_SETS", 2)
    stacks = [IMAGES[i : i + 1 + i % 3] for i in range(5)]
    for (labels, _), stack in zip(engines["torch"].infer_batch(stacks), stacks, strict=True):
        assert (labels == engines["torch"].infer(stack)[0]).mean() > 0.9999


def test_what_is_run_together_depends_on_network_and_grid(engines):
    small = engines["torch"]._network
    assert batch.sets_at_once(small, 512, 512) == batch.MOST_SETS and batch.sets_at_once(small, 512, 516) == 1
    assert batch.sets_at_once(engines["cuda network"]._network, *GRID) == 1
    assert engines["torch"].sets_at_once == batch.MOST_SETS
    assert not isinstance(onnx_network.OnnxNetwork, batch.BatchingNetwork)


def test_stacks_of_different_sizes_are_refused(engines):
    with pytest.raises(ValueError, match="52x68, 52x64.*expected one grid"):
        engines["torch"].infer_batch([IMAGES[:1], IMAGES[:1, :, :, :64]])


def test_a_device_that_is_lost_in_a_batch_is_left_for_the_cpu(checkpoint):
    engine = engine_of(checkpoint)

    class Lost:
        device = torch.device("cpu")

        def labels(self, images):
            raise RuntimeError("the device is gone")

    engine._network = Lost()
    found = engine.infer_batch([IMAGES[:2], IMAGES[2:3]])
    assert len(found) == 2 and engine._network is engine._spare
