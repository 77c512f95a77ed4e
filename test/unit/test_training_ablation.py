# SPDX-License-Identifier: Apache-2.0
"""The ablation: drives kept apart, cells that start alike, are skipped when done and are of one set of data."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from anyseg_training import ablation_data
from anyseg_training.ablation import AblationError, Cell, Plan, Split, load_plan
from anyseg_training.ablation_cells import CHECKPOINT, COUNTS, DONE, arguments, run_cells, subsets_of
from anyseg_training.ablation_data import check_pack
from anyseg_training.ablation_report import cell_text, page
from anyseg_training.ablation_summary import read_counts, summarise
from anyseg_training.ablation_text import labels
from anyseg_training.cli import main
from anyseg_training.commands.ablate import run_training
from anyseg_training.data import INDEX, Normaliser, Pack
from anyseg_training.evaluate import evaluate
from anyseg_training.fit import Trainer
from anyseg_training.fitting import load_fitting
from tiny_muses import CONDITIONS, write_scene, write_tiny_muses

from anyseg_ros.metrics import miou

ROOT = Path(__file__).parents[2]
PLAN = load_plan(ROOT / "config/training/ablation.yaml")
SIZES = {"backbone": "b0-half", "head_width": 16, "steps": 3, "batch": 2, "warmup_steps": 1, "threads": 1}
TINY = replace(
    PLAN,
    grid=(32, 48),
    splits={"train": Split(100, 3, 2), "selection": Split(200, 1, 1), "test": Split(300, 3, 2)},
    seeds=(0, 1),
    common=PLAN.common | SIZES,
)


def write_drives(root: Path, name: str, split: Split, workers: int, bar: bool) -> None:
    """What the simulator would write, without it."""
    folder = ablation_data.FOLDER_OF[name]
    if not (root / "meta.json").exists():
        write_tiny_muses(root, {})
    meta = json.loads((root / "meta.json").read_text())
    for seed in split.seeds:
        for frame in range(split.frames):
            scene = f"REC{seed:04d}_frame_{frame:06d}"
            rng = np.random.default_rng([seed, frame])
            meta[scene] = write_scene(root, folder, scene, *CONDITIONS[seed % 2], rng)
    (root / "meta.json").write_text(json.dumps(meta))


def tiny_plan(path: Path) -> Path:
    """The tiny plan as a file."""
    data = {key: getattr(TINY, key) for key in Plan.__dataclass_fields__}
    data["splits"] = {name: vars(split) for name, split in TINY.splits.items()}
    path.write_text(json.dumps(data))  # JSON is YAML
    return path


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> tuple[Path, dict]:
    """A tiny grid, run by its command, and the weights that its runs began with, by seed."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install .[train])")
    root = tmp_path_factory.mktemp("ablation")
    began: dict[int, list[dict[str, torch.Tensor]]] = {}
    prepare = Trainer.__init__

    def noting(self, model, recipe, *rest, **options):
        began.setdefault(recipe.seed, []).append({k: v.clone() for k, v in model.state_dict().items()})
        prepare(self, model, recipe, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_data, "simulate", write_drives)
        patch.setattr(Trainer, "__init__", noting)
        files = ["--out", str(root / "out"), "--plan", str(tiny_plan(root / "plan.yaml")), "--docs", str(root / "docs")]
        assert main(["ablation", *files, "--workers", "1"]) == 0
    return root, began


def packs_of(root: Path) -> dict[str, Pack]:
    return {name: Pack(root / "out" / name) for name in TINY.splits}


def test_the_shipped_plan_keeps_its_drives_apart():
    used = [set(split.seeds) for split in PLAN.splits.values()]
    used += [set(range(a, b + 1)) for a, b in PLAN.used_elsewhere]
    assert len(set.union(*used)) == sum(map(len, used))
    shipped = (ROOT / "docs/training.md").read_text()
    commands = re.findall(r"--drives (\d+) +--frames-per-drive \d+ --seed (\d+)", shipped)
    assert len(commands) == 5, "the shipped student's drives"
    for drives, first in commands:
        assert (int(first), int(first) + int(drives) - 1) in PLAN.used_elsewhere


