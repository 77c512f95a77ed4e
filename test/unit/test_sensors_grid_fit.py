# SPDX-License-Identifier: Apache-2.0
"""Letterbox, crop and stretch: camera, cloud and labels lie where the calibration says, there and back."""

from dataclasses import replace

import numpy as np
import pytest

from anyseg_ros.modality import Modality
from anyseg_ros.resources import share_path
from anyseg_ros.rig_timing import corrected_ns
from anyseg_ros.sensors.calibration import FIT_MODES, CameraModel, Grid
from anyseg_ros.sensors.camera import camera_to_planes, grid_to_image
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.lidar import project_cloud
from anyseg_ros.sensors.rig import load_rig
from anyseg_ros.types import UNLABELLED, Events, FrameSet, Measurement

MS = 1_000_000
CAMERA = CameraModel(240, 200, np.array([[180.0, 0, 118], [0, 185, 102], [0, 0, 1]]), "plumb_bob", (-0.2, 0.05, 0, 0))
SHAPES = [(60, 100), (100, 60), (50, 60), (300, 500)]
fitted = pytest.mark.parametrize("mode", FIT_MODES)
shaped = pytest.mark.parametrize("shape", SHAPES)


@fitted
@shaped
def test_a_picture_of_positions_says_where_each_pixel_came_from(mode, shape):
    grid = Grid.fit(CAMERA, *shape, mode)
    v, u = np.mgrid[:200, :240]
    # Four grey levels a pixel around the middle, so that the rounding of 8 bits is an eighth of a pixel.
    ramps = np.clip(4 * (np.stack([u, v, v], axis=2) - (88, 68, 68)), 0, 255).astype(np.uint8)
    planes = camera_to_planes(ramps, grid) * 255 / 4
    rows, columns = np.nonzero(grid.mask())
    came_from = grid.grid_to_camera(np.stack([columns, rows], axis=1))
    margin = np.ceil(1 / np.array(grid.scale))
    clear = np.all((came_from > (88, 68) + margin) & (came_from < (151, 131) - margin), axis=1)
    assert clear.sum() > 20
    off = (planes[:2, rows, columns].T + (88, 68) - came_from)[clear]
    # OpenCV drops small weights; a missing half pixel would be a mean of 0.17 (at 500 of 240 pixels) or much more.
    assert np.abs(off).max() < 0.5 and np.abs(off.mean(axis=0)).max() < 0.13


@fitted
@shaped
def test_points_fall_on_the_pixel_of_the_plane(mode, shape):
    grid = Grid.fit(CAMERA, *shape, mode)
    points = np.random.default_rng(1).uniform([-9, -9, 3], [9, 9, 30], (4000, 3)).astype(np.float32)
    drawn = project_cloud(points, np.zeros(4000, np.float32), grid, np.eye(4), np.eye(4))
    uv, valid = grid.plane.project(points)
    column, row = np.floor(np.nan_to_num(uv, nan=-1e6) + 0.5).astype(int).T
    inside = valid & (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    inside[inside] = grid.mask()[row[inside], column[inside]]
    assert 500 < inside.sum() < 4000
    assert np.array_equal(drawn.pixel_index >= 0, inside)
    assert np.array_equal(drawn.pixel_index[inside], row[inside] * shape[1] + column[inside])


@fitted
@shaped
def test_labels_go_back_to_the_pixels_that_they_came_from(mode, shape):
    grid = Grid.fit(CAMERA, *shape, mode)
    labels = np.arange(shape[0] * shape[1], dtype=np.float64).reshape(shape)
    back = grid_to_image(labels, grid, -1)
    assert back.shape == (200, 240)
    v, u = np.mgrid[:200, :240]
    at = grid.camera_to_grid(np.stack([u.ravel(), v.ravel()], axis=1)).reshape(200, 240, 2)
    column, row = np.floor(at + 0.5).astype(int).transpose(2, 0, 1)
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    assert np.array_equal(back >= 0, inside)
    assert inside.all() == (grid.source == (0, 0, 200, 240))
    off_column, off_row = back % shape[1] - column, back // shape[1] - row
    for off in (off_column[inside], off_row[inside]):
        assert np.abs(off).max() <= 1 and (off == 0).mean() > 0.98  # ties of nearest neighbour may fall either way


def test_what_a_crop_leaves_out_is_unlabelled():
    grid = Grid.fit(CAMERA, 60, 100, "crop")
    back = grid_to_image(np.zeros((60, 100), np.uint8), grid, UNLABELLED)
    top, _, height, _ = grid.source
    assert (back[:top] == UNLABELLED).all() and (back[top : top + height] == 0).all()


def test_a_cameras_stamp_offset_moves_the_window_of_the_events():
    """The camera's stamps are 20 ms late: its exposure was at stamp - 20 ms, and there the events' window ends."""
    rig = load_rig(share_path("config/rigs/sim.yaml"))
    late = replace(rig, sensors=tuple(replace(s, offset_ns=20 * MS if s.name == "camera" else 0) for s in rig.sensors))
    stamp_ns = 1_700_000_000_000_000_000
    frame_set = FrameSet(stamp_ns, "camera", {})
    assert corrected_ns(late, frame_set) == stamp_ns - 20 * MS
    model = late.sensor("event").model
    times_ns = stamp_ns + np.array([-45, -25, -15]) * MS
    middle = np.full(3, model.width // 2, np.uint16), np.full(3, model.height // 2, np.uint16)
    events = Events(*middle, times_ns, np.ones(3, np.uint8), model.width, model.height)
    measurement = Measurement("event", Modality.EVENT, stamp_ns, events)
    encoded = Encoder(late, 160, 288)(measurement, corrected_ns(late, frame_set)).image
    assert encoded[0].max() == pytest.approx(2 / 10)  # (-50, -20] ms: two of the three
    assert encoded[2].max() == pytest.approx(25 / 30)
