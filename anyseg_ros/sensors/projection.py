# SPDX-License-Identifier: Apache-2.0
"""The numba kernels between points and pixels: lens distortion, and the loops over points that use it.

The formulas are OpenCV's (calib3d, "Detailed Description"; fisheye module), with the coefficients in the order
of sensor_msgs/CameraInfo: k1 k2 p1 p2 k3 k4 k5 k6, or k1 to k4 for equidistant. ``limit`` is where the model ends
(see ``lens``). The loops stand in one file with the lens functions that they inline, because numba's cache does not
notice a change in another file and would go on with the old formulas.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NONE, BROWN, EQUIDISTANT = 0, 1, 2


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
    before = high
    for _ in range(120):
        value, slope = _radial(code, d, r)
        if value > wanted:
            high = r
        else:
            low = r
        step = (wanted - value) / slope
        # Newton's steps may go to and fro between two ends of a bent curve: halve the interval unless they shrink.
        if not (low <= r + step <= high and abs(step) <= 0.5 * before):
            step = 0.5 * (low + high) - r
        if abs(step) <= 1e-14 * (1 + r):
            return r + step
        before = abs(step)
        r += step
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
    if code == EQUIDISTANT:
        if r < 0 or r >= math.pi / 2 - 1e-6:
            return x, y, False
        return x * math.tan(r) / wanted, y * math.tan(r) / wanted, True
    if r < 0 and not math.isfinite(limit):
        return x, y, False
    # Newton's steps fall short from well inside, but overshoot near the limit. Where the radial terms alone do not
    # reach (r < 0), the tangential ones still may.
    r = min(r, 0.7 * limit) if r >= 0 else 0.7 * limit
    scale = r / wanted if wanted > 0 else 1.0
    return _polish(d, limit, x, y, x * scale, y * scale)


@njit(cache=True, nogil=True, error_model="numpy")
def _polish(d, limit, x, y, a, b):
    """Newton's method in both coordinates from the radial solution, for the tangential terms."""
    for _ in range(20):
        fx, fy, _ = distort(BROWN, d, limit, a, b)
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
        step_a, step_b = (yb * ex - cross * ey) / det, (xa * ey - cross * ex) / det
        while math.hypot(a + step_a, b + step_b) > limit:  # stay where the model holds; a and b do
            step_a, step_b = 0.5 * step_a, 0.5 * step_b
            if abs(step_a) + abs(step_b) < 1e-12:
                return a, b, False
        a += step_a
        b += step_b
    fx, fy, valid = distort(BROWN, d, limit, a, b)
    return a, b, valid and abs(x - fx) + abs(y - fy) < 1e-9


@njit(cache=True, nogil=True, error_model="numpy")
def project_points(points, intrinsics, code, d, limit, z_min, uv, valid):
    """Points [N,3] of the optical frame to raw pixels uv [N,2]; NaN where not valid."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        valid[i] = False
        uv[i, 0] = math.nan
        uv[i, 1] = math.nan
        if not (z > z_min) or not math.isfinite(x + y + z):
            continue
        a, b, inside = distort(code, d, limit, x / z, y / z)
        if inside:
            uv[i, 0] = intrinsics[0] * a + intrinsics[2]
            uv[i, 1] = intrinsics[1] * b + intrinsics[3]
            valid[i] = True


@njit(cache=True, nogil=True, error_model="numpy")
def unproject_pixels(uv, intrinsics, code, d, limit, rays):
    """Raw pixels uv [N,2] to rays [N,3] with z = 1; NaN where the lens has none."""
    for i in range(uv.shape[0]):
        x = (uv[i, 0] - intrinsics[2]) / intrinsics[0]
        y = (uv[i, 1] - intrinsics[3]) / intrinsics[1]
        a, b, valid = undistort(code, d, limit, x, y)
        rays[i, 0] = a if valid else math.nan
        rays[i, 1] = b if valid else math.nan
        rays[i, 2] = 1.0 if valid else math.nan


@njit(cache=True, nogil=True, error_model="numpy")
def draw_points(
    xyz,
    intensity,
    intensity_scale,
    T,
    up,
    gates,
    intrinsics,
    code,
    d,
    limit,
    scale,
    content,
    image,
    width,
    depth,
    index,
):
    """Gate, transform, distort and z-buffer a cloud in one pass (see ``lidar.project_cloud``); points in view."""
    near2, far2, z_min = gates[0] * gates[0], gates[1] * gates[1], gates[2]
    top, left, inner_h, inner_w = content
    in_view = 0
    for i in range(xyz.shape[0]):
        index[i] = -1
        x, y, z = np.float64(xyz[i, 0]), np.float64(xyz[i, 1]), np.float64(xyz[i, 2])
        r2 = x * x + y * y + z * z
        if not (near2 <= r2 <= far2):
            continue
        zc = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]
        if not (zc > z_min):
            continue
        xc = T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]
        yc = T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3]
        a, b, inside = distort(code, d, limit, xc / zc, yc / zc)
        if not inside:
            continue
        column = (intrinsics[0] * a + intrinsics[2] + 0.5) * scale[0]
        row = (intrinsics[1] * b + intrinsics[3] + 0.5) * scale[1]
        if not (0 <= column < inner_w and 0 <= row < inner_h):
            continue
        pixel = (top + int(row)) * width + left + int(column)
        index[i] = pixel
        in_view += 1
        if zc < depth[pixel] or depth[pixel] == 0:
            depth[pixel] = zc
            image[0, pixel] = math.sqrt(r2)
            image[1, pixel] = _unit(intensity[i] * intensity_scale)
            image[2, pixel] = up[0] * x + up[1] * y + up[2] * z + up[3]
    return in_view


@njit(cache=True, nogil=True)
def _unit(value):
    """The value cut to 0..1; NaN becomes 0."""
    if value > 1.0:
        return 1.0
    if value > 0.0:
        return value
    return 0.0
