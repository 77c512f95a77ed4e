# SPDX-License-Identifier: Apache-2.0
"""Any lens against OpenCV, never folding back, with an inverse; and the grid's maps, however the camera is fitted."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyseg_ros.bags.road_frame import load_road
from anyseg_ros.sensors.calibration import FIT_MODES, CameraModel, Grid

EXAMPLES = settings(max_examples=200, deadline=None)
COUNTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
ROAD = Path(os.environ.get("ANYSEG_TEST_DATA", "")) / "road_frame"
POINTS = np.random.default_rng(5).uniform([-60, -30, 1], [60, 30, 60], (3000, 3))


def between(*ends):
    return st.tuples(*(st.floats(low, high) for low, high in ends))


# What calibrations of road cameras look like: barrels and pincushions, tangential terms of a skewed sensor, fisheyes.
LENSES = st.one_of(
    st.tuples(st.just("none"), st.just(())),
    st.tuples(st.just("plumb_bob"), between((-0.5, 0.3), (-0.2, 0.4), (-5e-3, 5e-3), (-5e-3, 5e-3))),
    st.tuples(st.just("plumb_bob"), between((-0.5, 0.3), (-0.2, 0.4), (-5e-3, 5e-3), (-5e-3, 5e-3), (-0.3, 0.3))),
    st.tuples(
        st.just("rational_polynomial"),
        between((-1, 8), (-1, 8), (-5e-3, 5e-3), (-5e-3, 5e-3), (-1, 2), (-1, 8), (-1, 8), (-1, 4)),
    ),
    st.tuples(st.just("equidistant"), between((-0.1, 0.1), (-0.05, 0.05), (-0.02, 0.02), (-0.01, 0.01))),
)
CAMERAS = st.builds(
    lambda lens, fx, ratio, cx, cy: CameraModel(
        1920, 1080, np.array([[fx, 0, 960 + cx], [0, fx * ratio, 540 + cy], [0, 0, 1]]), *lens
    ),
    LENSES, st.floats(300, 2500), st.floats(0.95, 1.05), st.floats(-80, 80), st.floats(-80, 80),
)  # fmt: skip


def opencv(model, points):
    zero = np.zeros(3)
    if model.distortion == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, model.K, np.array(model.D))[0][:, 0]
    return cv2.projectPoints(points, zero, zero, model.K, np.array(model.D) if model.D else None)[0][:, 0]


@EXAMPLES
@given(CAMERAS)
def test_positions_are_opencvs(model):
    uv, valid = model.project(POINTS)
    expected = opencv(model, POINTS)
    near = valid & (np.abs(expected) < 1e5).all(axis=1)  # beside a pole the last digits of r² count
    assert np.abs(uv - expected)[near].max(initial=0.0) < 1e-3
    assert valid.any()


@EXAMPLES
@given(CAMERAS, st.floats(0, 2 * np.pi))
def test_no_point_folds_back(model, turn):
    """Along any direction from the axis: distances in the image grow, then the points are invalid, for good."""
    straight = CameraModel(1920, 1080, model.K, model.distortion, tuple(_without_tangential(model)))
    radius = np.linspace(0.01, 12, 2000)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.ones_like(radius)], axis=1)
    uv, valid = straight.project(points)
    seen = int(valid.sum())
    assert valid[:seen].all()
    from_axis = (uv[:seen] - model.K[:2, 2]) / np.diag(model.K)[:2]
    assert np.all(np.diff(np.hypot(*from_axis.T)) > 0)
    behind = -points
    assert not model.project(behind)[1].any()


def _without_tangential(model):
    brown = model.distortion in ("plumb_bob", "rational_polynomial")
    return [0.0 if brown and i in (2, 3) else d for i, d in enumerate(model.D)]


def test_opencv_draws_what_lies_beyond_the_lens():
    """The property above is not for free: OpenCV puts points far to the side, and points behind, into the picture."""
    model = CameraModel(
        1920, 1080, np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]]), "plumb_bob", (-0.4, 0.05, 0, 0)
    )
    aside, behind = np.array([[1.7, 0.3, 1.0]]), np.array([[0.3, 0.2, -1.0]])
    for point in (aside, behind):
        assert np.all((opencv(model, point) >= 0) & (opencv(model, point) < (1920, 1080)))
        assert not model.project(point)[1].any()


@pytest.mark.skipif(not ROAD.is_dir(), reason="ANYSEG_TEST_DATA holds no road_frame")
def test_the_real_camera_of_the_road_frame():
    rig, _, cloud = load_road(ROAD)
    model, pose = rig.sensor("camera").model, rig.plane_from("lidar")
    points = cloud.xyz.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    uv, valid = model.project(points)
    ahead = np.isfinite(points).all(axis=1) & (points[:, 2] > 0.1)
    expected = opencv(model, np.ascontiguousarray(points[ahead]))
    drawn = np.all((expected >= 0) & (expected < (model.width, model.height)), axis=1)
    assert drawn.sum() > 10_000 and np.abs(uv[ahead] - expected)[drawn & valid[ahead]].max() < 1e-3
    steep = np.hypot(*(points[ahead][drawn, :2] / points[ahead][drawn, 2:]).T) > model.lens[2]
    assert np.array_equal(~valid[ahead][drawn], steep) and not valid[~ahead].any()


@EXAMPLES
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600), st.integers(1, 600), st.sampled_from(FIT_MODES)
)  # fmt: skip
def test_grid_and_camera_positions_undo_each_other(width, height, grid_height, grid_width, mode):
    grid = Grid.fit(CameraModel.pinhole(width, height, 70.0), grid_height, grid_width, mode)
    (top, left, inner_h, inner_w), (source_top, source_left, source_h, source_w) = grid.content, grid.source
    assert 0 <= top <= grid_height - inner_h and 0 <= left <= grid_width - inner_w
    assert 0 <= source_top <= height - source_h and 0 <= source_left <= width - source_w
    assert inner_h == grid_height or inner_w == grid_width
    assert mode != "letterbox" or (source_h, source_w) == (height, width)
    assert mode == "letterbox" or (inner_h, inner_w) == (grid_height, grid_width)
    corners = np.array([[0, 0], [source_w, source_h], [source_w / 3, source_h / 5]]) - 0.5 + (source_left, source_top)
    on_grid = grid.camera_to_grid(corners)
    assert on_grid[:2] == pytest.approx(np.array([[left, top], [left + inner_w, top + inner_h]]) - 0.5)
    assert grid.grid_to_camera(on_grid) == pytest.approx(corners)


@EXAMPLES
@given(CAMERAS, st.integers(8, 700), st.integers(8, 700), st.sampled_from(FIT_MODES))
def test_the_plane_is_the_camera_of_the_grid(model, height, width, mode):
    grid = Grid.fit(model, height, width, mode)
    (on_grid, valid), (raw, valid_too) = grid.plane.project(POINTS), model.project(POINTS)
    assert np.array_equal(valid, valid_too)
    near = valid & (np.abs(raw) < 1e4).all(axis=1)
    assert np.abs(on_grid - grid.camera_to_grid(raw))[near].max(initial=0.0) < 1e-9


def lens(distortion, values, tangential):
    """A camera with these coefficients, the tangential ones of Brown's model scaled."""
    brown = distortion != "equidistant"
    D = [tangential * v if brown and i in (2, 3) else v for i, v in enumerate(values[: COUNTS[distortion]])]
    return CameraModel(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), distortion, tuple(D))


