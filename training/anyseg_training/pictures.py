# SPDX-License-Identifier: Apache-2.0
"""Datasets whose sensors come as pictures in the camera's view: their encodings, and how a picture goes to the grid.

Nothing here is an encoding of ``anyseg_ros.sensors``: no sensor delivers such pictures, so a network that learned them
can be trained and scored, but is refused by node and replay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.camera import camera_to_planes
from anyseg_ros.sensors.presets import CameraEncoding, Encoding, EncodingError, encoding_of

# Raised by whoever changes what the code makes of the same parameters.
VERSION = "v1"
PICTURES = "pictures"
WAYS = ("mean", "nearest", "sum")
# A field of view for a model that only says how large a picture is.
ANY_FOV_DEG = 90.0


@dataclass(frozen=True)
class PictureEncoding:
    """What the network is fed of a dataset of pictures.

    Attributes:
        name: of the dataset.
        pictures: (modality, how a grid pixel is made of the picture's pixels under it, what the picture is). ``mean``
            averages them, ``nearest`` takes the filled one of least first channel, ``sum`` adds them up.
        as_bytes: modalities that are kept with 8 bits, 0..255 for 0..1; the others are float16 in their own units.
        camera: as for every encoding.
        fit: how the camera image lies on the grid.
    """

    name: str
    pictures: tuple[tuple[str, str, str], ...]
    as_bytes: tuple[str, ...] = ("camera",)
    camera: CameraEncoding = field(default_factory=CameraEncoding)
    fit: str = "letterbox"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in the order of the pack."""
        return tuple(name for name, _, _ in self.pictures)

    def parameters(self) -> dict[str, Any]:
        """All that shapes the tensors, for JSON, and the name."""
        return {
            "name": self.name,
            "version": VERSION,
            "fit": self.fit,
            "full_scale": self.camera.full_scale,
            "as_bytes": list(self.as_bytes),
            PICTURES: {name: f"{how}: {what}" for name, how, what in self.pictures},
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the parameters without the name, as JSON with sorted keys."""
        shaping = {key: value for key, value in self.parameters().items() if key != "name"}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


DELIVER = PictureEncoding(
    "deliver",
    (
        ("camera", "mean", "RGB"),
        ("depth", "mean", "HHA"),
        ("event", "mean", "polarity picture, red and blue"),
        ("lidar", "nearest", "grey picture"),
    ),
    as_bytes=("camera", "depth", "event", "lidar"),
)
MUSES_PROJECTED = PictureEncoding(
    "muses_projected",
    (
        ("camera", "mean", "RGB"),
        ("event", "sum", "counts of ON and OFF, drawn by the MUSES SDK"),
        ("lidar", "nearest", "range in m, intensity 0..255, z in m, drawn by the MUSES SDK"),
    ),
)
PICTURE_ENCODINGS = {encoding.fingerprint: encoding for encoding in (DELIVER, MUSES_PROJECTED)}

AnyEncoding = Encoding | PictureEncoding


def pack_encoding(fingerprint: str, parameters: Mapping[str, Any], what: str) -> AnyEncoding:
    """The encoding that a pack was made with.

    Raises:
        EncodingError: this code makes no such tensors; the message says what differs.
    """
    if PICTURES in parameters and fingerprint not in PICTURE_ENCODINGS:
        raise EncodingError(f"{what} is of pictures as another version drew them ({fingerprint}); pack again")
    return PICTURE_ENCODINGS.get(fingerprint) or encoding_of(fingerprint, parameters, what)


def picture_grid(height: int, width: int, size: tuple[int, int], fit: str) -> Grid:
    """The grid (height, width) for pictures of a size (height, width)."""
    return Grid.fit(CameraModel.pinhole(size[1], size[0], ANY_FOV_DEG), height, width, fit)


def on_grid(picture: np.ndarray, grid: Grid, how: str) -> np.ndarray:
    """A picture of the camera's size on the grid.

    Args:
        picture: [h,w,3], uint8 (becomes 0..1) or float32 (stays as it is).
        grid: of pictures of that size.
        how: one of ``WAYS``.

    Returns:
        float32 [3,H,W], 0 beside the camera image.
    """
    if how == "mean":
        return camera_to_planes(picture, grid)
    values = picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 1)
    planes = np.zeros((grid.height * grid.width, 3), np.float32)
    if grid.scale[0] > 1 or grid.scale[1] > 1:  # finer than the picture: each grid pixel takes the one under it
        inside = grid.mask().ravel()
        planes[inside] = values[under(grid)].reshape(-1, 3)[inside]
    elif how == "sum":
        pixels = over(grid).ravel()
        for channel in range(3):
            planes[:, channel] = np.bincount(pixels, values[..., channel].ravel(), len(planes))
    else:
        filled = values[..., 0] > 0
        pixels, kept = over(grid)[filled], values[filled]
        farthest_first = np.argsort(-kept[:, 0], kind="stable")  # of repeated targets the last one stays
        planes[pixels[farthest_first]] = kept[farthest_first]
    return np.ascontiguousarray(planes.reshape(grid.height, grid.width, 3).transpose(2, 0, 1))


def under(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, intp [H,W] each, of the camera pixel under each grid pixel; cut to the camera image."""
    rows, columns = np.mgrid[0 : grid.height, 0 : grid.width]
    uv = grid.grid_to_camera(np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float64))
    u, v = np.floor(uv + 0.5).astype(np.intp).T.reshape(2, grid.height, grid.width)
    return v.clip(0, grid.camera.height - 1), u.clip(0, grid.camera.width - 1)


def over(grid: Grid) -> np.ndarray:
    """Flat grid pixel, intp [h,w], over each camera pixel, of a grid that shows the whole image."""
    top, left, height, width = grid.content
    rows = np.floor((np.arange(grid.camera.height) + 0.5) * grid.scale[1]).astype(np.intp).clip(0, height - 1) + top
    columns = np.floor((np.arange(grid.camera.width) + 0.5) * grid.scale[0]).astype(np.intp).clip(0, width - 1) + left
    return rows[:, None] * grid.width + columns


def of_size(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at another size (height, width), by nearest neighbour (DELIVER's low-resolution events)."""
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
