# SPDX-License-Identifier: Apache-2.0
"""Whatever lens, pose, fit and cloud: the kernel draws what a plain reference in NumPy draws, and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.calibration import Z_MIN_M, CameraModel, Grid
from anyseg_ros.sensors.lidar import MIN_RANGE_M, densify, project_cloud
from anyseg_ros.sensors.poses import pose_matrix

EXAMPLES = settings(max_examples=60, deadline=None)
FAR_M = 80.0

lenses = st.sampled_from(
    [
        ("none", ()),
        ("plumb_bob", (-0.3, 0.08, 0.001, -0.0005)),
        ("plumb_bob", (-0.28, 0.07, 0.0005, -0.0003, 0.01)),
        ("plumb_bob", (0.4, 0.2, -0.002, 0.001, 0.1)),
        ("rational_polynomial", (0.5, 0.1, 0.001, -0.0004, 0.02, 0.8, 0.2, 0.03)),
        ("equidistant", (-0.02, 0.01, -0.003, 0.0004)),
        ("equidistant", (-0.2, 0.0, 0.0, 0.0)),
    ]
)
angles = st.tuples(*[st.floats(-180, 180)] * 3)


def bent(camera, x, y):
    """The lens in float64, by the formulas of OpenCV's documentation: (x, y) distorted, and whether that holds."""
    d = np.zeros(8)
    d[: len(camera.D)] = camera.D
    limit = camera.lens[2]
    if camera.distortion == "none":
        return x, y, np.full(len(x), True)
    r = np.sqrt(x * x + y * y)
    if camera.distortion == "equidistant":
        theta = np.arctan(r)
        scale = (
            theta * (1 + d[0] * theta**2 + d[1] * theta**4 + d[2] * theta**6 + d[3] * theta**8) / np.maximum(r, 1e-12)
        )
        return x * scale, y * scale, theta <= limit
    k1, k2, p1, p2, k3, k4, k5, k6 = d
    radial = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
    bent_y = y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
    return bent_x, bent_y, r <= limit


def reference(xyz, intensity, grid, plane_from, base_from):
    """(index [N], image [3,H,W], doubtful [N]): doubtful are points that lie on a border within rounding."""
    p, camera = xyz.astype(np.float64), grid.camera
    x, y, z = (p @ plane_from[:3, :3].T + plane_from[:3, 3]).T
    distance = np.linalg.norm(p, axis=1)
    drawn = (distance >= MIN_RANGE_M) & (distance <= FAR_M) & (z > Z_MIN_M)
    safe = np.where(drawn, z, 1.0)
    u, v, valid = bent(camera, x / safe, y / safe)
    u, v = camera.K[0, 0] * u + camera.K[0, 2], camera.K[1, 1] * v + camera.K[1, 2]
    drawn &= valid
    top, left, height, width = grid.content
    on_grid = grid.camera_to_grid(np.stack([u, v], axis=1)) + 0.5
    column, row = np.floor(on_grid).T
    drawn &= (column >= left) & (column < left + width) & (row >= top) & (row < top + height)
    border = np.abs(on_grid - np.round(on_grid)).min(axis=1) < 1e-9
    index = np.where(drawn, row * grid.width + column, -1)
    image = np.zeros((3, grid.height * grid.width), np.float32)
    height_m = p @ base_from[2, :3] + base_from[2, 3]
    for i in sorted(np.flatnonzero(drawn), key=lambda i: -z[i]):  # the nearest is written last
        image[:, int(index[i])] = distance[i], np.clip(intensity[i], 0, 1), height_m[i]
    return index, image.reshape(3, grid.height, grid.width), border


@EXAMPLES
@given(lenses, angles, st.sampled_from(["letterbox", "crop", "stretch"]), st.integers(0, 2**32 - 1))
def test_the_kernel_draws_what_the_reference_draws(lens, rpy_deg, fit, seed):
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(20, 400, 2))
    K = np.array([[width * rng.uniform(0.3, 2), 0, width / 2], [0, width * rng.uniform(0.3, 2), height / 3], [0, 0, 1]])
    grid = Grid.fit(CameraModel(width, height, K, *lens), *(int(n) for n in rng.integers(8, 60, 2)), mode=fit)
    plane_from, base_from = np.linalg.inv(pose_matrix(rng.uniform(-2, 2, 3), rpy_deg)), pose_matrix((0, 0, 1.9))
    xyz = rng.uniform(-50, 50, (1500, 3)).astype(np.float32)
    xyz[:100] *= np.float32(0.03)
    intensity = rng.uniform(-0.5, 1.5, len(xyz)).astype(np.float32)
    drawn = project_cloud(xyz, intensity, grid, plane_from, base_from, 1.0, FAR_M)
    index, image, doubtful = reference(xyz, intensity, grid, plane_from, base_from)
    assert np.array_equal(drawn.pixel_index[~doubtful], index[~doubtful])
    assert drawn.in_view == np.count_nonzero(drawn.pixel_index >= 0)
    if not doubtful.any():
        assert np.abs(drawn.image - image).max() < 1e-4
    assert not drawn.image[:, ~grid.mask()].any()
    dense = densify(drawn.image, grid.content)
    assert not dense[:, ~grid.mask()].any()
    filled = drawn.image[0] > 0
    assert np.array_equal(dense[:, filled], drawn.image[:, filled])


@EXAMPLES
@given(lenses, st.integers(0, 2**32 - 1))
def test_nothing_behind_the_camera_or_beyond_the_lens_is_drawn(lens, seed):
    camera = CameraModel(64, 48, np.array([[30.0, 0, 31.5], [0, 30, 23.5], [0, 0, 1]]), *lens)
    grid, rng = Grid.fit(camera, 48, 64), np.random.default_rng(seed)
    xyz = rng.normal(size=(2000, 3)).astype(np.float32) * np.float32(20)
    x, y, z = xyz.astype(np.float64).T
    index = project_cloud(xyz, np.ones(2000, np.float32), grid, np.eye(4), np.eye(4)).pixel_index
    limit = camera.lens[2]
    beyond = np.arctan2(np.hypot(x, y), z) > limit if lens[0] == "equidistant" else np.hypot(x, y) > limit * np.abs(z)
    assert (index[z <= 0] == -1).all() and (index[beyond] == -1).all() and (index >= 0).any()
