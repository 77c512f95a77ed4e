# SPDX-License-Identifier: Apache-2.0
"""Colours for people: labels, overlays, painted clouds, and pictures of what the network sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.types import UNLABELLED, Points, Segmentation

FAR_M = 60.0  # ranges beyond this share the last colour


def colour(labels: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """uint8 RGB [H,W,3] (or [N,3]): the colour of each label, black where unlabelled."""
    return label_set.lookup()[labels]


def overlay(image: np.ndarray, labels: np.ndarray, label_set: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """The labels' colours over an image; the image shows through unchanged where unlabelled.

    Args:
        image: uint8 [H,W,3] RGB.
        labels: uint8 [h,w]; resized to the image by nearest neighbour.
        label_set: the colours.
        alpha: weight of the colours, 0..1.
    """
    height, width = image.shape[:2]
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    mixed = cv2.addWeighted(image, 1.0 - alpha, colour(labels, label_set), alpha, 0.0)
    return np.where((labels == UNLABELLED)[..., None], image, mixed)


@dataclass(frozen=True)
class PaintedPoints:
    """A cloud with what the network said about each point.

    Attributes:
        xyz: float32 [N,3] in metres, in the lidar's frame.
        class_id: uint8 [N], 255 where the point is outside the image or not finite.
        probability: float32 [N], 0 where unlabelled.
        rgb: uint8 [N,3], grey where unlabelled.
    """

    xyz: np.ndarray
    class_id: np.ndarray
    probability: np.ndarray
    rgb: np.ndarray


def paint_points(
    points: Points, pixel_index: np.ndarray, segmentation: Segmentation, label_set: LabelSet
) -> PaintedPoints:
    """Gives every point the label of the grid pixel that it falls on.

    Args:
        points: the cloud, N points.
        pixel_index: int32 [N], flat grid pixel of each point, -1 outside.
        segmentation: on the network's grid.
        label_set: the colours.

    Raises:
        ValueError: the index belongs to another cloud or another grid.
    """
    if len(pixel_index) != len(points):
        raise ValueError(f"{len(points)} points but {len(pixel_index)} pixel indices; give those of this cloud")
    if len(pixel_index) and pixel_index.max() >= segmentation.labels.size:
        raise ValueError(
            f"pixel index {pixel_index.max()} is outside a grid of {list(segmentation.labels.shape)}; "
            "paint with the segmentation on the grid, not at camera resolution"
        )
    inside = pixel_index >= 0
    class_id = np.where(inside, segmentation.labels.reshape(-1)[pixel_index], np.uint8(UNLABELLED))
    probability = np.where(inside, segmentation.confidence.reshape(-1)[pixel_index], np.float32(0.0))
    rgb = colour(class_id, label_set)
    rgb[class_id == UNLABELLED] = 90
    return PaintedPoints(points.xyz, class_id, probability, rgb)


def range_colours(range_m: np.ndarray) -> np.ndarray:
    """uint8 RGB [...,3] by distance, near red to far blue; black where there is no range (0 or less)."""
    # The square root spreads the near field, where most returns lie.
    near = 1.0 - np.sqrt(np.clip(range_m, 0.0, FAR_M) / FAR_M)
    # The lowest levels of the map are almost black: far points would vanish in a picture.
    levels = np.clip(30.0 + near * 225.0, 0, 255).astype(np.uint8)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    return np.where((range_m > 0)[..., None], table[levels], np.uint8(0))


def show_encoded(modality: Modality, raw: np.ndarray) -> np.ndarray:
    """A picture of what the network gets from one sensor.

    Args:
        modality: the sensor's kind.
        raw: float32 [3,H,W] before normalisation.

    Returns:
        uint8 RGB [H,W,3]: the camera as it is; lidar and depth by range; events red (ON) and blue (OFF)
        on white.
    """
    if modality is Modality.CAMERA:
        return np.clip(np.round(raw.transpose(1, 2, 0) * 255.0), 0, 255).astype(np.uint8)
    if modality in (Modality.LIDAR, Modality.DEPTH):
        return range_colours(raw[0])
    on, off = (np.clip(raw[c] * 3.0, 0.0, 1.0) for c in (0, 1))
    picture = np.stack([1.0 - off, 1.0 - np.maximum(on, off), 1.0 - on], axis=-1)
    return np.round(picture * 255.0).astype(np.uint8)
