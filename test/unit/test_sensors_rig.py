# SPDX-License-Identifier: Apache-2.0
"""Rig files: read, written, and refused with a sentence."""

import numpy as np
import pytest
import yaml

from anyseg_ros.modality import Modality
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.drivers import INTENSITY_SCALES
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import RigError, load_rig, rig_from_dict, rig_from_muses_calib, save_rig


def sim_dict():
    return yaml.safe_load(share_path("config/rigs/sim.yaml").read_text())


def test_sim_rig_is_what_the_simulator_needs():
    rig = load_rig(share_path("config/rigs/sim.yaml"))
    assert [s.name for s in rig.sensors] == ["camera", "lidar", "event"]
    assert [s.modality for s in rig.sensors] == [Modality.CAMERA, Modality.LIDAR, Modality.EVENT]
    assert [s.offset_ns for s in rig.sensors] == [0, -4_000_000, 3_000_000]
    assert [s.period_ns for s in rig.sensors] == [100_000_000] * 3
    camera, lidar, event = rig.sensors
    assert (camera.tolerance_ns, camera.stale_ns, camera.lost_ns) == (100_000_000, 225_000_000, 3_000_000_000)
    assert (camera.model.width, camera.model.height) == (640, 360)
    assert (event.model.width, event.model.height) == (320, 180)
    # a point 10 m ahead of the lidar lies on the camera's axis, 0.3 m above it, 9.9 m away
    assert rig.plane_from("lidar") @ [10, 0, 0, 1] == pytest.approx([0, -0.3, 9.9, 1])
    assert rig.plane_from("event") @ [0, 0, 0, 1] == pytest.approx([0.06, 0, 0, 1])
    assert rig.plane_from("camera") == pytest.approx(np.eye(4))


@pytest.mark.parametrize("name", ["sim", "muses_like"])
def test_a_written_rig_reads_the_same(name, tmp_path):
    rig = load_rig(share_path(f"config/rigs/{name}.yaml"))
    save_rig(rig, tmp_path / "rig.yaml")
    again = load_rig(tmp_path / "rig.yaml")
    assert (again.name, again.base_frame, again.image_plane) == (rig.name, rig.base_frame, rig.image_plane)
    for one, other in zip(rig.sensors, again.sensors, strict=True):
        for key in vars(one).keys() - {"model", "base_from_sensor"}:
            assert getattr(one, key) == getattr(other, key), key
        assert np.array_equal(one.base_from_sensor, other.base_from_sensor)
        if one.model is not None:
            assert np.array_equal(one.model.K, other.model.K)
            assert (one.model.distortion, one.model.D) == (other.model.distortion, other.model.D)


def test_angles_turn_as_rep_103_says():
    yaw = pose_matrix((0, 0, 0), (0, 0, 90))
    assert yaw @ [1, 0, 0, 1] == pytest.approx([0, 1, 0, 1]), "yaw turns left"
    pitch = pose_matrix((0, 0, 0), (0, 90, 0))
    assert pitch @ [1, 0, 0, 1] == pytest.approx([0, 0, -1, 1]), "pitch looks down"
    roll = pose_matrix((0, 0, 0), (90, 0, 0))
    assert roll @ [0, 1, 0, 1] == pytest.approx([0, 0, 1, 1])
    optical = pose_matrix((1, 2, 3), optical=True)
    assert optical @ [0, 0, 5, 1] == pytest.approx([6, 2, 3, 1])
    assert optical @ [1, 0, 0, 1] == pytest.approx([1, 1, 3, 1]), "right of the image is right of the car"


def test_replacing_a_calibration_changes_one_sensor():
    rig = load_rig(share_path("config/rigs/sim.yaml"))
    model = CameraModel.pinhole(640, 360, 60.0)
    changed = rig.replace_calibration("camera", model=model)
    assert changed.sensor("camera").model is model
    assert np.array_equal(changed.sensor("camera").base_from_sensor, rig.sensor("camera").base_from_sensor)
    moved = rig.replace_calibration("lidar", base_from_sensor=np.eye(4))
    assert np.array_equal(moved.sensor("lidar").base_from_sensor, np.eye(4))
    assert moved.sensor("event") is rig.sensor("event")


