# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what goes in comes out, and what does not fit is refused with a sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anyseg_ros.model.checkpoint import CheckpointError, CheckpointMeta, load_checkpoint, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig


def meta_for(model: AnySeg) -> CheckpointMeta:
    return CheckpointMeta(
        architecture=dataclasses.asdict(model.config),
        classes=["road", "sky"],
        palette=[[128, 64, 128], [70, 130, 180]],
        modalities=["camera", "lidar"],
        encoding="abc",
        encoding_parameters={"event": {"window_ns": 1}},
        normalisation={"camera": {"mean": [0.5] * 3, "std": [0.2] * 3}},
        grid=[32, 64],
        training={"steps": 3},
        code_version="0.1.0",
        miou={"C": 12.5},
    )


@pytest.fixture
def model() -> AnySeg:
    torch.manual_seed(0)
    return AnySeg(AnySegConfig(2, "b0-half", 16)).eval()


def rewrite(path, change):
    """Save the file again with changed tensors and header."""
    with safe_open(path, "pt") as file:
        tensors, header = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors, header)
    save_file(tensors, path, header)


def test_round_trip_is_exact(tmp_path, model):
    save_checkpoint(tmp_path / "a.safetensors", model, meta_for(model))
    loaded, meta = load_checkpoint(tmp_path / "a.safetensors")
    assert meta == meta_for(model)
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_half_storage_is_close_and_loads_as_float32(tmp_path, model):
    save_checkpoint(tmp_path / "a.safetensors", model, meta_for(model), half=True)
    loaded, _ = load_checkpoint(tmp_path / "a.safetensors")
    for name, value in model.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == value.dtype
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-6)


def test_shipped_size_stays_under_16_mib(tmp_path):
    model = AnySeg(AnySegConfig(19, "b0", 256))
    save_checkpoint(tmp_path / "a.safetensors", model, meta_for(model), half=True)
    assert (tmp_path / "a.safetensors").stat().st_size < 16 * 2**20
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_missing_and_foreign_files(tmp_path, model):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_checkpoint(tmp_path / "text.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_checkpoint(tmp_path / "empty.safetensors")
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="no 'anyseg' metadata"):
        load_checkpoint(tmp_path / "bare.safetensors")


def test_truncated_file(tmp_path, model):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, meta_for(model))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_checkpoint(path)


def test_shape_mismatch_names_the_first_tensor(tmp_path, model):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, meta_for(model))
    rewrite(path, lambda tensors, _: tensors.update({"head.linear_pred.bias": torch.zeros(7)}))
    with pytest.raises(CheckpointError, match=r"'head.linear_pred.bias' has shape \(7,\).*expects \(2,\)"):
        load_checkpoint(path)


def described(**changes):
    """Damage: fields of the description that are others."""
    return lambda t, h: h.update(anyseg=json.dumps(json.loads(h["anyseg"]) | changes))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t, h: t.pop("head.linear_pred.bias"), "lacks tensor 'head.linear_pred.bias'"),
        (lambda t, h: t.update(extra=torch.zeros(1)), "holds tensor 'extra'"),
        (lambda t, h: h.update(anyseg="{"), "broken metadata"),
        (lambda t, h: h.update(anyseg="[1]"), "broken metadata"),
        (lambda t, h: h.update(anyseg=h["anyseg"].replace('"format": 2', '"format": 99')), "format 99"),
        (lambda t, h: h.update(anyseg=h["anyseg"].replace('"grid"', '"grit"')), "metadata fields"),
        (lambda t, h: h.update(anyseg=h["anyseg"].replace("b0-half", "b7")), "cannot be built"),
        (lambda t, h: t["head.linear_pred.bias"].fill_(float("nan")), "'head.linear_pred.bias' .* diverged"),
        (lambda t, h: t.update({"head.linear_pred.bias": torch.zeros(2, dtype=torch.int8)}), "torch.int8 holds"),
        (described(grid=["64", "96"]), r"expected as grid \[height, width\] in pixels; found \['64', '96'\]"),
        (described(grid=64), "expected as grid"),
        (described(classes=3), "expected as classes a list of class names, each once; found 3"),
        (described(classes=["road", "road"]), r"expected as classes .* each once; found \['road', 'road'\]"),
        (described(classes=["road"], palette=[[1, 2, 3]]), "names 1 classes; its architecture has 2"),
        (described(palette=[[1, 2, 300]] * 2), "expected as palette a colour"),
        (described(modalities=["radar"]), "expected as modalities some of .*lidar"),
        (described(modalities=["camera", "camera"]), "expected as modalities .* each once"),
        (described(miou={"C": "much"}), "expected as miou"),
        (described(miou={"C": float("nan")}), "expected as miou mIoU in percent .* found {'C': nan}"),
        (described(architecture={"classes": 2, "backbone": "b0-half", "head_width": 10**12}), "cannot be built"),
    ],
)
def test_damage_is_described(tmp_path, model, change, sentence):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, meta_for(model))
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=sentence):
        load_checkpoint(path)


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, model):
    meta = dataclasses.replace(meta_for(model), palette=[[128, 64, 128], [0, 0, 999]])
    with pytest.raises(CheckpointError, match="a.safetensors: expected as palette a colour"):
        save_checkpoint(tmp_path / "a.safetensors", model, meta)
    assert not list(tmp_path.iterdir())


def test_metadata_of_another_architecture_is_not_saved(tmp_path, model):
    meta = dataclasses.replace(meta_for(model), architecture={"classes": 3})
    with pytest.raises(CheckpointError, match="metadata describes"):
        save_checkpoint(tmp_path / "a.safetensors", model, meta)
    assert not list(tmp_path.iterdir())
