# SPDX-License-Identifier: Apache-2.0
"""Backends and precisions against the plain float32 model, and what cannot work refused with a sentence."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from engine_kit import MODEL, randomised
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from anyseg_ros import cli
from anyseg_ros.engine import onnx_network, precision
from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import (
    METADATA_KEY,
    WEIGHTS_KEY,
    CheckpointError,
    CheckpointMeta,
    save_checkpoint,
    weights_sha256,
)

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from anyseg_ros.engine import onnx_export, onnx_graph  # noqa: E402

GRID = (52, 68)  # no multiple of 8: the coarser scales are rounded up, and the reduced ones down
NAMES = [f"class {i}" for i in range(MODEL.config.classes)]
META = CheckpointMeta(
    architecture=asdict(MODEL.config),
    classes=NAMES,
    palette=[[i, i, i] for i in range(len(NAMES))],
    modalities=["camera", "lidar"],
    encoding="none",
    normalisation={},
    grid=list(GRID),
    miou={"CL": 50.0},
)
STACKS = [
    torch.randn(count, 3, *GRID, generator=torch.Generator().manual_seed(count)).numpy() for count in (1, 2, 3, 5)
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "small.safetensors"
    save_checkpoint(path, MODEL, META)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint):
    path = checkpoint.with_suffix(".onnx")
    assert cli.main(["export", str(checkpoint), "--out", str(path)]) == 0
    return path


@torch.inference_mode()
def plain(stack):
    """Logits, and at full size the scores that labels are taken from."""
    logits = MODEL(torch.from_numpy(stack)[None])
    return logits[0].numpy(), F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)[0].numpy()


def engine_of(path, backend="torch", kind="fp32"):
    networks, meta = open_networks(path, backend, kind)
    return Engine(networks, meta, device="cpu")


@pytest.mark.parametrize("stack", STACKS, ids=len)
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_every_float32_backend_is_the_plain_model(checkpoint, exported, backend, stack):
    engine = engine_of(checkpoint if backend == "torch" else exported, backend)
    logits, full = plain(stack)
    np.testing.assert_allclose(engine.logits(stack).numpy(), logits, atol=1e-4, rtol=0)
    labels, confidence = engine.infer(stack)
    assert labels.dtype == np.uint8 and labels.shape == confidence.shape == GRID
    ranked = np.sort(full, 0)
    clear = ranked[-1] - ranked[-2] > 2e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], full.argmax(0)[clear])
    np.testing.assert_allclose(confidence, torch.from_numpy(full).softmax(0).max(0).values, atol=1e-4)


def test_the_shipped_student_is_the_same_from_its_onnx_file(tmp_path):
    from anyseg_ros.pipeline import default_checkpoint

    said = []
    onnx_export.export(default_checkpoint(), tmp_path / "student.onnx", said.append)
    assert [line[:12] for line in said[1:5]] == [f"{count} modalities"[:12] for count in (1, 2, 3, 4)]
    theirs, ours = engine_of(tmp_path / "student.onnx", "onnxruntime"), engine_of(default_checkpoint())
    stack = np.random.default_rng(1).standard_normal((3, 3, *ours.meta.grid), np.float32)
    assert asdict(theirs.meta) == asdict(ours.meta)
    np.testing.assert_allclose(theirs.logits(stack), ours.logits(stack), atol=1e-4, rtol=0)
    assert (theirs.infer(stack)[0] == ours.infer(stack)[0]).mean() > 0.9999


def test_bf16_is_near_the_plain_model_and_not_the_same(checkpoint, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    engine = engine_of(checkpoint, kind="bf16")
    assert engine.precision == "bf16"
    for stack in STACKS:
        logits, full = plain(stack)
        found = engine.logits(stack)
        off = np.linalg.norm(found.numpy() - logits) / np.linalg.norm(logits)
        assert found.dtype == torch.float32 and 1e-4 < off < 0.05
        assert (engine.infer(stack)[0] == full.argmax(0)).mean() > 0.9


def test_an_onnx_file_knows_all_that_the_checkpoint_did(checkpoint, exported):
    described = {p.key: p.value for p in onnx.load(exported).metadata_props}
    assert asdict(open_networks(exported, "onnxruntime")[1]) == asdict(META)
    assert described[WEIGHTS_KEY] == weights_sha256(MODEL)


def test_weights_have_one_hash_in_every_file_and_another_with_another_value(checkpoint, exported):
    found = [engine_of(checkpoint), engine_of(exported, "onnxruntime")]
    assert {engine.weights for engine in found} == {weights_sha256(MODEL)[:12]}
    assert [engine.precision for engine in found] == ["fp32", "fp32"] and found[0].threads == torch.get_num_threads()
    assert weights_sha256(randomised(by=0.2)) != weights_sha256(MODEL) == weights_sha256(randomised())


def test_only_the_number_of_modalities_is_free(exported):
    graph = onnx.load(exported).graph
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (graph.input[0], graph.output[0])
    ]
    assert shapes == [["modalities", 3, *GRID], [len(NAMES), 13, 17]]
    with pytest.raises(ValueError, match=r"images of 64x64 .* this ONNX file is for 52x68"):
        engine_of(exported, "onnxruntime").infer(np.zeros((1, 3, 64, 64), np.float32))


def test_attention_in_parts_is_the_same_attention(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "ATTENTION_BYTES", 300)
    onnx_export.export(checkpoint, tmp_path / "parts.onnx", lambda _: None)
    kinds = [node.op_type for node in onnx.load(tmp_path / "parts.onnx").graph.node]
    whole = sum(len(stage) for stage in MODEL.encoder.block) - kinds.count("Concat")
    assert kinds.count("Concat") >= 2 and kinds.count("Softmax") == kinds.count("Slice") + whole
    found = engine_of(tmp_path / "parts.onnx", "onnxruntime").logits(STACKS[2]).numpy()
    np.testing.assert_allclose(found, plain(STACKS[2])[0], atol=1e-4, rtol=0)


def test_a_graph_that_is_not_the_network_is_not_written(checkpoint, tmp_path, monkeypatch, capsys):
    whole = onnx_graph.Graph.pointwise
    monkeypatch.setattr(onnx_graph.Graph, "pointwise", lambda self, x, w, *b: whole(self, x, w * 1.001, *b))
    assert cli.main(["export", str(checkpoint), "--out", str(tmp_path / "wrong.onnx")]) == 2
    assert "off torch's, expected at most" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_node_would_not_know_is_refused(checkpoint, tmp_path, capsys):
    assert cli.main(["export", str(checkpoint), "--out", str(tmp_path / "student.bin")]) == 2
    assert "ends in .onnx" in capsys.readouterr().err


def test_files_and_backends_that_do_not_go_together_are_refused(checkpoint, exported, tmp_path):
    with pytest.raises(ValueError, match="backend 'torch' cannot run .*small.onnx; choose backend onnxruntime"):
        open_networks(exported)
    with pytest.raises(ValueError, match="needs an ONNX file: anyseg export .*small.safetensors --out small.onnx"):
        open_networks(checkpoint, "onnxruntime")
    with pytest.raises(ValueError, match="backend 'abacus' is unknown; known are torch, onnxruntime, tensorrt"):
        open_networks(checkpoint, "abacus")
    with pytest.raises(CheckpointError, match="no file at"):
        open_networks(tmp_path / "nothing.onnx", "onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09no network")
    with pytest.raises(CheckpointError, match="cannot be loaded by ONNX Runtime"):
        open_networks(tmp_path / "broken.onnx", "onnxruntime")


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (METADATA_KEY, "has no 'anyseg' metadata"),
        (WEIGHTS_KEY, "has no 'anyseg_weights_sha256' metadata; export the checkpoint again"),
        ("height", "its description says"),
        ("modalities", r"takes .*\[1, 3, 52, 68\].* its description says .*\['any', 3, 52, 68\]"),
    ],
)
def test_onnx_files_of_others_are_refused(exported, tmp_path, key, sentence):
    model = onnx.load(exported)
    size = model.graph.input[0].type.tensor_type.shape.dim
    if key == "height":
        size[2].dim_param = "height"
    elif key == "modalities":
        size[0].dim_value = 1
    else:
        model.metadata_props.remove(next(p for p in model.metadata_props if p.key == key))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match=sentence):
        open_networks(tmp_path / "other.onnx", "onnxruntime")


def test_what_is_not_installed_is_said(checkpoint, exported, monkeypatch):
    with pytest.raises(ValueError, match="precision 'bf16' is not there for backend 'onnxruntime'"):
        open_networks(exported, "onnxruntime", "bf16")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="precision 'fp8' is unknown; known are fp32, bf16, fp16, int8"):
        open_networks(exported, "onnxruntime", "fp8")
    with pytest.raises(ValueError, match="needs TensorrtExecutionProvider; ONNX Runtime .* has CPUExecutionProvider"):
        open_networks(exported, "tensorrt")
    networks, meta = open_networks(exported, "onnxruntime")
    assert Engine(networks, meta).device.type == "cpu"
    with pytest.raises(ValueError, match="cannot use device 'cuda:1': ONNX Runtime has CPUExecutionProvider here"):
        Engine(networks, meta, device="cuda:1")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"needs ONNX Runtime, which cannot be loaded .*anyseg_ros\[onnx\]"):
        open_networks(exported, "onnxruntime")
    assert open_networks(checkpoint)[1] == META


def test_a_gpu_that_onnx_runtime_cannot_load_is_left_for_the_cpu_loudly(exported, monkeypatch, caplog):
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    opened = onnx_network.open_session
    monkeypatch.setattr(onnx_network, "open_session", lambda path, _, threads: opened(path, both[1:], threads))
    networks, meta = open_networks(exported, "onnxruntime")
    with caplog.at_level(logging.ERROR):
        engine = Engine(networks, meta)
    assert engine.device.type == "cpu" and "could not load its CUDAExecutionProvider" in caplog.text
    with pytest.raises(ValueError, match="device 'cuda' cannot be used"):
        Engine(networks, meta, device="cuda")


def test_a_session_that_fails_raises_what_the_engine_takes_for_a_lost_device(exported):
    session = onnx_network.open_session(exported, ["CPUExecutionProvider"], 1)
    network = onnx_network.OnnxNetwork(session, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="images"):
        network.logits(torch.zeros(1, 4, *GRID))


@pytest.mark.parametrize(
    ("kind", "flags", "sentence"),
    [
        ("bf16", {"avx2"}, "needs a processor that computes in bfloat16"),
        ("fp16", {"avx512_bf16"}, "'fp16' needs a GPU"),
        ("fp8", {"avx512_bf16"}, "'fp8' is unknown; known are fp32, bf16, fp16"),
    ],
)
def test_precisions_that_the_processor_lacks_are_refused(checkpoint, monkeypatch, kind, flags, sentence):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    with pytest.raises(ValueError, match=sentence):
        engine_of(checkpoint, kind=kind)


def test_the_spare_network_is_float32_whatever_the_precision():
    spare = TorchNetworks(MODEL, "fp16").spare()
    np.testing.assert_allclose(spare.logits(torch.from_numpy(STACKS[1])), plain(STACKS[1])[0], atol=1e-4, rtol=0)


def test_flags_are_read_as_linux_writes_them(tmp_path):
    found = tmp_path / "cpuinfo"
    found.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16\n\nprocessor\t: 1\nFeatures\t: fp bf16\n")
    assert precision.cpu_flags(found) == {"fpu", "avx512_bf16", "fp", "bf16"}
    assert precision.cpu_flags(tmp_path / "nowhere") == set()


def test_a_damaged_checkpoint_is_not_exported(checkpoint, tmp_path, capsys):
    tensors = load_file(checkpoint)
    save_file(tensors, tmp_path / "plain.safetensors")
    assert cli.main(["export", str(tmp_path / "plain.safetensors"), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "has no 'anyseg' metadata" in capsys.readouterr().err
