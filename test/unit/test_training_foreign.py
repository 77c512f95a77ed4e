# SPDX-License-Identifier: Apache-2.0
"""Weights under other people's names: the same answers, and a sentence for what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.foreign import convert_release, load_backbone, mit_weights, read_weights
from plain_anyseg import plain_logits, random_release
from safetensors.torch import save_file

from anyseg_ros.model.checkpoint import CheckpointError, load_checkpoint
from anyseg_ros.model.mit import VARIANTS, MiT
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.presets import PRESETS

WIDTH = 48


@pytest.fixture(scope="module")
def release() -> dict[str, torch.Tensor]:
    return random_release(19, WIDTH)


def nvidia(release: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder as NVIDIA's ImageNet files hold it, with the classifier."""
    encoder = {n.removeprefix("encoder."): v for n, v in release.items() if n.startswith("encoder.")}
    return encoder | {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}


@pytest.mark.parametrize("size", [(64, 64), (36, 100)])
def test_converted_logits_equal_the_plain_formula(tmp_path, release, size):
    save_file(release, tmp_path / "release.safetensors")
    out = tmp_path / "ours.safetensors"
    assert main(["convert", "--weights", str(tmp_path / "release.safetensors"), "--out", str(out)]) == 0
    model, meta = load_checkpoint(out)
    assert model.config == AnySegConfig(19, "b0", WIDTH) and meta.encoding == PRESETS["release"].fingerprint
    assert meta.grid == [1024, 1024] and meta.modalities == ["camera", "event", "lidar"]
    assert meta.training["role"] == "converted" and set(meta.normalisation["event"]["std"]) == {1.0}
    double = {name: value.double() for name, value in release.items()}
    images = torch.randn(2, 3, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    present = torch.tensor([[True, True, True], [False, True, True]])
    found = model.double()(images, present)
    for i in range(2):
        expected = plain_logits(double, images[i, present[i]])
        assert expected.std() > 0.1
        torch.testing.assert_close(found[i], expected, rtol=0.0, atol=1e-9 * float(expected.abs().max()))


def test_files_of_torch_save_are_read_without_unpickling(tmp_path, release):
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in release.items()}}
    torch.save(wrapped, tmp_path / "release.pth")
    model, _ = convert_release(tmp_path / "release.pth", (64, 64))
    torch.testing.assert_close(model.head.linear_pred.bias.data, release["decoder.linear_pred.bias"])
    torch.save({"weights": Path("anything that is no tensor")}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        read_weights(tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read as plain tensors"):
        read_weights(tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("decoder.linear_c2.proj.bias"), "lacks tensor 'head.linear_c2.proj.bias'"),
        (lambda t: t.pop("decoder.linear_pred.weight"), "lacks 'decoder.linear_pred.weight'"),
        (lambda t: t.pop("encoder.block3.1.attn.kv.weight"), "lacks tensor 'encoder.block.2.1.attn.kv.weight'"),
        (lambda t: t.update({"decoder.extra": torch.zeros(1)}), "'decoder.extra', which the AnySeg release does not"),
        (
            lambda t: t.update({"encoder.block1.0.extra.weight": torch.zeros(1)}),
            "'block1.0.extra.weight', which no MiT",
        ),
        (lambda t: t.update({"decoder.linear_c1.proj.weight": torch.zeros(9, 32)}), r"shape \(9, 32\)"),
        (lambda t: t.update({"encoder.block4.2.norm1.bias": torch.zeros(256)}), "depths .2, 2, 2, 3.; no MiT"),
        (lambda t: t.update({"decoder.linear_pred.weight": torch.zeros(25, WIDTH, 1, 1)}), "tells 25 classes apart"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, release, change, sentence, capsys):
    tensors = dict(release)
    change(tensors)
    path = tmp_path / "release.safetensors"
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=sentence):
        convert_release(path, (64, 64))
    assert main(["convert", "--weights", str(path), "--out", str(tmp_path / "o.safetensors")]) == 2
    assert "anyseg-train convert:" in capsys.readouterr().err and not (tmp_path / "o.safetensors").exists()


def test_nvidia_backbone_weights_land_in_the_encoder_alone(tmp_path, release):
    save_file(nvidia(release), tmp_path / "mit_b0.safetensors")
    torch.manual_seed(0)
    model, untouched = AnySeg(AnySegConfig(5, "b0", 16)), AnySeg(AnySegConfig(5, "b0", 16))
    untouched.load_state_dict(model.state_dict())
    load_backbone(tmp_path / "mit_b0.safetensors", model)
    torch.testing.assert_close(
        model.encoder.block[1][0].attn.kv.weight.data, release["encoder.block2.0.attn.kv.weight"]
    )
    torch.testing.assert_close(model.encoder.norm[3].bias.data, release["encoder.norm4.bias"])
    torch.testing.assert_close(model.head.state_dict(), untouched.head.state_dict())


def test_a_backbone_of_another_variant_is_refused(tmp_path, release):
    save_file(nvidia(release), tmp_path / "mit.safetensors")
    with pytest.raises(CheckpointError, match="is a MiT b0, the recipe wants b1; choose with --set backbone=b0"):
        load_backbone(tmp_path / "mit.safetensors", AnySeg(AnySegConfig(5, "b1", 16)))
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(CheckpointError, match="'conv1.weight', which no MiT has"):
        load_backbone(tmp_path / "resnet.safetensors", AnySeg(AnySegConfig(5, "b0", 16)))
    lonely = {"encoder.block.0.0.attention.self.key.weight": torch.zeros(32, 32)}
    with pytest.raises(CheckpointError, match="no pair of key and value"):
        mit_weights("file", lonely)


def hugging_face(variant: str, folder: Path, seed: int):
    """transformers' SegformerModel of a variant with random weights, and the file that it saves."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (pip install .[dev])")
    sizes = VARIANTS[variant]
    config = transformers.SegformerConfig(hidden_sizes=list(sizes.dims), depths=list(sizes.depths))
    model = transformers.SegformerModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            p.copy_(norm + 0.2 * noise if p.dim() == 1 else noise / p[0].numel() ** 0.5)
    model.save_pretrained(folder)
    return model, folder / "model.safetensors"


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
def test_features_equal_those_of_transformers(variant, tmp_path):
    theirs, file = hugging_face(variant, tmp_path, 3)
    ours = MiT(VARIANTS[variant]).eval()
    ours.load_state_dict(mit_weights(file, read_weights(file)))
    for module in [*theirs.modules(), *ours.modules()]:
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        with torch.no_grad():
            expected = theirs.to(dtype)(x.to(dtype), output_hidden_states=True).hidden_states
            found = ours.to(dtype)(x.to(dtype))
        assert len(expected) == 4
        for a, b in zip(found, expected, strict=True):
            assert float(b.std()) > 0.1
            scale = 1.0 if dtype == torch.float64 else float(b.abs().max())
            assert float((a - b).abs().max()) <= tolerance * scale
