# SPDX-License-Identifier: Apache-2.0
"""Reports of scores: what they say of themselves, and that only those that can be compared meet in a figure."""

from __future__ import annotations

import json

import cv2
import pytest
from anyseg_training.cli import main
from anyseg_training.figures import title_of
from anyseg_training.report import markdown, paper_table

SUBSETS = ["C", "E", "L", "CE", "CL", "EL", "CEL"]


def scores(**changes) -> dict:
    return {
        "samples": 3, "drives": 1, "split": "val", "protocol": "skip", "protocol_text": "it is left out",
        "grid": [32, 48], "classes": ["road", "sky", "wall"], "prior_miou": 11.7,
        "miou": {s: 10.0 * k + 5 for k, s in enumerate(SUBSETS)}, "miou_mean": 35.0, "miou_damaged_mean": 30.0,
        "miou_absent_as_zero": {s: 10.0 * k for k, s in enumerate(SUBSETS)}, "miou_expected": {"0.1": 40.0},
        "by_condition": {"all": {s: 10.0 * k + 5 for k, s in enumerate(SUBSETS)} | {"prior": 11.7}},
        "iou_per_class": {s: [90.0, 10.0 * k, None] for k, s in enumerate(SUBSETS)},
        "checkpoint": "c0", "pack": "b0", "precision": "fp32", "backend": "torch",
    } | changes  # fmt: skip


def test_figures_are_drawn_and_only_from_what_can_be_compared(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install .[train])")
    for name in ("teacher", "student"):
        (tmp_path / f"{name}.json").write_text(json.dumps(scores()))
    files = [str(tmp_path / f"{name}.json") for name in ("teacher", "student")]
    assert main(["figures", "--scores", *files, "--out", str(tmp_path / "figures")]) == 0
    for name in ("subsets", "classes_teacher", "classes_student"):
        assert cv2.imread(str(tmp_path / "figures" / f"{name}.png")).std() > 10
    other = {
        "protocol": {"protocol": "nm-low"},
        "split": {"split": "test"},
        "classes": {"classes": ["road", "wall", "sky"]},
        "pack": {"pack": "b1"},
        "modalities": {"miou": {"C": 5.0, "L": 4.0, "CL": 6.0}},
    }
    for what, changes in other.items():
        (tmp_path / "other.json").write_text(json.dumps(scores(**changes)))
        assert main(["figures", "--scores", files[0], str(tmp_path / "other.json"), "--out", str(tmp_path)]) == 2
        assert what in (error := capsys.readouterr().err) and "do not set them beside each other" in error


@pytest.mark.parametrize("lacking", ["precision", "pack"])
def test_reports_that_do_not_say_what_they_are_of_are_refused(tmp_path, capsys, lacking):
    (tmp_path / "old.json").write_text(json.dumps({k: v for k, v in scores().items() if k != lacking}))
    assert main(["figures", "--scores", str(tmp_path / "old.json"), "--out", str(tmp_path / "out")]) == 2
    assert f"it does not say {lacking}; score it again" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", None], ids=["a list", "torn", "a folder"])
def test_files_that_are_no_report_are_refused(tmp_path, capsys, text):
    path = tmp_path / "odd.json"
    path.mkdir() if text is None else path.write_text(text)
    figures = ["figures", "--scores", str(path), "--out", str(tmp_path / "out")]
    assert main(figures) == 2
    error = capsys.readouterr().err
    assert str(path) in error and "anyseg-train evaluate" in error


def test_a_figure_names_the_precision_that_is_not_the_trained_one():
    assert title_of("net", scores()) == "net" and title_of("net", scores(precision="bf16")) == "net (bf16)"


def test_the_prior_is_spoken_of_where_there_is_one():
    with_prior = markdown(scores())
    assert "prior: every pixel position's" in with_prior and "| mean | prior |" in with_prior
    assert "| all | 5.0 | 15.0 | 25.0 | 35.0 | 45.0 | 55.0 | 65.0 | 35.0 | 11.7 |" in with_prior
    without = markdown(scores(prior_miou=None, by_condition={"all": scores()["miou"]}))
    assert "prior" not in without and "the classes that occur.\n" in without
    tables = [line for line in without.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in tables[:4]] == [10] * 4


@pytest.mark.parametrize(("classes", "rows"), [(19, 13), (3, 0), (25, 0)])
def test_published_rows_stand_beside_as_many_classes_only(classes, rows):
    """Three modalities of MUSES with its 19 classes are published; with others they are somebody's own data."""
    assert len(paper_table(scores(classes=[str(k) for k in range(classes)]))) == rows
