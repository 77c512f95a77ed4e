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
    """
    cut, _ = _window(events, until_ns, window_ns, max_events)
    image = np.zeros((3, height, width), dtype=np.float32)
    steps = _count_steps(saturation)
    used, outside = _draw_histogram(
        *_columns(cut), lookup, until_ns - window_ns, window_ns, steps, image.reshape(3, -1)
    )
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
    steps = _count_steps(saturation)
    used, outside = _draw_surface(*_columns(cut), lookup, until_ns, float(decay_ns), steps, image.reshape(3, -1))
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


def _count_steps(saturation: int) -> np.ndarray:
    """What a pixel holds after one event more, by the number it has had: (n + 1) / saturation, at most 1."""
    return (np.minimum(np.arange(1, saturation + 2), saturation) / saturation).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _counted(value, steps):
    """A pixel's count after one event more; the image holds counts divided by the saturation all the time."""
    return steps[int(value * (steps.shape[0] - 1) + np.float32(0.5))]


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_histogram(x, y, p, t_ns, lookup, start_ns, window_ns, steps, image):
    used, outside = 0, 0
    for i in range(t_ns.shape[0]):
        if x[i] >= lookup.shape[1] or y[i] >= lookup.shape[0]:
            outside += 1
            continue
        pixel = lookup[y[i], x[i]]
        if pixel < 0:
            continue
        channel = 0 if p[i] else 1
        image[channel, pixel] = _counted(image[channel, pixel], steps)
        image[2, pixel] = max(image[2, pixel], np.float32((t_ns[i] - start_ns) / window_ns))
        used += 1
    return used, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_surface(x, y, p, t_ns, lookup, until_ns, decay_ns, steps, image):
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
        image[2, pixel] = _counted(image[2, pixel], steps)
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
