# SPDX-License-Identifier: Apache-2.0
"""TensorRT's engines without TensorRT: where they lie, and what is said where one cannot be built or taken."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from engine_kit import randomised

from anyseg_ros import cli
from anyseg_ros.engine import build_engine_command, tensorrt_engines
from benchmarks.engine import meta_of

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from anyseg_ros.engine import onnx_export  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path, model = tmp_path_factory.mktemp("networks") / "small.onnx", randomised(classes=19)
    path.write_bytes(onnx_export.exported(model, meta_of(model, (32, 64))))
    return path


def test_tensorrt_engines_are_told_apart_by_all_they_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv(tensorrt_engines.CACHE_VARIABLE, str(tmp_path / "cache"))
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx", "copy of a.onnx")]
    for path, content in zip(paths, (b"a", b"b", b"a"), strict=True):
        path.write_bytes(content)
    keys = [
        (paths[0], "H100", "101300", "fp16"),
        (paths[1], "H100", "101300", "fp16"),
        (paths[0], "Orin", "101300", "fp16"),
        (paths[0], "H100", "101400", "fp16"),
        (paths[0], "H100", "101300", "fp32"),
    ]
    folders = [tensorrt_engines.cache_folder(*key) for key in keys]
    assert len(set(folders)) == len(keys) and all(f.parent == tmp_path / "cache" for f in folders)
    assert tensorrt_engines.cache_folder(paths[2], *keys[0][1:]) == folders[0]
    monkeypatch.delenv(tensorrt_engines.CACHE_VARIABLE)
    assert os.path.expanduser("~") in str(tensorrt_engines.cache_folder(*keys[0]))


def test_an_engine_that_was_not_built_to_the_end_is_refused(tmp_path):
    (tmp_path / "half.engine").touch()
    with pytest.raises(tensorrt_engines.EngineMissingError, match="anyseg build-engine .*a.onnx --precision fp16"):
        tensorrt_engines.check_built(tmp_path, tmp_path / "a.onnx", "fp16")
    (tmp_path / tensorrt_engines.FINISHED).touch()
    tensorrt_engines.check_built(tmp_path, tmp_path / "a.onnx", "fp16")


def test_a_cache_that_cannot_be_used_is_said(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_file", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(tensorrt_engines.EngineMissingError, match="cannot be read .*set ANYSEG_ENGINE_CACHE to"):
        tensorrt_engines.check_built(tmp_path, exported, "fp32")
    monkeypatch.delenv(tensorrt_engines.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home directory")))
    with pytest.raises(ValueError, match="no home folder .* set ANYSEG_ENGINE_CACHE to a folder"):
        tensorrt_engines.cache_folder(exported, "H100", "101300", "fp32")


def test_a_library_that_does_not_load_is_said(tmp_path, monkeypatch):
    (tmp_path / "libnvinfer.so").write_bytes(b"no library")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: str(tmp_path / "libnvinfer.so"))
    with pytest.raises(ValueError, match="libnvinfer.so cannot be used .*; install TensorRT anew"):
        tensorrt_engines.tensorrt_version()
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(ValueError, match="nvinfer is not installed; install TensorRT"):
        tensorrt_engines.tensorrt_version()


def test_build_engine_says_what_is_missing(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert cli.main(["build-engine", str(exported)]) == 2
    assert "backend 'tensorrt' needs TensorrtExecutionProvider" in capsys.readouterr().err
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    for name in ("cpu", "abacus", "cuda:99"):
        assert cli.main(["build-engine", str(exported), "--device", name]) == 2
        assert f"device '{name}' is no GPU that torch can use here" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(build_engine_command, "tensorrt_version", lambda: "101300")
    (tmp_path / "file").touch()
    monkeypatch.setenv(tensorrt_engines.CACHE_VARIABLE, str(tmp_path / "file"))
    assert cli.main(["build-engine", str(exported)]) == 2
    assert "cannot be made" in (said := capsys.readouterr().err) and "set ANYSEG_ENGINE_CACHE to another" in said
