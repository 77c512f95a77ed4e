# SPDX-License-Identifier: Apache-2.0
"""The projected images of the MUSES SDK (muses.ethz.ch), quirks included, for networks that were trained on them.

What the default encoding does otherwise: here the last point of a pixel wins, not the nearest; positions are cut to
whole pixels, not rounded; points behind the camera are drawn, too; there is no lens; counts of events wrap at 256.
Images are [H,W,3], as the SDK's are. docs/encodings.md counts the differences.
"""

from __future__ import annotations

import cv2
import numpy as np

from anyseg_ros.types import Events

# Files hold unsigned 16-bit numbers: (value + 100) * 150, so that an empty pixel is 15000.
PNG_SHIFT = 100
PNG_SCALE = 150
DILATION = np.ones((2, 2), np.uint8)
HEIGHT_SHIFT_M = 255.0


def scaled_intrinsics(K: np.ndarray, size: tuple[int, int], to_size: tuple[int, int]) -> np.ndarray:
    """The SDK's intrinsics of a resized image: fx and cx times the ratio of widths, fy and cy of heights.

    Args:
        K: [3,3] for an image of ``size``.
        size: (width, height).
        to_size: (width, height) of the image that is drawn.

    Returns:
        float64 [3,3]. Exact scaling would carry half-pixel terms, (cx + 0.5) * ratio - 0.5.
    """
    scaled = np.array(K, dtype=np.float64)
    scaled[0] *= to_size[0] / size[0]
    scaled[1] *= to_size[1] / size[1]
    scaled[2] = (0.0, 0.0, 1.0)
    return scaled