def change(path, value):
    def apply(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    "edit, sentence",
    [
        (
            change(("sensors", 0, "modality"), "sonar"),
            "sensor 'camera': 'modality' is 'sonar', expected one of: camera, depth, event, lidar$",
        ),
        (change(("sensors", 0, "rate"), 5), "unknown: rate"),
        (change(("sensors", 0, "rate_hz"), 0), "sensor 'camera': 'rate_hz' is 0, expected more than 0 measurements"),
        (change(("sensors", 0, "rate_hz"), "10"), "'rate_hz' is '10', expected a number"),
        (change(("sensors", 0, "rate_hz"), float("nan")), "'rate_hz' is nan"),
        (change(("sensors", 0, "rate_hz"), True), "'rate_hz' is True"),
        (change(("sensors", 0, "offset_ms"), [3]), r"'offset_ms' is \[3\], expected a number"),
        (change(("sensors", 0, "required"), "no"), "sensor 'camera': 'required' is 'no', expected true or false"),
        (change(("sensors", 0, "enabled"), 1), "'enabled' is 1, expected true or false"),
        (change(("sensors", 0, "topic"), 7), "'topic' is 7, expected a text"),
        (change(("sensors", 0, "name"), ""), "'name' is '', expected a text"),
        (change(("sensors", 1, "intensity_scale"), "velodine"), "the name of a driver: velodyne, hesai, robosense"),
        (change(("sensors", 1, "intensity_scale"), 0), "'intensity_scale' is 0, expected a number above 0"),
        (change(("sensors", 1, "intensity_scale"), [1]), "'intensity_scale' is"),
        (change(("sensors", 0, "pose", "optical"), "true"), "'optical' is 'true', expected true or false"),
        (change(("sensors", 0, "pose", "xyz_m"), [1, 2]), "'xyz_m' has 2 numbers, expected 3"),
        (change(("sensors", 0, "pose", "rpy_deg"), "0 0 0"), "'rpy_deg' is '0 0 0', expected a list of numbers"),
        (change(("sensors", 0, "camera", "width"), "wide"), "'width' is 'wide', expected a number"),
        (change(("sensors", 0, "camera", "D"), {}), "'D' is"),
        (change(("base_frame",), 3), "'base_frame' is 3, expected a text"),
        (change(("sensors", 0, "camera"), {"width": 640, "height": 360}), "fx fy cx cy"),
        (change(("sensors", 0, "camera", "distortion"), "fish"), "'fish' is unknown"),
        (
            change(("sensors", 1, "pose"), {"matrix": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}),
            "rotation",
        ),
        (change(("sensors", 1, "pose"), {"rpy_deg": [0, 0, 0]}), "xyz_m"),
        (change(("sensors", 1, "name"), "camera"), "twice"),
        (change(("image_plane",), "radar"), "no sensor 'radar', only: camera, lidar, event"),
        (change(("image_plane",), "lidar"), "no camera calibration"),
        (change(("sensors",), []), "empty"),
        (lambda data: data.pop("image_plane"), "missing: image_plane"),
        (lambda data: data["sensors"][2].pop("camera"), "needs a camera calibration"),
    ],
)
def test_unusable_rigs_are_refused_with_a_sentence(edit, sentence, tmp_path):
    data = sim_dict()
    edit(data)
    with pytest.raises(RigError, match=sentence):
        rig_from_dict(data)
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RigError, match="rig.yaml"):
        load_rig(path)


def test_what_is_wrong_is_named_once():
    for edit in (
        lambda data: data["sensors"][2].pop("camera"),
        change(("sensors", 0, "pose"), {"matrix": np.diag([2.0, 1, 1, 1]).tolist()}),
        change(("sensors", 0, "rate_hz"), 0),
        change(("sensors", 0, "camera"), {"width": 640, "height": 360}),
    ):
        data = sim_dict()
        edit(data)
        with pytest.raises(RigError) as error:
            rig_from_dict(data)
        assert str(error.value).count("sensor '") == 1, str(error.value)


@pytest.mark.parametrize(
    ("written", "scale"), [("ouster", INTENSITY_SCALES["ouster"]), (0.25, 0.25), (2, 2.0), ("velodyne", 1 / 255)]
)
def test_the_intensity_scale_is_a_number_or_a_driver(written, scale, tmp_path):
    data = sim_dict()
    data["sensors"][1]["intensity_scale"] = written
    rig = rig_from_dict(data)
    assert rig.sensor("lidar").intensity_scale == scale
    save_rig(rig, tmp_path / "rig.yaml")
    assert load_rig(tmp_path / "rig.yaml").sensor("lidar").intensity_scale == scale


@pytest.mark.parametrize("text", ["[1, 2", "just words", ""])
def test_a_file_that_is_no_rig(text, tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_text(text)
    with pytest.raises(RigError, match="rig.yaml"):
        load_rig(path)
    with pytest.raises(RigError, match="cannot read"):
        load_rig(tmp_path / "none.yaml")


def test_muses_calibration():
    rgb_from_lidar = np.linalg.inv(pose_matrix((0.1, 0, -0.3), optical=True))
    rgb_from_event = pose_matrix((0.06, 0.0, 0.0), (0, 0.5, 0))
    calib = {
        "intrinsics": {
            "rgb": {"K": [[1200, 0, 960], [0, 1200, 540], [0, 0, 1]]},
            "event": {"K": [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]},
        },
        "extrinsics": {"lidar2rgb": rgb_from_lidar.tolist(), "event2rgb": rgb_from_event.tolist()},
    }
    rig = rig_from_muses_calib(calib)
    assert rig.plane_from("lidar") == pytest.approx(rgb_from_lidar)
    assert rig.plane_from("event") == pytest.approx(rgb_from_event)
    assert rig.sensor("lidar").base_from_sensor[2, 3] == 1.9
    assert (rig.sensor("event").model.width, rig.sensor("camera").model.width) == (1280, 1920)
    calib["extrinsics"]["lidar2base"] = pose_matrix((1.4, 0, 2.1)).tolist()
    assert rig_from_muses_calib(calib).sensor("lidar").base_from_sensor[:3, 3] == pytest.approx([1.4, 0, 2.1])
    del calib["extrinsics"]["event2rgb"]
    with pytest.raises(RigError, match="event2rgb"):
        rig_from_muses_calib(calib)
