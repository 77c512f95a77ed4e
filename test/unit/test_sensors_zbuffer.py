# SPDX-License-Identifier: Apache-2.0
"""Our z-buffer equals Open3D's project_to_rgbd_image on pinhole data: every pixel, all three channels.

Open3D computes in float32 and lets any of equally deep points win; ours computes in float64 and takes the first. Both
put a point at the nearest pixel, halves upwards, but at -0.5 ours has pixel 0 and Open3D's roundf leaves the image.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from anyseg_ros.bags.pcd import read_pcd
from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.lidar import project_cloud
from anyseg_ros.sensors.poses import pose_matrix

pytestmark = pytest.mark.simulator
DATA = os.environ.get("ANYSEG_TEST_DATA")
FAR_M = 500.0
BASE_FROM_LIDAR = pose_matrix((1.4, 0.0, 1.9), (0.5, 1.0, 2.0))


def channels(xyz, intensity, base_from_lidar):
    """(range, intensity, height) of every point, float32 [N,3], added up in the kernel's order."""
    (x, y, z), up = xyz.astype(np.float64).T, base_from_lidar[2]
    height = up[0] * x + up[1] * y + up[2] * z + up[3]
    return np.stack([np.sqrt(x * x + y * y + z * z), intensity, height], axis=1).astype(np.float32)


def drawn_by_open3d(xyz, colours, camera, plane_from_lidar):
    """Float32 [3,H,W]."""
    o3d = pytest.importorskip("open3d", reason="open3d is not installed")
    tensor = o3d.core.Tensor
    points = o3d.t.geometry.PointCloud(tensor.from_numpy(xyz))
    points.point.colors = tensor.from_numpy(colours)
    drawn = points.project_to_rgbd_image(
        camera.width, camera.height, tensor(camera.K), tensor(plane_from_lidar), depth_scale=1.0, depth_max=FAR_M
    )
    return np.asarray(drawn.color).transpose(2, 0, 1)


def positions(xyz, camera, plane_from_lidar, dtype):
    """Depth and rounded pixel position of every point in one floating-point type: (z [N], uv [N,2])."""
    K, T, points = camera.K.astype(dtype), plane_from_lidar.astype(dtype), xyz.astype(dtype)
    x, y, z = (T[i, 0] * points[:, 0] + T[i, 1] * points[:, 1] + T[i, 2] * points[:, 2] + T[i, 3] for i in range(3))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = dtype(1) / z
        uv = np.stack([K[0, 0] * x * inverse + K[0, 2], K[1, 1] * y * inverse + K[1, 2]], axis=1)
        return z, np.floor(uv + dtype(0.5))


def compare(xyz, camera, plane_from_lidar, base_from_lidar=BASE_FROM_LIDAR):
    """Asserts equality wherever float32 finds the same pixel and depth order; the share of pixels left out."""
    intensity = np.random.default_rng(8).random(len(xyz), dtype=np.float32)
    grid = Grid.fit(camera, camera.height, camera.width)
    ours = project_cloud(xyz, intensity, grid, plane_from_lidar, base_from_lidar, 1.0, FAR_M)
    colours = channels(xyz, intensity, base_from_lidar)
    theirs = drawn_by_open3d(xyz, colours, camera, plane_from_lidar)

    single = positions(xyz, camera, plane_from_lidar, np.float32)
    double = positions(xyz, camera, plane_from_lidar, np.float64)
    excused = np.zeros((camera.height + 2, camera.width + 2), bool)
    moved = (single[1] != double[1]).any(axis=1) & np.isfinite(double[1]).all(axis=1) & (double[0] > 0)
    for _, uv in (single, double):
        columns, rows = (np.clip(uv[moved, axis], -1, size) for axis, size in ((0, camera.width), (1, camera.height)))
        excused[rows.astype(int) + 1, columns.astype(int) + 1] = True
    excused = excused[1:-1, 1:-1]

    pixel, depth = ours.pixel_index, single[0]
    seen = np.flatnonzero(pixel >= 0)
    nearest = np.full(camera.height * camera.width, np.inf, np.float32)
    np.minimum.at(nearest, pixel[seen], depth[seen])
    winners = seen[depth[seen] == nearest[pixel[seen]]]
    many = np.bincount(pixel[winners], minlength=len(nearest)) > 1
    for where in np.flatnonzero(many & ~excused.ravel()):
        tied = colours[winners[pixel[winners] == where]]
        assert (theirs.reshape(3, -1)[:, where] == tied).all(axis=1).any(), "the winner is one of the nearest"
        assert (ours.image.reshape(3, -1)[:, where] == tied).all(axis=1).any()
    excused |= many.reshape(excused.shape)
    different = (ours.image != theirs).any(axis=0) & ~excused
    assert not different.any(), f"{int(different.sum())} pixels differ, which rounding does not explain"
    assert np.count_nonzero(theirs[0]) > 100
    return float(excused.mean()), ours


