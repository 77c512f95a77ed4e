# SPDX-License-Identifier: Apache-2.0
"""Camera images to the grid: resized into the content rectangle, or turned into the image plane."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from anyseg_ros.sensors.calibration import CameraModel, Grid

_UNIT = (np.arange(256) / 255).astype(np.float32)


def rotation_maps(model: CameraModel, grid: Grid, plane_from_sensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For a camera that is not the image plane: where each content pixel finds its colour (cv2.remap maps).

    The two cameras differ by a rotation (things far away); both lens models are applied.

    Returns:
        float32 [h,w] x and y maps over the content rectangle; -1 where the camera does not look.
    """
    top, left, height, width = grid.content
    v, u = np.mgrid[top : top + height, left : left + width]
    rays = grid.camera.rays(grid.grid_to_camera(np.stack([u.ravel(), v.ravel()], axis=1)))
    uv, valid = model.project(rays @ np.asarray(plane_from_sensor)[:3, :3])
    uv[~valid] = -1e4
    maps = uv.reshape(height, width, 2).astype(np.float32)
    return np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])


def camera_to_planes(image: np.ndarray, grid: Grid, maps: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """A raw image on the grid.

    Args:
        image: uint8 [H,W,3] RGB.
        grid: the grid.
        maps: of ``rotation_maps``, for a camera that is not the image plane.

    Returns:
        float32 [3,H,W] RGB 0..1, 0 outside the content.
    """
    _, _, height, width = grid.content
    if maps is not None:
        inner = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    else:
        inner = _resized(_inside(image, grid.source), height, width)
    planes = np.zeros((3, grid.height, grid.width), dtype=np.float32)
    _to_planes(np.require(inner, np.uint8, ["C", "W"]), _UNIT, grid.content, planes)
    return planes


def grid_to_image(on_grid: np.ndarray, grid: Grid, fill: int) -> np.ndarray:
    """A picture of the grid at the camera's resolution, by nearest neighbour.

    Args:
        on_grid: [H,W] or [H,W,C].
        grid: the grid.
        fill: what stands where the camera image reaches beyond the grid.
    """
    top, left, height, width = grid.source
    image = np.full((grid.camera.height, grid.camera.width, *on_grid.shape[2:]), fill, dtype=on_grid.dtype)
    inner = np.ascontiguousarray(_inside(on_grid, grid.content))
    image[top : top + height, left : left + width] = cv2.resize(
        inner, (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return image


def _inside(image: np.ndarray, rectangle: tuple[int, int, int, int]) -> np.ndarray:
    top, left, height, width = rectangle
    return image[top : top + height, left : left + width]


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@njit(cache=True, nogil=True)
def _to_planes(inner, unit, content, planes):
    top, left, height, width = content
    for channel in range(3):
        for row in range(height):
            for column in range(width):
                planes[channel, top + row, left + column] = unit[inner[row, column, channel]]
