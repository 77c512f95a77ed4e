# SPDX-License-Identifier: Apache-2.0
"""Lens distortion as numba kernels: one point at a time, so that every projection loop can inline it.

The formulas are OpenCV's (calib3d, "Detailed Description"; fisheye module), with the coefficients in the order
of sensor_msgs/CameraInfo. A polynomial is only a model up to the angle where it stops growing: beyond that it folds
far points back into the image. ``lens_parameters`` finds that limit, and the kernels call points beyond it invalid.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NONE, BROWN, EQUIDISTANT = 0, 1, 2


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
    k1, k2, _, _, k3, k4, k5, k6 = padded
    top = np.polynomial.Polynomial([1.0, k1, k2, k3])
    bottom = np.polynomial.Polynomial([1.0, k4, k5, k6])
    squared = np.polynomial.Polynomial([0.0, 1.0])
    slope = top * bottom + 2 * squared * (top.deriv() * bottom - top * bottom.deriv())
    limit = min(_first_positive_root(slope.coef), _first_positive_root(bottom.coef))
    return BROWN, padded, math.sqrt(limit)


def _first_positive_root(ascending) -> float:
    """The smallest positive real root of a polynomial (coefficients from the constant up), or infinity."""
    roots = np.polynomial.Polynomial(np.trim_zeros(np.asarray(ascending, dtype=np.float64), "b")).roots()
    real = roots.real[(np.abs(roots.imag) <= 1e-9 * (1 + np.abs(roots.real))) & (roots.real > 0)]
    return float(real.min()) if len(real) else math.inf


@njit(cache=True, nogil=True, error_model="numpy")
def distort(code, d, limit, a, b):
    """The distorted position of a point (a, b) of the z=1 plane: (x, y, valid)."""
    if code == NONE:
        return a, b, True
    r2 = a * a + b * b
    if code == BROWN:
        if r2 > limit * limit:
            return a, b, False
        radial = (1 + ((d[4] * r2 + d[1]) * r2 + d[0]) * r2) / (1 + ((d[7] * r2 + d[6]) * r2 + d[5]) * r2)
        x = a * radial + 2 * d[2] * a * b + d[3] * (r2 + 2 * a * a)
        y = b * radial + d[2] * (r2 + 2 * b * b) + 2 * d[3] * a * b
        return x, y, True
    r = math.sqrt(r2)
    if r < 1e-8:
        return a, b, True
    theta = math.atan(r)
    if theta > limit:
        return a, b, False
    t2 = theta * theta
    scale = theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))) / r
    return a * scale, b * scale, True


@njit(cache=True, nogil=True, error_model="numpy")
def _radial(code, d, r):
    """Distorted radius and its slope for a radius (Brown) or an angle (equidistant)."""
    s = r * r
    if code == EQUIDISTANT:
        value = r * (1 + s * (d[0] + s * (d[1] + s * (d[2] + s * d[3]))))
        slope = 1 + s * (3 * d[0] + s * (5 * d[1] + s * (7 * d[2] + s * 9 * d[3])))
        return value, slope
    top = 1 + s * (d[0] + s * (d[1] + s * d[4]))
    bottom = 1 + s * (d[5] + s * (d[6] + s * d[7]))
    ratio_slope = _ratio_slope(d, s, top, bottom)
    return r * top / bottom, top / bottom + 2 * s * ratio_slope


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio_slope(d, s, top, bottom):
    """Derivative of Brown's radial factor by s = r²."""
    top_slope = d[0] + s * (2 * d[1] + s * 3 * d[4])
    bottom_slope = d[5] + s * (2 * d[6] + s * 3 * d[7])
    return (top_slope * bottom - top * bottom_slope) / (bottom * bottom)


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_radial(code, d, limit, wanted):
    """The radius (or angle) whose distorted radius is ``wanted``; negative where there is none."""
    high = limit
    if not math.isfinite(high):
        high = wanted + 1e-12
        for _ in range(60):
            if _radial(code, d, high)[0] >= wanted:
                break
            high *= 2
    if _radial(code, d, high)[0] < wanted:
        return -1.0
    low = 0.0
    r = min(wanted, high)
    for _ in range(80):
        value, slope = _radial(code, d, r)
        if value > wanted:
            high = r
        else:
            low = r
        step = (wanted - value) / slope
        following = r + step
        if not (low <= following <= high):
            following = 0.5 * (low + high)
        if abs(following - r) <= 1e-14 * (1 + r):
            return following
        r = following
    return r


@njit(cache=True, nogil=True, error_model="numpy")
def undistort(code, d, limit, x, y):
    """The inverse of ``distort``: (a, b, valid); not valid where no ray of the model reaches (x, y)."""
    if code == NONE:
        return x, y, True
    wanted = math.sqrt(x * x + y * y)
    if wanted < 1e-12 and d[2] == 0 and d[3] == 0:
        return x, y, True
    r = _solve_radial(code, d, limit, wanted)
    if r < 0:
        return x, y, False
    if code == EQUIDISTANT:
        if r >= math.pi / 2 - 1e-6:
            return x, y, False
        return x * math.tan(r) / wanted, y * math.tan(r) / wanted, True
    scale = r / wanted if wanted > 0 else 1.0
    return _polish(d, limit, x, y, x * scale, y * scale)


@njit(cache=True, nogil=True, error_model="numpy")
def _polish(d, limit, x, y, a, b):
    """Newton's method in both coordinates from the radial solution, for the tangential terms."""
    for _ in range(20):
        fx, fy, valid = distort(BROWN, d, limit, a, b)
        if not valid:
            return a, b, False
        ex, ey = x - fx, y - fy
        if abs(ex) + abs(ey) < 1e-13:
            break
        s = a * a + b * b
        top = 1 + s * (d[0] + s * (d[1] + s * d[4]))
        bottom = 1 + s * (d[5] + s * (d[6] + s * d[7]))
        slope = _ratio_slope(d, s, top, bottom)
        cross = 2 * a * b * slope + 2 * d[2] * a + 2 * d[3] * b
        xa = top / bottom + 2 * a * a * slope + 2 * d[2] * b + 6 * d[3] * a
        yb = top / bottom + 2 * b * b * slope + 6 * d[2] * b + 2 * d[3] * a
        det = xa * yb - cross * cross
        if det == 0:
            return a, b, False
        a += (yb * ex - cross * ey) / det
        b += (xa * ey - cross * ex) / det
    fx, fy, valid = distort(BROWN, d, limit, a, b)
    return a, b, valid and abs(x - fx) + abs(y - fy) < 1e-9
