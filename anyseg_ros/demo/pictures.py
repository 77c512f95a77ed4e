# SPDX-License-Identifier: Apache-2.0
"""Turns what a sensor delivered, or what the network said, into a picture that people can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_ros.types import Events

NIGHT_SKY = (16, 20, 28)
ON_COLOUR = (255, 176, 59)
OFF_COLOUR = (62, 157, 255)
FAR_M = 60.0


@dataclass(frozen=True)
class Moment:
    """What the sensors saw and the network said at one reference stamp, as pictures: uint8 [H,W,3] RGB, one size.

    A sensor that is cut keeps its last picture; ``live`` says which of them deliver.

    Attributes:
        drive: name of the drive.
        since_start_ns: time since the start of the drive.
        subset: what the network was given, such as ``EL``.
        live: sensor kinds that deliver: a subset of ``camera``, ``event``, ``lidar``.
        miou: over the last ten frames of this subset, in percent; None without ground truth.
        camera, events, lidar, prediction, truth: the pictures.
    """

    drive: str
    since_start_ns: int
    subset: str
    live: frozenset[str]
    miou: float | None
    camera: np.ndarray
    events: np.ndarray
    lidar: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray


def blank(size: tuple[int, int]) -> np.ndarray:
    """A dark picture of (width, height)."""
    return np.full((size[1], size[0], 3), NIGHT_SKY, np.uint8)


def paint_camera(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The camera image, uint8 [H,W,3], at (width, height)."""
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def paint_events(parts: Sequence[Events], size: tuple[int, int]) -> np.ndarray:
    """Events as dots on a dark ground: orange where it got brighter, blue where it got darker.

    Args:
        parts: pieces of one stream in order, at least one.
        size: (width, height) of the picture.
    """
    picture = np.full((parts[0].height, parts[0].width, 3), NIGHT_SKY, np.uint8)
    colours = np.array((OFF_COLOUR, ON_COLOUR), np.uint8)
    for events in parts:
        picture[events.y, events.x] = colours[events.p]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def paint_points(uv: np.ndarray, range_m: np.ndarray, source: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Lidar points as dots coloured by range, near ones warm; the nearest ones are drawn last.

    Args:
        uv: float64 [N,2], pixels in an image of ``source`` (width, height); those outside are left out.
        range_m: [N].
        source: size of the image that ``uv`` belongs to.
        size: (width, height) of the picture.
    """
    picture = blank(size)
    scaled = np.floor((uv + 0.5) * (np.asarray(size, np.float64) / np.asarray(source, np.float64))).astype(np.int64)
    inside = (scaled >= 0).all(axis=1) & (scaled < np.asarray(size)).all(axis=1)
    order = np.argsort(-range_m[inside])
    columns, rows = scaled[inside][order].T
    nearness = np.clip(1.0 - range_m[inside][order] / FAR_M, 0.0, 1.0)
    colours = cv2.applyColorMap((40 + 200 * nearness).astype(np.uint8).reshape(-1, 1), cv2.COLORMAP_TURBO)
    colours = colours.reshape(-1, 3)[:, ::-1]
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        picture[np.minimum(rows + down, size[1] - 1), np.minimum(columns + right, size[0] - 1)] = colours
    return picture


def paint_labels(labels: np.ndarray, classes: LabelSet, size: tuple[int, int]) -> np.ndarray:
    """Class ids, uint8 [H,W], in the colours of their label set; black where unlabelled."""
    return cv2.resize(classes.lookup()[labels], size, interpolation=cv2.INTER_NEAREST)


def as_cut(picture: np.ndarray) -> np.ndarray:
    """The last picture of a sensor that is cut: greyed and darkened."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return (np.repeat(grey[:, :, None], 3, axis=2) * 0.28 + 14).astype(np.uint8)