def steep_up_to(radius, model):
    """Where the radial function has grown clearly all the way, so that its inverse is well conditioned."""
    r = np.linspace(0.0, 2.2, 221)
    uv, _ = model.project(np.column_stack([r, np.zeros_like(r), np.ones_like(r)]))
    slope = np.minimum.accumulate(np.nan_to_num(np.gradient((uv[:, 0] - model.K[0, 2]) / model.K[0, 0], r)))
    return np.interp(radius, r, slope) > 0.15


@EXAMPLES
@example([-0.25, 6e-18, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "equidistant")  # a coefficient next to nothing
@example([-0.3515625, 0.056640625, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0], "plumb_bob")  # nearly flat, and tangential
@example([0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.03125], "rational_polynomial")  # a steep bend
@example([-0.3, 0.1, 0.0, 0.0, 6e-18, 0.0, 0.0, 0.0], "plumb_bob")
@example([0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.25, -1.1754943508222875e-38], "rational_polynomial")
@given(st.lists(st.floats(-0.4, 0.4), min_size=8, max_size=8), st.sampled_from(sorted(COUNTS)))
def test_projected_rays_come_back_for_any_lens(values, distortion):
    points = np.column_stack([np.random.default_rng(0).uniform(-1.5, 1.5, (60, 2)), np.ones(60)])
    radius = np.hypot(points[:, 0], points[:, 1])
    radial = lens(distortion, values, 0.0)
    for camera in (radial, lens(distortion, values, 0.02)):
        limit = np.tan(min(camera.lens[2], 1.5)) if distortion == "equidistant" else camera.lens[2]
        uv, valid = camera.project(points)
        assert np.array_equal(valid, radius <= limit)
        clear = valid & (radius < 0.9 * limit) & steep_up_to(radius, radial)
        assert camera.rays(uv[clear]) == pytest.approx(points[clear], abs=1e-5)


def test_tangential_terms_end_the_model_where_they_fold_it():
    D = (-0.5241, 0.9041, 0.0, 0.0025, 0.1065, -0.3086, 1.1559, 0.5399)
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    camera = CameraModel(640, 480, K, "rational_polynomial", D)
    without = CameraModel(640, 480, K, "rational_polynomial", (*D[:3], 0.0, *D[4:]))
    assert np.isinf(without.lens[2]) and 10 < camera.lens[2] < 100
    rays = np.random.default_rng(3).normal(size=(3000, 3))
    rays = rays[rays[:, 2] > 0.001] * 1000
    uv, valid = camera.project(rays)
    assert 0 < (~valid).sum() < 0.1 * len(rays)
    assert camera.rays(uv[valid]) == pytest.approx(rays[valid] / rays[valid, 2:], rel=1e-6, abs=1e-6)
