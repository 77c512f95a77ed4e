# SPDX-License-Identifier: Apache-2.0
"""MUSES as its SDK has drawn it, in each kind of file; and points brought to one time by the gnss file."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from anyseg_training.check import check_source
from anyseg_training.cli import main
from anyseg_training.data import Pack
from anyseg_training.layouts import open_source
from anyseg_training.muses import DatasetError, read_points, read_rig, read_scenes
from anyseg_training.muses_source import steady_points
from anyseg_training.pack import make_pack
from anyseg_training.pictures import MUSES_PROJECTED
from tiny_muses import CAMERA_SIZE, EXPOSURE_END_US, PACK_GRID, drawn, write_drawn, write_tiny_muses

from anyseg_ros.sensors.motion_messages import GNSS_FIELDS

W, H = CAMERA_SIZE
FULL = (H, W)
START_US = EXPOSURE_END_US - 10_000


@pytest.mark.parametrize("kind", ["npz", "npy", "png"])
def test_drawn_images_are_carried_as_they_are(tmp_path, kind):
    root = write_tiny_muses(tmp_path / "data", {"train": 2})
    write_drawn(root, kind)
    make_pack(root, "train", FULL, tmp_path / "pack", 1, False, projected="projected_to_rgb")
    pack = Pack(tmp_path / "pack")
    assert pack.encoding is MUSES_PROJECTED and pack.modalities == ["camera", "event", "lidar"]
    for i in range(2):
        images, _ = pack.raw(i)
        cloud, events = drawn(i)
        atol = 1 / 150 if kind == "png" else 1e-6
        np.testing.assert_allclose(images["lidar"], cloud.transpose(2, 0, 1), rtol=1e-3, atol=atol)
        np.testing.assert_array_equal(images["lidar"][0] > 0, cloud[..., 0] > 0)
        np.testing.assert_array_equal(images["event"], events.transpose(2, 0, 1))
    assert pack.samples[0]["conditions"] == ["day", "clear"]


def test_on_a_smaller_grid_the_nearest_point_wins_and_events_add_up(tmp_path):
    root = write_tiny_muses(tmp_path / "data", {"train": 1})
    write_drawn(root, "npy", "drawn")
    make_pack(root, "train", (H // 2, W // 2), tmp_path / "pack", 1, False, projected="drawn")
    images, _ = Pack(tmp_path / "pack").raw(0)
    cloud, events = drawn(0)
    for row, column in np.ndindex(H // 2, W // 2):
        block = cloud[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(4, 3)
        block = block[block[:, 0] > 0]
        expected = block[block[:, 0].argmin()] if len(block) else np.zeros(3)
        np.testing.assert_allclose(images["lidar"][:, row, column], expected, rtol=1e-3, atol=1e-4)
    added = events.astype(int).reshape(H // 2, 2, W // 2, 2, 3).sum((1, 3)).transpose(2, 0, 1)
    np.testing.assert_array_equal(images["event"], added)


def test_missing_and_broken_drawn_files_are_named(tmp_path, capsys):
    root = write_tiny_muses(tmp_path / "data", {"train": 4})
    arguments = ["pack", "--data", str(root), "--projected", "--check"]
    assert main(arguments) == 2 and "no folder projected_to_rgb" in capsys.readouterr().err
    write_drawn(root, "npz")
    assert main(arguments) == 0 and "16 files: 0 missing" in capsys.readouterr().out
    scenes = read_scenes(root, "train")
    lidar = [scene.file(root / "projected_to_rgb", "lidar", "lidar.npz") for scene in scenes]
    lidar[0].unlink()
    lidar[1].write_bytes(b"PK\x03\x04 torn")
    np.savez(lidar[2], np.zeros((H, W)))
    findings = check_source(open_source(root, "train", projected="projected_to_rgb"), bar=False)
    assert [
        str(lidar[0]) in findings.fatal[0],
        *(str(p) in s for p, s in zip(lidar[1:3], findings.torn, strict=True)),
    ] == [True] * 3
    with pytest.raises(DatasetError, match="no choice of motion"):
        open_source(root, "train", projected="projected_to_rgb", motion=True)


def test_images_that_are_drawn_at_another_size_are_listed(tmp_path, capsys):
    root = write_tiny_muses(tmp_path / "data", {"train": 2})
    write_drawn(root, "npy")
    halves = sorted((root / "projected_to_rgb").rglob("*.npy"))
    for path in halves:
        np.save(path, np.load(path)[::2, ::2])
    arguments = ["pack", "--data", str(root), "--projected", "--grid", f"{H}x{W}"]
    assert main([*arguments, "--check"]) == 0
    out = capsys.readouterr().out
    assert "0 missing or unusable, 4 broken sensor files" in out
    assert all(f"{p} is {H // 2}x{W // 2} (height x width), the camera's ({H}, {W}): draw at" in out for p in halves)
    assert main([*arguments, "--out", str(tmp_path / "pack"), "--workers", "1"]) == 0
    assert Pack(tmp_path / "pack").present.tolist() == [[True, False, False]] * 2
    labels = read_scenes(root, "train")[0].file(root, "gt_semantic", "gt_labelTrainIds.png")
    cv2.imwrite(str(labels), np.zeros((H // 2, W // 2), np.uint8))
    for more in (["--check"], ["--out", str(tmp_path / "none"), "--workers", "1"]):
        assert main([*arguments, *more]) == 2, "both stop at labels of another size than the picture"


def with_motion(root, speed_mm_s: int = 10_000, heading_rate: int = 0) -> None:
    """A vehicle that drives ahead; every point is timed 20 ms after the middle of the exposure."""
    meta = json.loads((root / "meta.json").read_text())
    for entry in meta.values():
        entry["frame_camera_exposure_start_timestamp_us"] = START_US
    (root / "meta.json").write_text(json.dumps(meta))
    calib = json.loads((root / "calib.json").read_text())
    calib["extrinsics"]["lidar2gnss"] = np.eye(4).tolist()
    (root / "calib.json").write_text(json.dumps(calib))
    line = " ".join(
        str({"gSpeed": speed_mm_s, "angular_rate_heading": heading_rate}.get(name, 0)) for name in GNSS_FIELDS
    )
    for scene in read_scenes(root, "train"):
        path = scene.file(root, "gnss", "gnss.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + "\n")
        bin_path = scene.file(root, "lidar", "lidar.bin")
        table = np.fromfile(bin_path).reshape(-1, 6)
        table[:, 5] = (EXPOSURE_END_US + START_US) / 2 * 1e-6 + 0.02
        table.tofile(bin_path)


def test_points_are_brought_to_the_middle_of_the_exposure(tmp_path):
    """10 m/s ahead for 20 ms: what was measured later lay 0.2 m farther ahead at the picture's time."""
    root = write_tiny_muses(tmp_path / "data", {"train": 2})
    with_motion(root)
    scene = read_scenes(root, "train")[0]
    rig = read_rig(root, scene)
    raw, steady = read_points(scene.file(root, "lidar", "lidar.bin")), steady_points(root, scene, rig)
    np.testing.assert_allclose(steady.xyz - raw.xyz, np.broadcast_to([0.2, 0, 0], raw.xyz.shape), atol=2e-5)
    counts = make_pack(root, "train", PACK_GRID, tmp_path / "moved", 1, False, motion=True)
    make_pack(root, "train", PACK_GRID, tmp_path / "still", 1, False)
    moved, still = Pack(tmp_path / "moved"), Pack(tmp_path / "still")
    assert counts == {"samples": 2} and moved.index["motion_compensated"] and "motion_compensated" not in still.index
    assert moved.encoding == still.encoding
    assert (moved.raw(0)[0]["lidar"] != still.raw(0)[0]["lidar"]).any()
    np.testing.assert_array_equal(moved.raw(0)[0]["camera"], still.raw(0)[0]["camera"])


