# SPDX-License-Identifier: Apache-2.0
"""The animation: what each sensor saw and what the network said, with cut sensors marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anyseg_ros.demo.pictures import Moment, as_cut
from anyseg_ros.demo.plan import SECOND

PANEL = (416, 234)  # width, height of one picture
GAP, HEAD, CAPTION = 10, 58, 26
CANVAS = (2 * PANEL[0] + 3 * GAP, HEAD + 2 * (PANEL[1] + CAPTION) + 2 * GAP)
GROUND, INK, QUIET, RED, GREEN = (11, 14, 20), (236, 240, 246), (140, 150, 166), (229, 57, 63), (61, 190, 122)
FRAME_MS = 110
MAX_BYTES = 6_000_000
SENSORS = (("camera", "Camera"), ("event", "Event camera"), ("lidar", "Lidar"))


def write_animation(moments: Sequence[Moment], path: Path) -> Path:
    """Write an animated WebP of the moments, in order, under 6 MB.

    Raises:
        ValueError: there is no moment to show.
    """
    if not moments:
        raise ValueError("no frame was answered, so there is nothing to animate; see the logs of the segmentor")
    frames = [Image.fromarray(draw(moment)) for moment in moments]
    for quality in (60, 45, 30, 18):
        frames[0].save(
            path,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=FRAME_MS,
            loop=0,
            quality=quality,
            method=2,
        )
        if path.stat().st_size <= MAX_BYTES:
            break
    return path


def draw(moment: Moment) -> np.ndarray:
    """One frame of the animation, uint8 [H,W,3] RGB."""
    canvas = Image.new("RGB", CANVAS, GROUND)
    pen = ImageDraw.Draw(canvas)
    _head(pen, moment)
    pictures = {"camera": moment.camera, "event": moment.events, "lidar": moment.lidar}
    places = [(GAP + column * (PANEL[0] + GAP), HEAD + row * (PANEL[1] + CAPTION + GAP)) for row, column in _CELLS]
    for (kind, title), place in zip(SENSORS, places, strict=False):
        live = kind in moment.live
        _panel(canvas, pen, pictures[kind] if live else as_cut(pictures[kind]), title, place, live)
    _panel(canvas, pen, moment.prediction, "Labels from the network", places[3], None)
    return np.asarray(canvas)


_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _head(pen: ImageDraw.ImageDraw, moment: Moment) -> None:
    """The line above the pictures: subset as three letters, drive and time, accuracy."""
    x = GAP
    for letter, kind in (("C", "camera"), ("E", "event"), ("L", "lidar")):
        live = kind in moment.live
        pen.rounded_rectangle((x, 11, x + 36, 47), 8, fill=GREEN if live else (58, 26, 30))
        pen.text((x + 18, 29), letter, GROUND if live else RED, font=_font(22), anchor="mm")
        x += 44
    seconds = moment.since_start_ns / SECOND
    pen.text((x + 14, 29), f"{moment.drive}   {seconds:4.1f} s", INK, font=_font(22), anchor="lm")
    figure = "" if moment.miou is None else f"mIoU {moment.miou:.0f}"
    pen.text((CANVAS[0] - GAP, 29), figure, INK, font=_font(22), anchor="rm")


def _panel(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    picture: np.ndarray,
    title: str,
    place: tuple[int, int],
    live: bool | None,
) -> None:
    """One picture with its caption; ``live`` is None for what is no sensor."""
    x, y = place
    canvas.paste(Image.fromarray(picture).resize(PANEL), (x, y))
    if live is False:
        pen.rectangle((x, y, x + PANEL[0] - 1, y + PANEL[1] - 1), outline=RED, width=2)
        middle = (x + PANEL[0] // 2, y + PANEL[1] // 2)
        pen.rounded_rectangle((middle[0] - 44, middle[1] - 22, middle[0] + 44, middle[1] + 22), 7, fill=RED)
        pen.text(middle, "CUT", (255, 255, 255), font=_font(26), anchor="mm")
    y_text = y + PANEL[1] + CAPTION // 2 + 2
    if live is not None:
        pen.ellipse((x + 2, y_text - 5, x + 12, y_text + 5), fill=GREEN if live else RED)
    pen.text(
        (x + (20 if live is not None else 2), y_text),
        title,
        INK if live is not False else QUIET,
        font=_font(16),
        anchor="lm",
    )