def draw_points(
    xyz: np.ndarray,
    values: np.ndarray,
    rgb_from_lidar: np.ndarray,
    K: np.ndarray,
    size: tuple[int, int],
    range_m: tuple[float, float] = (1.0, np.inf),
) -> tuple[np.ndarray, np.ndarray]:
    """A cloud as the SDK draws it.

    Args:
        xyz: [N,3] in metres in the sensor's frame.
        values: [N], intensity 0..255.
        rgb_from_lidar: [4,4] into the camera's optical frame.
        K: [3,3] of the image (``scaled_intrinsics``).
        size: (width, height) of the image.
        range_m: points nearer than the first or farther than the second are left out.

    Returns:
        float32 [H,W,3]: range and height in m, both in the sensor's frame, with the intensity between them, 0 where
        no point fell; and int32 [N], flat pixel of each point, -1 where it is not in the image.
    """
    width, height = size
    points = np.asarray(xyz, dtype=np.float64)
    distance = np.sqrt((points**2).sum(axis=1))
    in_camera = points @ rgb_from_lidar[:3, :3].T + rgb_from_lidar[:3, 3]
    in_image = in_camera @ K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = in_image[:, 0] / in_image[:, 2], in_image[:, 1] / in_image[:, 2]
        drawn = (distance >= range_m[0]) & (distance <= range_m[1])
        drawn &= (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
    pixel_index = np.full(len(points), -1, dtype=np.int32)
    pixel_index[drawn] = np.trunc(v[drawn]).astype(np.int32) * width + np.trunc(u[drawn]).astype(np.int32)
    image = np.zeros((height * width, 3), dtype=np.float32)
    last = np.full(height * width, -1, dtype=np.int64)
    np.maximum.at(last, pixel_index[drawn], np.flatnonzero(drawn))
    pixels = np.flatnonzero(last >= 0)
    winner = last[pixels]
    image[pixels] = np.stack([distance[winner], np.asarray(values, np.float64)[winner], points[winner, 2]], axis=1)
    return image.reshape(height, width, 3), pixel_index


def dilate_points(image: np.ndarray) -> np.ndarray:
    """Spread points over 2x2 pixels by the maximum of each channel on its own: the farthest range wins.

    Heights are lifted by 255 m meanwhile, so that one below the sensor is more than an empty pixel.

    Args:
        image: float32 [H,W,3] of ``draw_points``.
    """
    lifted = image.copy()
    lifted[..., 2][image[..., 0] > 0] += HEIGHT_SHIFT_M
    spread = np.asarray(cv2.dilate(lifted, DILATION), np.float32)
    spread[..., 2][spread[..., 0] > 0] -= HEIGHT_SHIFT_M
    return spread


def event_pixels(
    sensor_size: tuple[int, int], rgb_from_event: np.ndarray, K_event: np.ndarray, K: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Where the SDK draws each event pixel: the homography of the rotation, rounded to the nearest pixel.

    Args:
        sensor_size: (width, height) of the event camera.
        rgb_from_event: [4,4] into the camera's optical frame; only its rotation is used.
        K_event: [3,3] of the event camera.
        K: [3,3] of the image (``scaled_intrinsics``).
        size: (width, height) of the image.

    Returns:
        int32 [He,We], flat pixel of the image, -1 outside (where the SDK would wrap around or fail).
    """
    y, x = np.mgrid[: sensor_size[1], : sensor_size[0]]
    homography = K @ rgb_from_event[:3, :3] @ np.linalg.inv(K_event)
    in_image = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1) @ homography.T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(in_image[:, 0] / in_image[:, 2]), np.rint(in_image[:, 1] / in_image[:, 2])
        inside = (u >= 0) & (u < size[0]) & (v >= 0) & (v < size[1])
    pixels = np.full(x.size, -1, dtype=np.int32)
    pixels[inside] = v[inside].astype(np.int32) * size[0] + u[inside].astype(np.int32)
    return pixels.reshape(y.shape)


def draw_events(
    events: Events, pixels: np.ndarray, size: tuple[int, int], window_ns: int = 30_000_000
) -> tuple[np.ndarray, int, int]:
    """Counts of the last events, as the SDK draws them.

    Args:
        events: in order of time; the window ends at the last of them, whenever the picture was taken.
        pixels: of ``event_pixels``.
        size: (width, height) of the image.
        window_ns: events at most so much older than the last one are drawn.

    Returns:
        uint8 [H,W,3]: count of ON, count of OFF, 0; a count of 256 is 0 again. Then the number of events on the image,
        and of those outside the sensor.
    """
    width, height = size
    counts = np.zeros((2, height * width), dtype=np.int64)
    used = outside = 0
    if len(events):
        recent = np.asarray(events.t_ns) >= events.t_ns[-1] - window_ns
        x, y, on = events.x[recent], events.y[recent], events.p[recent] == 1
        on_sensor = (x < pixels.shape[1]) & (y < pixels.shape[0])
        outside = int(np.count_nonzero(~on_sensor))
        pixel = pixels[y[on_sensor], x[on_sensor]]
        for channel, chosen in enumerate((on[on_sensor], ~on[on_sensor])):
            counts[channel] = np.bincount(pixel[chosen & (pixel >= 0)], minlength=height * width)
        used = int(counts.sum())
    image = np.zeros((height * width, 3), dtype=np.uint8)
    image[:, :2] = counts.T.astype(np.uint8)
    return image.reshape(height, width, 3), used, outside


def dilate_events(image: np.ndarray) -> np.ndarray:
    """Spread counts, uint8 [H,W,3], over 2x2 pixels by the maximum of each channel."""
    return cv2.dilate(image, DILATION)


def to_png16(image: np.ndarray) -> np.ndarray:
    """A drawn cloud, float32 [H,W,3], as the numbers of the SDK's PNG: uint16, cut to whole numbers, wrapping."""
    return ((image + np.float32(PNG_SHIFT)) * np.float32(PNG_SCALE)).astype(np.int64).astype(np.uint16)


def from_png16(numbers: np.ndarray) -> np.ndarray:
    """The values, float32 [H,W,3], of the SDK's PNG (uint16), to 1/150 m."""
    return numbers.astype(np.float32) / np.float32(PNG_SCALE) - np.float32(PNG_SHIFT)
