# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in int8: what the file holds, what it answers, what is refused; scores of networks as they are run."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.data import Normaliser, Pack
from anyseg_training.evaluate import network_logits, subset_logits
from anyseg_training.pack import make_pack
from anyseg_training.protocols import PROTOCOLS
from engine_kit import randomised
from tiny_muses import write_tiny_muses

from anyseg_ros.engine import precision
from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from anyseg_training import quantise  # noqa: E402

GRID = (64, 96)
MODEL = randomised("b0-half", 16, 19, by=0.02)
VNNI = {"avx512_vnni"}


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    root = tmp_path_factory.mktemp("calibration")
    write_tiny_muses(root / "data", {"train": 8})
    make_pack(root / "data", "train", GRID, root / "train", workers=1, bar=False)
    return Pack(root / "train")


def described(pack, **changes):
    index = pack.index
    values = {
        "architecture": asdict(MODEL.config),
        "classes": index["classes"],
        "palette": index["palette"],
        "modalities": pack.modalities,
        "encoding": index["encoding"],
        "normalisation": pack.normalisation,
        "grid": list(GRID),
        "encoding_parameters": index["encoding_parameters"],
    }
    return CheckpointMeta(**values | changes)


@pytest.fixture(scope="module")
def checkpoint(pack, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, MODEL, described(pack))
    return path


def run(checkpoint, pack, out, *more):
    return main(["quantise", "--checkpoint", str(checkpoint), "--pack", str(pack.root), "--out", str(out), *more])


@pytest.fixture(scope="module")
def quantised(checkpoint, pack):
    path = checkpoint.with_name("small_int8.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "cpu_flags", lambda: VNNI)
        patch.setattr(quantise, "CHECKED", 3)
        patch.setattr(quantise, "MOST_CHANGED", 0.2)
        assert run(checkpoint, pack, path, "--frames", "4", "--seed", "3") == 0
    return path


@pytest.fixture
def on_vnni(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: VNNI)


def record_of(path):
    return json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["anyseg_quantisation"])


def test_the_file_says_what_it_is_and_how_it_was_calibrated(quantised, checkpoint, pack):
    record = record_of(quantised)
    assert record["precision"] == "int8" and record["frames"] == 4 and record["seed"] == 3
    assert record["calibration"]["split"] == "train" and record["calibration"]["samples"] == len(pack)
    assert "pack" not in record["calibration"], "where the pack lay is nobody's business"
    assert set(record["labels_changed"]) == {"C", "E", "L", "CE", "CL", "EL", "CEL"}
    assert all(0 <= share < 0.2 for share in record["labels_changed"].values())
    networks, meta = open_networks(quantised, "onnxruntime", "int8")
    assert asdict(meta) == asdict(described(pack)) and networks.best_device() == "cpu"


def test_weights_are_bytes_but_for_the_last_layer(quantised, checkpoint):
    graph = onnx.load(quantised).graph
    sizes = {v.name: np.prod(v.dims) for v in graph.initializer if v.data_type == onnx.TensorProto.INT8}
    assert sum(sizes.values()) > 0.9 * sum(p.numel() for p in MODEL.parameters() if p.dim() > 1)
    floats = [tuple(v.dims) for v in graph.initializer if v.data_type == onnx.TensorProto.FLOAT and len(v.dims) == 4]
    assert floats == [(19, 16, 1, 1)]


def test_it_answers_nearly_as_float32_for_any_subset(quantised, pack, on_vnni):
    networks, meta = open_networks(quantised, "onnxruntime", "int8")
    engine, plain = Engine(networks, meta), Engine(TorchNetworks(MODEL), meta, device="cpu")
    stack = Normaliser(pack.modalities, pack.normalisation)(pack.raw(7)[0])
    for rows in ([0], [1, 2], [0, 1, 2]):
        ours, theirs = engine.logits(stack[rows]).numpy(), plain.logits(stack[rows]).numpy()
        off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert 1e-4 < off < 0.2
        assert (engine.infer(stack[rows])[0] == plain.infer(stack[rows])[0]).mean() > 0.8


