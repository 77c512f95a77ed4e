# SPDX-License-Identifier: Apache-2.0
"""Camera models against OpenCV, the valid angle, CameraInfo, and the grid's half pixels."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anyseg_ros.sensors.calibration import FIT_MODES, CalibrationError, CameraModel, Grid

K = np.array([[600.0, 0, 321.5], [0, 610.0, 177.25], [0, 0, 1]])
MODELS = {
    "none": ("none", ()),
    "plumb_bob_4": ("plumb_bob", (-0.3, 0.1, 0.001, -0.002)),
    "plumb_bob_5": ("plumb_bob", (-0.102933, -0.040925, 0.00057951, -0.00419933, 0.429959)),
    "rational": ("rational_polynomial", (0.5, 0.1, 0.001, -0.0004, 0.02, 0.8, 0.2, 0.03)),
    "equidistant": ("equidistant", (-0.02, 0.01, -0.003, 0.0004)),
}


def camera(name, **changes):
    distortion, D = MODELS[name]
    return CameraModel(**{"width": 640, "height": 360, "K": K, "distortion": distortion, "D": D, **changes})


def opencv(model, points):
    zero = np.zeros(3)
    if model.distortion == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, model.K, np.array(model.D))[0][:, 0]
    return cv2.projectPoints(points, zero, zero, model.K, np.array(model.D) if model.D else None)[0][:, 0]


def cone(count, max_deg, seed=0):
    rng = np.random.default_rng(seed)
    angle, turn, z = (
        np.radians(rng.uniform(0, max_deg, count)),
        rng.uniform(0, 2 * np.pi, count),
        rng.uniform(1, 80, count),
    )
    return np.stack([np.tan(angle) * np.cos(turn) * z, np.tan(angle) * np.sin(turn) * z, z], axis=1)


@pytest.mark.parametrize("name", MODELS)
def test_projection_equals_opencv(name):
    model, points = camera(name), cone(5000, 48.0)
    uv, valid = model.project(points)
    assert valid.all()
    assert np.abs(uv - opencv(model, points)).max() < 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_rays_undo_the_projection(name):
    model, points = camera(name), cone(5000, 48.0, seed=1)
    rays = model.rays(model.project(points)[0])
    assert np.abs(rays - points / points[:, 2:]).max() < 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_every_pixel_has_a_ray_that_leads_back(name):
    model = camera(name)
    rays = model.pixel_rays()
    uv, valid = model.project(rays)
    v, u = np.mgrid[:360, :640]
    assert valid.all()
    assert np.abs(uv - np.stack([u.ravel(), v.ravel()], axis=1)).max() < 1e-6


def test_points_behind_at_and_not_finite_are_invalid():
    points = np.array([[0, 0, -5], [0, 0, 0.1], [0, 0, 0.11], [np.nan, 0, 5], [0, np.inf, 5], [0, 0, np.inf]])
    uv, valid = camera("none").project(points)
    assert valid.tolist() == [False, False, True, False, False, False]
    assert np.isnan(uv[~valid]).all()


def test_points_beyond_the_turning_point_do_not_fold_back():
    model = camera("plumb_bob_4", D=(-0.5, 0.0, 0.0, 0.0))
    turning = np.sqrt(1 / 1.5)  # where 1 + 3 k1 r² is 0
    assert model.lens[2] == pytest.approx(turning)
    points = np.array([[r, 0.0, 1.0] for r in (turning - 1e-6, turning + 1e-6, 1.2)])
    assert model.project(points)[1].tolist() == [True, False, False]
    folded = opencv(model, points[2:])[0]
    assert 0 <= folded[0] < 640, "without the limit this point would be drawn in the image"


def test_limit_of_each_model_against_a_fine_scan():
    radii = np.linspace(1e-4, 5, 200_001)
    for D in [(0.1, -0.3, 0, 0, 0.02), (-0.2, 0.05, 0, 0, -0.01)]:
        model = camera("plumb_bob_5", D=D)
        grown = radii * (1 + D[0] * radii**2 + D[1] * radii**4 + D[4] * radii**6)
        falls = np.flatnonzero(np.diff(grown) <= 0)
        scan = radii[falls[0]] if len(falls) else np.inf
        assert model.lens[2] == pytest.approx(scan, abs=1e-4)
    assert camera("equidistant", D=(-0.3, 0.0, 0.0, 0.0)).lens[2] == pytest.approx(np.sqrt(1 / 0.9))
    pole = camera("rational", D=(0.0, 0, 0, 0, 0, -0.25, 0, 0))  # the denominator reaches 0 at r = 2
    assert pole.lens[2] <= 2.0


def test_pixels_without_a_ray_are_nan():
    model = camera("plumb_bob_4", D=(-0.5, 0.0, 0.0, 0.0))
    rays = model.rays(np.array([[K[0, 2] + 600 * 0.6, K[1, 2]], [K[0, 2] + 600 * 0.5, K[1, 2]]]))
    assert np.isnan(rays[0]).all() and np.isfinite(rays[1]).all()


def test_pinhole_sees_its_field_of_view():
    model = CameraModel.pinhole(640, 360, 77.0)
    edge = np.tan(np.radians(38.5))
    uv, _ = model.project(np.array([[-edge, 0, 1], [edge, 0, 1.0]]))
    assert uv[:, 0] == pytest.approx([-0.5, 639.5])


def info(**changes):
    fields = {
        "k": K.ravel(), "d": [0.0] * 5, "width": 640, "height": 360, "distortion_model": "plumb_bob",
        "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_camera_info_is_read_by_its_fields():
    model = CameraModel.from_camera_info(info(d=np.array([-0.3, 0.1, 0.0, 0.0, 0.02])))
    assert (model.width, model.height, model.distortion) == (640, 360, "plumb_bob")
    assert model.D == (-0.3, 0.1, 0.0, 0.0, 0.02)
    assert np.array_equal(model.K, K)


@pytest.mark.parametrize("name", ["", "plumb_bob", "rational_polynomial"])
def test_camera_info_without_distortion(name):
    assert CameraModel.from_camera_info(info(distortion_model=name, d=[])).distortion == "none"


def test_camera_info_rational_with_trailing_zeros():
    D = [0.5, 0.1, 0, 0, 0.02, 0.8, 0.2, 0.03, 0, 0, 0, 0]
    assert tuple(D[:8]) == CameraModel.from_camera_info(info(distortion_model="rational_polynomial", d=D)).D


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"k": [0.0] * 9}, "not calibrated"),
        ({"width": 0}, "0 x 360"),
        ({"distortion_model": "omni", "d": [0.1]}, "'omni' is unknown"),
        ({"d": [0.1, 0.2, 0.3]}, "3 coefficients, expected 4 or 5"),
        ({"d": [0.1, np.nan, 0, 0, 0]}, "not all finite"),
        ({"k": [600, 5.0, 320, 0, 600, 180, 0, 0, 1]}, "skew"),
    ],
)
def test_unusable_camera_info_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(CalibrationError, match=sentence):
        CameraModel.from_camera_info(info(**changes))


def test_binning_averages_pixels_where_the_calibration_says():
    binned = CameraModel.from_camera_info(info(binning_x=2, binning_y=2))
    assert (binned.width, binned.height) == (320, 180)
    point = np.array([[0.3, -0.2, 2.0]])
    full = CameraModel.from_camera_info(info()).project(point)[0]
    # the middle of raw pixels 0 and 1, at 0.5, is the centre of binned pixel 0
    assert binned.project(point)[0] == pytest.approx((full - 0.5) / 2)


def test_roi_shifts_pixels_before_binning():
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=200, do_rectify=False)
    cut = CameraModel.from_camera_info(info(roi=roi, binning_x=4, binning_y=2))
    assert (cut.width, cut.height) == (100, 100)
    point = np.array([[0.1, 0.05, 2.0]])
    full = CameraModel.from_camera_info(info()).project(point)[0][0]
    assert cut.project(point)[0][0] == pytest.approx([(full[0] - 100 + 0.5) / 4 - 0.5, (full[1] - 40 + 0.5) / 2 - 0.5])


@pytest.mark.parametrize(
    "size, grid, content",
    [
        ((640, 360), (160, 288), (0, 2, 160, 284)),
        ((1920, 1200), (160, 288), (0, 16, 160, 256)),
        ((640, 480), (100, 400), (0, 133, 100, 133)),
        ((100, 100), (300, 200), (50, 0, 200, 200)),
        ((288, 160), (160, 288), (0, 0, 160, 288)),
    ],
)
def test_letterbox(size, grid, content):
    fitted = Grid.fit(CameraModel.pinhole(*size, 70.0), *grid)
    assert fitted.content == content
    assert fitted.mask().sum() == content[2] * content[3]


@pytest.mark.parametrize("size", [(640, 360), (200, 120)])
def test_grid_positions_are_those_of_the_resized_picture(size):
    """A ramp whose value is its own column, resized by OpenCV, says where each grid pixel came from."""
    model = CameraModel.pinhole(*size, 70.0)
    grid = Grid.fit(model, 160, 288)
    top, left, height, width = grid.content
    ramp = np.repeat(np.arange(size[0], dtype=np.float32)[None], size[1], axis=0)
    flag = cv2.INTER_AREA if width < size[0] else cv2.INTER_LINEAR
    resized = cv2.resize(ramp, (width, height), interpolation=flag)
    columns = np.arange(left + 3, left + width - 3)
    at = grid.grid_to_camera(np.stack([columns, np.full(len(columns), top)], axis=1))
    assert (
        np.abs(resized[0, columns - left] - at[:, 0]).max() < 0.1
    )  # OpenCV drops small weights; a missing half pixel would be 0.6


@pytest.mark.parametrize("mode", FIT_MODES)
@pytest.mark.parametrize("shape", [(160, 288), (96, 100), (700, 301)])
def test_plane_projects_straight_onto_the_grid(mode, shape):
    grid = Grid.fit(camera("plumb_bob_5"), *shape, mode)
    points = cone(1000, 40.0)
    assert grid.plane.project(points)[0] == pytest.approx(grid.camera_to_grid(grid.camera.project(points)[0]), abs=1e-9)
    assert (grid.plane.width, grid.plane.height, grid.plane.D) == (shape[1], shape[0], grid.camera.D)


@pytest.mark.parametrize(
    "size, grid, source",
    [
        ((640, 360), (160, 288), (2, 0, 356, 640)),
        ((1920, 1200), (160, 288), (66, 0, 1067, 1920)),
        ((640, 480), (100, 400), (160, 0, 160, 640)),
        ((640, 480), (200, 100), (0, 200, 480, 240)),
        ((288, 160), (160, 288), (0, 0, 160, 288)),
    ],
)
def test_crop_fills_the_grid_from_the_middle(size, grid, source):
    fitted = Grid.fit(CameraModel.pinhole(*size, 70.0), *grid, "crop")
    assert fitted.source == source
    assert fitted.content == (0, 0, *grid) and fitted.mask().all()


def test_stretch_fills_the_grid_with_the_whole_image():
    fitted = Grid.fit(CameraModel.pinhole(640, 480, 70.0), 100, 400, "stretch")
    assert fitted.content == (0, 0, 100, 400) and fitted.source == (0, 0, 480, 640)
    assert fitted.scale == (0.625, 100 / 480)


def test_an_unknown_way_of_fitting_is_refused():
    with pytest.raises(CalibrationError, match="'squeeze', expected one of: letterbox, crop, stretch"):
        Grid.fit(CameraModel.pinhole(640, 480, 70.0), 100, 400, "squeeze")
