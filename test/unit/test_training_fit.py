# SPDX-License-Identifier: Apache-2.0
"""The loop: resuming, dropout of modalities, schedule, recipes, and the commands end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.config import Recipe
from anyseg_training.data import Normaliser, Pack, TrainingBatches, draw_subset
from anyseg_training.fit import Trainer
from anyseg_training.objective import class_weights
from anyseg_training.schedule import learning_rate
from tiny_muses import SMALL_GRID, write_packs, write_tiny_muses

from anyseg_ros.model.checkpoint import CheckpointError, load_checkpoint, read_safetensors, write_atomically
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

TINY = Recipe(
    backbone="b0-half", head_width=16, steps=6, batch=2, warmup_steps=2, modality_dropout="sample", lr=1e-3, seed=7
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("training")
    write_packs(root, {"train": 5, "val": 3})
    return root


def trainer(folder: Path, recipe: Recipe, with_teacher: bool = True) -> Trainer:
    pack = Pack(folder / "train")
    config = AnySegConfig(19, recipe.backbone, recipe.head_width)
    torch.manual_seed(1)
    model, teacher = AnySeg(config), AnySeg(config)
    batches = TrainingBatches(
        pack, Normaliser(pack.modalities, pack.normalisation), recipe.batch, recipe.zoom_max, recipe.seed
    )
    return Trainer(model, recipe, batches, pack.index["class_pixels"], teacher if with_teacher else None)


def test_resuming_gives_identical_weights(folder, tmp_path):
    """Stopped at a step and started again by a fresh process's objects: bit for bit the uninterrupted run."""
    whole = trainer(folder, TINY)
    assert whole.run(tmp_path / "whole", bar=False).finished
    first = trainer(folder, TINY)
    outcome = first.run(tmp_path / "parts", budget_minutes=0.0, bar=False)
    assert (outcome.step, outcome.finished) == (1, False)
    torch.rand(13)  # whatever else draws random numbers in between must not matter
    second = trainer(folder, TINY)
    assert second.run(tmp_path / "parts", bar=False).finished
    for name, value in whole.state.model.state_dict().items():
        assert torch.equal(value, second.state.model.state_dict()[name]), name
        assert torch.equal(whole.state.average[name], second.state.average[name]), name
    saved, resumed = (read_safetensors(tmp_path / d / "state.safetensors") for d in ("whole", "parts"))
    assert saved[1] == resumed[1] and saved[0].keys() == resumed[0].keys()
    assert all(torch.equal(value, resumed[0][name]) for name, value in saved[0].items())


def test_a_state_of_another_recipe_is_refused(folder, tmp_path):
    trainer(folder, TINY).run(tmp_path, budget_minutes=0.0, bar=False)
    with pytest.raises(CheckpointError, match="lr = 0.001, this run has 0.002"):
        trainer(folder, replace(TINY, lr=2e-3)).run(tmp_path, bar=False)


def test_a_file_that_is_no_state_is_refused(folder, tmp_path):
    write_atomically(tmp_path / "state.safetensors", {"x": torch.zeros(1)}, {"step": "3"})
    with pytest.raises(CheckpointError, match="is no training state of this version; remove it or choose another"):
        trainer(folder, TINY).run(tmp_path, bar=False)


def test_losses_go_down_and_are_logged(folder, tmp_path):
    recipe = replace(TINY, steps=40, modality_dropout="none", zoom_max=1.0, lr=3e-3)
    run = trainer(folder, recipe, with_teacher=False)
    first = run.step(run.batches(0))["supervised"]
    run.run(tmp_path, bar=False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [20, 40]
    assert log[-1]["supervised"] < first


def test_the_teacher_stays_frozen_and_the_student_learns(folder):
    run = trainer(folder, TINY)
    teacher = {k: v.clone() for k, v in run.objective.teacher.state_dict().items()}
    student = {k: v.clone() for k, v in run.state.model.state_dict().items()}
    losses = [run.step(run.batches(i)) for i in range(2)]
    assert all(loss["mad"] > 0 for loss in losses)
    assert all(torch.equal(v, run.objective.teacher.state_dict()[k]) for k, v in teacher.items())
    assert any(not torch.equal(v, run.state.model.state_dict()[k]) for k, v in student.items())
    assert not run.objective.teacher.training


def test_batches_depend_on_the_step_alone(folder):
    a, b = trainer(folder, TINY).batches, trainer(folder, TINY).batches
    for step in (5, 0, 3):
        assert torch.equal(a(step).images, b(step).images)
        assert torch.equal(a(step).labels, b(step).labels)
    assert sorted(a.sample_index(i) for i in range(5)) == [0, 1, 2, 3, 4]
    assert sorted(a.sample_index(i) for i in range(5, 10)) == [0, 1, 2, 3, 4]


def test_batches_made_by_several_threads_are_the_same(folder):
    """In order and bit for bit, over several epochs."""
    one, several = (trainer(folder, replace(TINY, steps=12, workers=workers), False) for workers in (1, 4))
    found = list(zip(one._prefetched(), several._prefetched(), strict=True))
    assert len(found) == 12
    assert all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for (a,), (b,) in found)


def test_the_order_of_an_epoch_is_drawn_once(folder, monkeypatch):
    drawn, draw = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or draw(seed))
    list(trainer(folder, replace(TINY, steps=10), False)._prefetched())
    assert [seed[2] for seed in drawn if seed[1] == 1] == [0, 1, 2, 3], "20 samples of 5"


