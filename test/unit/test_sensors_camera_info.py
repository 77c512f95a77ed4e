# SPDX-License-Identifier: Apache-2.0
"""Which camera a CameraInfo describes: raw and rectified, binned and cut out, against OpenCV's rectification."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CalibrationError, CameraModel, Grid
from anyseg_ros.sensors.camera import rotation_maps
from anyseg_ros.sensors.event_warp import event_lookup
from anyseg_ros.sensors.lidar import project_cloud
from anyseg_ros.sensors.poses import BODY_FROM_OPTICAL, RigError
from anyseg_ros.sensors.rig import Rig, Sensor, load_rig, save_rig

K = np.array([[600.0, 0, 321.5], [0, 610.0, 177.25], [0, 0, 1]])
P = np.array([[550.0, 0, 310.5, -66.0], [0, 550.0, 181.25, 0], [0, 0, 1, 0]])
R = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]
LENSES = {
    "none": ("plumb_bob", [0.0] * 5),
    "plumb_bob_4": ("plumb_bob", [-0.3, 0.1, 0.001, -0.002]),
    "plumb_bob_5": ("plumb_bob", [-0.102933, -0.040925, 0.00057951, -0.00419933, 0.129959]),
    "rational": ("rational_polynomial", [0.5, 0.1, 0.001, -0.0004, 0.02, 0.8, 0.2, 0.03]),
    "equidistant": ("equidistant", [-0.02, 0.01, -0.003, 0.0004]),
}
FULL = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
POINTS = np.random.default_rng(4).uniform([-4, -2, 6], [4, 2, 40], (2000, 3))


def info(lens="none", **changes):
    model, d = LENSES[lens]
    fields = {
        "k": K.ravel(), "d": d, "r": R.ravel(), "p": P.ravel(), "width": 640, "height": 360, "distortion_model": model,
        "binning_x": 0, "binning_y": 0, "roi": FULL,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def raw(points, lens):
    model, d = LENSES[lens]
    zero = np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, K, np.array(d))[0][:, 0]
    return cv2.projectPoints(points, zero, zero, K, np.array(d))[0][:, 0]


def rectified(uv, lens):
    """Where OpenCV's rectification puts raw pixels."""
    model, d = LENSES[lens]
    if model == "equidistant":
        return cv2.fisheye.undistortPoints(uv[:, None], K, np.array(d), R=R, P=P[:, :3])[:, 0]
    exact = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-14)
    return cv2.undistortPointsIter(uv[:, None], K, np.array(d), R, P[:, :3], exact)[:, 0]


@pytest.mark.parametrize("lens", LENSES)
def test_raw_and_rectified_pixels_are_opencvs(lens):
    uv, valid = CameraModel.from_camera_info(info(lens)).project(POINTS)
    flat, valid_too = CameraModel.from_camera_info(info(lens), rectified=True).project(POINTS)
    assert valid.all() and valid_too.all()
    expected = raw(POINTS, lens)
    assert np.abs(uv - expected).max() < 1e-3
    assert np.abs(flat - rectified(expected, lens)).max() < 1e-3


@pytest.mark.parametrize("lens", LENSES)
def test_the_map_that_rectifies_the_image_joins_both_models(lens):
    """image_proc's own map says which raw pixel each rectified pixel shows; both must lie on one ray."""
    model, d = LENSES[lens]
    maps = cv2.fisheye.initUndistortRectifyMap if model == "equidistant" else cv2.initUndistortRectifyMap
    x, y = maps(K, np.array(d), R, P[:, :3], (640, 360), cv2.CV_32FC1)
    at = np.stack([x, y], axis=2)[::20, ::20].reshape(-1, 2)
    v, u = np.mgrid[0:360:20, 0:640:20]
    rays = CameraModel.from_camera_info(info(lens), rectified=True).rays(np.stack([u.ravel(), v.ravel()], axis=1))
    uv, valid = CameraModel.from_camera_info(info(lens)).project(rays)
    inside = valid & (np.abs(at - 300).max(axis=1) < 400)
    assert inside.sum() > 400
    assert np.abs(uv - at)[inside].max() < 1e-3


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_region_and_binning_are_those_of_a_cut_and_averaged_picture(lens, flag):
    """By hand: cut, average 4 x 2 pixels; a value is its own position and says where pixels came from."""
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=200, do_rectify=flag)
    v, u = np.mgrid[:360, :640].astype(np.float64)
    binned = [ramp[40:240, 100:500].reshape(100, 2, 100, 4).mean(axis=(1, 3)) for ramp in (u, v)]
    part = info(lens, roi=roi, binning_x=4, binning_y=2)
    for is_rectified in (False, True):
        cut = CameraModel.from_camera_info(part, rectified=is_rectified)
        full = CameraModel.from_camera_info(info(lens), rectified=is_rectified)
        assert (cut.width, cut.height) == (100, 100)
        rows, columns = np.mgrid[5:100:10, 5:100:10]
        rays = cut.rays(np.stack([columns.ravel(), rows.ravel()], axis=1))
        expected = np.stack([ramp[rows, columns].ravel() for ramp in binned], axis=1)
        assert np.abs(full.project(rays)[0] - expected).max() < 1e-6


