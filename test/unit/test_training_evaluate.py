# SPDX-License-Identifier: Apache-2.0
"""Every subset in one pass: the same answers as separate runs, the protocols, and the report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from anyseg_training.data import Normaliser, Pack, PackError
from anyseg_training.evaluate import evaluate, labels_from, subset_logits
from anyseg_training.pack import make_pack
from anyseg_training.protocols import EXTREME, NOISE, PATCH_PX, PROTOCOLS
from anyseg_training.published import DATASETS, DELIVER, MUSES
from anyseg_training.report import expected, markdown, paper_table
from tiny_muses import write_tiny_muses

from anyseg_ros.metrics import confusion
from anyseg_ros.modality import Modality, all_subsets, subset_name
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

GRID = (32, 48)
FOUR = ["camera", "depth", "event", "lidar"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    root = tmp_path_factory.mktemp("evaluation")
    write_tiny_muses(root / "data", {"val": 3})
    make_pack(root / "data", "val", GRID, root / "val", workers=1, bar=False)
    return Pack(root / "val")


@pytest.fixture
def model() -> Iterator[AnySeg]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield AnySeg(AnySegConfig(19, "b0-half", 16)).eval().double()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def stack(count: int) -> torch.Tensor:
    return torch.randn(count, 3, *GRID, dtype=torch.float64, generator=generator())


@pytest.mark.parametrize("names", [["camera", "event", "lidar"], FOUR])
def test_confusion_of_every_subset_equals_that_of_separate_runs(model, names):
    """In float64, from one encoder pass per image: 3 for 7 subsets, 4 for 15."""
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    images = stack(len(names))
    labels = torch.randint(0, 19, GRID, generator=generator()).to(torch.uint8).numpy()
    answers = subset_logits(model, images, np.ones(len(names), bool), names)
    assert seen == [len(names)] and len(answers) == 2 ** len(names) - 1
    for answer, subset in zip(answers, all_subsets(map(Modality, names)), strict=True):
        assert answer.subset == subset_name(subset)
        alone = model(images[[names.index(m.value) for m in subset]][None])
        a, b = (confusion(labels_from(x, GRID), labels, 19) for x in (answer.logits, alone))
        np.testing.assert_array_equal(a, b)


def test_float32_differs_from_separate_runs_in_ties_only(model):
    """All 15 subsets of an image of 256 x 256: at most one pixel in a hundred thousand."""
    model, size = model.float(), (256, 256)
    images = torch.randn(4, 3, *size, generator=generator())
    answers = subset_logits(model, images, np.ones(4, bool), FOUR)
    different = [
        labels_from(answer.logits, size)
        != labels_from(model(images[[FOUR.index(m.value) for m in subset]][None]), size)
        for answer, subset in zip(answers, all_subsets(map(Modality, FOUR)), strict=True)
    ]
    assert len(different) == 15 and np.mean(different) <= 1e-5


def test_skip_never_reads_what_is_absent_and_answers_nothing_from_nothing(model):
    images = stack(3)
    images[1:] = float("nan")
    found = subset_logits(model, images, np.array([True, False, False]), ["camera", "event", "lidar"])
    answers = {a.subset: a.logits for a in found}
    assert answers["EL"] is None and (labels_from(None, GRID) == 255).all()
    torch.testing.assert_close(answers["CEL"], answers["C"])
    torch.testing.assert_close(answers["C"], model(images[None, :1]))


def test_zero_fill_keeps_every_modality_in_the_mean(model):
    """Equal to the plain way: zeros in the place of what is missing, M images for each subset."""
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    images = stack(4)
    present = np.array([True, True, False, True])
    answers = subset_logits(model, images, present, FOUR, PROTOCOLS["zero-fill"])
    assert seen == [4], "three that are there, and one image of zeros for all"
    for answer, subset in zip(answers, all_subsets(map(Modality, FOUR)), strict=True):
        fed = torch.stack(
            [
                images[i] if Modality(n) in subset and present[i] else torch.zeros(3, *GRID).double()
                for i, n in enumerate(FOUR)
            ]
        )
        torch.testing.assert_close(answer.logits, model(fed[None]), rtol=0, atol=1e-12)


def test_random_missing_lies_between_skip_of_nothing_and_zero_fill(model):
    images, names, everything = stack(3), ["camera", "event", "lidar"], np.ones(3, bool)
    found = subset_logits(model, images, everything, names, PROTOCOLS["rmm-0.5"], generator())
    answers = {a.subset: a.logits for a in found}
    lost = PROTOCOLS["rmm-0.5"].away(images, generator())
    fed = torch.stack([images[0], lost[1], lost[2]])
    torch.testing.assert_close(answers["C"], model(fed[None]), rtol=0, atol=1e-12)
    torch.testing.assert_close(answers["CEL"], model(images[None]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_share_of_lost_pixels(share):
    images = torch.ones(3, 3, 8 * PATCH_PX, 8 * PATCH_PX + 4)
    lost = PROTOCOLS[f"rmm-{share}"].away(images, generator())
    inside = lost[..., : 8 * PATCH_PX] == 0
    assert float(inside.float().mean()) == pytest.approx(share, abs=0.06)
    assert torch.equal(inside[:, 0], inside[:, 1]) and not torch.equal(inside[0], inside[1])


@pytest.mark.parametrize("level", list(NOISE))
def test_noise_has_the_strength_that_its_level_says_and_repeats(level):
    images = torch.zeros(2, 3, 256, 256)
    noisy = PROTOCOLS[f"nm-{level}"].there(images, generator())
    deviation, share = NOISE[level]
    salt, pepper = (noisy == EXTREME), (noisy == -EXTREME)
    assert float(salt.float().mean()) == pytest.approx(share / 2, rel=0.15)
    assert float(pepper.float().mean()) == pytest.approx(share / 2, rel=0.15)
    assert float(noisy[~(salt | pepper)].std()) == pytest.approx(deviation, rel=0.02)
    assert torch.equal(noisy, PROTOCOLS[f"nm-{level}"].there(images, generator()))


def test_expectation_by_hand():
    """Two sensors that fail with chance 0.2: both 0.64, one alone 0.16 each, none 0.04, which is left out."""
    assert expected({"C": 10.0, "L": 20.0, "CL": 40.0}, 0.2) == pytest.approx((0.64 * 40 + 0.16 * 30) / 0.96)
    assert expected({"C": 10.0, "L": None, "CL": 40.0}, 0.2) is None


def test_published_rows_are_whole():
    """Means are those of the rows, where the paper's arithmetic can be checked."""
    for rows in (MUSES, DELIVER):
        for method, scores in rows.items():
            values = [v for name, v in scores.items() if name != "mean"]
            if None not in values:
                assert scores["mean"] == pytest.approx(np.mean(values), abs=0.06), method
    assert list(MUSES["AnySeg"])[:-1] == [
        subset_name(s) for s in all_subsets([Modality.CAMERA, Modality.EVENT, Modality.LIDAR])
    ]
    assert list(DELIVER["AnySeg"])[:-1] == [subset_name(s) for s in all_subsets(Modality)]
    assert set(DATASETS) == {("CEL", 19), ("CDEL", 25)}