def test_drawn_subsets_are_uniform_in_size_then_in_content():
    draws = 60_000
    present = torch.ones(draws, 3, dtype=torch.bool)
    subset = draw_subset(present, torch.Generator().manual_seed(0))
    codes = (subset * torch.tensor([1, 2, 4])).sum(1).bincount(minlength=8).double() / draws
    assert codes[0] == 0
    for code in (1, 2, 4, 3, 5, 6):
        assert float(codes[code]) == pytest.approx(1 / 9, abs=0.006)
    assert float(codes[7]) == pytest.approx(1 / 3, abs=0.01)


def test_drawn_subsets_never_name_what_is_absent():
    present = torch.tensor([[True, False, True], [False, True, False]] * 500)
    subset = draw_subset(present, torch.Generator().manual_seed(0))
    assert not (subset & ~present).any() and subset.any(1).all()
    assert subset[1::2, 1].all()


def test_schedule():
    recipe = Recipe(lr=1.0, steps=100, warmup_steps=10, power=0.9)
    assert learning_rate(0, recipe) == pytest.approx(0.1)
    assert learning_rate(5, recipe) == pytest.approx(0.55 * 0.95**0.9)
    assert learning_rate(50, recipe) == pytest.approx(0.5**0.9)
    assert 0 < learning_rate(99, recipe) < 0.02


def test_class_weights_by_hand():
    recipe = Recipe(class_balance=0.5, class_weight_range=(0.6, 3.0))
    found = class_weights([300, 75, 0, 1], recipe).tolist()
    mean = 376 / 3
    assert found == pytest.approx([(mean / 300) ** 0.5, (mean / 75) ** 0.5, 1.0, 3.0])


def test_commands_end_to_end(folder, tmp_path, capsys):
    run = tmp_path
    tiny = ["steps=2", "batch=2", "backbone=b0-half", "head_width=16"]
    train, val = str(folder / "train"), str(folder / "val")
    teacher = str(run / "teacher/checkpoint.safetensors")
    student = str(run / "student/checkpoint.safetensors")
    assert main(["teacher", "--pack", train, "--out", str(run / "teacher"), "--set", *tiny]) == 0
    arguments = ["student", "--pack", train, "--out", str(run / "student"), "--set", *tiny, "modality_dropout=sample"]
    assert main(arguments) == 2
    assert "give --teacher" in capsys.readouterr().err
    assert main([*arguments, "--teacher", teacher, "--init", teacher]) == 0
    scores = str(run / "scores")
    assert main(["evaluate", "--checkpoint", student, "--pack", val, "--train-pack", train, "--out", scores]) == 0
    assert "| all |" in (run / "scores.md").read_text()
    shipped = run / "weights/anyseg.safetensors"
    assert main(["export", "--checkpoint", student, "--scores", f"{scores}.json", "--out", str(shipped)]) == 0
    model, meta = load_checkpoint(shipped)
    assert set(meta.miou) == {"C", "E", "L", "CE", "CL", "EL", "CEL"}
    assert meta.grid == list(SMALL_GRID) and meta.training["role"] == "student" and meta.training["drives"] == 3
    assert meta.normalisation == Pack(folder / "train").normalisation
    assert not model.training


def test_a_checkpoint_and_a_pack_of_two_encodings_do_not_go_together(folder, tmp_path, capsys):
    data = str(write_tiny_muses(tmp_path / "muses", {"train": 2}))
    pack = [
        "pack",
        "--data",
        data,
        "--grid",
        "x".join(map(str, SMALL_GRID)),
        "--workers",
        "1",
        "--out",
        str(tmp_path / "p"),
    ]
    assert main([*pack, "--encoding", "release", "--void-as-road"]) == 0
    made = Pack(tmp_path / "p")
    assert made.encoding.name == "release" and made.index["void_as_road"]
    run, tiny = str(tmp_path / "run"), ["steps=1", "batch=1", "backbone=b0-half", "head_width=16"]
    assert main(["teacher", "--pack", str(tmp_path / "p"), "--out", run, "--set", *tiny]) == 0
    _, meta = load_checkpoint(f"{run}/checkpoint.safetensors")
    assert (meta.encoding, meta.encoding_parameters) == (made.encoding.fingerprint, made.encoding.parameters())
    other = str(folder / "train")
    arguments = ["--checkpoint", f"{run}/checkpoint.safetensors", "--pack", other, "--train-pack", other]
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "scores")]) == 2
    assert "camera.full_scale is 255.0, expected 1.0" in capsys.readouterr().err


def test_a_second_round_on_other_data_keeps_the_normalisation_of_the_first(folder, tmp_path):
    tiny = ["steps=1", "batch=2", "backbone=b0-half", "head_width=16"]
    runs = [str(tmp_path / name) for name in ("first", "second")]
    assert main(["teacher", "--pack", str(folder / "train"), "--out", runs[0], "--set", *tiny]) == 0
    first = f"{runs[0]}/checkpoint.safetensors"
    begin = ["--teacher", first, "--init", first, "--out", runs[1], "--set", *tiny, "modality_dropout=sample"]
    assert main(["student", "--pack", str(folder / "val"), *begin]) == 0
    used = load_checkpoint(f"{runs[1]}/checkpoint.safetensors")[1].normalisation
    assert used == Pack(folder / "train").normalisation != Pack(folder / "val").normalisation


def test_commands_say_what_is_wrong(tmp_path, capsys):
    assert main(["teacher", "--pack", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "holds no index.json" in capsys.readouterr().err
