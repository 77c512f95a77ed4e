# SPDX-License-Identifier: Apache-2.0
"""Payload checks: a sensor that is alive but blind must not drag the mean. Node, replay and training apply the same.

Each check turns down with a reason (``Absence``) and a sentence: frozen (an image repeats), blind (an image black,
saturated or of one colour; a cloud with nothing in view), empty (no event in view), rejected (torn, or not what the
rig says).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from anyseg_ros.types import Absence

# What broken payloads raise while they are read. A payload is other people's data: it must cost its own
# sensor only. Anything else (out of memory, a failing device) is no payload's fault and goes up.
PAYLOAD_ERRORS = (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, cv2.error)


@dataclass(frozen=True)
class CheckLimits:
    """Where the checks draw the line. Images are judged as they lie on the network's grid, in grey levels 0..255.

    Attributes:
        frozen_after: as many identical images in a row mean that a camera hangs. Two may be a driver's repetition;
            noise makes three of them impossible for a camera that is alive.
        dark_level: a pixel whose three channels are at or below it counts as black. Simulated nights without street
            lights have up to 73 percent of such pixels.
        bright_level: a pixel whose three channels are at or above it counts as saturated; up to 74 percent in
            simulated snow with overexposure.
        extreme_share: an image is blind from this share of black, or of saturated, pixels on.
        min_grey_std: an image whose channels all deviate by less is of one colour.
        min_points_in_view: a cloud or depth image with fewer points in view is blind.
    """

    frozen_after: int = 3
    dark_level: float = 5.0
    bright_level: float = 250.0
    extreme_share: float = 0.95
    min_grey_std: float = 1.0
    min_points_in_view: int = 20


LIMITS = CheckLimits()
PIXELS_LOOKED_AT = 1 << 16


class RejectedPayload(ValueError):
    """A payload that must not reach the network; ``absence`` is the reason, the message says what was found."""

    def __init__(self, absence: Absence, message: str):
        super().__init__(message)
        self.absence = absence


def check_image(
    sensor: str,
    planes: np.ndarray,
    content: tuple[int, int, int, int],
    full_scale: float,
    limits: CheckLimits = LIMITS,
) -> None:
    """Turn down a picture that shows nothing.

    Of a grid of more than 65,536 pixels every second, third, ... row and column is looked at, so that the check stays
    cheap.

    Args:
        sensor: its name, for the sentence.
        planes: float32 [3,H,W], RGB on the grid.
        content: (top, left, height, width) of the rectangle that the picture fills; the rest does not count.
        full_scale: the value of grey level 255.
        limits: where to draw the line.

    Raises:
        RejectedPayload: blind.
    """
    per_level = full_scale / 255.0
    # Half a grey level of slack: the planes are rounded floats.
    dark_up_to, bright_from = (limits.dark_level + 0.5) * per_level, (limits.bright_level - 0.5) * per_level
    step = max(1, math.isqrt(content[2] * content[3] // PIXELS_LOOKED_AT))
    dark, bright, mean, variance = _levels(planes, content, step, dark_up_to, bright_from)
    std = float(np.sqrt(variance)) / per_level
    if std < limits.min_grey_std:
        raise RejectedPayload(
            Absence.BLIND,
            f"the image of '{sensor}' is of one colour (standard deviation {std:.2f} grey levels, mean "
            f"{mean / per_level:.0f}): covered, dark or overexposed",
        )
    for share, what, cause in ((dark, "black", "covered or dark"), (bright, "saturated", "dazzled or overexposed")):
        if share >= limits.extreme_share:
            raise RejectedPayload(
                Absence.BLIND,
                f"{100 * share:.1f} percent of the image of '{sensor}' are {what}, expected less than "
                f"{100 * limits.extreme_share:g}: {cause}",
            )


def check_cloud(sensor: str, in_view: int, count: int, limits: CheckLimits = LIMITS) -> None:
    """Turn down a cloud or depth image with almost nothing in view.

    Args:
        sensor: its name, for the sentence.
        in_view: number of points on the grid.
        count: number of points.
        limits: where to draw the line.

    Raises:
        RejectedPayload: blind.
    """
    if in_view < limits.min_points_in_view:
        raise RejectedPayload(
            Absence.BLIND,
            f"{in_view} of {count} points of '{sensor}' are in view, expected at least "
            f"{limits.min_points_in_view}: covered, or its pose in the rig is wrong",
        )


class FrozenDetector:
    """Notices a camera that repeats one image.

    The same measurement may serve as a partner several times, so repetition counts per stamp.
    """

    def __init__(self, limits: CheckLimits = LIMITS) -> None:
        self._limits = limits
        self._last: dict[str, tuple[int, np.ndarray, int]] = {}

    def __call__(self, sensor: str, stamp_ns: int, image: np.ndarray) -> None:
        """Compare an image with the sensor's last one.

        Args:
            sensor: name of the sensor.
            stamp_ns: stamp of the image.
            image: pixels, or a digest of them; compared in full.

        Raises:
            RejectedPayload: frozen, from the third identical image in a row on.
        """
        before = self._last.get(sensor)
        if before is None:
            repeats = 1
        elif before[0] == stamp_ns:
            repeats = before[2]
        else:
            last = before[1]
            # A few rows settle it for a camera that is alive; only a suspect is compared in full.
            same = _same(last[::16], image[::16]) and _same(last, image)
            repeats = before[2] + 1 if same else 1
        self._last[sensor] = (stamp_ns, image, repeats)
        if repeats >= self._limits.frozen_after:
            raise RejectedPayload(
                Absence.FROZEN, f"'{sensor}' sent the same image {self._limits.frozen_after} times or more"
            )

    def reset(self, sensor: str | None = None) -> None:
        """Forgets a sensor, or every one (None), as after a jump of the clock."""
        for name in list(self._last) if sensor is None else [sensor]:
            self._last.pop(name, None)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal, where a depth image's NaN equals NaN."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


@njit(cache=True, nogil=True, error_model="numpy")
def _levels(planes, content, step, dark_up_to, bright_from):
    """Share of black and of saturated pixels, mean, and the largest variance among the three channels."""
    top, left, height, width = content
    count, dark, bright = 0, 0, 0
    totals, squares = np.zeros(3), np.zeros(3)
    for row in range(top, top + height, step):
        for column in range(left, left + width, step):
            count += 1
            low, high = np.inf, -np.inf
            for channel in range(3):
                value = np.float64(planes[channel, row, column])
                totals[channel] += value
                squares[channel] += value * value
                low, high = min(low, value), max(high, value)
            dark += high <= dark_up_to
            bright += low >= bright_from
    variance = 0.0
    for channel in range(3):
        variance = max(variance, squares[channel] / count - (totals[channel] / count) ** 2)
    return dark / count, bright / count, totals.sum() / 3 / count, variance
