# SPDX-License-Identifier: Apache-2.0
"""Recipes: what is shipped loads, what is wrong is named exactly, what is printed can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from anyseg_training import precision
from anyseg_training.cli import main
from anyseg_training.config import Recipe, as_yaml, load_recipe
from anyseg_training.fit import Trainer

from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

RECIPES = Path(__file__).parents[2] / "config/training"


@pytest.mark.parametrize("dataset", ["sim", "muses", "deliver"])
def test_shipped_recipes_are_a_teacher_and_a_student_alike(dataset):
    teacher, student = (load_recipe(RECIPES / f"{dataset}_{role}.yaml") for role in ("teacher", "student"))
    assert teacher.modality_dropout == "none" and student.modality_dropout != "none"
    assert (teacher.backbone, teacher.head_width) == (student.backbone, student.head_width)
    assert student.distils


def test_the_recipes_of_the_paper():
    muses, deliver = (load_recipe(RECIPES / f"{name}_student.yaml") for name in ("muses", "deliver"))
    for recipe, lr, samples in ((muses, 1.2e-4, 1500), (deliver, 6e-5, 3983)):
        assert (recipe.mad_weight, recipe.umd_weight, recipe.cmd_weight) == (50, 5, 10)
        assert (recipe.lr, recipe.batch, recipe.weight_decay, recipe.power) == (lr, 16, 0.01, 0.9)
        assert recipe.steps == pytest.approx(200 * samples / 16, abs=1)
        assert recipe.warmup_steps == pytest.approx(10 * samples / 16, abs=1)
        assert (recipe.modality_dropout, recipe.precision) == ("batch", "float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weight_decy=1", "no 'weight_decy' .did you mean 'weight_decay'.*known are backbone"),
        ("steps=many", "steps is 'many'; expected int, such as 4000"),
        ("steps=10.0", "steps is 10.0; expected int"),
        ("steps=true", "steps is True; expected int"),
        ("lr=fast", "lr is 'fast'; expected float"),
        ("lr=.nan", "lr is nan; it must be above 0"),
        ("lr=0", "lr is 0.0; it must be above 0"),
        ("ema=1", "ema is 1.0; it must be at least 0 and below 1"),
        ("seed=100000000000000", "seed is 100000000000000; it must be at least 0 and at most 10000000"),
        ("steps=0", "steps is 0; it must be at least 1"),
        ("loss_stride=3", "loss_stride is 3; it must be 1, 2 or 4"),
        ("accumulate=3", "batch is 8; accumulate, 3, must divide it"),
        ("class_weight_range=[1]", "class_weight_range is .1.0.; it must be .smallest, largest., above 0"),
        ("class_weight_range=[a, b]", "expected a list of numbers, such as .0.5, 4.0."),
        ("backbone=b6", "backbone 'b6' is unknown; known are b0-half, b0, b1, b2, b3, b4, b5"),
        ("precision=half", "precision 'half' is unknown; known are float32, bfloat16, float16"),
        ("device=gpu", "device 'gpu' is unknown; known are auto, cpu, cuda and cuda:N"),
        ("lr=[", "'lr=.' is no valid YAML"),
        ("steps", "'steps' is no change; write name=value"),
    ],
)
def test_errors_say_what_was_found_and_what_is_expected(change, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(None, [change])


def test_a_name_is_changed_once(capsys):
    assert main(["teacher", "--print-recipe", "--set", "steps=3", "lr=1e-4", "--set", "steps=4"]) == 2
    assert "'steps=4' changes 'steps' for a second time; give each name once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 3\nsteps: 4\n", "'steps' is there twice"),
        ("- steps\n", "holds list; expected 'name: value' lines"),
        ("steps: [\n", "is no valid YAML"),
        ("1: 2\n", "recipe has no '1'"),
        ("bfloat16: true\n", "recipe has no 'bfloat16'"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no recipe at .*r.yaml; see config/training"):
        load_recipe(tmp_path / "r.yaml")


def test_the_printed_recipe_is_whole_and_can_be_read_again(tmp_path, capsys):
    assert main(["teacher", "--print-recipe", "--set", "lr=2e-4", "accumulate=4"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text).keys() == Recipe.__dataclass_fields__.keys()
    (tmp_path / "r.yaml").write_text(text)
    found = load_recipe(tmp_path / "r.yaml")
    assert found == load_recipe(None, ["lr=2e-4", "accumulate=4"]) and as_yaml(found) == text
    assert main(["teacher"]) == 2
    assert "--pack PACK and --out FOLDER are needed" in capsys.readouterr().err


@pytest.mark.parametrize("backbone", ["b0", "b1", "b2", "b3", "b4", "b5"])
def test_every_backbone_can_be_named(backbone):
    assert load_recipe(None, [f"backbone={backbone}"]).backbone == backbone


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(ValueError, match="float16 is for GPUs; on a CPU choose bfloat16 or float32"):
        Trainer(
            AnySeg(AnySegConfig(3, "b0-half", 8)), Recipe(device="cpu", precision="float16"), lambda _: None, [1] * 3
        )


def test_devices_of_processes(monkeypatch):
    """With two GPUs, as torch would report them."""
    assert precision.device_of("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert precision.device_of("auto") == torch.device("cuda", 0)
    assert precision.device_of("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="wants GPU 2, torch sees 2 on this machine"):
        precision.device_of("cuda:2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert precision.device_of("auto") == precision.device_of("cuda") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="each takes a GPU of its own; write device=cuda"):
        precision.device_of("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.device_of("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="torch sees 0 on this machine; write device=cpu"):
        precision.device_of("cuda")
