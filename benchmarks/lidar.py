# SPDX-License-Identifier: Apache-2.0
"""Benchmark: a cloud of 120,000 points to a z-buffered image of (range, intensity, height)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec

import cv2
import numpy as np

from anyseg_ros.sensors.calibration import Z_MIN_M, CameraModel, Grid
from anyseg_ros.sensors.lidar import MIN_RANGE_M, Projected, project_cloud
from anyseg_ros.sensors.motion import compensate, twist_of_sensor
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.types import Points, Twist
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.compare import both, same_images

RINGS = 64
MAX_RANGE_M = 100.0
LIDAR_HEIGHT_M = 1.9
BASE_FROM_LIDAR = pose_matrix((1.4, 0.0, LIDAR_HEIGHT_M))
BASE_FROM_CAMERA = pose_matrix((1.5, 0.0, 1.6), optical=True)
PLANE_FROM_LIDAR = np.linalg.inv(BASE_FROM_CAMERA) @ BASE_FROM_LIDAR
DISTORTION = (-0.28, 0.07, 0.0005, -0.0003, 0.0)
TWIST = Twist(0, np.array([12.0, 0.1, 0.0]), np.array([0.02, -0.03, 0.4]))
SKEW_NS = 50_000_000
FLOAT32_SHARE = 0.001
"""Open3D projects in float32: so many pixels may hold a point that float64 puts into the next one."""


@dataclass(frozen=True)
class Cloud:
    """xyz float32 [N,3] in metres in the lidar's frame; intensity float32 [N], 0..1."""

    xyz: np.ndarray
    intensity: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """A cloud as an image: image float32 [3,H,W]; index int32 [N], flat pixel of each point, -1 out of view."""

    image: np.ndarray
    index: np.ndarray


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """A scan around the vehicle, most of which no camera sees, one of what lies ahead, one from a moving vehicle."""
    for name, fov_deg in (("around", 360.0), ("ahead", 70.0)):
        yield lambda name=name, fov_deg=fov_deg: lidar_case(name, fov_deg, settings)
    yield lambda: moving_case(settings)


def setting(settings: Settings, fov_deg: float) -> tuple[Cloud, CameraModel, Grid]:
    """The scan, the camera and the grid of its own pixels."""
    points, width, height = (6_400, 320, 180) if settings.quick else (120_000, 1280, 720)
    camera = replace(CameraModel.pinhole(width, height, 77.0), distortion="plumb_bob", D=DISTORTION)
    return street_scan(points, fov_deg), camera, Grid.fit(camera, height, width)


