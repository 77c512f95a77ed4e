# SPDX-License-Identifier: Apache-2.0
"""Events on the grid: the lookup table against OpenCV, the window against a plain loop."""

import cv2
import numpy as np
import pytest

from anyseg_ros.resources import share_path
from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.event_warp import event_lookup
from anyseg_ros.sensors.events import accumulate
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import load_rig
from anyseg_ros.types import Events

WINDOW_NS = 30_000_000


def random_events(count, width, height, until_ns, seed=0):
    rng = np.random.default_rng(seed)
    t_ns = np.sort(rng.integers(until_ns - 2 * WINDOW_NS, until_ns + WINDOW_NS, count))
    return Events(
        rng.integers(0, width, count).astype(np.uint16),
        rng.integers(0, height, count).astype(np.uint16),
        t_ns,
        rng.integers(0, 2, count).astype(np.uint8),
        width,
        height,
    )


def reference(events, lookup, height, width, until_ns):
    """The specification, event by event."""
    on, off = np.zeros(height * width, int), np.zeros(height * width, int)
    last = np.full(height * width, -1)
    for x, y, t, p in zip(events.x, events.y, events.t_ns, events.p, strict=True):
        pixel = lookup[y, x]
        if until_ns - WINDOW_NS < t <= until_ns and pixel >= 0:
            (on if p else off)[pixel] += 1
            last[pixel] = t
    recency = np.where(last >= 0, 1 - (until_ns - last) / WINDOW_NS, 0)
    return np.stack([np.minimum(on, 10) / 10, np.minimum(off, 10) / 10, recency]).reshape(3, height, width)


def test_window_equals_the_reference():
    rig = load_rig(share_path("config/rigs/sim.yaml"))
    grid = Grid.fit(rig.sensor("camera").model, 40, 72)
    lookup = event_lookup(rig.sensor("event").model, grid, rig.plane_from("event"))
    until_ns = 1_700_000_000_123_456_789
    events = random_events(60_000, 320, 180, until_ns)
    image, used, outside = accumulate(events, lookup, 40, 72, until_ns, WINDOW_NS)
    expected = reference(events, lookup, 40, 72, until_ns)
    assert np.abs(image - expected).max() < 1e-6
    assert image[0].max() == 1.0, "busy pixels saturate"
    inside = events.between(until_ns - WINDOW_NS, until_ns)
    assert 10_000 < used == np.count_nonzero(lookup[inside.y, inside.x] >= 0) and outside == 0


def test_window_is_open_at_its_start_and_closed_at_its_end():
    events = Events(*(np.zeros(4, np.uint16) for _ in range(2)), np.array([0, 1, 30, 31]), np.ones(4, np.uint8), 1, 1)
    image, used, _ = accumulate(events, np.zeros((1, 1), np.int32), 1, 1, 30, 30)
    assert used == 2
    assert image.ravel().tolist() == pytest.approx([0.2, 0.0, 1.0])


def test_events_outside_the_sensor_are_counted_not_drawn():
    events = Events(
        np.array([0, 5], np.uint16), np.array([3, 0], np.uint16), np.array([1, 2]), np.ones(2, np.uint8), 0, 0
    )
    image, used, outside = accumulate(events, np.zeros((2, 4), np.int32), 1, 1, 30, 30)
    assert (used, outside) == (0, 2) and not image.any()


def test_lookup_is_the_rotation_homography():
    event, camera = CameraModel.pinhole(320, 180, 64.0), CameraModel.pinhole(640, 360, 77.0)
    pose = pose_matrix((0.06, 0.01, 0.0), (0.4, 1.5, -2.0))
    grid = Grid.fit(camera, 160, 288)
    v, u = np.mgrid[:180, :320]
    homography = camera.K @ pose[:3, :3] @ np.linalg.inv(event.K)
    warped = cv2.perspectiveTransform(np.stack([u, v], -1).reshape(-1, 1, 2).astype(np.float64), homography)[:, 0]
    column, row = np.floor(grid.camera_to_grid(warped) + 0.5).astype(int).T
    top, left, height, width = grid.content
    inside = (column >= left) & (column < left + width) & (row >= top) & (row < top + height)
    expected = np.where(inside, row * 288 + column, -1)
    assert np.array_equal(event_lookup(event, grid, pose).ravel(), expected)
    assert inside.mean() > 0.9


def test_lookup_undistorts_the_events_and_distorts_for_the_image_plane():
    K = np.array([[250.0, 0, 160], [0, 250, 90], [0, 0, 1]])
    event = CameraModel(320, 180, K, "equidistant", (-0.05, 0.01, 0.0, 0.0))
    camera = CameraModel(
        640, 360, np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]]), "plumb_bob", (-0.2, 0.05, 0, 0)
    )
    grid = Grid.fit(camera, 160, 288)
    lookup = event_lookup(event, grid, np.eye(4))
    far = np.array([[3.0, 1.5, 10.0], [-4.0, 0.5, 10.0]])
    for at_event, at_grid in zip(event.project(far)[0], grid.camera_to_grid(camera.project(far)[0]), strict=True):
        x, y = np.floor(at_event + 0.5).astype(int)
        row, column = divmod(int(lookup[y, x]), 288)
        assert abs(column - at_grid[0]) < 1.2 and abs(row - at_grid[1]) < 1.2


def test_the_other_cameras_view_ends_where_it_ends():
    wide, narrow = CameraModel.pinhole(320, 180, 100.0), CameraModel.pinhole(640, 360, 40.0)
    lookup = event_lookup(wide, Grid.fit(narrow, 160, 288), np.eye(4))
    assert (lookup[:, 0] == -1).all() and lookup[90, 160] >= 0