def test_rays_of_a_rectified_image_have_depth_one_in_it():
    model = CameraModel.from_camera_info(info(), rectified=True)
    uv, _ = model.project(POINTS)
    rays = model.rays(uv)
    assert rays @ R.T[:, 2] == pytest.approx(1.0)
    assert np.abs(np.cross(rays, POINTS)).max() < 1e-9


def test_a_single_camera_may_leave_r_at_zero():
    model = CameraModel.from_camera_info(info(r=np.zeros(9)), rectified=True)
    assert np.array_equal(model.R, np.eye(3)) and np.array_equal(model.K, P[:, :3])


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"p": np.zeros(12)}, r"P\[0\] = 0: it describes no rectified image"),
        ({"p": np.zeros(9)}, "9 numbers in P, expected 12"),
        ({"p": [550, 0, 310, 0, 0, -5, 180, 0, 0, 0, 1, 0]}, "focal lengths 550 and -5"),
        ({"p": [550, 0, np.nan, 0, 0, 550, 180, 0, 0, 0, 1, 0]}, "focal lengths"),
        ({"r": np.ones(9)}, "R is no rotation"),
        ({"r": np.full(9, np.nan)}, "R is no rotation"),
        ({"r": -np.eye(3).ravel()}, "R is no rotation"),
        ({"width": 0}, "0 x 360"),
    ],
)
def test_unusable_rectification_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(CalibrationError, match=sentence):
        CameraModel.from_camera_info(info(**changes), rectified=True)


def test_what_contradicts_itself_is_refused():
    with pytest.raises(CalibrationError, match="said to be rectified, but has the distortion 'plumb_bob'"):
        CameraModel(640, 360, K, "plumb_bob", (0.1, 0, 0, 0), rectified=True)
    with pytest.raises(CalibrationError, match="R turns rectified images only"):
        CameraModel(640, 360, K, R=R)


def test_every_sensor_falls_where_the_rectified_image_has_it():
    """Cloud, events and another camera onto a rectified plane: positions of the sensor's own points, by the model."""
    model = CameraModel.from_camera_info(info(), rectified=True)
    grid = Grid.fit(model, 160, 288)
    drawn = project_cloud(POINTS.astype(np.float32), np.zeros(len(POINTS), np.float32), grid, np.eye(4), np.eye(4))
    uv = grid.camera_to_grid(model.project(POINTS.astype(np.float32))[0])
    seen = drawn.pixel_index >= 0
    column, row = np.floor(uv[seen] + 0.5).astype(int).T
    assert seen.sum() > 1000 and np.array_equal(drawn.pixel_index[seen], row * 288 + column)

    event = CameraModel.pinhole(346, 260, 50.0)
    lookup = event_lookup(event, grid, np.eye(4))
    rays = event.pixel_rays()
    at = np.floor(grid.camera_to_grid(model.project(rays)[0]) + 0.5).astype(int)
    inside = lookup.ravel() >= 0
    assert inside.sum() > 10_000
    assert np.array_equal(lookup.ravel()[inside], at[inside, 1] * 288 + at[inside, 0])

    x, y = rotation_maps(event, grid, np.eye(4))
    top, left, height, width = grid.content
    back = model.rays(grid.grid_to_camera(np.array([[left + 90, top + 70]])))
    assert [x[70, 90], y[70, 90]] == pytest.approx(event.project(back)[0][0], abs=1e-3)


def test_a_rig_says_that_an_image_is_rectified(tmp_path):
    model = CameraModel.from_camera_info(info(), rectified=True)
    sensor = Sensor("camera", Modality.CAMERA, "camera_optical_frame", BODY_FROM_OPTICAL, model=model)
    save_rig(Rig("r", "base_link", (sensor,), "camera"), tmp_path / "rig.yaml")
    back = load_rig(tmp_path / "rig.yaml").sensor("camera").model
    assert back.rectified and np.allclose(back.R, R) and np.allclose(back.K, P[:, :3])
    (tmp_path / "bad.yaml").write_text((tmp_path / "rig.yaml").read_text().replace("none", "equidistant"))
    with pytest.raises(RigError, match="equidistant"):
        load_rig(tmp_path / "bad.yaml")