def moving_case(settings: Settings) -> Case:
    """A full turn of 100 ms from a vehicle that turns: every point moved to the picture's time, and drawn."""
    cloud, camera, grid = setting(settings, 360.0)
    t_ns = np.tile(np.linspace(-50e6, 50e6, len(cloud.xyz) // RINGS).astype(np.int64), RINGS)
    points = Points(cloud.xyz, cloud.intensity, t_ns)

    def ours() -> Drawn:
        moved = compensate(points, 0, SKEW_NS, TWIST, BASE_FROM_LIDAR)
        return draw_ours(Cloud(moved.xyz, cloud.intensity), grid)

    def numpy_way() -> Drawn:
        return draw_ours(Cloud(move_with_numpy(points), cloud.intensity), grid)

    def similar(found: Drawn, theirs: Drawn) -> Agreement:
        return same_images(found.image, theirs.image, atol=1e-4, allowed_share=FLOAT32_SHARE)

    def incomparable(found: Drawn, theirs: Drawn) -> Agreement:
        apart = float((found.index != theirs.index).mean())
        return Agreement(apart > 0, f"{apart:.1%} of the points have another pixel, as they should")

    return Case(
        "lidar_moving",
        f"{len(cloud.xyz)} points of a turning vehicle, each moved from its own time to that of a picture 50 ms later, "
        f"to a {camera.width}x{camera.height} image with plumb_bob distortion and pixel index",
        len(cloud.xyz),
        "point",
        ours,
        (
            Rival("Rodrigues' formula in NumPy, then our drawing", numpy_way, similar),
            Rival(
                "our drawing without compensation",
                lambda: draw_ours(cloud, grid),
                incomparable,
                "another picture: below 1 by what compensation costs",
            ),
        ),
    )


def move_with_numpy(points: Points) -> np.ndarray:
    """The exponential of SE(3) for all points at once: float32 [N,3]."""
    linear, angular = twist_of_sensor(TWIST, BASE_FROM_LIDAR)
    xyz, dt = points.xyz.astype(np.float64), ((points.t_ns - SKEW_NS) * 1e-9)[:, None]
    rate = np.linalg.norm(angular)
    angle, axis, forward = rate * dt, angular / rate, np.broadcast_to(linear / rate, xyz.shape)
    turned = xyz + np.sin(angle) * np.cross(axis, xyz) + (1 - np.cos(angle)) * np.cross(axis, np.cross(axis, xyz))
    across = np.cross(axis, forward)
    moved = angle * forward + (1 - np.cos(angle)) * across + (angle - np.sin(angle)) * np.cross(axis, across)
    return (turned + moved).astype(np.float32)


def lidar_case(name: str, fov_deg: float, settings: Settings) -> Case:
    """One scan, our kernel, and what stands for it in Python code that one finds."""
    cloud, camera, grid = setting(settings, fov_deg)
    points, (width, height) = len(cloud.xyz), (camera.width, camera.height)
    rivals = [
        Rival(title, lambda draw=draw: draw(cloud, camera), same_drawing)
        for title, draw in (
            ("cv2.projectPoints + np.lexsort", draw_with_lexsort),
            ("cv2.projectPoints + np.minimum.at", draw_with_minimum),
        )
    ]
    skipped = {}
    if find_spec("open3d") is None:
        skipped["Open3D project_to_rgbd_image"] = "open3d is not installed"
    else:
        rivals.append(open3d_rival(cloud, camera))
    return Case(
        f"lidar_{name}",
        f"{points} points ({fov_deg:g} degrees) to a {width}x{height} image with plumb_bob distortion and pixel index",
        points,
        "point",
        lambda: draw_ours(cloud, grid),
        tuple(rivals),
        skipped,
    )


def street_scan(points: int, fov_deg: float) -> Cloud:
    """What a lidar of 64 rings sees between walls at changing distances: ground below, walls above."""
    rng = np.random.default_rng(7)
    columns = points // RINGS
    azimuth = np.deg2rad(np.linspace(-fov_deg / 2, fov_deg / 2, columns, endpoint=False))
    elevation = np.deg2rad(np.linspace(-25.0, 5.0, RINGS))[:, None]
    wall_m = np.repeat(rng.uniform(6, 60, columns // 10 + 1), 10)[:columns]
    with np.errstate(divide="ignore"):
        ground_m = np.where(elevation < 0, LIDAR_HEIGHT_M / -np.sin(elevation), np.inf)
    range_m = np.minimum(ground_m, wall_m) + rng.normal(0, 0.02, (RINGS, columns))
    x, y = (range_m * np.cos(elevation) * turn for turn in (np.cos(azimuth), np.sin(azimuth)))
    xyz = np.stack([x, y, range_m * np.sin(elevation)], axis=-1).reshape(-1, 3)
    return Cloud(xyz.astype(np.float32), rng.random(len(xyz), dtype=np.float32))


def draw_ours(cloud: Cloud, grid: Grid) -> Drawn:
    """Our kernel."""
    drawn: Projected = project_cloud(
        cloud.xyz, cloud.intensity, grid, PLANE_FROM_LIDAR, BASE_FROM_LIDAR, max_range_m=MAX_RANGE_M
    )
    return Drawn(drawn.image, drawn.pixel_index)


def draw_with_lexsort(cloud: Cloud, camera: CameraModel) -> Drawn:
    """Sort by pixel, then depth, and take the first of each pixel."""

    def nearest(pixel: np.ndarray, depth: np.ndarray) -> np.ndarray:
        order = np.lexsort((depth, pixel))
        first = np.ones(len(order), dtype=bool)
        np.not_equal(pixel[order[1:]], pixel[order[:-1]], out=first[1:])
        return order[first]

    return draw_with_opencv(cloud, camera, nearest)


def draw_with_minimum(cloud: Cloud, camera: CameraModel) -> Drawn:
    """Scatter the least depth, and take the points that have it."""

    def nearest(pixel: np.ndarray, depth: np.ndarray) -> np.ndarray:
        least = np.full(camera.height * camera.width, np.inf)
        np.minimum.at(least, pixel, depth)
        return np.flatnonzero(depth == least[pixel])[::-1]  # of equal ones the first is written last

    return draw_with_opencv(cloud, camera, nearest)


def draw_with_opencv(
    cloud: Cloud, camera: CameraModel, nearest: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Drawn:
    """Gate, transform, cv2.projectPoints, bounds, then whatever finds the nearest point of each pixel."""
    xyz = cloud.xyz.astype(np.float64)
    range_m = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    optical = xyz @ PLANE_FROM_LIDAR[:3, :3].T + PLANE_FROM_LIDAR[:3, 3]
    depth = optical[:, 2]
    in_front = (range_m >= MIN_RANGE_M) & (range_m <= MAX_RANGE_M) & (depth > Z_MIN_M)
    # Beyond this angle the distortion polynomial folds points back into the image.
    in_front &= np.hypot(optical[:, 0], optical[:, 1]) <= camera.lens[2] * depth
    kept = np.flatnonzero(in_front)
    uv = cv2.projectPoints(optical[kept], np.zeros(3), np.zeros(3), camera.K, np.array(camera.D))[0].reshape(-1, 2)
    column, row = np.floor(uv + 0.5).astype(np.int64).T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    kept, pixel = kept[inside], (row * camera.width + column)[inside]
    index = np.full(len(xyz), -1, dtype=np.int32)
    index[kept] = pixel
    winners = nearest(pixel, depth[kept])
    kept, pixel = kept[winners], pixel[winners]
    height_m = xyz[kept] @ BASE_FROM_LIDAR[2, :3] + BASE_FROM_LIDAR[2, 3]
    image = np.zeros((3, camera.height * camera.width), dtype=np.float32)
    image[:, pixel] = range_m[kept], cloud.intensity[kept], height_m
    return Drawn(image.reshape(3, camera.height, camera.width), index)


def same_drawing(ours: Drawn, theirs: Drawn) -> Agreement:
    """Image and pixel index must be equal."""
    moved = int(np.count_nonzero(ours.index != theirs.index))
    index = Agreement(moved == 0, f"{moved} of {len(ours.index)} points have another pixel")
    return both(same_images(ours.image, theirs.image, atol=1e-4), index)


def open3d_rival(cloud: Cloud, camera: CameraModel) -> Rival:
    """Open3D's tensor point cloud, its three colours being (range, intensity, height).

    It knows no distortion, so that its image is compared with what ours draws without any.
    """
    import open3d as o3d

    intrinsics, extrinsics = o3d.core.Tensor(camera.K), o3d.core.Tensor(PLANE_FROM_LIDAR)

    def draw() -> np.ndarray:
        channels = np.empty((len(cloud.xyz), 3), dtype=np.float32)
        channels[:, 0] = np.sqrt(np.einsum("ij,ij->i", cloud.xyz, cloud.xyz))
        channels[:, 1] = cloud.intensity
        channels[:, 2] = cloud.xyz @ BASE_FROM_LIDAR[2, :3].astype(np.float32) + np.float32(BASE_FROM_LIDAR[2, 3])
        points = o3d.t.geometry.PointCloud(o3d.core.Tensor.from_numpy(cloud.xyz))
        points.point.colors = o3d.core.Tensor.from_numpy(channels)
        drawn = points.project_to_rgbd_image(
            camera.width, camera.height, intrinsics, extrinsics, depth_scale=1.0, depth_max=2 * MAX_RANGE_M
        )
        return np.asarray(drawn.color)

    def agreement(_: Drawn, theirs: np.ndarray) -> Agreement:
        undistorted = Grid.fit(replace(camera, distortion="none", D=()), camera.height, camera.width)
        ours = draw_ours(cloud, undistorted).image
        return same_images(ours, theirs.transpose(2, 0, 1), atol=1e-3, allowed_share=FLOAT32_SHARE)

    note = "all cores (ours uses one); float32; neither distortion nor pixel index; compared with ours undistorted"
    return Rival("Open3D project_to_rgbd_image", draw, agreement, note)