@pytest.mark.parametrize("seed", range(4))
def test_random_clouds(seed):
    rng = np.random.default_rng(seed)
    camera = CameraModel.pinhole(320, 180, 80.0)
    xyz = rng.uniform((-40, -40, -3), (80, 40, 8), (30_000, 3)).astype(np.float32)
    xyz[rng.integers(0, len(xyz), 200)] = np.nan
    near = np.linalg.norm(xyz, axis=1) < 3  # Open3D has neither a near gate nor a least depth
    left_out, ours = compare(xyz[~near], camera, np.linalg.inv(pose_matrix((0.2, 0, -0.3), optical=True)))
    assert left_out < 1e-3 and ours.in_view > 5_000


@pytest.mark.parametrize("seed", range(4))
def test_positions_that_float32_holds_exactly_with_halves_and_ties(seed):
    rng = np.random.default_rng(seed)
    camera = CameraModel(128, 96, np.array([[64.0, 0, 63.5], [0, 64, 47.5], [0, 0, 1]]))
    z = 2.0 ** rng.integers(1, 6, 20_000)
    # Steps of a quarter of a pixel, on and beside all borders; but -0.5 is where the two differ (see above).
    u, v = rng.integers(-1, 4 * 130, 20_000) / 4, rng.integers(-1, 4 * 98, 20_000) / 4
    xyz = np.stack([(u - 63.5) / 64 * z, (v - 47.5) / 64 * z, z], axis=1).astype(np.float32)
    single, double = (positions(xyz, camera, np.eye(4), dtype) for dtype in (np.float32, np.float64))
    assert np.array_equal(single[1], double[1]), "every position is exact in float32"
    _, ours = compare(xyz, camera, np.eye(4), np.eye(4))
    distinct = np.unique(np.stack([ours.pixel_index, z]), axis=1).shape[1]
    assert ours.in_view > 15_000 and len(z) - distinct > 1000, "many are in view, and many share pixel and depth"


def test_at_minus_one_half_the_pixel_is_ours_alone():
    camera = CameraModel(128, 96, np.array([[64.0, 0, 63.5], [0, 64, 47.5], [0, 0, 1]]))
    xyz = np.array([[-64 / 64 * 4, 0, 4]], np.float32)
    ours = project_cloud(xyz, np.ones(1, np.float32), Grid.fit(camera, 96, 128), np.eye(4), np.eye(4))
    assert ours.pixel_index.tolist() == [48 * 128]
    assert not drawn_by_open3d(xyz, np.ones((1, 3), np.float32), camera, np.eye(4)).any()


@pytest.mark.skipif(not DATA or not (Path(DATA) / "road_frame").is_dir(), reason="ANYSEG_TEST_DATA holds no road_frame")
def test_the_real_road_frame():
    folder = Path(DATA) / "road_frame"
    intrinsic, extrinsic = (
        next(iter(json.loads((folder / name).read_text()).values()))["param"]
        for name in ("camera_intrinsic.json", "lidar_to_camera.json")
    )
    fields = read_pcd(folder / "lidar.pcd")
    xyz = np.stack([fields[axis] for axis in "xyz"], axis=1)
    xyz = np.ascontiguousarray(xyz[np.linalg.norm(xyz, axis=1) >= 1.5])  # Open3D has no near gate
    camera = CameraModel(1920, 1200, np.array(intrinsic["cam_K"]["data"]))
    left_out, ours = compare(xyz, camera, np.array(extrinsic["sensor_calib"]["data"], np.float64))
    assert left_out == 0 and ours.in_view == 10_335
