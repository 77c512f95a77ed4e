# SPDX-License-Identifier: Apache-2.0
"""What does not go together is refused by every command: checkpoints and packs, packs and packs."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.data import Pack
from anyseg_training.pictures import MUSES_PROJECTED
from tiny_muses import write_packs

from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

CONFIG = AnySegConfig(19, "b0-half", 16)
TINY = ["--set", "steps=1", "batch=2", "backbone=b0-half", "head_width=16", "device=cpu"]
STUDENT = [*TINY, "modality_dropout=sample"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Packs ``train`` and ``val``; of ``val`` also one of reversed classes, one with depth, one of another encoding."""
    root = tmp_path_factory.mktemp("fitting")
    write_packs(root, {"train": 4, "val": 4})
    index = Pack(root / "val").index
    changed_pack(root / "val", root / "reversed", classes=index["classes"][::-1])
    encoding = {"encoding": MUSES_PROJECTED.fingerprint, "encoding_parameters": MUSES_PROJECTED.parameters()}
    changed_pack(root / "val", root / "pictures", **encoding)
    normalisation = index["normalisation"] | {"depth": index["normalisation"]["lidar"]}
    four = {"modalities": ["camera", "depth", "event", "lidar"], "normalisation": normalisation}
    deep = changed_pack(root / "val", root / "depth", **four)
    shutil.copy(deep / "lidar.npy", deep / "depth.npy")
    np.save(deep / "present.npy", np.insert(np.load(deep / "present.npy"), 1, True, 1))
    write_network(root / "net.safetensors", Pack(root / "train"))
    return root


def changed_pack(source: Path, out: Path, **changes: Any) -> Path:
    shutil.copytree(source, out)
    index = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps(index | changes))
    return out


def write_network(path: Path, pack: Pack, **changes: Any) -> None:
    torch.manual_seed(0)
    index = pack.index
    values = {
        "architecture": asdict(CONFIG),
        "classes": index["classes"],
        "palette": index["palette"],
        "modalities": pack.modalities,
        "encoding": index["encoding"],
        "normalisation": pack.normalisation,
        "grid": list(pack.grid),
        "encoding_parameters": index["encoding_parameters"],
    }
    save_checkpoint(path, AnySeg(CONFIG), CheckpointMeta(**values | changes))


def commands(root: Path, pack: str, out: Path) -> list[list[str]]:
    """Every command that shows a pack to a network."""
    net, shown, good = str(root / "net.safetensors"), str(root / pack), str(root / "val")
    scoring = ["evaluate", "--checkpoint", net, "--out", str(out / "scores")]
    return [
        [*scoring, "--pack", shown],
        [*scoring, "--pack", shown, "--precision", "fp32"],
        [*scoring, "--pack", good, "--train-pack", shown],
        [*scoring, "--pack", good, "--train-pack", shown, "--precision", "fp32"],
        ["figures", "--checkpoints", net, "--pack", shown, "--out", str(out / "figures")],
        ["teacher", "--init", net, "--pack", shown, "--out", str(out / "run"), *TINY],
        ["student", "--teacher", net, "--pack", shown, "--out", str(out / "run"), *STUDENT],
    ]


@pytest.mark.parametrize(
    ("pack", "sentence"),
    [
        ("reversed", "(19 and 19; class 0 is 'road' and 'bicycle'); train and score with packs of the same classes"),
        ("depth", "has depth, on which "),
        ("pictures", "was trained on another encoding than "),
    ],
)
@pytest.mark.parametrize("number", range(7))
def test_a_network_is_not_shown_what_it_was_not_trained_on(folder, tmp_path, capsys, number, pack, sentence):
    assert main(commands(folder, pack, tmp_path)[number]) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_pack_may_lack_what_the_network_knows(folder, tmp_path):
    write_network(tmp_path / "net.safetensors", Pack(folder / "depth"))
    common = ["evaluate", "--pack", str(folder / "val"), "--out", str(tmp_path / "scores")]
    assert main([*common, "--checkpoint", str(tmp_path / "net.safetensors")]) == 0
    assert list(json.loads((tmp_path / "scores.json").read_text())["miou"])[-1] == "CEL"


def test_fewer_classes_are_counted(folder, tmp_path, capsys):
    index = Pack(folder / "val").index
    more = {"classes": [*index["classes"], "tram"], "palette": [*index["palette"], [1, 2, 3]]}
    pack = changed_pack(folder / "val", tmp_path / "more", **more, class_pixels=[*index["class_pixels"], 0])
    scoring = ["evaluate", "--checkpoint", str(folder / "net.safetensors"), "--pack", str(pack)]
    assert main([*scoring, "--out", str(tmp_path / "scores")]) == 2
    assert "(19 and 20); train and score" in capsys.readouterr().err


