# SPDX-License-Identifier: Apache-2.0
"""The ablation's page: what it explains follows the signs of its figures, what it states the recipes that were run."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from anyseg_training.ablation_report import page
from anyseg_training.ablation_text import Summary, labels

DOCS = Path(__file__).parents[2] / "docs"
BEFORE_MEAN, BEFORE_ALL = "recipe_before_mean_over_subsets", "recipe_before_all_sensors"
EXPLANATIONS = {
    ("joint_training_mean_over_subsets",): "a weak baseline",
    ("teacher_all_sensors",): "shows a student all of them together",
    (BEFORE_MEAN, BEFORE_ALL): "which may be why",
}


@pytest.fixture
def summary() -> Summary:
    """The one that is published."""
    return json.loads((DOCS / "ablation.json").read_text())


def words(summary: Summary) -> str:
    """The page without its line breaks."""
    return " ".join(page(summary).split())


def negated(e: dict) -> dict:
    return e | {"mean": -e["mean"], "low": -e["high"], "high": -e["low"], "per_seed": [-v for v in e["per_seed"]]}


def changed(summary: Summary, settings: dict, only: str | None = None) -> Summary:
    """As if the recipes, or one of them, had been run with other settings."""
    found = copy.deepcopy(summary)
    for cell in found["cells"]:
        if only in (None, cell["recipe"]):
            cell["exact_recipe"] |= settings
    return found


def test_the_published_page_is_that_of_the_published_figures(summary):
    assert page(summary) == (DOCS / "ablation.md").read_text()


def with_negated(summary: Summary, *keys: str) -> Summary:
    found = copy.deepcopy(summary)
    for differences in found["differences"].values():
        differences |= {key: negated(differences[key]) for key in keys}
    return found


@pytest.mark.parametrize("keys", EXPLANATIONS)
def test_an_explanation_is_given_only_where_the_signs_bear_it_out(summary, keys):
    assert EXPLANATIONS[keys] in words(summary)
    assert EXPLANATIONS[keys] not in words(with_negated(summary, *keys))


def test_the_recipe_that_gives_and_takes_is_the_one_that_is_named(summary):
    assert "dropout + MAD + UMD: more with all sensors, less in the mean." in words(summary)
    assert "dropout + MAD: more with all sensors, less in the mean." in words(with_negated(summary, BEFORE_MEAN))


def test_figures_that_are_not_told_apart_explain_nothing(summary):
    for found in summary["differences"].values():
        for e in found.values():
            e["per_seed"] = [-1.0, *e["per_seed"][1:-1], 1.0]
    assert not any(text in words(summary) for text in EXPLANATIONS.values())


def test_a_teacher_that_knows_dropout_is_no_weak_baseline(summary):
    text = words(changed(summary, {"modality_dropout": "batch"}, "joint"))
    assert not any(why in text for why in EXPLANATIONS.values())
    assert "dropout only (the teacher)" in text and "joint training" not in text.replace("joint training of", "")


def test_the_page_states_the_recipes_that_were_run(summary):
    text = words(summary)
    for said in (
        "Weights as in the paper: MAD 50 (mean over pixels and classes, teacher to student), UMD 5 (softmax over the",
        "Dropout draws one subset per batch, as in AnySeg's release.",
        "lr 0.001 (decay from the first step times warm-up, so that the rate is at most 0.00091)",
        "joint training draws no subsets, and other offsets",
    ):
        assert said in text
    other = changed(summary, {"mad_direction": "student_to_teacher", "mad_scale": "pixel", "umd_axis": "space"})
    other = changed(other, {"lr": 0.002, "warmup_steps": 0, "loss_stride": 1, "steps": 20})
    for name in list(summary["plan"]["recipes"])[1:]:
        other = changed(other, {"modality_dropout": "sample"}, name)
    text = words(other)
    for said in (
        "Weights: MAD 50 (mean over pixels, student to teacher), UMD 5 (softmax over the positions)",
        "Dropout draws one subset per sample.",
        "20 steps of 8 samples, AdamW, lr 0.002 (decay from the first step times warm-up, so that the rate is at most "
        "0.002)",
    ):
        assert said in text
    assert not any(old in text for old in ("as in the paper", "teacher to student", "over the channels", "per batch"))
    assert "offsets" not in text


def test_recipes_that_differ_are_told_apart(summary):
    other = changed(changed(summary, {"lr": 0.002}, "mad"), {"umd_weight": 0.0, "mad_weight": 9.0}, "mad_umd")
    text = words(other)
    assert "The recipes differ in cmd_weight, lr, mad_weight, modality_dropout, umd_weight." in text
    assert "the same random weights" not in text
    assert (
        "lr 0.001 [joint, dropout, mad_umd, mad_umd_cmd], 0.002 [mad]" in text and "at most 0.00091 or 0.0018" in text
    )
    assert labels(other)["mad"] == "dropout + MAD [mad]" and labels(other)["mad_umd"] == "dropout + MAD [mad_umd]"
    assert "MAD 50 [mad, mad_umd_cmd], 9 [mad_umd] (" in text and "The paper's own steps" not in text
    plain = changed(summary, {"mad_weight": 0.0, "umd_weight": 0.0, "cmd_weight": 0.0})
    assert "Nothing is distilled." in words(plain) and "Students that distil" not in words(plain)


def test_the_number_of_sensors_is_that_of_the_subsets(summary):
    summary["columns"][-2] = "CELD"
    summary["table"] = {name: scores | {"CELD": scores["CEL"]} for name, scores in summary["table"].items()}
    assert "With 4 sensors, dropout shows a student all of them together in one of 4 steps" in words(summary)
