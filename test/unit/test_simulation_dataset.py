# SPDX-License-Identifier: Apache-2.0
"""The simulated dataset, read back as a loader for MUSES would."""

import argparse
import json

import cv2
import numpy as np
import pytest
from standin_world import StandInSurfaces, StandInWorld

from anyseg_ros.sensors.rig import rig_from_muses_calib
from anyseg_ros.simulation import cli, dataset
from anyseg_ros.simulation.drive import Drive
from anyseg_ros.simulation.rig import sim_rig

h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra sim)")


@pytest.fixture(autouse=True)
def standin(monkeypatch):
    built = []

    def make(config):
        built.append(config.seed)
        return Drive(config, world=StandInWorld(30.0, 5.0), surfaces=StandInSurfaces)

    monkeypatch.setattr(dataset, "Drive", make)
    return built


def write(root, drives=1, frames=1, seed=4, split="val"):
    jobs = dataset.plan_drives(split, drives, frames, seed)
    return jobs, dataset.write_muses_dataset(root, jobs, workers=0, progress=False)


def test_files_read_back(tmp_path):
    (job,), written = write(tmp_path)
    assert written == 1
    (t_ns,) = job.times_ns
    meta = json.loads((tmp_path / "meta.json").read_text())
    scene = f"REC0004_frame_{t_ns // 1_000_000:06d}"
    entry = meta[scene]
    assert (entry["split"], entry["weather"], entry["time_of_day"]) == ("val", "snow", "day")
    assert entry["path_to_lidar"] == f"lidar/val/snow/day/{scene}_lidar.bin"

    picture = cv2.imread(str(tmp_path / entry["path_to_frame_camera"]), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3)
    folder = tmp_path / "gt_semantic/val/snow/day"
    train_ids = cv2.imread(str(folder / f"{scene}_gt_labelTrainIds.png"), cv2.IMREAD_UNCHANGED)
    label_ids = cv2.imread(str(folder / f"{scene}_gt_labelIds.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(train_ids)) == {0, 2, 10} and set(np.unique(label_ids)) == {7, 11, 23}
    np.testing.assert_array_equal(label_ids[train_ids == 10], 23)

    points = np.fromfile(tmp_path / entry["path_to_lidar"], np.float64).reshape(-1, 6)
    assert len(points) > 10_000 and 1.0 < points[:, 3].max() <= 255.0
    assert set(np.unique(points[:, 4])) <= set(range(64))
    exposure_s = entry["frame_camera_exposure_start_timestamp_us"] * 1e-6
    assert np.all(np.abs(points[:, 5] - exposure_s) <= 0.101)


def test_events_read_back_with_h5py_alone(tmp_path):
    write(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (entry,) = meta.values()
    with h5py.File(tmp_path / entry["path_to_event_camera"]) as file:
        x, y, t, p = (file[f"events/{name}"][:] for name in "xytp")
        index, offset = file["ms_to_idx"][:], int(file["t_offset"][()])
    assert [column.dtype for column in (x, y, t, p)] == [np.uint16, np.uint16, np.uint32, np.uint8]
    assert len(t) > 100 and np.all(np.diff(t.astype(np.int64)) >= 0) and t.max() <= 30_000
    assert x.max() < 320 and y.max() < 180 and set(np.unique(p)) == {0, 1}
    assert len(index) == 30
    for ms, i in enumerate(index.tolist()):  # NumPy 1 turns uint64 - 1 into a float
        assert t[i] >= ms * 1000 and (i == 0 or t[i - 1] < ms * 1000)
    assert offset + 30_000 == entry["frame_camera_exposure_end_timestamp_us"]


def test_calibration_gives_the_rig_back(tmp_path):
    write(tmp_path)
    rig = rig_from_muses_calib(json.loads((tmp_path / "calib.json").read_text()), (640, 360), (320, 180))
    expected = sim_rig()
    for name in ("camera", "lidar", "event"):
        np.testing.assert_allclose(rig.sensor(name).base_from_sensor, expected.sensor(name).base_from_sensor, atol=1e-9)
    np.testing.assert_allclose(rig.sensor("event").model.K, expected.sensor("event").model.K)


def test_finished_scenes_are_skipped_and_broken_ones_made_again(tmp_path, standin):
    (job,), _ = write(tmp_path, frames=2)
    assert write(tmp_path, frames=2)[1] == 0 and standin == [4]
    lost = tmp_path / job.path("lidar", job.times_ns[1])
    whole = lost.read_bytes()
    lost.unlink()
    assert write(tmp_path, frames=2)[1] == 1
    assert lost.read_bytes() == whole
    assert not list(tmp_path.rglob("*.part"))


def test_splits_share_one_root(tmp_path):
    write(tmp_path, split="val")
    write(tmp_path, split="train", seed=7)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert {entry["split"] for entry in meta.values()} == {"train", "val"}


def test_the_plan_covers_all_conditions():
    jobs = dataset.plan_drives("train", 300, 10, 0)
    assert {(job.config.weather, job.config.time_of_day) for job in jobs} == {
        (weather, tod) for weather in ("clear", "fog", "rain", "snow") for tod in ("day", "night")
    }
    corners = [job.config.corner for job in jobs]
    assert set(corners) == {None, *dataset.CORNERS} and 0.6 < corners.count(None) / 300 < 0.9
    for job in jobs:
        assert len(set(job.times_ns)) == 10 and job.times_ns[-1] < job.config.duration_s * 1e9 - 5e7
        assert job.times_ns[-1] - job.times_ns[0] > 20e9


@pytest.mark.parametrize("arguments", [("dev", 1, 1), ("train", 0, 1), ("train", 1, 0)])
def test_bad_plans_get_a_sentence(arguments):
    with pytest.raises(ValueError, match="give "):
        dataset.plan_drives(*arguments, 0)


def test_command_line_writes(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    words = f"--dataset {tmp_path / 'd'} --drives 1 --frames-per-drive 1 --split test --workers 0"
    args = parser.parse_args(words.split())
    assert cli.run(args) == 0
    assert "1 scenes of 1 drives, 1 of them new" in capsys.readouterr().out
    assert (tmp_path / "d/calib.json").exists()
