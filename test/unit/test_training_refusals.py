# SPDX-License-Identifier: Apache-2.0
"""What the commands refuse or warn of, because the outcome would look right and be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from anyseg_training.cli import main
from anyseg_training.pack import make_pack
from anyseg_training.protocols import PROTOCOLS
from tiny_muses import write_tiny_muses

TINY = ["steps=2", "batch=2", "backbone=b0-half", "head_width=16", "device=cpu"]
DROPS = "modality_dropout=sample"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two packs, another of other data, two teachers, and a run of a student."""
    root = tmp_path_factory.mktemp("refusals")
    for data, seed in (("data", 0), ("other", 1)):
        write_tiny_muses(root / data, {"train": 4, "val": 2, "test": 2}, seed)
    packs = (("data", "train", "train"), ("data", "val", "val"), ("data", "test", "test"))
    for data, split, out in (*packs, ("other", "train", "other_train")):
        make_pack(root / data, split, (32, 48), root / out, workers=1, bar=False)
    for name, seed in (("one", 1), ("two", 2)):
        run = ["teacher", "--pack", str(root / "train"), "--out", str(root / name), "--set", *TINY, f"seed={seed}"]
        assert main(run) == 0
    assert main(student(root)) == 0
    return root


def weights(root: Path, name: str) -> str:
    return str(root / name / "checkpoint.safetensors")


def student(root: Path, pack: str = "train", teacher: str = "one", *more: str, out: str = "student") -> list[str]:
    begin = ["student", "--pack", str(root / pack), "--teacher", weights(root, teacher), "--out", str(root / out)]
    changes = dict(change.split("=") for change in [*TINY, DROPS, *more])
    return [*begin, "--set", *map("=".join, changes.items())]


def evaluate(root: Path, out: Path, *more: str, name: str = "student", pack: str = "val") -> list[str]:
    return ["evaluate", "--checkpoint", weights(root, name), "--pack", str(root / pack), "--out", str(out), *more]


def test_a_run_is_resumed_with_what_it_began_with(folder, capsys):
    assert main(student(folder)) == 0, "the same command goes on"
    capsys.readouterr()
    for pack, teacher, word in (("other_train", "one", "--pack"), ("train", "two", "--teacher")):
        assert main(student(folder, pack, teacher)) == 2
        assert f"was saved by a run with {word} " in capsys.readouterr().err
    assert main([*student(folder), "--init", weights(folder, "two")]) == 2
    assert "was saved by a run with --init none (digest)" in capsys.readouterr().err


def test_a_student_without_dropout_is_refused(folder, tmp_path, capsys):
    assert main(student(folder, "train", "one", "modality_dropout=none", out=str(tmp_path / "run"))) == 2
    assert "the recipe has modality_dropout 'none'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_widths_cannot_teach_features(folder, tmp_path, capsys):
    changes = ["backbone=b0", "umd_weight=1"]
    assert main(student(folder, "train", "one", *changes, out=str(tmp_path / "run"))) == 2
    error = capsys.readouterr().err
    assert "umd_weight is 1.0, but the teacher is b0-half with features of widths (16, 32, 80, 128)" in error
    assert main(student(folder, "train", "one", "backbone=b0", "steps=1", out=str(tmp_path / "run"))) == 0


def test_names_of_reports_keep_their_dots(folder, tmp_path):
    for share in ("0.25", "0.5"):
        assert main(evaluate(folder, tmp_path / f"rmm-{share}", "--protocol", f"rmm-{share}")) == 0
    assert {p.name for p in tmp_path.iterdir()} == {f"rmm-{s}.{e}" for s in ("0.25", "0.5") for e in ("json", "md")}
    assert json.loads((tmp_path / "rmm-0.25.json").read_text())["protocol"] == "rmm-0.25"


def test_the_prior_is_left_out_without_a_training_set(folder, tmp_path):
    assert main(evaluate(folder, tmp_path / "without", "--device", "cpu")) == 0
    assert main(evaluate(folder, tmp_path / "with", "--train-pack", str(folder / "train"))) == 0
    without, with_prior = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("without", "with"))
    assert without["prior_miou"] is None and with_prior["prior_miou"] is not None
    assert without["miou"] == with_prior["miou"] and "prior" not in without["by_condition"]["all"]
    assert without["classes_without_labels"] == with_prior["classes_without_labels"]
    assert "| all |" in (tmp_path / "without.md").read_text()


