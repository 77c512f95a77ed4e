# SPDX-License-Identifier: Apache-2.0
"""Panels over subsets, and t-SNE with its two numbers: what they show is what the networks say and see."""

from __future__ import annotations

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from anyseg_training import panels
from anyseg_training.cli import main
from anyseg_training.data import Normaliser, Pack, PackError
from anyseg_training.networks import NamedNetwork, load_named, named, spread
from anyseg_training.pack import make_pack
from anyseg_training.panels import draw_panels, inputs, predictions
from anyseg_training.tsne import Features, draw_tsne, in_the_plane, region_features, separation
from tiny_muses import write_tiny_muses

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

for library in ("matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"{library} is not installed (pip install .[train])")

GRID = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pack of six samples in ``val`` and two networks."""
    root = tmp_path_factory.mktemp("figures")
    write_tiny_muses(root / "data", {"val": 6})
    make_pack(root / "data", "val", GRID, root / "val", workers=1, bar=False)
    pack = Pack(root / "val")
    for seed, name in enumerate(("before", "after")):
        torch.manual_seed(seed)
        meta = CheckpointMeta(
            {"classes": 19, "backbone": "b0-half", "head_width": 16},
            list(CITYSCAPES.names),
            [list(rgb) for rgb in CITYSCAPES.palette],
            pack.modalities,
            pack.index["encoding"],
            pack.normalisation,
            list(GRID),
            encoding_parameters=pack.index["encoding_parameters"],
        )
        (root / name).mkdir()
        save_checkpoint(root / name / "checkpoint.safetensors", AnySeg(AnySegConfig(19, "b0-half", 16)), meta)
    return root


@pytest.fixture(scope="module")
def network(folder) -> NamedNetwork:
    return load_named([f"one={folder / 'before/checkpoint.safetensors'}"], Pack(folder / "val"))[0]


def test_names_of_checkpoints(folder):
    assert named("a=b/c.safetensors")[0] == "a" and named("runs/x/checkpoint.safetensors")[0] == "x"
    assert named("weights/anyseg_sim.safetensors")[0] == "anyseg_sim"
    path = str(folder / "before/checkpoint.safetensors")
    with pytest.raises(PackError, match="two of the checkpoints have one name"):
        load_named([path, path], Pack(folder / "val"))


def test_samples_are_spread_over_those_that_are_whole(folder):
    pack = Pack(folder / "val")
    assert spread(pack, 2) == [1, 4] and spread(pack, 99) == list(range(6))
    pack.present = np.array([[1, 1, 0]] + [[1, 1, 1]] * 2 + [[0, 1, 1]] * 3, bool)
    assert spread(pack, 2) == [1, 2]
    pack.present = np.zeros((6, 3), bool)
    with pytest.raises(PackError, match="nothing|no samples with anything"):
        spread(pack, 2)


def test_predictions_are_those_of_separate_runs_and_absence_is_shown(folder, network):
    pack = Pack(folder / "val")
    pack.present[2] = [True, False, True]
    found = predictions(network, pack, 2)
    assert list(found) == ["C", "E", "L", "CE", "CL", "EL", "CEL"] and (found["E"] == 255).all()
    np.testing.assert_array_equal(found["CE"], found["C"])
    with torch.inference_mode():
        logits = network.model(network.stack(pack, 2)[None, [0, 2]])
        full = torch.nn.functional.interpolate(logits, GRID, mode="bilinear")[0].argmax(0).numpy()
    assert (found["CL"] == full).mean() > 0.999
    shown = dict(inputs(pack, 2))
    assert list(shown) == ["camera", "event: absent", "lidar"] and (shown["event: absent"] == 200).all()
    np.testing.assert_array_equal(shown["camera"], np.moveaxis(pack.arrays["camera"][2], 0, -1))


def test_panels_of_chosen_samples(folder, network, tmp_path):
    pack = Pack(folder / "val")
    assert [p.name for p in draw_panels([network], pack, tmp_path, [5, 0])] == ["panel_5.png", "panel_0.png"]
    assert cv2.imread(str(tmp_path / "panel_5.png")).std() > 10
    with pytest.raises(PackError, match=r"samples \[6, -1\] are not in .*, which holds 0 to 5"):
        draw_panels([network], pack, tmp_path, [6, 1, -1])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_panel_shows_inputs_truth_and_every_subset(folder, network, tmp_path, monkeypatch, count):
    pack, shown = Pack(folder / "val"), []
    pack.modalities, pack.present = pack.modalities[:count], pack.present[:, :count]
    narrow = NamedNetwork("one", network.model, Normaliser(pack.modalities, pack.normalisation))
    monkeypatch.setattr(panels, "show", lambda axes, title, picture: shown.append(title.split()[0]))
    draw_panels([narrow, narrow], pack, tmp_path, [3])
    subsets = list(predictions(narrow, pack, 3))
    assert shown == [*pack.modalities, "truth", *subsets] and len(subsets) == 2**count - 1


def test_of_one_modality_there_are_panels_and_no_t_sne(folder, tmp_path, capsys):
    shutil.copytree(folder / "val", tmp_path / "one")
    index = json.loads((tmp_path / "one/index.json").read_text())
    (tmp_path / "one/index.json").write_text(json.dumps(index | {"modalities": ["lidar"]}))
    np.save(tmp_path / "one/present.npy", np.ones((6, 1), bool))
    drawing = ["figures", "--checkpoints", str(folder / "before/checkpoint.safetensors"), "--samples", "3"]
    assert main([*drawing, "--pack", str(tmp_path / "one"), "--out", str(tmp_path / "out")]) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["panel_3.png"]
    assert "tsne.png is left out: features of 1 modalities and 3 drives; two of each are" in capsys.readouterr().out


def test_features_are_means_over_regions_standardised(folder, network):
    pack = Pack(folder / "val")
    pack.present[1] = [True, False, True]
    found = region_features(network, pack, [0, 1])
    assert found.modality.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [2] * 4
    assert len(set(found.drive[:12])) == 1 and found.values.shape == (20, 128)
    rows = []
    with torch.inference_mode():
        for i, there in ((0, [0, 1, 2]), (1, [0, 2])):
            maps = network.model.encoder(network.stack(pack, i)[there])[3].double().numpy()
            assert maps.shape[2:] == (2, 3)  # two regions share the middle column
            rows += [m[:, y, part].mean(1) for m in maps for y in (0, 1) for part in (slice(0, 2), slice(1, 3))]
    plain = np.stack(rows)
    np.testing.assert_allclose(found.values, (plain - plain.mean(0)) / plain.std(0), atol=1e-3)


def blobs(distance: float) -> Features:
    rng = np.random.default_rng(0)
    modality = np.arange(300) % 3
    values = rng.normal(size=(300, 4))
    values[np.arange(300), modality] += distance
    return Features(values, modality, np.arange(300) // 30, ["camera", "event", "lidar"])


def test_numbers_of_modalities_far_apart_and_on_top_of_each_other():
    far, near = separation(blobs(50.0)), separation(blobs(0.0))
    assert far.silhouette > 0.9 and far.recognised_percent == 100.0
    assert abs(near.silhouette) < 0.05 and near.recognised_percent == pytest.approx(100 / 3, abs=8)
    assert far.chance_percent == pytest.approx(100 / 3) and far.points == 300
    one = blobs(1.0)
    with pytest.raises(PackError, match="features of 3 modalities and 1 drives; two of each are wanted"):
        separation(Features(one.values, one.modality, np.zeros(300, int), one.names))


def test_silhouette_by_hand():
    """Modalities at 0 and 1, and at 10 and 11: (b - a) / max(a, b) of each point."""
    values = np.array([[0.0], [1.0], [10.0], [11.0]]).repeat(3, 0)
    found = separation(Features(values, np.repeat([0, 0, 1, 1], 3), np.tile([0, 1, 2], 4), ["camera", "lidar"]))
    outer, inner = (10.5 - 3 / 5) / 10.5, (9.5 - 3 / 5) / 9.5
    assert found.silhouette == pytest.approx((outer + inner) / 2)


def test_the_picture_of_t_sne_repeats():
    some = blobs(8.0)
    few = Features(some.values[:60], some.modality[:60], some.drive[:60], some.names)
    places = in_the_plane(few)
    assert places.shape == (60, 2) and np.array_equal(places, in_the_plane(few))


def test_t_sne_of_two_networks(folder, network, tmp_path):
    pack = Pack(folder / "val")
    other = NamedNetwork("other", network.model, Normaliser(pack.modalities, pack.normalisation))
    draw_tsne([network, other], pack, tmp_path)
    numbers = json.loads((tmp_path / "tsne.json").read_text())
    assert list(numbers["networks"]) == ["one", "other"] and numbers["samples"] == 6
    assert numbers["networks"]["one"]["points"] == 6 * 3 * 4
    assert cv2.imread(str(tmp_path / "tsne.png")).std() > 10


def test_the_command_draws_all_and_says_what_it_lacks(folder, tmp_path, capsys, monkeypatch):
    networks = [str(folder / name / "checkpoint.safetensors") for name in ("before", "after")]
    common = ["figures", "--out", str(tmp_path / "out")]
    given = [*common, "--checkpoints", *networks, "--pack", str(folder / "val"), "--samples", "3"]
    assert main(given) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["panel_3.png", "tsne.json", "tsne.png"]
    assert main(common) == 2 and main([*common, "--checkpoints", networks[0]]) == 2
    said = capsys.readouterr().err
    assert "nothing to draw" in said and "--checkpoints and --pack go together" in said
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(given) == 2
    assert "t-SNE needs scikit-learn; install it with: pip install 'anyseg_ros[train]'" in capsys.readouterr().err