def test_start_and_teacher_share_their_normalisation(folder, tmp_path, capsys):
    pack = Pack(folder / "train")
    other = {name: {"mean": [0.0] * 3, "std": [1.0] * 3} for name in pack.modalities}
    write_network(tmp_path / "other.safetensors", pack, normalisation=other)
    files = ["--init", str(folder / "net.safetensors"), "--teacher", str(tmp_path / "other.safetensors")]
    run = ["student", "--pack", str(pack.root), *files, "--out", str(tmp_path / "run"), *STUDENT]
    assert main(run) == 2
    assert "has another normalisation than the checkpoint that the run starts from" in capsys.readouterr().err


def narrower(root: Path, out: Path) -> Path:
    """The pack ``val`` without lidar."""
    pack = changed_pack(root / "val", out, modalities=["camera", "event"])
    np.save(pack / "present.npy", np.load(pack / "present.npy")[:, :2])
    return pack


@pytest.mark.parametrize("what", ["modalities", "classes", "encoding"])
def test_packs_that_are_used_together_are_packed_alike(folder, tmp_path, capsys, what):
    packs = {"classes": folder / "reversed", "encoding": folder / "pictures"}
    pack = str(packs[what] if what in packs else narrower(folder, tmp_path / "narrow"))
    train = str(folder / "train")
    selecting = ["teacher", "--pack", train, "--select-pack", pack, "--out", str(tmp_path / "run"), *TINY]
    pixels = ["pixel-baseline", "--train-pack", train, "--pack", pack, "--out", str(tmp_path / "pixels.json")]
    for command, whose in ((selecting, f"--select-pack {pack}"), (pixels, pack)):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"{whose} has {what} " in error and "pack both alike" in error
    assert not (tmp_path / "run").exists() and not (tmp_path / "pixels.json").exists()


def test_the_pixel_baseline_scores_every_modality(folder, tmp_path):
    packs = ["--train-pack", str(folder / "train"), "--pack", str(folder / "val")]
    assert main(["pixel-baseline", *packs, "--out", str(tmp_path / "pixels.json")]) == 0
    scores = json.loads((tmp_path / "pixels.json").read_text())
    assert list(scores) == ["camera", "event", "lidar"]
    assert all(one["best"] == max(one["plain"], one["balanced"]) > 0 for one in scores.values())


def test_a_split_without_labels_cannot_select(folder, tmp_path, capsys):
    """It is said before the training, whose steps would be lost."""
    pack = changed_pack(folder / "val", tmp_path / "blank", class_pixels=[0] * 19)
    np.save(pack / "labels.npy", np.full_like(np.load(pack / "labels.npy"), 255))
    run = ["teacher", "--pack", str(folder / "train"), "--select-pack", str(pack), "--out", str(tmp_path / "run")]
    assert main([*run, *TINY]) == 2
    assert f"--select-pack {pack} has no labelled pixel; select on a split" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_split_that_shares_a_scene_with_training_cannot_select(folder, tmp_path, capsys):
    samples = Pack(folder / "val").samples
    samples[2]["scene"] = Pack(folder / "train").samples[1]["scene"]
    pack = changed_pack(folder / "val", tmp_path / "shared", samples=samples)
    run = ["teacher", "--pack", str(folder / "train"), "--select-pack", str(pack), "--out", str(tmp_path / "run")]
    assert main([*run, *TINY]) == 2
    error = capsys.readouterr().err
    assert f"holds 1 of the scenes that are trained on, such as {samples[2]['scene']}; select on another" in error
    scoring = ["evaluate", "--checkpoint", str(folder / "net.safetensors"), "--pack", str(pack)]
    assert main([*scoring, "--train-pack", str(folder / "train"), "--out", str(tmp_path / "scores")]) == 0
    warning = f"WARNING: {pack} shares 1 of its scenes with {folder / 'train'}, such as {samples[2]['scene']}, which"
    assert (tmp_path / "scores.md").read_text().startswith(warning)


def test_a_report_without_labels_is_refused(folder, tmp_path, capsys):
    pack = changed_pack(folder / "val", tmp_path / "blank", class_pixels=[0] * 19)
    np.save(pack / "labels.npy", np.full_like(np.load(pack / "labels.npy"), 255))
    scoring = ["evaluate", "--checkpoint", str(folder / "net.safetensors"), "--pack", str(pack)]
    assert main([*scoring, "--out", str(tmp_path / "scores")]) == 2
    assert f"{pack} has no labelled pixel; nothing can be scored" in capsys.readouterr().err
