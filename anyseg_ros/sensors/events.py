# SPDX-License-Identifier: Apache-2.0
"""Events to the grid: a lookup table from event pixels to grid pixels, and the accumulation of a window."""

from __future__ import annotations

import numpy as np
from numba import njit

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.types import Events

SATURATION = 10


def event_lookup(model: CameraModel, grid: Grid, plane_from_sensor: np.ndarray) -> np.ndarray:
    """Where each event pixel lies on the grid, for things far away: the two cameras differ by a rotation.

    With a baseline of centimetres the neglected translation shifts a thing at distance z by f*b/z pixels.

    Args:
        model: the event camera; its distortion is undone, the image plane's applied.
        grid: the grid.
        plane_from_sensor: [4,4] into the optical frame of the image plane; only its rotation is used.

    Returns:
        int32 [He,We], flat grid pixel, -1 outside the camera image.
    """
    rays = model.pixel_rays() @ np.asarray(plane_from_sensor)[:3, :3].T
    uv, valid = grid.camera.project(rays)
    top, left, height, width = grid.content
    inner = (uv + 0.5) * grid.scale
    with np.errstate(invalid="ignore"):
        valid &= np.all((inner >= 0) & (inner < (width, height)), axis=1)
    lookup = np.full(len(uv), -1, dtype=np.int32)
    column, row = np.floor(inner[valid]).astype(np.int64).T
    lookup[valid] = (top + row) * grid.width + left + column
    return lookup.reshape(model.height, model.width)


def accumulate(
    events: Events, lookup: np.ndarray, height: int, width: int, until_ns: int, window_ns: int
) -> tuple[np.ndarray, int, int]:
    """The events of (until_ns - window_ns, until_ns] as an image.

    Args:
        events: in the stamp clock.
        lookup: of ``event_lookup``; its shape is the sensor's size.
        height: of the grid.
        width: of the grid.
        until_ns: end of the window, in the stamp clock.
        window_ns: its length.

    Returns:
        float32 [3,H,W]: count of ON, count of OFF (both cut at 10 and divided by 10), recency of the last event
        (1 at the window's end, towards 0 at its start; 0 where none); the number of events that fell on it; and
        the number of events outside the sensor.
    """
    cut = events.between(until_ns - window_ns, until_ns)
    counts = np.zeros((2, height * width), dtype=np.int32)
    last = np.full(height * width, -1, dtype=np.int64)
    x, y = np.require(cut.x, np.uint16, ["C", "W"]), np.require(cut.y, np.uint16, ["C", "W"])
    p, t_ns = np.require(cut.p, np.uint8, ["C", "W"]), np.require(cut.t_ns, np.int64, ["C", "W"])
    used, outside = _count(x, y, p, t_ns, lookup, until_ns - window_ns, counts, last)
    image = np.zeros((3, height, width), dtype=np.float32)
    _finish(counts, last, SATURATION, window_ns, image.reshape(3, -1))
    return image, used, outside


@njit(cache=True, nogil=True)
def _count(x, y, p, t_ns, lookup, start_ns, counts, last):
    used, outside = 0, 0
    for i in range(t_ns.shape[0]):
        if x[i] >= lookup.shape[1] or y[i] >= lookup.shape[0]:
            outside += 1
            continue
        pixel = lookup[y[i], x[i]]
        if pixel < 0:
            continue
        counts[0 if p[i] else 1, pixel] += 1
        last[pixel] = max(last[pixel], t_ns[i] - start_ns)
        used += 1
    return used, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(counts, last, saturation, window_ns, image):
    for pixel in range(last.shape[0]):
        if last[pixel] < 0:
            continue
        for channel in range(2):
            image[channel, pixel] = min(counts[channel, pixel], saturation) / saturation
        image[2, pixel] = last[pixel] / window_ns
