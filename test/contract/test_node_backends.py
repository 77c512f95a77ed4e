# SPDX-License-Identifier: Apache-2.0
"""The node with each backend and precision of a CPU: it configures and answers, or says why it cannot."""

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from live_graph import GRID, write_inputs  # noqa: E402
from segmentor_graph import segmentors  # noqa: E402

from anyseg_ros.engine import precision  # noqa: E402
from anyseg_ros.engine.onnx_export import export  # noqa: E402
from anyseg_ros.model.checkpoint import load_checkpoint, weights_sha256  # noqa: E402
from anyseg_ros.nodes import segmentor_node  # noqa: E402

SUCCESS, FAILURE = segmentor_node.SUCCESS, segmentor_node.FAILURE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("backends")
    write_inputs(made)
    export(made / "net.safetensors", made / "net.onnx", lambda _: None)
    return made


@pytest.fixture
def segmentor(folder, monkeypatch):
    monkeypatch.setattr(segmentor_node, "warm_up", lambda pipeline: None)
    threads = torch.get_num_threads()
    with segmentors(folder) as make:
        yield lambda checkpoint, **given: make(checkpoint=str(folder / checkpoint), **{"device": "cpu", **given})
    torch.set_num_threads(threads)


def engine_of(node):
    assert node.trigger_configure() == SUCCESS
    return node._configured.rigs[0].processor.pipeline.engine


def test_an_onnx_file_configures_activates_and_answers_as_the_checkpoint(segmentor):
    stack = np.random.default_rng(2).standard_normal((2, 3, *GRID), np.float32)
    exported = segmentor("net.onnx", backend="onnxruntime")
    ours, plain = engine_of(exported), engine_of(segmentor("net.safetensors"))
    np.testing.assert_allclose(ours.logits(stack), plain.logits(stack), atol=1e-4, rtol=0)
    assert (ours.infer(stack)[0] == plain.infer(stack)[0]).mean() > 0.999
    assert exported.trigger_activate() == SUCCESS


def test_bf16_configures_where_the_processor_has_it_and_fails_with_a_sentence_elsewhere(segmentor, monkeypatch, capfd):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    assert segmentor("net.safetensors", precision="bf16").trigger_configure() == SUCCESS
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    assert segmentor("net.safetensors", precision="bf16").trigger_configure() == FAILURE
    assert "cannot configure: precision 'bf16' needs a processor that computes in bfloat16" in capfd.readouterr().err


def test_one_line_says_which_weights_run_and_how(segmentor, folder, capfd):
    model, _ = load_checkpoint(folder / "net.safetensors")
    weights = weights_sha256(model)[:12]
    for name, backend in (("net.safetensors", "torch"), ("net.onnx", "onnxruntime")):
        assert engine_of(segmentor(name, backend=backend, threads=2)).weights == weights
        line = (
            f"network on cpu: {folder / name}, weights {weights}, backend {backend}, precision fp32, threads 2, "
            f"grid of {GRID[1]} x {GRID[0]} pixels"
        )
        assert capfd.readouterr().err.count(line) == 1


@pytest.mark.parametrize(
    ("checkpoint", "given", "sentence"),
    [
        ("net.safetensors", {"backend": "onnxruntime"}, "it needs an ONNX file: anyseg export"),
        ("net.onnx", {}, "choose backend onnxruntime, or give the checkpoint"),
        ("net.onnx", {"backend": "onnxruntime", "precision": "int8"}, "which is in fp32; choose fp32"),
        ("net.safetensors", {"precision": "int8"}, "is that of a quantised file, which needs the backend onnxruntime"),
        ("net.safetensors", {"precision": "fp16"}, "'fp16' needs a GPU"),
    ],
)
def test_a_choice_that_cannot_work_fails_configuration_with_its_sentence(segmentor, capfd, checkpoint, given, sentence):
    node = segmentor(checkpoint, **given)
    before = len(list(node.publishers))
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert "cannot configure: " in said and sentence in said and "Traceback" not in said
    assert len(list(node.publishers)) == before


def test_threads_are_half_the_cores_unless_said_otherwise(segmentor, monkeypatch):
    monkeypatch.setattr(segmentor_node, "shared_threads", lambda: 2)
    engine_of(segmentor("net.safetensors"))
    assert torch.get_num_threads() == 2
    engine_of(segmentor("net.safetensors", threads=1))
    assert torch.get_num_threads() == 1
