# SPDX-License-Identifier: Apache-2.0
"""Clouds on the grid: against a plain reference, on random and on real points."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from anyseg_ros.bags.pcd import read_pcd
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.depth import depth_to_points
from anyseg_ros.sensors.lidar import densify, project_cloud
from anyseg_ros.sensors.rig import load_rig

DATA = os.environ.get("ANYSEG_TEST_DATA")
needs_road_frame = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "road_frame").is_dir(), reason="ANYSEG_TEST_DATA holds no road_frame"
)


def reference(xyz, intensity, grid, plane_from, base_from, scale=1.0, max_range_m=100.0):
    """The specification in plain numpy and OpenCV, point by point where order matters."""
    p = xyz.astype(np.float64)
    image = np.zeros((3, grid.height, grid.width), dtype=np.float32)
    index = np.full(len(p), -1, dtype=np.int32)
    depth = np.full((grid.height, grid.width), np.inf)
    distance = np.sqrt((p * p).sum(axis=1))
    with np.errstate(invalid="ignore"):
        ahead = p @ plane_from[:3, :3].T + plane_from[:3, 3]
    zero, model = np.zeros(3), grid.camera
    good = np.isfinite(p).all(axis=1) & (distance >= 1.0) & (distance <= max_range_m) & (ahead[:, 2] > 0.1)
    front = np.where(good[:, None], ahead, [0, 0, 1])
    if model.distortion == "equidistant":
        pixels = cv2.fisheye.projectPoints(front[:, None], zero, zero, model.K, np.array(model.D))[0][:, 0]
    else:
        pixels = cv2.projectPoints(front, zero, zero, model.K, np.array(model.D))[0][:, 0]
    for i in np.flatnonzero(good):
        uv = pixels[i]
        if not (-0.5 <= uv[0] < model.width - 0.5 and -0.5 <= uv[1] < model.height - 0.5):
            continue
        column, row = np.floor(grid.camera_to_grid(uv) + 0.5).astype(int)
        index[i] = row * grid.width + column
        if ahead[i, 2] < depth[row, column]:
            depth[row, column] = ahead[i, 2]
            up = base_from[2, :3] @ p[i] + base_from[2, 3]
            image[:, row, column] = distance[i], np.clip(intensity[i] * scale, 0, 1), up
    return image, index


def reference_densify(image, content):
    dense = image.copy()
    top, left, height, width = content
    for row in range(top, top + height):
        for column in range(left, left + width):
            if image[0, row, column]:
                continue
            around = [
                (image[0, r, c], r, c)
                for r in range(max(top, row - 1), min(top + height, row + 2))
                for c in range(max(left, column - 1), min(left + width, column + 2))
                if image[0, r, c]
            ]
            if around:
                _, r, c = min(around)
                dense[:, row, column] = image[:, r, c]
    return dense


def check(projected, expected, allowed=0):
    image, index = expected
    differs = int((projected.pixel_index != index).sum())
    assert differs <= allowed, f"{differs} points lie on another pixel"
    assert projected.in_view == int((projected.pixel_index >= 0).sum())
    same = np.abs(projected.image - image).max(axis=0) <= 1e-4
    assert int((~same).sum()) <= 2 * allowed


def cloud(count, seed):
    rng = np.random.default_rng(seed)
    angle, tilt = rng.uniform(-np.pi, np.pi, count), rng.uniform(-0.5, 0.3, count)
    reach = rng.uniform(0.2, 130, count)
    xyz = np.stack([np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle), np.sin(tilt)], axis=1) * reach[:, None]
    xyz[rng.integers(0, count, count // 50)] = np.nan
    xyz[rng.integers(0, count, 3)] = np.inf
    return xyz.astype(np.float32), rng.uniform(-20, 300, count).astype(np.float32)


@pytest.mark.parametrize(
    "distortion, D",
    [
        ("none", ()),
        ("plumb_bob", (-0.1, -0.04, 0.0006, -0.004, 0.43)),
        ("rational_polynomial", (0.5, 0.1, 0.001, -0.0004, 0.02, 0.8, 0.2, 0.03)),
        ("equidistant", (-0.02, 0.01, -0.003, 0.0004)),
    ],
)
def test_projection_equals_the_reference(distortion, D):
    rig = load_rig(share_path("config/rigs/sim.yaml"))
    camera = CameraModel(640, 360, rig.sensor("camera").model.K, distortion, D)
    grid, (xyz, intensity) = Grid.fit(camera, 40, 72), cloud(6000, 3)
    poses = rig.plane_from("lidar"), rig.sensor("lidar").base_from_sensor
    projected = project_cloud(xyz, intensity, grid, *poses, intensity_scale=1 / 255)
    check(projected, reference(xyz, intensity, grid, *poses, scale=1 / 255))
    assert projected.in_view > 500


def straight_ahead(xyz, grid):
    """Project points that are already in the optical frame."""
    xyz = np.asarray(xyz, dtype=np.float32)
    return project_cloud(xyz, np.arange(len(xyz)) / 10, grid, np.eye(4), np.eye(4))


def test_the_nearest_wins_and_of_equals_the_first():
    grid = Grid.fit(CameraModel.pinhole(8, 8, 90.0), 8, 8)
    projected = straight_ahead([[0, 0, 20], [0, 0, 5], [0, 0, 5], [0, 0, 9]], grid)
    pixel = projected.pixel_index[0]
    assert (projected.pixel_index == pixel).all(), "hidden points keep their pixel"
    range_m, intensity, _ = projected.image.reshape(3, -1)[:, pixel]
    assert (range_m, intensity) == (5.0, pytest.approx(0.1))


def test_what_is_not_drawn():
    grid = Grid.fit(CameraModel.pinhole(8, 8, 90.0), 8, 8)
    points = [
        [0, 0, -5],
        [0, 0, 0.9],
        [0, 0, 101],
        [np.nan, 0, 5],
        [0, 0, np.inf],
        [4.9, 0, 5],
        [5.1, 0, 5],
        [2, 0, 0.05],
    ]
    projected = straight_ahead(points, grid)
    assert (projected.pixel_index >= 0).tolist() == [False] * 5 + [True] + [False] * 2
    assert np.count_nonzero(projected.image[0]) == 1


def test_nothing_is_drawn_beside_the_camera_image():
    grid = Grid.fit(CameraModel.pinhole(8, 8, 90.0), 8, 24)
    xyz, _ = cloud(5000, 1)
    projected = straight_ahead(xyz[:, [1, 2, 0]], grid)
    assert projected.in_view > 100
    assert not projected.image[:, ~grid.mask()].any()


def test_edges_are_half_a_pixel_outside_the_outer_centres():
    camera = CameraModel(10, 10, np.array([[10.0, 0, 4.5], [0, 10, 4.5], [0, 0, 1]]))
    grid = Grid.fit(camera, 10, 10)
    z, tiny = 10.0, 1e-4
    u = np.array([-0.5 + tiny, -0.5 - tiny, 9.5 - tiny, 9.5 + tiny])
    projected = straight_ahead([[(value - 4.5) / 10 * z, 0, z] for value in u], grid)
    assert projected.pixel_index.tolist() == [50, -1, 59, -1]


def test_densify_equals_the_reference_and_keeps_what_is_there():
    rng = np.random.default_rng(0)
    image = rng.uniform(1, 50, (3, 30, 40)).astype(np.float32)
    image[:, rng.random((30, 40)) < 0.85] = 0
    image[:, :4] = image[:, :, :3] = 0
    content = (4, 3, 24, 35)
    dense = densify(image, content)
    assert np.array_equal(dense, reference_densify(image, content))
    filled = image[0] != 0
    assert np.array_equal(dense[:, filled], image[:, filled])
    assert not dense[:, :4].any() and not dense[:, :, :3].any()


def test_densify_takes_the_first_of_equal_neighbours():
    image = np.zeros((3, 3, 3), dtype=np.float32)
    image[:, 0, 2] = 10, 0.3, 1
    image[:, 2, 0] = 10, 0.6, 2
    assert densify(image, (0, 0, 3, 3))[1, 1, 1] == np.float32(0.3)


def test_densify_carries_the_channels_of_one_point():
    image = np.zeros((3, 3, 3), dtype=np.float32)
    image[:, 0, 0] = 30, 0.9, 2.0
    image[:, 2, 2] = 10, 0.1, -1.0
    assert densify(image, (0, 0, 3, 3))[:, 1, 1].tolist() == pytest.approx([10, 0.1, -1.0])


def test_depth_image_becomes_the_points_it_saw():
    model = CameraModel(6, 4, np.array([[5.0, 0, 2.5], [0, 5, 1.5], [0, 0, 1]]))
    depth = np.full((4, 6), 7.0, dtype=np.float32)
    depth[0, 0], depth[0, 1], depth[0, 2] = 0, np.nan, -1
    xyz = depth_to_points(depth, model.pixel_rays())
    assert np.isnan(xyz[:3]).all() and (xyz[3:, 2] == 7).all()
    assert xyz[23].tolist() == pytest.approx([3.5, 2.1, 7.0])


def road_frame():
    folder = Path(DATA) / "road_frame"
    camera, lidar = (
        next(iter(json.loads((folder / name).read_text()).values()))["param"]
        for name in ("camera_intrinsic.json", "lidar_to_camera.json")
    )
    K, D = np.array(camera["cam_K"]["data"]), tuple(camera["cam_dist"]["data"][0])
    fields = read_pcd(folder / "lidar.pcd")
    xyz = np.stack([fields[axis] for axis in "xyz"], axis=1)
    return K, D, np.array(lidar["sensor_calib"]["data"]), xyz, fields["intensity"].astype(np.float32)


@needs_road_frame
@pytest.mark.parametrize("distorted, count", [(True, 10_523), (False, 10_331)])
def test_points_of_the_real_road_frame_in_the_picture(distorted, count):
    K, D, camera_from_lidar, xyz, _ = road_frame()
    model = CameraModel(1920, 1200, K, "plumb_bob", D) if distorted else CameraModel(1920, 1200, K)
    uv, valid = model.project(xyz.astype(np.float64) @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3])
    u, v = uv[valid].T
    assert int(((u >= 0) & (u < 1920) & (v >= 0) & (v < 1200)).sum()) == count


@needs_road_frame
def test_the_real_road_frame_equals_the_reference():
    K, D, camera_from_lidar, xyz, intensity = road_frame()
    grid = Grid.fit(CameraModel(1920, 1200, K, "plumb_bob", D), 160, 288)
    base_from_lidar = np.eye(4)
    base_from_lidar[2, 3] = 1.9
    ahead = xyz[:, 0] > 0  # the reference is slow, and what is behind is tested above
    args = (xyz[ahead], intensity[ahead], grid, camera_from_lidar, base_from_lidar)
    projected = project_cloud(*args, intensity_scale=1 / 255)
    check(projected, reference(*args, scale=1 / 255))
    assert 10_000 < projected.in_view < 10_600
