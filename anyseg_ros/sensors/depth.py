# SPDX-License-Identifier: Apache-2.0
"""Depth images to points, so that a depth camera takes the lidar's way to the grid."""

from __future__ import annotations

import numpy as np
from numba import njit


def depth_to_points(depth_m: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Unproject every pixel.

    Args:
        depth_m: float32 [H,W], z in metres; 0, negative or NaN where nothing returned.
        rays: float64 [H*W,3] with z = 1 (``CameraModel.pixel_rays``).

    Returns:
        float32 [H*W,3] in the optical frame; NaN where nothing returned.
    """
    xyz = np.empty((len(rays), 3), dtype=np.float32)
    _unproject_depth(np.require(depth_m, np.float32, ["C", "W"]).ravel(), rays, xyz)
    return xyz


@njit(cache=True, nogil=True)
def _unproject_depth(depth, rays, xyz):
    for i in range(depth.shape[0]):
        z = depth[i]
        if not z > 0:
            z = np.float32(np.nan)
        for axis in range(3):
            xyz[i, axis] = rays[i, axis] * z
