# SPDX-License-Identifier: Apache-2.0
"""Composes labelled pictures: what each sensor saw, what the network said, what is true, which colour is what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet

FONT = cv2.FONT_HERSHEY_SIMPLEX
PAPER = (250, 250, 250)
INK = (30, 30, 30)
MUTED = (205, 205, 205)
GAP = 8
CAPTION_PX = 26
TITLE_PX = 40
LEGEND_PX = 190


@dataclass(frozen=True)
class Tile:
    """A captioned picture; without pixels, an empty frame that says why.

    Attributes:
        caption: one line above the picture.
        pixels: uint8 RGB [h,w,3], or None.
        why: what stands in the empty frame.
        marked: draws a coloured frame, for a sensor that is alive.
    """

    caption: str
    pixels: np.ndarray | None = None
    why: str = ""
    marked: bool = False


def text(canvas: np.ndarray, words: str, x: int, y: int, scale: float = 0.5, ink: tuple = INK) -> None:
    """Writes one line with its baseline at y; characters outside ASCII have no glyph in this font."""
    cv2.putText(canvas, words, (x, y), FONT, scale, ink, 1, cv2.LINE_AA)


def fit(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture resized into width x height, aspect kept, the rest paper."""
    h, w = pixels.shape[:2]
    scale = min(width / w, height / h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    # Labels and single events must not blend when enlarged; a photograph must not alias when reduced.
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def draw_tile(tile: Tile, width: int, height: int) -> np.ndarray:
    """uint8 RGB [height + caption, width, 3]."""
    canvas = np.full((height + CAPTION_PX, width, 3), PAPER, np.uint8)
    text(canvas, tile.caption, 2, CAPTION_PX - 9, 0.52)
    if tile.pixels is not None:
        canvas[CAPTION_PX:] = fit(tile.pixels, width, height)
    else:
        canvas[CAPTION_PX:] = MUTED
        words, scale = tile.why or "nothing", 0.7
        (w, h), _ = cv2.getTextSize(words, FONT, scale, 1)
        text(canvas, words, max(4, (width - w) // 2), CAPTION_PX + (height + h) // 2, scale)
    if tile.marked:
        cv2.rectangle(canvas, (0, CAPTION_PX), (width - 1, height + CAPTION_PX - 1), (0, 150, 60), 3)
    return canvas


def legend(label_set: LabelSet, height: int) -> np.ndarray:
    """uint8 RGB [height, LEGEND_PX, 3]: a swatch and a name per class."""
    canvas = np.full((height, LEGEND_PX, 3), PAPER, np.uint8)
    line = min(24, max(10, (height - CAPTION_PX) // max(1, len(label_set))))
    for index, (name, rgb) in enumerate(zip(label_set.names, label_set.palette, strict=True)):
        y = CAPTION_PX + index * line
        cv2.rectangle(canvas, (6, y), (30, y + line - 4), rgb, -1)
        text(canvas, name, 38, y + line - 8, 0.45)
    return canvas


def panel(
    title: str, rows: Sequence[Sequence[Tile]], label_set: LabelSet, tile_width: int = 480, aspect: float = 9 / 16
) -> np.ndarray:
    """A panel of rows of tiles with a title above and the legend at the right.

    Args:
        title: one line.
        rows: tiles, row by row; rows may differ in length.
        label_set: classes of the legend.
        tile_width: width of a tile in pixels.
        aspect: height of a tile by its width.

    Returns:
        uint8 RGB.
    """
    tile_height = round(tile_width * aspect)
    columns = max(len(row) for row in rows)
    height = TITLE_PX + len(rows) * (tile_height + CAPTION_PX + GAP) + GAP
    width = columns * (tile_width + GAP) + GAP + LEGEND_PX
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    text(canvas, title, GAP, TITLE_PX - 13, 0.75)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            drawn = draw_tile(tile, tile_width, tile_height)
            y, x = TITLE_PX + r * (drawn.shape[0] + GAP), GAP + c * (tile_width + GAP)
            canvas[y : y + drawn.shape[0], x : x + tile_width] = drawn
    canvas[TITLE_PX:, width - LEGEND_PX :] = legend(label_set, height - TITLE_PX)
    return canvas


def save_png(path: Path, rgb: np.ndarray) -> None:
    """Writes uint8 RGB [H,W,3].

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write the picture {path}; is the folder writable and the disk full?")
