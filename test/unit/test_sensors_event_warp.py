# SPDX-License-Identifier: Apache-2.0
"""Event pixels on the image plane by full projection, against OpenCV and scenes of known geometry."""

import cv2
import numpy as np
import pytest

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.event_warp import event_lookup, event_positions, render_depth
from anyseg_ros.sensors.poses import pose_matrix

EVENT = CameraModel(
    320, 240, np.array([[260.0, 0, 158], [0, 262, 121], [0, 0, 1]]), "equidistant", (-0.03, 0.01, 0.0, 0.0)
)
CAMERA = CameraModel(
    960, 600, np.array([[700.0, 0, 480], [0, 700, 300], [0, 0, 1]]), "plumb_bob", (-0.2, 0.05, 1e-3, -5e-4)
)
POSE = pose_matrix((0.25, -0.05, 0.02), (0.5, 1.0, -1.5))
GRIDS = {mode: Grid.fit(CAMERA, 300, 400, mode) for mode in ("letterbox", "crop", "stretch")}


def scene_points(scene):
    """The 3D point that each event pixel sees, [He*We,3]: a wall, a slanted floor, or a step in depth."""
    rays = EVENT.pixel_rays()
    if scene == "wall":
        return rays * 4.0
    if scene == "floor":
        down = rays @ np.array([0.0, 1.0, 0.25])
        return rays * np.where(down > 0.02, 1.6 / np.maximum(down, 0.02), 80.0)[:, None]
    return rays * np.where(rays[:, :1] < 0, 3.0, 9.0)


def truth(points, grid):
    """Where those points lie on the grid, by OpenCV."""
    moved = points @ POSE[:3, :3].T + POSE[:3, 3]
    uv = cv2.projectPoints(moved, np.zeros(3), np.zeros(3), CAMERA.K, np.array(CAMERA.D))[0].reshape(-1, 2)
    return grid.camera_to_grid(uv)


def distances(positions, expected):
    off = np.linalg.norm(positions.reshape(-1, 2) - expected, axis=1)
    assert np.isfinite(off).mean() > 0.4
    return off[np.isfinite(off)]


@pytest.mark.parametrize("mode", GRIDS)
@pytest.mark.parametrize("scene", ["wall", "floor", "step"])
def test_depth_brings_events_to_their_place_where_rotation_does_not(scene, mode):
    points, grid = scene_points(scene), GRIDS[mode]
    depth_m = points[:, 2].reshape(240, 320)
    full = distances(event_positions(EVENT, grid, POSE, depth_m), truth(points, grid))
    assert full.max() < 1e-3
    rotation = distances(event_positions(EVENT, grid, POSE), truth(points, grid))
    if scene == "wall":
        parallax = 700 * grid.scale[0] * np.hypot(*POSE[:2, 3]) / 4.0
        assert np.median(rotation) == pytest.approx(parallax, rel=0.25) and parallax > 10


def test_one_depth_for_all_is_that_wall():
    everywhere = event_positions(EVENT, GRIDS["letterbox"], POSE, np.full((240, 320), 4.0))
    assert np.array_equal(event_positions(EVENT, GRIDS["letterbox"], POSE, 4.0), everywhere, equal_nan=True)


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan, np.inf])
def test_where_nothing_is_known_it_is_far_away(nothing):
    grid = GRIDS["letterbox"]
    far = event_positions(EVENT, grid, POSE)
    assert np.array_equal(event_positions(EVENT, grid, POSE, nothing), far, equal_nan=True)
    depth_m = np.full((240, 320), 5.0)
    depth_m[:, 160:] = nothing
    mixed = event_positions(EVENT, grid, POSE, depth_m)
    assert np.array_equal(mixed[:, 160:], far[:, 160:], equal_nan=True)
    assert np.nanmax(np.abs(event_positions(EVENT, grid, POSE, 1e7) - far)) < 1e-3


@pytest.mark.parametrize("mode", GRIDS)
@pytest.mark.parametrize("depth_m", [None, 6.0])
def test_lookup_is_the_rounded_position(mode, depth_m):
    grid = GRIDS[mode]
    positions = event_positions(EVENT, grid, POSE, depth_m).astype(np.float64)
    lookup = event_lookup(EVENT, grid, POSE, depth_m)
    assert np.array_equal(np.isnan(positions[..., 0]), lookup < 0)
    seen = lookup >= 0
    centre = np.stack([lookup % grid.width, lookup // grid.width], axis=-1)[seen]
    assert np.abs(centre - positions[seen]).max() <= 0.5 + 1e-4
    assert grid.mask().ravel()[lookup[seen]].all()


def lidar_wall(count, distance_m, half_m, seed=0):
    """Points of a wall across the event camera's axis, in a lidar frame 0.3 m above it."""
    rng = np.random.default_rng(seed)
    wall = np.column_stack([rng.uniform(-half_m, half_m, (count, 2)), np.full(count, distance_m)])
    return (wall - SENSOR_FROM_LIDAR[:3, 3]) @ SENSOR_FROM_LIDAR[:3, :3]


SENSOR_FROM_LIDAR = np.linalg.inv(pose_matrix((1.5, 0.0, 1.6), optical=True)) @ pose_matrix((1.4, 0.0, 1.9))


def test_depth_of_a_cloud_is_z_of_the_nearest():
    cloud = np.concatenate([lidar_wall(60_000, 12.0, 20.0), lidar_wall(3000, 5.0, 0.8), np.full((5, 3), np.nan)])
    depth_m = render_depth(cloud.astype(np.float32), EVENT, SENSOR_FROM_LIDAR)
    assert depth_m.shape == (240, 320) and depth_m.dtype == np.float32
    assert np.allclose(np.unique(depth_m.round(3)), [5.0, 12.0]), "z, not range; no mixture of the two; no hole"
    assert np.allclose(depth_m[110:130, 150:170], 5.0) and np.allclose(depth_m[:, :60], 12.0)


def test_no_points_and_points_behind_are_no_depth():
    assert not render_depth(np.empty((0, 3), np.float32), EVENT, SENSOR_FROM_LIDAR).any()
    behind = lidar_wall(5000, -6.0, 10.0).astype(np.float32)
    assert not render_depth(behind, EVENT, SENSOR_FROM_LIDAR).any()


@pytest.mark.parametrize("cell_px", [4, 7, 8])
def test_events_of_a_lidar_scene_lie_within_half_a_pixel(cell_px):
    """Cloud to depth to positions, as a user composes them; a slanted scene, so that cells hold unequal depths."""
    rng = np.random.default_rng(3)
    across = rng.uniform(-12, 12, (80_000, 2))
    seen = np.column_stack([across, 8.0 + 0.2 * across[:, 0]])
    cloud = ((seen - SENSOR_FROM_LIDAR[:3, 3]) @ SENSOR_FROM_LIDAR[:3, :3]).astype(np.float32)
    rays = EVENT.pixel_rays()
    points = rays * (8.0 / (1 - 0.2 * rays[:, :1]))
    grid = GRIDS["letterbox"]
    depth_m = render_depth(cloud, EVENT, SENSOR_FROM_LIDAR, cell_px)
    off = distances(event_positions(EVENT, grid, POSE, depth_m), truth(points, grid))
    assert off.max() < 0.5
    assert np.median(distances(event_positions(EVENT, grid, POSE), truth(points, grid))) > 5