def test_the_shipped_plan_is_the_five_recipes_with_the_papers_weights():
    recipes = {name: PLAN.recipe(Cell(name, 0)) for name in PLAN.recipes}
    weights = {name: (r.modality_dropout, r.mad_weight, r.umd_weight, r.cmd_weight) for name, r in recipes.items()}
    assert weights == {
        "joint": ("none", 0, 0, 0), "dropout": ("batch", 0, 0, 0), "mad": ("batch", 50, 0, 0),
        "mad_umd": ("batch", 50, 5, 0), "mad_umd_cmd": ("batch", 50, 5, 10),
    }  # fmt: skip
    varied = ("modality_dropout", "mad_weight", "umd_weight", "cmd_weight")
    assert len({str([(k, v) for k, v in vars(r).items() if k not in varied]) for r in recipes.values()}) == 1
    assert recipes["mad"].mad_scale == "pixel_and_class" and len(PLAN.seeds) >= 3
    assert PLAN.cells[: len(PLAN.recipes)] == [Cell(name, PLAN.seeds[0]) for name in PLAN.recipes]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"splits": TINY.splits | {"test": Split(102, 3, 2)}}, r"train and split test share .*\[102\]"),
        ({"used_elsewhere": ((200, 250),)}, "selection and used_elsewhere 200 to 250"),
        ({"splits": {"train": Split(1, 1, 1)}}, "expected train, selection, test"),
        ({"splits": TINY.splits | {"test": Split(300, 0, 2)}}, "at least one drive"),
        ({"seeds": (1, 1)}, "seeds that differ"),
        ({"recipes": {"mad": {"mad_weight": 1.0}, "none": {}}}, "'mad', distils"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(change, says):
    with pytest.raises(AblationError, match=says):
        replace(TINY, **change)


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    (tmp_path / "plan.yaml").write_text("grid: [1, 2]")
    with pytest.raises(AblationError, match="exactly the keys"):
        load_plan(tmp_path / "plan.yaml")
    text = tiny_plan(tmp_path / "plan.yaml").read_text()
    (tmp_path / "plan.yaml").write_text(text.replace("first_seed", "first"))
    with pytest.raises(AblationError, match="is no plan"):
        load_plan(tmp_path / "plan.yaml")


def test_a_pack_of_other_drives_is_refused(grid):
    pack = packs_of(grid[0])["test"]
    check_pack(pack, TINY.splits["test"], TINY.grid)
    for split, size in ((Split(301, 3, 2), TINY.grid), (Split(300, 3, 3), TINY.grid), (Split(300, 3, 2), (64, 96))):
        with pytest.raises(AblationError, match="choose another folder"):
            check_pack(pack, split, size)


def test_all_recipes_of_a_seed_begin_alike(grid):
    began = grid[1]
    assert list(began) == [0, 1] and all(len(runs) == 5 for runs in began.values())
    for runs in began.values():
        assert all(torch.equal(value, run[name]) for run in runs for name, value in runs[0].items())
    assert any(not torch.equal(value, began[1][0][name]) for name, value in began[0][0].items())


def test_students_distil_from_the_teacher_of_their_seed():
    for cell in PLAN.cells:
        command = arguments(PLAN, cell, Path("out"))
        assert command[0] == ("teacher" if cell.recipe == "joint" else "student")
        teacher = f"out/cells/seed{cell.seed}/joint/checkpoint.safetensors"
        assert command[-2:] == ["--teacher", teacher] or cell.recipe in ("joint", "dropout")
        assert ("--teacher" in command) == cell.recipe.startswith("mad")


def test_finished_cells_are_skipped_and_others_go_on(grid, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(grid[0] / "out", out)
    packs, again = packs_of(grid[0]), Cell("mad", 1)
    (out / again.folder / DONE).unlink()
    (out / again.folder / COUNTS).unlink()
    trained = []

    def train(command: list[str]) -> None:
        trained.append(command)
        run_training(command)

    assert run_cells(TINY, packs, out, train, bar=False)
    assert trained == [arguments(TINY, again, out)]
    assert all(
        np.array_equal(value, read_counts(again, grid[0] / "out")[name])
        for name, value in read_counts(again, out).items()
    )
    with pytest.raises(AblationError, match="run with lr"):
        run_cells(replace(TINY, common=TINY.common | {"lr": 0.5}), packs, out, train, bar=False)


def test_cells_of_other_data_are_refused(grid, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(grid[0] / "out", out)
    assert summarise(TINY, packs_of(tmp_path), out)["seeds_finished"] == [0, 1]
    index = json.loads((out / "test" / INDEX).read_text())
    index["normalisation"]["camera"]["mean"][0] += 1e-6  # as after another simulation, or a change of the encoder
    (out / "test" / INDEX).write_text(json.dumps(index))
    for use in (
        lambda: run_cells(TINY, packs_of(tmp_path), out, pytest.fail, bar=False),
        lambda: summarise(TINY, packs_of(tmp_path), out),
    ):
        with pytest.raises(AblationError, match=r"seed0/joint was run on other data .*\(test pack\).*choose another"):
            use()


@pytest.mark.parametrize("key", ["statistics", "grid"])
def test_a_cell_without_digests_is_known_by_its_checkpoint(grid, tmp_path, key):
    out = tmp_path / "out"
    shutil.copytree(grid[0] / "out", out)
    for path in out.glob(f"cells/*/*/{DONE}"):
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "data"}))
    assert summarise(TINY, packs_of(tmp_path), out)["seeds_finished"] == [0, 1]
    packs = packs_of(tmp_path)
    if key == "grid":
        packs["train"].grid = (64, 96)
    else:
        packs["train"].index["normalisation"]["camera"] = packs["train"].index["normalisation"]["lidar"]
    with pytest.raises(AblationError, match=rf"other data .*\({key}\)"):
        summarise(TINY, packs, out)


