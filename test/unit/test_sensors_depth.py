# SPDX-License-Identifier: Apache-2.0
"""Depth images as drivers publish them (REP-118) to points and onto the grid, against plain references."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.depth import depth_to_points
from anyseg_ros.sensors.lidar import project_cloud
from anyseg_ros.sensors.messages import image_from
from anyseg_ros.sensors.poses import pose_matrix

WIDTH, HEIGHT = 64, 40
K = np.array([[55.0, 0, 31.2], [0, 57.0, 19.7], [0, 0, 1]])
LENSES = {
    "none": (),
    "plumb_bob": (-0.2, 0.05, 0.001, -0.002, 0.0),
    "rational_polynomial": (0.5, 0.1, 0.001, -0.0004, 0.02, 0.8, 0.2, 0.03),
    "equidistant": (-0.02, 0.01, -0.003, 0.0004),
}


def message(depth_m, encoding, big, padding):
    """A sensor_msgs/Image: 16UC1 holds millimetres, 32FC1 metres."""
    values = np.round(depth_m * 1000).astype(np.uint16) if encoding == "16UC1" else depth_m.astype(np.float32)
    rows = values.astype(values.dtype.newbyteorder(">" if big else "<")).view(np.uint8).reshape(len(values), -1)
    rows = np.hstack([rows, np.full((len(rows), padding), 99, np.uint8)])
    return SimpleNamespace(
        height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=big, step=rows.shape[1], data=rows.tobytes()
    )


def scene():
    """Depths of 1.5 to 60 m in whole millimetres, some of which are missing."""
    rng = np.random.default_rng(4)
    depth_m = rng.integers(1500, 60_000, (HEIGHT, WIDTH)) / 1000
    depth_m[rng.random((HEIGHT, WIDTH)) < 0.1] = 0.0
    return depth_m


def rays_by_opencv(camera):
    """(x/z, y/z) of every pixel centre, row by row: float64 [H*W,2]."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float64)[:, None]
    if camera.distortion == "none":
        return (pixels[:, 0] - K[:2, 2]) / [K[0, 0], K[1, 1]]
    D = np.array(camera.D)
    if camera.distortion == "equidistant":
        return cv2.fisheye.undistortPoints(pixels, K, D)[:, 0]
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    return cv2.undistortPointsIter(pixels, K, D, None, None, until)[:, 0]


@pytest.mark.parametrize("big, padding", [(False, 0), (True, 6)])
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize("distortion", LENSES)
def test_every_pixel_becomes_the_point_that_it_saw(distortion, encoding, big, padding):
    camera, depth_m = CameraModel(WIDTH, HEIGHT, K, distortion, LENSES[distortion]), scene()
    if encoding == "32FC1":
        depth_m[0, :4] = np.nan, -1.0, np.inf, 0.0
    read = image_from(message(depth_m, encoding, big, padding))
    assert read.dtype == np.float32 and np.allclose(read, depth_m, rtol=2e-7, atol=0, equal_nan=True)
    points = depth_to_points(read, camera.pixel_rays())
    z = depth_m.ravel()
    seen = np.isfinite(z) & (z > 0)
    expected = np.column_stack([rays_by_opencv(camera) * z[:, None], z])[seen]
    assert np.abs(points[seen] - expected).max() < 1e-4
    assert not np.isfinite(points[~seen]).all(axis=1).any(), "what returned nothing has no place"


@pytest.mark.parametrize("distortion", LENSES)
def test_a_depth_image_lies_on_its_own_pixels(distortion):
    camera, depth_m = CameraModel(WIDTH, HEIGHT, K, distortion, LENSES[distortion]), scene()
    points = depth_to_points(depth_m.astype(np.float32), camera.pixel_rays())
    base_from_camera = pose_matrix((1.5, 0.0, 1.4), (0, 5, 0), optical=True)
    grid = Grid.fit(camera, HEIGHT, WIDTH)
    drawn = project_cloud(points, np.zeros(len(points), np.float32), grid, np.eye(4), base_from_camera)
    seen = depth_m.ravel() > 0
    assert np.array_equal(drawn.pixel_index, np.where(seen, np.arange(HEIGHT * WIDTH), -1))
    rays = np.column_stack([rays_by_opencv(camera), np.ones(HEIGHT * WIDTH)])
    where = rays * depth_m.reshape(-1, 1)
    height = where @ base_from_camera[2, :3] + base_from_camera[2, 3]
    expected = np.where(seen, [np.linalg.norm(where, axis=1), np.zeros(len(where)), height], 0.0)
    assert np.abs(drawn.image.reshape(3, -1) - expected).max() < 1e-4


def test_what_one_camera_measured_lies_where_another_sees_it():
    """A depth camera 20 cm beside a wider image plane: against projection point by point."""
    depth_camera = CameraModel(WIDTH, HEIGHT, K, "plumb_bob", LENSES["plumb_bob"])
    plane = CameraModel(100, 60, np.array([[60.0, 0, 49.5], [0, 60, 29.5], [0, 0, 1]]))
    base_from_depth, base_from_plane = (pose_matrix((1.5, y, 1.4), (0, 0, y), optical=True) for y in (0.2, 0.0))
    plane_from_depth = np.linalg.inv(base_from_plane) @ base_from_depth
    depth_m = scene()
    points = depth_to_points(depth_m.astype(np.float32), depth_camera.pixel_rays())
    drawn = project_cloud(
        points, np.zeros(len(points), np.float32), Grid.fit(plane, 60, 100), plane_from_depth, base_from_depth
    )
    nearest = np.full((60, 100), np.inf)
    for (a, b), z in zip(rays_by_opencv(depth_camera), depth_m.ravel(), strict=True):
        x, y, ahead, _ = plane_from_depth @ [a * z, b * z, z, 1.0]
        distance = np.linalg.norm([a * z, b * z, z])
        if z <= 0 or distance < 1 or distance > 100 or ahead < 0.1:
            continue
        column, row = int(np.floor(60 * x / ahead + 50.0)), int(np.floor(60 * y / ahead + 30.0))
        if 0 <= column < 100 and 0 <= row < 60:
            nearest[row, column] = min(nearest[row, column], ahead)
    filled = np.isfinite(nearest)
    assert np.array_equal(drawn.image[0] > 0, filled) and filled.sum() > 1000