def test_scores_on_the_training_set_are_warned_of(folder, tmp_path, capsys):
    assert main(evaluate(folder, tmp_path / "val", "--train-pack", str(folder / "train"))) == 0
    assert "WARNING" not in capsys.readouterr().out
    assert main(evaluate(folder, tmp_path / "train", pack="train")) == 0
    for text in (capsys.readouterr().out, (tmp_path / "train.md").read_text()):
        assert text.startswith("WARNING: ") and "holds the very scenes that were trained on" in text


def test_scores_on_what_an_earlier_round_was_trained_on_are_warned_of(folder, tmp_path, capsys):
    """A network that starts from another, or learns from it, has seen what that one has seen, and so on."""
    rounds = {"second": ["--init", weights(folder, "student")], "third": []}
    for name, more in rounds.items():
        before = "one" if name == "second" else str(tmp_path / "second")
        assert main([*student(folder, "val", before, out=str(tmp_path / name)), *more]) == 0
        for pack, warned in (("train", True), ("val", True), ("test", False)):
            capsys.readouterr()
            assert main(evaluate(folder, tmp_path / "scores", name=str(tmp_path / name), pack=pack)) == 0
            assert capsys.readouterr().out.startswith("WARNING: ") == warned, (name, pack)


def test_a_report_says_what_computed_it(folder, tmp_path):
    assert main(evaluate(folder, tmp_path / "plain")) == 0
    assert main(evaluate(folder, tmp_path / "as_run", "--precision", "fp32")) == 0
    for name in ("plain", "as_run"):
        scores = json.loads((tmp_path / f"{name}.json").read_text())
        assert (scores["precision"], scores["backend"]) == ("fp32", "torch")
        assert "Computed in fp32 by backend torch." in (tmp_path / f"{name}.md").read_text()


def test_a_device_that_is_not_there_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(evaluate(folder, tmp_path / "s", "--device", "cuda")) == 2
    assert "torch sees 0 on this machine" in capsys.readouterr().err
    assert main(evaluate(folder, tmp_path / "s", "--device", "cuda", "--precision", "bf16")) == 2
    assert "leave --device out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rmm-0.5", "nm-high"])
def test_protocols_work_where_the_images_are(name):
    """On a device that computes nothing, whose tensors refuse to meet those of the CPU."""
    protocol = PROTOCOLS[name]
    images = torch.zeros(3, 3, 32, 32, device="meta")
    change = protocol.away or protocol.there
    assert change(images, torch.Generator().manual_seed(0)).device.type == "meta"


def test_a_checkpoint_takes_its_own_scores_only(folder, tmp_path, capsys):
    assert main(evaluate(folder, tmp_path / "scores")) == 0
    out = ["--out", str(tmp_path / "shipped.safetensors")]
    export = ["export", "--scores", str(tmp_path / "scores.json"), *out, "--checkpoint"]
    assert main([*export, weights(folder, "one")]) == 2
    assert "has the scores of another checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "shipped.safetensors").exists()
    assert main([*export, weights(folder, "student")]) == 0
    odd = ["export", "--scores", str(tmp_path / "odd.json"), *out, "--checkpoint", weights(folder, "student")]
    scores = json.loads((tmp_path / "scores.json").read_text())
    for text, message in (
        ("[]", "it does not say protocol, split"),
        ("{", "cannot be read as JSON"),
        (json.dumps({k: v for k, v in scores.items() if k != "precision"}), "it does not say precision; score it"),
        (json.dumps(scores | {"precision": "bf16"}), "is of precision bf16; a checkpoint carries the scores of the"),
        (json.dumps(scores | {"protocol": "nm-low"}), "of protocol nm-low; a checkpoint carries those of 'skip'"),
    ):
        (tmp_path / "odd.json").write_text(text)
        assert main(odd) == 2
        assert message in capsys.readouterr().err
