# SPDX-License-Identifier: Apache-2.0
"""What a lens model is to the projection kernels: its kind, its coefficients, and up to where it holds.

A distortion polynomial is only a model up to the angle where it stops growing: beyond, it folds far points back into
the image. ``lens_parameters`` finds that limit, and the kernels call points beyond it invalid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from anyseg_ros.sensors.projection import BROWN, EQUIDISTANT, NONE

# Off the axis, in rad, where a model is looked at: every 0.005 degrees up to 89.99, where 100 m aside is 2 cm ahead.
ANGLES = np.radians(np.linspace(0.0, 89.99, 18_000))


def lens_parameters(distortion: str, coefficients: tuple[float, ...]) -> tuple[int, np.ndarray, float]:
    """What the kernels need to know about a lens.

    Args:
        distortion: none, plumb_bob, rational_polynomial or equidistant.
        coefficients: D as in CameraInfo; counts are checked by ``CameraModel``.

    Returns:
        the kernel code, float64 [8] coefficients (k1 k2 p1 p2 k3 k4 k5 k6, or k1..k4 for equidistant), and the
        valid limit: the largest radius in the z=1 plane for Brown's model (infinite when the polynomial never
        folds), the largest angle in rad for equidistant.
    """
    padded = np.zeros(8)
    padded[: len(coefficients)] = coefficients
    if distortion == "none" or not np.any(padded):
        if distortion == "equidistant":
            return EQUIDISTANT, padded, math.pi / 2
        return NONE, padded, math.inf
    if distortion == "equidistant":
        slope = np.polynomial.Polynomial([1.0, *(f * k for f, k in zip((3, 5, 7, 9), padded[:4], strict=True))])
        return EQUIDISTANT, padded, min(_end_of_growth(lambda angle: slope(angle * angle), ANGLES), math.pi / 2)
    return BROWN, padded, _brown_limit(padded)


def _brown_limit(coefficients: np.ndarray) -> float:
    """The radius in the z=1 plane up to which Brown's model grows in every direction.

    Along a ray the radial part grows by growth(r) / bottom(r)², and the tangential part, whose derivative is at most
    6 |(p1, p2)| r, takes away from it: both together must stay positive, or far points fold into the image.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    radius = np.polynomial.Polynomial([0.0, 1.0])
    top = np.polynomial.Polynomial([1.0, 0.0, k1, 0.0, k2, 0.0, k3])
    bottom = np.polynomial.Polynomial([1.0, 0.0, k4, 0.0, k5, 0.0, k6])
    growth = top * bottom + radius * (top.deriv() * bottom - top * bottom.deriv())
    growth -= 6 * math.hypot(p1, p2) * radius * bottom * bottom
    return _end_of_growth(lambda r: np.minimum(growth(r), bottom(r)), np.tan(ANGLES))  # a pole ends the model, too


def _end_of_growth(slope: Callable[[np.ndarray], np.ndarray], places: np.ndarray) -> float:
    """The last place before ``slope`` is no longer positive, or infinity when it is at all ``places``.

    Found by looking and halving: the roots of such a polynomial, by its companion matrix, are worth nothing when
    coefficients differ by many orders of magnitude, as those of calibrations do.
    """
    bad = ~(slope(places) > 0)
    if not bad.any():
        return math.inf
    first = int(np.argmax(bad))
    low, high = places[first - 1] if first else 0.0, places[first]
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(low)
