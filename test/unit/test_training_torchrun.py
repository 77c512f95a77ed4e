# SPDX-License-Identifier: Apache-2.0
"""The command line under torchrun, and the precisions' own state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from anyseg_training import fit, precision
from anyseg_training.config import Recipe
from anyseg_training.data import Batch
from anyseg_training.fit import DivergedError, Trainer
from tiny_muses import write_packs

from anyseg_ros.model.checkpoint import load_checkpoint, read_safetensors
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

ROOT = Path(__file__).parents[2]
LIMIT_S = 500
TINY = Recipe(
    backbone="b0-half", head_width=16, steps=4, batch=2, warmup_steps=1, lr=1e-3, mad_weight=0.0, device="cpu",
    modality_dropout="sample",
)  # fmt: skip


def batch(number: int, device: str = "cpu") -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 3, 3, 32, 32, generator=generator)
    labels = torch.randint(0, 5, (2, 32, 32), generator=generator)
    return Batch(images.to(device), labels.to(device), torch.ones(2, 3, dtype=torch.bool))


def trainer(recipe: Recipe = TINY) -> Trainer:
    torch.manual_seed(0)
    return Trainer(AnySeg(AnySegConfig(5, "b0-half", 16)), recipe, batch, [5, 4, 3, 2, 1])


def test_torchrun_trains_selects_resumes_and_writes_once(tmp_path):
    """Two gloo processes by the real launcher: one checkpoint, one log, and the same command goes on."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install .[train])")
    write_packs(tmp_path, {"train": 5, "val": 2})
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "anyseg_training.cli", "teacher", "--pack", str(tmp_path / "train"), "--out", str(run)]
    command += ["--select-pack", str(tmp_path / "val"), "--set", "steps=3", "batch=4", "accumulate=2", "device=cpu"]
    command += ["backbone=b0-half", "head_width=16", "select_every=2", "threads=1"]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "training")))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}

    def start(*extra: str) -> str:
        done = subprocess.run([*command, *extra], env=env, capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "step 1 of 3, stopped, resumable" in start("--time-budget-minutes", "0")
    assert start().count("step 3 of 3, finished") == 1
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 3] and all("selection_miou" in entry for entry in entries)
    starts = json.loads((run / "run.json").read_text())["starts"]
    assert [(s["processes"], s["from_step"]) for s in starts] == [(2, 0), (2, 1)]
    assert load_checkpoint(run / "checkpoint.safetensors")[1].training["step"] == 3
    assert load_checkpoint(run / "best.safetensors")[1].training["selection"]["split"] == "val"
    assert list((run / "tensorboard").iterdir())


def test_the_scaler_of_float16_is_saved_and_goes_on(tmp_path, monkeypatch):
    """Float16 is for GPUs; torch's CPU can do it slowly, so what it needs besides float32 is held here."""
    monkeypatch.setattr(fit, "check_precision", lambda device, precision: None)
    recipe = replace(TINY, precision="float16")
    whole = trainer(recipe)
    whole.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=2)
    parts = [trainer(recipe) for _ in range(2)]
    parts[0].state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=2)
    assert whole.run(tmp_path / "whole", bar=False).finished
    assert parts[0].run(tmp_path / "parts", budget_minutes=0.0, bar=False).step == 1
    assert parts[1].run(tmp_path / "parts", bar=False).finished
    one, other = (read_safetensors(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert one[1] == other[1] and json.loads(one[1]["scaler"])["scale"] < 2.0**30
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_matrix_products_run_in_the_precision(name):
    with precision.autocast(torch.device("cpu"), name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, name)


def test_a_gradient_that_is_no_number_ends_the_run_and_changes_nothing():
    run = trainer()
    before = {name: value.clone() for name, value in run.state.model.state_dict().items()}
    bad = batch(0)
    bad.images[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="step 0: the gradient's norm is nan .* lower lr"):
        run.step(bad)
    parameters = dict(run.state.model.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in parameters.items())
    assert run.state.step == 0 and all(v.isfinite().all() for v in run.state.average.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_a_gpu_trains_like_the_cpu(name, tmp_path):
    recipe = replace(TINY, accumulate=1, steps=40, lr=3e-3, device="cuda", precision=name)
    run = trainer(recipe)
    first = run.step(batch(0))["supervised"]
    assert first == pytest.approx(trainer().step(batch(0))["supervised"], rel=0.05)
    run.batches = lambda _: batch(0)
    assert run.run(tmp_path, bar=False).finished
    assert run.step(batch(0))["supervised"] < first