def test_motion_says_what_it_lacks(tmp_path):
    root = write_tiny_muses(tmp_path / "data", {"train": 2})
    scene = read_scenes(root, "train")[0]
    rig = read_rig(root, scene)
    with pytest.raises(DatasetError, match=r"4000 of 4000 points are timed more than 0.5 s"):
        steady_points(root, scene, rig)
    with_motion(root)
    gnss = [scene.file(root, "gnss", "gnss.txt") for scene in read_scenes(root, "train")]
    gnss[0].unlink()
    gnss[1].write_text("1 2 3")
    findings = check_source(open_source(root, "train", motion=True), bar=False)
    assert findings.files == 10 and len(findings.fatal) == 2
    assert all(str(path) in sentence for path, sentence in zip(gnss, findings.fatal, strict=True))
    assert "is no GNSS line" in findings.fatal[1]


def test_a_broken_meta_json_is_named(tmp_path):
    root = write_tiny_muses(tmp_path / "data", {"train": 1})
    for text, sentence in (
        ('{"REC": {"split": "train"}}', "KeyError: 'weather'"),
        ("[1]", "AttributeError"),
        ("{", "JSON"),
    ):
        (root / "meta.json").write_text(text)
        with pytest.raises(DatasetError, match="meta.json is no table of scenes.*" + sentence):
            read_scenes(root, "train")
