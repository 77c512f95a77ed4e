# SPDX-License-Identifier: Apache-2.0
"""What the air holds: fog, rain and snow as numbers, and the streaks and flakes that a camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("clear", "fog", "rain", "snow")

# Koschmieder: the visibility is where contrast has fallen to 5 %, that is, ln(20) / extinction.
KOSCHMIEDER = 3.0


@dataclass(frozen=True)
class Weather:
    """The weather of one drive.

    Attributes:
        kind: clear, fog, rain or snow.
        extinction_per_m: of visible light; contrast falls with exp(-extinction * range).
        lidar_extinction_per_m: of the lidar's light, one way.
        backscatter: probability that a lidar ray returns from the air near the sensor.
        drops: streaks or flakes in a camera picture of 640 x 360 at one instant.
        wetness: 0 dry .. 1 wet; wet ground is darker and mirrors the sky at grazing angles.
        snow_cover: 0 none .. 1 all upward faces white.
    """

    kind: str
    extinction_per_m: float
    lidar_extinction_per_m: float
    backscatter: float = 0.0
    drops: int = 0
    wetness: float = 0.0
    snow_cover: float = 0.0


def sample_weather(rng: np.random.Generator, kind: str) -> Weather:
    """Draw the weather of a drive.

    Raises:
        ValueError: the kind is not one of ``KINDS``.
    """
    if kind == "clear":
        haze = KOSCHMIEDER / rng.uniform(3000.0, 12000.0)
        return Weather(kind, haze, haze, wetness=float(rng.random() < 0.1) * 0.6)
    if kind == "fog":
        extinction = KOSCHMIEDER / float(np.exp(rng.uniform(np.log(45.0), np.log(180.0))))
        return Weather(kind, extinction, 0.8 * extinction, backscatter=0.25 * extinction, wetness=0.3)
    if kind == "rain":
        strength = rng.uniform(0.3, 1.0)
        return Weather(
            kind,
            KOSCHMIEDER / float(rng.uniform(250.0, 900.0)) * strength,
            0.008 * strength,
            backscatter=0.02 * strength,
            drops=int(350 * strength),
            wetness=float(rng.uniform(0.6, 1.0)),
        )
    if kind == "snow":
        strength = rng.uniform(0.3, 1.0)
        return Weather(
            kind,
            KOSCHMIEDER / float(rng.uniform(120.0, 500.0)),
            0.012 * strength,
            backscatter=0.05 * strength,
            drops=int(700 * strength),
            wetness=0.3,
            snow_cover=float(rng.uniform(0.1, 0.9)),
        )
    raise ValueError(f"weather '{kind}' is unknown; give one of {', '.join(KINDS)}")


def draw_drops(image: np.ndarray, weather: Weather, airlight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay rain streaks or snow flakes over a radiance picture.

    Args:
        image: float32 [H,W,3] linear radiance; not changed.
        weather: how many drops, and of which kind.
        airlight: float [3], radiance of the lit air; drops take its colour.
        rng: where the drops are, this instant.

    Returns:
        float32 [H,W,3].
    """
    height, width = image.shape[:2]
    count = rng.poisson(weather.drops * height * width / (640 * 360))
    if count == 0:
        return image
    veil = np.zeros((height, width), np.float32)
    scale = width / 640.0
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    near = rng.beta(1.0, 5.0, count)  # most drops are far away: small and faint
    shift = 4  # cv2 draws at sub-pixel positions given as fixed-point numbers
    fixed = 1 << shift
    if weather.kind == "rain":
        slant = rng.normal(0.0, 0.08)
        length = (4.0 + 40.0 * near) * scale
        for i in range(count):
            a = (int(x[i] * fixed), int(y[i] * fixed))
            b = (int((x[i] + slant * length[i]) * fixed), int((y[i] + length[i]) * fixed))
            cv2.line(veil, a, b, float(0.12 + 0.35 * near[i]), 1, cv2.LINE_AA, shift)
    else:
        radius = (0.4 + 3.5 * near) * scale
        for i in range(count):
            centre = (int(x[i] * fixed), int(y[i] * fixed))
            cv2.circle(veil, centre, int(radius[i] * fixed), float(0.55 - 0.3 * near[i]), -1, cv2.LINE_AA, shift)
    veil = cv2.GaussianBlur(veil, (3, 3), 0.7)[..., None]
    return image * (1.0 - veil) + veil * np.asarray(airlight, np.float32)
