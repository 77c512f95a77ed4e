# SPDX-License-Identifier: Apache-2.0
"""What a run leaves beside its weights: log, TensorBoard, run.json, and the best weights by a split of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from anyseg_training import runinfo
from anyseg_training.cli import main
from anyseg_training.data import Pack
from anyseg_training.logbook import Logbook
from anyseg_training.pack import make_pack
from anyseg_training.selection import how_chosen
from tiny_muses import write_tiny_muses

import anyseg_ros
from anyseg_ros.model.checkpoint import load_checkpoint, read_safetensors

TINY = ["steps=5", "batch=2", "backbone=b0-half", "head_width=16", "lr=3e-3", "ema=0.5", "select_every=2", "device=cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run that selects, one that does not, and their packs."""
    root = tmp_path_factory.mktemp("records")
    write_tiny_muses(root / "data", {"train": 4, "val": 2, "test": 2})
    for split in ("train", "val", "test"):
        make_pack(root / "data", split, (32, 48), root / split, workers=1, bar=False)
    for out, extra in (("selected", ["--select-pack", str(root / "val")]), ("plain", [])):
        assert main(["teacher", "--pack", str(root / "train"), "--out", str(root / out), *extra, "--set", *TINY]) == 0
    return root


def test_selecting_changes_nothing_of_the_training(folder):
    one, other = (read_safetensors(folder / name / "state.safetensors") for name in ("selected", "plain"))
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())
    assert json.loads(other[1]["selection"]) is None


def test_the_best_weights_are_those_with_the_best_score(folder):
    lines = [json.loads(line) for line in (folder / "selected/log.jsonl").read_text().splitlines()]
    scores = {entry["step"]: entry["selection_miou"] for entry in lines}
    assert list(scores) == [2, 4, 5]
    _, meta = load_checkpoint(folder / "selected/best.safetensors")
    record = meta.training["selection"]
    assert record["miou"] == max(scores.values()) == scores[record["step"]] and meta.training["step"] == record["step"]
    assert (record["split"], record["score"], record["samples"]) == ("val", "all sensors", 2)
    assert json.loads(read_safetensors(folder / "selected/state.safetensors")[1]["selection"]) == record
    assert load_checkpoint(folder / "selected/checkpoint.safetensors")[1].training["selection"] is None
    assert not (folder / "plain/best.safetensors").exists()


def test_a_report_says_what_chose_the_weights(folder):
    best, last = (load_checkpoint(folder / f"selected/{n}.safetensors")[1] for n in ("best", "checkpoint"))
    assert "These figures flatter" in how_chosen(best, Pack(folder / "val"))
    assert "not on what is scored here" in how_chosen(best, Pack(folder / "test"))
    assert "No split selected these weights" in how_chosen(last, Pack(folder / "val"))


def test_evaluate_says_it_aloud(folder, tmp_path, capsys):
    begin = [
        "evaluate",
        "--checkpoint",
        str(folder / "selected/best.safetensors"),
        "--train-pack",
        str(folder / "train"),
    ]
    assert main([*begin, "--pack", str(folder / "val"), "--out", str(tmp_path / "scores")]) == 0
    for text in (capsys.readouterr().out, (tmp_path / "scores.md").read_text()):
        assert text.startswith("These figures flatter: step ")
    assert json.loads((tmp_path / "scores.json").read_text())["selection"].startswith("These figures flatter")


def test_the_training_set_and_other_grids_cannot_select(folder, tmp_path, capsys):
    make_pack(folder / "data", "val", (48, 64), tmp_path / "other", workers=1, bar=False)
    begin = ["teacher", "--pack", str(folder / "train"), "--out", str(tmp_path / "run"), "--set", *TINY]
    assert main([*begin, "--select-pack", str(folder / "train")]) == 2
    assert "holds 4 of the scenes that are trained on, such as REC0000_frame_000000; select" in capsys.readouterr().err
    assert main([*begin, "--select-pack", str(tmp_path / "other")]) == 2
    assert "has grid (48, 64), the training set (32, 48)" in capsys.readouterr().err


def test_a_run_goes_on_with_the_split_that_it_selects_on(folder, capsys):
    again = ["teacher", "--pack", str(folder / "train"), "--out", str(folder / "selected"), "--set", *TINY]
    assert main(again) == 2
    assert "selects on split 'val'" in capsys.readouterr().err
    assert main([*again, "--select-pack", str(folder / "test")]) == 2
    assert "this one selects on split 'test'" in capsys.readouterr().err


def test_run_json_says_what_a_run_was(folder):
    run = json.loads((folder / "selected/run.json").read_text())
    (start,) = run["starts"]
    assert run["seed"] == 0 and run["recipe"]["steps"] == 5 and start["from_step"] == 0 and start["processes"] == 1
    assert start["command"] == sys.argv
    assert start["code"]["anyseg_ros"] == anyseg_ros.__version__ and start["versions"]["torch"] == torch.__version__
    packs = start["inputs"]
    assert packs.keys() == {"train", "selection"} and packs["train"]["samples"] == 4
    assert packs["train"]["index"] != packs["selection"]["index"]


def test_the_code_version_is_of_a_checkout_that_tracks_the_code(tmp_path, monkeypatch):
    """An installed copy inside somebody else's checkout has no commit, and neither has one without git."""
    monkeypatch.setattr(runinfo, "__file__", str(tmp_path / "runinfo.py"))
    assert runinfo.code_version() == {"anyseg_ros": anyseg_ros.__version__, "commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "runinfo.py").write_text("")
    assert runinfo.code_version()["commit"] is None
    git("add", "runinfo.py")
    git("commit", "-q", "-m", "x")
    assert runinfo.code_version() | {"anyseg_ros": ""} == {
        "anyseg_ros": "", "commit": git("rev-parse", "HEAD"), "dirty": False,
    }  # fmt: skip
    (tmp_path / "runinfo.py").write_text("changed")
    assert runinfo.code_version()["dirty"] is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runinfo.code_version()["commit"] is None


def test_tensorboard_shows_each_step_once(tmp_path):
    """What a killed run wrote of steps that are done again is gone for readers, as it is from log.jsonl."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")
    with Logbook(tmp_path, 0) as log:
        for step in (1, 2, 3, 4):
            log.write(step, {"supervised": float(step), "grad_norm": float("inf")})
    with Logbook(tmp_path, 2) as log:
        for step in (3, 4, 5):
            log.write(step, {"supervised": 10.0 * step})
    reader = events.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["supervised"]
    assert [(e.step, e.value) for e in reader.Scalars("supervised")] == [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(e["step"], e["supervised"]) for e in lines] == [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]
    assert lines[0]["grad_norm"] is None


def test_without_tensorboard_a_sentence_and_the_log(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with Logbook(tmp_path, 0) as log:
        log.write(1, {"supervised": 1.0})
        log.write(2, {"supervised": 1.0})
    assert capsys.readouterr().out.count("TensorBoard is not installed") == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "tensorboard").exists()
