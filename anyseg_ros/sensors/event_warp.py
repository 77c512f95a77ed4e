# SPDX-License-Identifier: Apache-2.0
"""Where each pixel of an event camera lies on the grid: by rotation alone, or by the depth of what it sees.

An event gives a ray, not a point. Without depth, everything is taken to be far away, where two cameras differ by a
rotation; with a baseline b, a thing at distance z then lies f*b/z pixels beside its place. With a depth per event
pixel, which ``render_depth`` draws from a cloud, the translation counts too.
"""

from __future__ import annotations

import numpy as np

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.lidar import densify, project_cloud


def event_lookup(
    model: CameraModel, grid: Grid, plane_from_sensor: np.ndarray, depth_m: np.ndarray | float | None = None
) -> np.ndarray:
    """The grid pixel of each event pixel.

    Args:
        model: the event camera; its distortion is undone, the image plane's applied.
        grid: the grid.
        plane_from_sensor: [4,4] into the optical frame of the image plane; without depth only its rotation is used.
        depth_m: z in the event camera's frame of what each pixel sees, [He,We] or one number for all; far away where
            it is 0, negative or not finite, and everywhere when it is None.

    Returns:
        int32 [He,We], flat grid pixel, -1 outside the camera image.
    """
    inner, valid = _content_positions(model, grid, plane_from_sensor, depth_m)
    top, left, _, _ = grid.content
    lookup = np.full(len(inner), -1, dtype=np.int32)
    column, row = np.floor(inner[valid]).astype(np.int64).T
    lookup[valid] = (top + row) * grid.width + left + column
    return lookup.reshape(model.height, model.width)


def event_positions(
    model: CameraModel, grid: Grid, plane_from_sensor: np.ndarray, depth_m: np.ndarray | float | None = None
) -> np.ndarray:
    """The place of each event pixel on the grid to fractions of a pixel; the arguments are ``event_lookup``'s.

    Returns:
        float32 [He,We,2], grid column and row, whole numbers being pixel centres; NaN outside the camera image.
    """
    inner, valid = _content_positions(model, grid, plane_from_sensor, depth_m)
    top, left, _, _ = grid.content
    inner[~valid] = np.nan
    return (inner - 0.5 + (left, top)).astype(np.float32).reshape(model.height, model.width, 2)


def render_depth(
    xyz: np.ndarray, model: CameraModel, sensor_from_cloud: np.ndarray, cell_px: int = 8, max_range_m: float = 100.0
) -> np.ndarray:
    """What a cloud says about the depth of each pixel of an event camera: nearest point per cell, densified once.

    A lidar has far fewer points than an event camera has pixels, so that the depth is drawn in cells of
    ``cell_px`` x ``cell_px`` pixels, and each empty cell takes the nearest of its neighbours' depths.

    Args:
        xyz: float32 [N,3] in metres in the frame of the lidar or depth camera; may hold NaN.
        model: the event camera.
        sensor_from_cloud: [4,4] from that frame into the event camera's optical frame.
        cell_px: side of a cell in event pixels.
        max_range_m: the far gate.

    Returns:
        float32 [He,We], z in metres in the event camera's frame, 0 where no point is near.
    """
    cells = Grid.fit(model, -(-model.height // cell_px), -(-model.width // cell_px), "stretch")
    pose = np.asarray(sensor_from_cloud, dtype=np.float64)
    # The third channel is the third row of this pose times the point: the z that is looked for.
    drawn = project_cloud(xyz, np.zeros(len(xyz), np.float32), cells, pose, pose, max_range_m=max_range_m)
    depth_m = densify(drawn.image, cells.content)[2]
    rows = np.floor((np.arange(model.height) + 0.5) * cells.scale[1]).astype(np.int64)
    columns = np.floor((np.arange(model.width) + 0.5) * cells.scale[0]).astype(np.int64)
    return depth_m[np.ix_(rows, columns)]


def _content_positions(
    model: CameraModel, grid: Grid, plane_from_sensor: np.ndarray, depth_m: np.ndarray | float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Where each event pixel lies in the grid's content: float64 [N,2] from its corner, and whether it is in it."""
    pose = np.asarray(plane_from_sensor, dtype=np.float64)
    rays = model.pixel_rays() @ pose[:3, :3].T
    if depth_m is not None:
        depth = np.broadcast_to(np.asarray(depth_m, dtype=np.float64), (model.height, model.width)).reshape(-1, 1)
        known = (depth > 0) & np.isfinite(depth)
        # A point divided by its depth: ray + translation / z has the same pixel, and z may be infinite.
        rays += np.divide(pose[:3, 3], depth, out=np.zeros((len(rays), 3)), where=known)
    uv, valid = grid.source_camera.project(rays)
    _, _, height, width = grid.content
    inner = (uv + 0.5) * grid.scale
    with np.errstate(invalid="ignore"):
        valid &= np.all((inner >= 0) & (inner < (width, height)), axis=1)
    return inner, valid
