# SPDX-License-Identifier: Apache-2.0
"""A run whose process is killed goes on to the same bits: weights, averages, optimiser, draws and log."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.logbook import forget_after
from tiny_muses import write_packs

from anyseg_ros.model.checkpoint import read_safetensors

ROOT = Path(__file__).parents[2]
STEPS = 7
RECIPE = [
    f"steps={STEPS}", "batch=2", "backbone=b0-half", "head_width=16", "lr=1e-3", "warmup_steps=2", "seed=7",
    "modality_dropout=sample", "umd_weight=1", "cmd_weight=1", "save_minutes=0", "threads=1",
]  # fmt: skip
# Runs the command line, but dies without a word: in a step, or while a state is moved to its place.
DYING = """
import os, signal, sys
from anyseg_training import cli, fit
from anyseg_ros.model import checkpoint
where, step = sys.argv[1], int(sys.argv[2])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
take, replace, saves = fit.Trainer.step, os.replace, []
def dying_step(self, *batches):
    losses = take(self, *batches)
    if where == "step" and self.state.step == step:
        die()
    return losses
def dying_replace(source, target):
    saves.extend([1] * str(target).endswith("state.safetensors"))
    if where == "save" and len(saves) == step:
        die()
    replace(source, target)
fit.Trainer.step, os.replace = dying_step, dying_replace
fit.LOG_EVERY_STEPS = 1
cli.main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("resume")
    write_packs(root, {"train": 5, "val": 2})
    sizes = ["steps=1", "batch=1", "backbone=b0-half", "head_width=16"]
    assert main(["teacher", "--pack", str(root / "train"), "--out", str(root / "teacher"), "--set", *sizes]) == 0
    return root


def arguments(folder: Path, out: Path, changes: list[str], selects: bool) -> list[str]:
    files = ["--pack", str(folder / "train"), "--teacher", str(folder / "teacher/checkpoint.safetensors")]
    files += ["--select-pack", str(folder / "val")] if selects else []
    return ["student", *files, "--out", str(out), "--set", *RECIPE, *changes]


@pytest.mark.parametrize(
    ("where", "changes", "selects"),
    [
        pytest.param("step", [], False, id="in a step"),
        pytest.param("save", [], False, id="in a save"),
        pytest.param("step", ["accumulate=2"], False, id="with accumulation"),
        pytest.param("step", ["precision=bfloat16"], False, id="in bfloat16"),
        pytest.param("save", ["select_every=2", "accumulate=2"], True, id="with selection and accumulation"),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(folder, tmp_path, where, changes, selects, monkeypatch):
    monkeypatch.setattr("anyseg_training.fit.LOG_EVERY_STEPS", 1)
    killed_at = random.randint(2, STEPS - 1)
    killed = subprocess.run(
        [sys.executable, "-c", DYING, where, str(killed_at), *arguments(folder, tmp_path / "killed", changes, selects)],
        cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'training'}", "PATH": "/usr/bin:/bin"}, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    state = read_safetensors(tmp_path / "killed/state.safetensors")[1]
    assert int(state["step"]) == killed_at - 1 and not (tmp_path / "killed/checkpoint.safetensors").exists()
    for out in ("killed", "whole"):
        assert main(arguments(folder, tmp_path / out, changes, selects)) == 0
    files = ["state.safetensors", "checkpoint.safetensors", *["best.safetensors"] * selects]
    for name in files:
        (a, one), (b, other) = (read_safetensors(tmp_path / out / name) for out in ("killed", "whole"))
        assert one == other and a.keys() == b.keys(), f"killed at {killed_at}"
        assert all(torch.equal(value, b[key]) for key, value in a.items()), f"killed at {killed_at}"
    logs = [
        [{k: v for k, v in json.loads(line).items() if not k.endswith("_s")} for line in path.read_text().splitlines()]
        for path in (tmp_path / "killed/log.jsonl", tmp_path / "whole/log.jsonl")
    ]
    assert logs[0] == logs[1] and [entry["step"] for entry in logs[0]] == list(range(1, STEPS + 1))
    assert [entry["step"] for entry in logs[0] if "selection_miou" in entry] == [2, 4, 6, 7] * selects


def test_the_log_forgets_what_will_be_done_again_and_torn_lines(tmp_path):
    log = tmp_path / "log.jsonl"
    forget_after(log, 3)
    assert not log.exists()
    log.write_text('{"step": 2, "a": 1}\n{"step": 3, "a": 1}\n{"step": 4, "a": 1}\n{"st')
    forget_after(log, 3)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 3]
