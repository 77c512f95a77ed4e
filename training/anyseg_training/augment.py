# SPDX-License-Identifier: Apache-2.0
"""Augmentation of one sample, before normalisation. What moves pixels moves all modalities and the labels alike."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

# Chances and ranges, chosen for outdoor sensors: exposure errs by some stops, events and points come thinner.
DARK_CHANCE = 0.15
EVENT_GAIN = (0.6, 1.6)
EVENT_DROP_MAX = 0.4
POINT_DROP_MAX = 0.4


def zoom_window(height: int, width: int, zoom_max: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """A random crop of the grid's aspect: (top, left, zoom) in pixels and magnification 1..zoom_max."""
    zoom = float(np.exp(rng.uniform(0.0, np.log(zoom_max))))
    top = rng.uniform(0.0, height - height / zoom)
    left = rng.uniform(0.0, width - width / zoom)
    return float(top), float(left), zoom


def nearest_rows_columns(
    height: int, width: int, window: tuple[float, float, float], flip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Source row of each target row and source column of each target column (nearest)."""
    top, left, zoom = window
    rows = np.floor(top + (np.arange(height) + 0.5) / zoom).astype(np.intp).clip(0, height - 1)
    columns = np.floor(left + (np.arange(width) + 0.5) / zoom).astype(np.intp).clip(0, width - 1)
    return rows, columns[::-1] if flip else columns


def resample_camera(image: np.ndarray, window: tuple[float, float, float], flip: bool) -> np.ndarray:
    """float32 [3,H,W] -> float32 [3,H,W], bilinear, for the same window as ``nearest_rows_columns``."""
    top, left, zoom = window
    height, width = image.shape[1:]
    # cv2 wants target pixel -> source pixel with integer coordinates at pixel centres.
    shift = 0.5 / zoom - 0.5
    matrix = np.array([[1 / zoom, 0, left + shift], [0, 1 / zoom, top + shift]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(
        image.transpose(1, 2, 0), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return out[:, ::-1].transpose(2, 0, 1) if flip else out.transpose(2, 0, 1)


def jitter_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, colour, gamma and noise, now and then a starved exposure; float32 [3,H,W] in 0..1."""
    gain = np.exp(rng.uniform(-0.4, 0.4)) * np.exp(rng.uniform(-0.12, 0.12, (3, 1, 1)))
    noise = rng.uniform(0.0, 0.02)
    if rng.random() < DARK_CHANCE:
        gain = gain * rng.uniform(0.1, 0.5)
        noise = rng.uniform(0.01, 0.06)
    gamma = np.exp(rng.uniform(-0.25, 0.25))
    out = np.power(image, np.float32(gamma)) * gain.astype(np.float32)
    out += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(out, 0.0, 1.0)


def thin_events(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another contrast threshold scales the counts; some pixels fall silent in all channels."""
    out = image.copy()
    out[:2] = np.minimum(out[:2] * np.float32(np.exp(rng.uniform(*np.log(EVENT_GAIN)))), 1.0)
    return out * (rng.random(image.shape[1:], dtype=np.float32) >= rng.uniform(0.0, EVENT_DROP_MAX))


def thin_points(image: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """Drop returns; what is magnified is as large as if it were nearer, so the range shrinks by the zoom."""
    out = image * (rng.random(image.shape[1:], dtype=np.float32) >= rng.uniform(0.0, POINT_DROP_MAX))
    out[0] /= np.float32(zoom)
    return out


def augment(
    images: dict[str, np.ndarray],
    labels: np.ndarray,
    zoom_max: float,
    rng: np.random.Generator,
    varied: Collection[str] | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One random flip and zoom for everything, then what is each modality's own.

    Args:
        images: modality name -> raw float32 [3,H,W].
        labels: uint8 [H,W].
        zoom_max: largest magnification.
        rng: the only source of randomness.
        varied: modalities of which it also changes what the sensor reports, as the default encoding has it; None: all.
    """
    height, width = labels.shape
    window = zoom_window(height, width, zoom_max, rng)
    flip = bool(rng.random() < 0.5)
    rows, columns = nearest_rows_columns(height, width, window, flip)
    pick = np.ix_(rows, columns)
    out = {}
    for name, image in images.items():
        moved = resample_camera(image, window, flip) if name == "camera" else image[:, pick[0], pick[1]]
        if varied is not None and name not in varied:
            out[name] = moved
        elif name == "camera":
            out[name] = jitter_camera(moved, rng)
        else:
            out[name] = thin_events(moved, rng) if name == "event" else thin_points(moved, window[2], rng)
    return out, labels[pick]