def test_calibration_repeats_and_takes_frames_and_subsets_by_the_seed(pack, monkeypatch):
    monkeypatch.setattr(quantise, "CHECKED", 2)
    normaliser = Normaliser(pack.modalities, pack.normalisation)

    def stacks(seed):
        frames, checked = quantise.drawn(pack, quantise.Plan(6, seed))
        assert len(frames) == 6 and len(checked) == 2 and not set(frames) & set(checked)
        reader = quantise.Stacks(quantise.subsets(pack, normaliser, frames, seed))
        return [feed["images"] for feed in iter(reader.get_next, None)]

    first, again, other = stacks(1), stacks(1), stacks(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({len(stack) for stack in [*first, *other]}) > 1, "subsets of several sizes"


def test_only_what_a_frame_holds_is_fed(pack, monkeypatch):
    present = np.zeros_like(pack.present)
    present[:, 1] = True
    monkeypatch.setattr(pack, "present", present)
    normaliser = Normaliser(pack.modalities, pack.normalisation)
    for frame, stack in enumerate(quantise.subsets(pack, normaliser, [0, 1], 0)):
        np.testing.assert_array_equal(stack, normaliser(pack.raw(frame)[0])[1:2])
    networks = TorchNetworks(MODEL)
    changed = quantise.labels_changed(networks.spare(), networks.spare(), pack, normaliser, [0, 1])
    assert changed == {subset: 0.0 for subset in changed} and list(changed) == [pack.modalities[1][0].upper()]


def test_a_network_that_answers_otherwise_is_not_written(checkpoint, pack, tmp_path, monkeypatch, capsys, on_vnni):
    monkeypatch.setattr(quantise, "CHECKED", 2)
    monkeypatch.setattr(quantise, "labels_changed", lambda *_: {"C": 0.01, "EL": 0.3})
    assert run(checkpoint, pack, tmp_path / "x.onnx", "--frames", "2") == 2
    assert "with EL int8 changes 30.0% of the labels, expected at most 5%" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "more", "sentence"),
    [
        ({"encoding": "none"}, (), "was trained on another encoding than"),
        ({"grid": [32, 32]}, (), r"has grid [64, 96] and"),
        ({"modalities": ["camera", "depth", "event", "lidar"]}, (), "give the pack it was trained on"),
        ({"modalities": ["camera"]}, (), "has event, lidar, on which"),
        ({"classes": [str(k) for k in range(19)]}, (), "has other classes than"),
        ({}, ("--frames", "8"), "holds 8 frames with anything to see and --frames is 8; expected"),
        ({}, ("--frames", "0"), "--frames is 0; expected at least 1"),
    ],
)
def test_packs_that_do_not_fit_are_refused(pack, tmp_path, capsys, on_vnni, changes, more, sentence):
    save_checkpoint(tmp_path / "other.safetensors", MODEL, described(pack, **changes))
    assert run(tmp_path / "other.safetensors", pack, tmp_path / "x.onnx", *more) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "x.onnx").exists()


def test_names_and_processors_that_do_not_fit_are_refused(checkpoint, quantised, pack, tmp_path, monkeypatch, capsys):
    assert run(checkpoint, pack, tmp_path / "x.bin") == 2
    assert "ends in .onnx" in capsys.readouterr().err
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    assert run(checkpoint, pack, tmp_path / "x.onnx") == 2
    assert "sums of bytes would saturate: choose a file in fp32" in capsys.readouterr().err
    networks, meta = open_networks(quantised, "onnxruntime", "int8")
    with pytest.raises(ValueError, match="precision 'int8' needs a processor with asimddp, avx512_vnni, avx_vnni"):
        Engine(networks, meta)


def test_another_precision_than_the_files_is_refused(checkpoint, quantised, monkeypatch):
    with pytest.raises(ValueError, match="'fp32' is not there for backend 'onnxruntime' with .*, which is in int8; ch"):
        open_networks(quantised, "onnxruntime")
    with pytest.raises(ValueError, match="'int8' is that of a quantised file.*anyseg-train quantise --checkpoint"):
        open_networks(checkpoint, "torch", "int8")
    networks, _ = open_networks(quantised, "onnxruntime", "int8")
    with pytest.raises(ValueError, match="'int8' is for the CPU; device 'cuda' cannot be used"):
        networks.make(torch.device("cuda"))
    monkeypatch.setattr("anyseg_ros.engine.onnx_network.providers_here", lambda _: {"CPUExecutionProvider"})
    with pytest.raises(ValueError, match="backend 'tensorrt' does not run int8"):
        open_networks(quantised, "tensorrt", "int8")


@pytest.mark.parametrize("protocol", ["skip", "zero-fill", "rmm-0.5", "nm-low"])
def test_a_network_run_by_run_answers_as_the_model_in_one_pass(pack, protocol):
    images = torch.from_numpy(Normaliser(pack.modalities, pack.normalisation)(pack.raw(0)[0]))
    present = np.array([True, False, True])
    asked = images, present, pack.modalities, PROTOCOLS[protocol]
    with torch.inference_mode():
        expected = subset_logits(MODEL, *asked, torch.Generator().manual_seed(1))
        found = network_logits(TorchNetworks(MODEL).spare(), *asked, torch.Generator().manual_seed(1))
    assert [a.subset for a in found] == [a.subset for a in expected]
    assert [a.logits is None for a in found] == [a.logits is None for a in expected]
    for ours, plain in zip(found, expected, strict=True):
        if plain.logits is not None:
            torch.testing.assert_close(ours.logits, plain.logits, rtol=0, atol=1e-4)


def test_evaluate_scores_what_the_node_runs(checkpoint, quantised, pack, tmp_path, capsys, on_vnni):
    common = ["evaluate", "--pack", str(pack.root), "--train-pack", str(pack.root)]
    runs = {
        "plain": ["--checkpoint", str(checkpoint)],
        "fp32": ["--checkpoint", str(checkpoint), "--precision", "fp32"],
        "int8": ["--checkpoint", str(quantised), "--precision", "int8"],
    }
    for name, files in runs.items():
        assert main([*common, *files, "--out", str(tmp_path / name)]) == 0
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in runs}
    assert (found["int8"]["precision"], found["int8"]["backend"]) == ("int8", "onnxruntime")
    assert "Computed in int8 by backend onnxruntime." in (tmp_path / "int8.md").read_text()
    scores = {name: result["miou"] for name, result in found.items()}
    assert scores["fp32"] == pytest.approx(scores["plain"], abs=0.05)
    assert scores["int8"] == pytest.approx(scores["plain"], abs=5) and scores["int8"] != scores["plain"]
    capsys.readouterr()
    assert main([*common, "--checkpoint", str(quantised), "--out", str(tmp_path / "x")]) == 2
    assert "which is in int8; choose int8" in capsys.readouterr().err