def test_report_of_a_constant_answer(pack):
    """A network that always says class 2 scores the share of class 2, as counted by hand."""
    model = AnySeg(AnySegConfig(19, "b0-half", 16))
    torch.nn.init.zeros_(model.head.linear_pred.weight)
    model.head.linear_pred.bias.data[2] = 5.0
    result = evaluate(model, pack, Normaliser(pack.modalities, pack.normalisation), pack.prior, bar=False)
    labels = np.asarray(pack.labels)
    share = (labels == 2).sum() / (labels != 255).sum()
    occurring = len(set(np.unique(labels)) - {255})
    assert result["miou"]["EL"] == pytest.approx(100 * share / occurring)
    assert result["miou_absent_as_zero"]["EL"] == pytest.approx(100 * share / 19)
    assert set(result["by_condition"]) == {"all", "day", "night", "clear", "fog"}
    assert result["prior_miou"] == pytest.approx(100.0)
    night = labels[[s["time_of_day"] == "night" for s in pack.samples]]
    share, occurring = (night == 2).sum() / (night != 255).sum(), len(set(np.unique(night)) - {255})
    assert result["by_condition"]["night"]["EL"] == pytest.approx(100 * share / occurring)
    assert result["by_condition_absent_as_zero"]["night"]["EL"] == pytest.approx(100 * share / 19)
    of_classes = result["iou_per_class_by_condition"]["night"]["EL"]
    assert of_classes[2] == pytest.approx(100 * share, abs=0.01) and of_classes[0] == 0 and of_classes[3] is None
    assert "wall" in result["classes_without_labels"]
    tables = markdown(result)
    assert "protocol `skip`" in tables and "AnySeg (published) | MUSES val | 46.01 | 19.57" in tables
    assert "| this model | split val, 32 x 48 |" in tables and "say nothing about simulated drives" in tables
    zero = evaluate(model, pack, Normaliser(pack.modalities, pack.normalisation), pack.prior, "zero-fill", bar=False)
    assert zero["protocol"] == "zero-fill" and "published" not in markdown(zero) and paper_table(zero) == []


def test_a_condition_with_the_name_of_the_total_counts_once(pack, monkeypatch):
    model, normaliser = AnySeg(AnySegConfig(19, "b0-half", 16)), Normaliser(pack.modalities, pack.normalisation)
    plain = evaluate(model, pack, normaliser, None, bar=False)
    monkeypatch.setattr(pack, "samples", [sample | {"conditions": ["all", "fog"]} for sample in pack.samples])
    found = evaluate(model, pack, normaliser, None, bar=False)
    assert found["confusion"] == plain["confusion"] and list(found["by_condition"]) == ["all", "fog"]


def test_another_grid_or_number_of_classes_is_refused(pack):
    normaliser = Normaliser(pack.modalities, pack.normalisation)
    for classes, prior in ((18, None), (19, np.zeros((64, 96), np.uint8))):
        with pytest.raises(PackError, match=rf"{classes} classes do not fit .* with grid \(32, 48\) and 19 classes"):
            evaluate(AnySeg(AnySegConfig(classes, "b0-half", 16)), pack, normaliser, prior, bar=False)
