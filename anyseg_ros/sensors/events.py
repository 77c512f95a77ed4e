# SPDX-License-Identifier: Apache-2.0
"""A window of events as an image: polarity histogram, voxel grid, time surface.

All three draw the events of (until_ns - window_ns, until_ns], or the last ``max_events`` of them, as float32 [3,H,W],
0 where nothing happened. They share the counts they return: events drawn, and events outside the sensor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.types import Events

SATURATION = 10
VOXEL_BINS = 3
DECAY_NS = 10_000_000

# What the histogram keeps of a pixel while it counts: ON in the lowest bits, then OFF, then ns since the start.
COUNT_BITS = 12
COUNT_LIMIT = (1 << COUNT_BITS) - 1
AGE_SHIFT = 2 * COUNT_BITS
COUNTS_MASK = (1 << AGE_SHIFT) - 1
BLOCK = 256


def accumulate(
    events: Events,
    lookup: np.ndarray,
    height: int,
    width: int,
    until_ns: int,
    window_ns: int,
    saturation: int = SATURATION,
    max_events: int = 0,
) -> tuple[np.ndarray, int, int]:
    """The polarity histogram of a window, and its recency.

    Args:
        events: in the stamp clock.
        lookup: int32 [He,We] of ``event_warp.event_lookup``; its shape is the sensor's size.
        height: of the grid.
        width: of the grid.
        until_ns: end of the window, in the stamp clock.
        window_ns: its length.
        saturation: counts are cut here, and divided by it.
        max_events: only so many, the last ones; 0 for all.

    Returns:
        float32 [3,H,W]: count of ON, count of OFF (both cut and divided by the saturation), recency of the last
        event (1 at the window's end, towards 0 at its start; 0 where none); the number of events that fell on it;
        and the number of events outside the sensor.

    Raises:
        ValueError: the saturation or the window does not fit the bits kept per pixel.
    """
    if not (1 <= saturation <= COUNT_LIMIT and 1 <= window_ns < 1 << 39):
        raise ValueError(
            f"the saturation is {saturation} and the window {window_ns} ns, expected 1 to {COUNT_LIMIT} and up to 549 s"
        )
    cut, _ = _window(events, until_ns, window_ns, max_events)
    cells = np.zeros(height * width, dtype=np.int64)
    used, outside, _ = _count(*_columns(cut), lookup, until_ns - window_ns, saturation, cells)
    image = np.empty((3, height, width), dtype=np.float32)
    _finish_histogram(cells, saturation, window_ns, image.reshape(3, -1))
    return image, used, outside


def voxel_grid(
    events: Events,
    positions: np.ndarray,
    grid: Grid,
    until_ns: int,
    window_ns: int,
    saturation: float = SATURATION,
    max_events: int = 0,
    bins: int = VOXEL_BINS,
) -> tuple[np.ndarray, int, int]:
    """The voxel grid of a window: each event spread over the two bins and the four pixels that it lies between.

    V(b, v, u) is the sum over events of s * max(0, 1 - |b - t*|) * max(0, 1 - |u - x|) * max(0, 1 - |v - y|) with
    s = 1 for ON and -1 for OFF, and t* = (bins - 1) * (t - start) / (until - start) (Zhu et al., Unsupervised
    Event-based Learning of Optical Flow, Depth and Egomotion, CVPR 2019). The start is the window's own, not the
    time of the first event, so that the same moment lies in the same bin however busy the scene is; with
    ``max_events`` cutting the window it is the first event that is left. Events that all come at the very end lie
    in the last bin. What falls beside the camera image is lost.

    Args:
        events: in the stamp clock.
        positions: float32 [He,We,2] of ``event_warp.event_positions``; its shape is the sensor's size.
        grid: the grid.
        until_ns: end of the window, in the stamp clock.
        window_ns: its length.
        saturation: sums are cut at plus and minus this, and divided by it.
        max_events: only so many, the last ones; 0 for all.
        bins: number of bins, at least 2.

    Returns:
        float32 [bins,H,W] in -1..1; the number of events that fell on it; the number of events outside the sensor.
    """
    cut, start_ns = _window(events, until_ns, window_ns, max_events)
    voxels = np.zeros((bins, grid.height, grid.width))
    used, outside = _spread(*_columns(cut), positions, start_ns, until_ns, grid.content, voxels)
    return np.clip(voxels / saturation, -1.0, 1.0).astype(np.float32), used, outside


def time_surface(
    events: Events,
    lookup: np.ndarray,
    height: int,
    width: int,
    until_ns: int,
    window_ns: int,
    saturation: int = SATURATION,
    max_events: int = 0,
    decay_ns: int = DECAY_NS,
) -> tuple[np.ndarray, int, int]:
    """The exponential time surface of each polarity, and the count of both.

    S_p(pixel) = exp(-(until - T) / decay) with T the time of the pixel's last event of polarity p in the window
    (Lagorce et al., HOTS, TPAMI 2017). The surfaces say when, not how often: the third channel does.

    Args:
        events: in the stamp clock.
        lookup: int32 [He,We] of ``event_warp.event_lookup``; its shape is the sensor's size.
        height: of the grid.
        width: of the grid.
        until_ns: end of the window, in the stamp clock.
        window_ns: its length.
        saturation: counts are cut here, and divided by it.
        max_events: only so many, the last ones; 0 for all.
        decay_ns: after this long a surface has fallen to 1/e.

    Returns:
        float32 [3,H,W]: surface of ON, surface of OFF, count of both (cut and divided by the saturation); the number
        of events that fell on it; the number of events outside the sensor.
    """
    cut, _ = _window(events, until_ns, window_ns, max_events)
    image = np.zeros((3, height, width), dtype=np.float32)
    used, outside = _draw_surface(*_columns(cut), lookup, until_ns, float(decay_ns), image.reshape(3, -1))
    image[2] = np.minimum(image[2], saturation) / saturation
    return image, used, outside


def _window(events: Events, until_ns: int, window_ns: int, max_events: int) -> tuple[Events, int]:
    """The events of the window, and where it starts: later than its length says where ``max_events`` cuts it."""
    start_ns = until_ns - window_ns
    cut = events.between(start_ns, until_ns)
    if not 0 < max_events < len(cut):
        return cut, start_ns
    last = slice(len(cut) - max_events, None)
    cut = Events(cut.x[last], cut.y[last], cut.t_ns[last], cut.p[last], cut.width, cut.height)
    return cut, int(cut.t_ns[0])


def _columns(events: Events) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, p, t_ns as the kernels are compiled for: other types, strides or read-only arrays are copied."""
    return (
        np.require(events.x, np.uint16, ["C", "W"]),
        np.require(events.y, np.uint16, ["C", "W"]),
        np.require(events.p, np.uint8, ["C", "W"]),
        np.require(events.t_ns, np.int64, ["C", "W"]),
    )


@njit(cache=True, nogil=True)
def _count(x, y, p, t_ns, lookup, start_ns, saturation, cells):
    """Count a window into cells, a block of events at a time; the number drawn and the number outside the sensor.

    On a large grid the time goes into waiting for memory. Short loops without branches on the data let the processor
    wait for many places at once, where one loop that does everything waits for them one after another.
    """
    block = np.empty(BLOCK, dtype=np.int64)
    pixel_of = lookup.reshape(-1)
    used, outside, touched = 0, 0, 0
    for first in range(0, t_ns.shape[0], BLOCK):
        count = min(BLOCK, t_ns.shape[0] - first)
        for k in range(count):
            inside = (x[first + k] < lookup.shape[1]) & (y[first + k] < lookup.shape[0])
            block[k] = np.int64(y[first + k]) * lookup.shape[1] + x[first + k] if inside else -1
            outside += 1 - inside
        for k in range(count):
            if block[k] >= 0:
                block[k] = pixel_of[block[k]]
        for k in range(count):
            if block[k] >= 0:
                touched |= cells[block[k]]  # brings the cells near; the result itself is not needed
        for k in range(count):
            if block[k] < 0:
                continue
            cell = cells[block[k]]
            shift = COUNT_BITS * (p[first + k] == 0)
            counts, age_ns = cell & COUNTS_MASK, max(cell >> AGE_SHIFT, t_ns[first + k] - start_ns)
            counts += np.int64(counts >> shift & COUNT_LIMIT < saturation) << shift
            cells[block[k]] = age_ns << AGE_SHIFT | counts
            used += 1
    return used, outside, touched


@njit(cache=True, nogil=True, error_model="numpy")
def _finish_histogram(cells, saturation, window_ns, image):
    for pixel in range(cells.shape[0]):
        cell = cells[pixel]
        image[0, pixel] = (cell & COUNT_LIMIT) / saturation
        image[1, pixel] = (cell >> COUNT_BITS & COUNT_LIMIT) / saturation
        image[2, pixel] = (cell >> AGE_SHIFT) / window_ns


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_surface(x, y, p, t_ns, lookup, until_ns, decay_ns, image):
    used, outside = 0, 0
    for i in range(t_ns.shape[0]):
        if x[i] >= lookup.shape[1] or y[i] >= lookup.shape[0]:
            outside += 1
            continue
        pixel = lookup[y[i], x[i]]
        if pixel < 0:
            continue
        channel = 0 if p[i] else 1
        image[channel, pixel] = max(image[channel, pixel], np.float32(math.exp((t_ns[i] - until_ns) / decay_ns)))
        image[2, pixel] += 1
        used += 1
    return used, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(x, y, p, t_ns, positions, start_ns, until_ns, content, voxels):
    top, left, height, width = content
    last_bin = voxels.shape[0] - 1
    used, outside = 0, 0
    for i in range(t_ns.shape[0]):
        if x[i] >= positions.shape[1] or y[i] >= positions.shape[0]:
            outside += 1
            continue
        u, v = np.float64(positions[y[i], x[i], 0]), np.float64(positions[y[i], x[i], 1])
        if not (math.isfinite(u) and math.isfinite(v)):
            continue
        used += 1
        time = float(last_bin)
        if until_ns > start_ns:
            time = last_bin * ((t_ns[i] - start_ns) / (until_ns - start_ns))
        sign = 1.0 if p[i] else -1.0
        first, column, row = int(time), int(math.floor(u)), int(math.floor(v))
        for b in range(first, min(first, last_bin - 1) + 2):
            for r in range(max(row, top), min(row + 2, top + height)):
                for c in range(max(column, left), min(column + 2, left + width)):
                    voxels[b, r, c] += sign * (1 - abs(b - time)) * (1 - abs(r - v)) * (1 - abs(c - u))
    return used, outside
