# SPDX-License-Identifier: Apache-2.0
"""Points to the grid: one pass from the cloud to a z-buffered image of (range, intensity, height)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from anyseg_ros.sensors.calibration import Z_MIN_M, Grid
from anyseg_ros.sensors.projection import draw_points

MIN_RANGE_M = 1.0


@dataclass(frozen=True)
class Projected:
    """A cloud on the grid.

    Attributes:
        image: float32 [3,H,W], range in m (Euclidean, in the sensor's frame), intensity 0..1, height in m above the
            base frame; 0 where no point fell.
        pixel_index: int32 [N], flat grid pixel of each point, -1 where it is not in view. Points that a nearer one
            hides keep their pixel.
        in_view: number of points with a pixel.
    """

    image: np.ndarray
    pixel_index: np.ndarray
    in_view: int


def project_cloud(
    xyz: np.ndarray,
    intensity: np.ndarray,
    grid: Grid,
    plane_from_sensor: np.ndarray,
    base_from_sensor: np.ndarray,
    intensity_scale: float = 1.0,
    max_range_m: float = 100.0,
    min_range_m: float = MIN_RANGE_M,
) -> Projected:
    """Draw a cloud on the grid; in a pixel the point with the least depth wins, of equal ones the first.

    Args:
        xyz: float32 [N,3] in metres in the sensor's frame; points that are not finite, nearer than
            ``min_range_m`` or beyond ``max_range_m`` are left out.
        intensity: float32 [N] as the driver gives it.
        grid: the grid; points beside the camera image are left out.
        plane_from_sensor: [4,4] into the optical frame of the image plane.
        base_from_sensor: [4,4] into the base frame, for the height.
        intensity_scale: intensity times this is cut to 0..1.
        max_range_m: the far gate.
        min_range_m: the near gate.
    """
    image = np.zeros((3, grid.height, grid.width), dtype=np.float32)
    pixel_index = np.empty(len(xyz), dtype=np.int32)
    depth = np.zeros(grid.height * grid.width)  # 0: empty. Memory that comes as zeros is not written to first
    in_view = draw_points(
        np.require(xyz, np.float32, ["C", "W"]),  # a read-only array would be another kernel to compile
        np.require(intensity, np.float32, ["C", "W"]),
        float(intensity_scale),
        np.ascontiguousarray(grid.camera.R @ plane_from_sensor[:3], dtype=np.float64),
        np.ascontiguousarray(base_from_sensor[2], dtype=np.float64),
        (float(min_range_m), float(max_range_m), Z_MIN_M),
        grid.source_camera.intrinsics,
        *grid.source_camera.lens,
        grid.scale,
        grid.content,
        image.reshape(3, -1),
        grid.width,
        depth,
        pixel_index,
    )
    return Projected(image, pixel_index, in_view)


def densify(image: np.ndarray, content: tuple[int, int, int, int]) -> np.ndarray:
    """Fill each empty pixel of the content from its nearest-range neighbour (3x3), all channels together.

    The minimum keeps edges of near things whole, where a dilation by maximum (cv2.dilate) lets the background eat
    them and mixes the channels of different points. Of equal ranges the first in reading order wins.

    Args:
        image: float32 [3,H,W], channel 0 the range in m, 0 where empty.
        content: (top, left, height, width) of the rectangle that may be filled.
    """
    dense = image.copy()
    _densify(image, dense, content)
    return dense


@njit(cache=True, nogil=True)
def _densify(image, dense, content):
    top, left, height, width = content
    for row in range(top, top + height):
        for column in range(left, left + width):
            if image[0, row, column] != 0:
                continue
            best = np.float32(np.inf)
            best_row, best_column = -1, -1
            for r in range(max(top, row - 1), min(top + height, row + 2)):
                for c in range(max(left, column - 1), min(left + width, column + 2)):
                    value = image[0, r, c]
                    if value != 0 and value < best:
                        best = value
                        best_row, best_column = r, c
            if best_row >= 0:
                for channel in range(3):
                    dense[channel, row, column] = image[channel, best_row, best_column]