def test_a_report_makes_no_packs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation_data, "simulate", pytest.fail)
    files = ["--out", str(tmp_path / "out"), "--plan", str(tiny_plan(tmp_path / "plan.yaml"))]
    assert main(["ablation", *files, "--docs", str(tmp_path), "--report-only"]) != 0
    assert "holds no finished pack of the split 'train', and a report makes none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_stopped_early_is_not_scored(grid, tmp_path):
    out = tmp_path / "out"
    longer = replace(TINY, common=TINY.common | {"steps": 9})
    shutil.copytree(grid[0] / "out" / TINY.cells[0].folder, out / longer.cells[0].folder)  # stands at step 3
    (out / longer.cells[0].folder / DONE).unlink()
    assert not run_cells(longer, packs_of(grid[0]), out, lambda command: None, bar=False)
    assert not (out / longer.cells[0].folder / DONE).exists()
    with pytest.raises(AblationError, match="holds no seed"):
        summarise(longer, packs_of(grid[0]), out)


def test_counts_of_drives_sum_to_those_of_evaluate(grid):
    pack = packs_of(grid[0])["test"]
    folder = grid[0] / "out" / Cell("dropout", 0).folder
    model, meta = load_fitting(folder / CHECKPOINT, pack)
    scores = evaluate(model, pack, Normaliser(pack.modalities, meta.normalisation), pack.prior, bar=False)
    counts = read_counts(Cell("dropout", 0), grid[0] / "out")["test"]
    assert counts.shape[:2] == (3, 7) and counts.dtype == np.int64
    for s, name in enumerate(subsets_of(pack)):
        assert counts[:, s].sum(0).tolist() == scores["confusion"][name], name


def test_the_report_holds_what_was_found(grid):
    root = grid[0]
    summary = json.loads((root / "docs/ablation.json").read_text())
    assert summary["seeds_finished"] == [0, 1] and len(summary["cells"]) == 10
    assert summary["columns"] == ["C", "E", "L", "CE", "CL", "EL", "CEL", "mean"]
    by_hand = [
        np.mean([miou(read_counts(Cell("mad", s), root / "out")["test"][:, k].sum(0)) for k in range(7)])
        for s in TINY.seeds
    ]
    packs = packs_of(root)
    model, meta = load_fitting(root / "out/cells/seed0/joint/checkpoint.safetensors", packs["test"])
    normaliser = Normaliser(packs["test"].modalities, meta.normalisation)
    scores = evaluate(model, packs["test"], normaliser, packs["train"].prior, bar=False)
    assert summary["prior"]["mean"] == pytest.approx(scores["prior_miou"], abs=1e-4)
    table = summary["table"]["mad"]["mean"]
    assert table["per_seed"] == pytest.approx(by_hand, abs=1e-4) and table["mean"] == pytest.approx(np.mean(by_hand))
    joint = summary["table"]["joint"]["CEL"]["per_seed"]
    against = summary["differences"]["mad"]["teacher_all_sensors"]["per_seed"]
    assert against == pytest.approx(np.subtract(summary["table"]["mad"]["CEL"]["per_seed"], joint), abs=1e-4)
    cell = summary["cells"][2]
    assert (cell["recipe"], cell["seed"], cell["exact_recipe"]["mad_weight"]) == ("mad", 0, 50.0)
    assert set(cell["machine"]["versions"]) == {"anyseg_ros", "python", "torch", "numpy"}
    assert len(cell["iou_per_class"]["CEL"]) == len(summary["classes"])
    text = (root / "docs/ablation.md").read_text()
    assert "Unfinished" not in text and cell_text(table) in text
    unwrapped = " ".join(text.split())
    for name, found in summary["differences"].items():
        assert f"{labels(summary)[name]} {found['teacher_all_sensors']['mean']:+.1f} (" in unwrapped
        assert f"{labels(summary)[name]} {found['joint_training_mean_over_subsets']['mean']:+.1f} (" in unwrapped
    assert (root / "docs/images/ablation.png").stat().st_size > 10_000


def test_a_part_of_the_grid_is_reported_as_such(grid):
    more = replace(TINY, seeds=(0, 1, 2))
    summary = summarise(more, packs_of(grid[0]), grid[0] / "out")
    assert summary["seeds_finished"] == [0, 1]
    assert "Unfinished: 2 of 3 seeds" in page({"plan_file": "plan.yaml"} | summary)
