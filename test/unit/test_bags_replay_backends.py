# SPDX-License-Identifier: Apache-2.0
"""``anyseg replay`` with each backend and precision of a CPU: the same labels, up to a share that is stated."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bag_kit import small_rig, write_bag

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.cli import main
from anyseg_ros.engine import precision
from anyseg_ros.pipeline import default_checkpoint
from anyseg_ros.sensors.messages import image_from
from anyseg_ros.sensors.rig import save_rig

LABELS = "/segmentor/output/labels"


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replays")
    save_rig(small_rig(), folder / "rig.yaml")
    write_bag(folder / "bag", 0.5, truth=False)
    return folder


def replayed(kit, out, *options):
    """Summary and labels [N,H,W] of a replay."""
    assert main(["replay", str(kit / "bag"), "--rig", str(kit / "rig.yaml"), "--out", str(out), *options]) == 0
    with BagReader(out / "segmentation") as reader:
        labels = [image_from(message) for _, _, message in reader.messages({LABELS})]
    return json.loads((out / "summary.json").read_text()), np.stack(labels)


@pytest.fixture(scope="module")
def plain(kit):
    return replayed(kit, kit / "plain")[1]


def test_onnx_runtime_labels_a_bag_as_torch_does(kit, plain):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    exported = kit / "student.onnx"
    assert main(["export", str(default_checkpoint()), "--out", str(exported)]) == 0
    options = "--backend", "onnxruntime", "--checkpoint", str(exported)
    summary, labels = replayed(kit, kit / "onnx", *options)
    assert summary["backend"] == "onnxruntime" and summary["precision"] == "fp32"
    assert labels.shape == plain.shape and len(labels) >= 4
    assert (labels == plain).mean() > 0.9999


def test_bf16_labels_a_bag_as_float32_does_but_for_a_share(kit, plain, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    summary, labels = replayed(kit, kit / "bf16", "--precision", "bf16")
    assert summary["precision"] == "bf16" and labels.shape == plain.shape
    assert 0.97 < (labels == plain).mean() < 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--backend", "onnxruntime"), "it needs an ONNX file: anyseg export"),
        (("--precision", "int8"), "is that of a quantised file"),
        (("--precision", "fp16"), "'fp16' needs a GPU"),
    ],
)
def test_a_choice_that_cannot_work_ends_with_its_sentence(kit, tmp_path, capsys, options, sentence):
    given = ["replay", str(kit / "bag"), "--rig", str(kit / "rig.yaml"), "--device", "cpu"]
    assert main([*given, "--out", str(tmp_path / "out"), *options]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()
