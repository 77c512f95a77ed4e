# SPDX-License-Identifier: Apache-2.0
"""What a lens model is to the projection kernels: its kind, its coefficients, and up to where it holds.

A distortion polynomial is only a model up to the angle where it stops growing: beyond, it folds far points back into
the image. ``lens_parameters`` finds that limit, and the kernels call points beyond it invalid.
"""

from __future__ import annotations

import math

import numpy as np

from anyseg_ros.sensors.projection import BROWN, EQUIDISTANT, NONE


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
        slope = [1.0, *(factor * k for factor, k in zip((3, 5, 7, 9), padded[:4], strict=True))]
        return EQUIDISTANT, padded, min(math.sqrt(_first_positive_root(slope)), math.pi / 2)
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
    pole = _first_positive_root(bottom.coef[::2])  # in r²
    return min(_first_positive_root(growth.coef), math.sqrt(pole * (1 - 1e-9)))  # just before it the factor is positive


def _first_positive_root(ascending) -> float:
    """The smallest positive real root of a polynomial that begins with 1 (from the constant up), or infinity.

    Solved for the inverse of its variable: that polynomial is monic, so that its largest root, which is the one
    wanted, is accurate however small the higher coefficients are. Solved directly, one of 1e-17 spoils all roots.
    """
    roots = np.roots(np.asarray(ascending, dtype=np.float64))
    real = roots.real[(np.abs(roots.imag) <= 1e-9 * (1 + np.abs(roots.real))) & (roots.real > 0)]
    return 1.0 / float(real.max()) if len(real) else math.inf
