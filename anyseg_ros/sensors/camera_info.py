# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: the camera of the pixels that come with it, raw or rectified.

Raw pixels are K's, with the distortion D. Rectified pixels are P's: a point X of the optical frame lies at
P[:, :3] R X. The fourth column of P is not used: it is for points in the frame of a stereo pair's first camera, where
ours are in the optical frame of the camera itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

OTHER_NAMES = {"fisheye": "equidistant", "radtan": "plumb_bob"}
MOST_COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8}


class CalibrationError(ValueError):
    """A calibration that cannot be used; the message says what was found and what was expected."""


def camera_info_values(msg: Any, rectified: bool) -> dict[str, Any]:
    """The arguments of ``CameraModel`` for the image that comes with a CameraInfo.

    A region of interest and binning are applied as sensor_msgs/CameraInfo defines them (the region first, in pixels
    of the full resolution), with exact half-pixel terms, to K and P alike; ``do_rectify`` changes neither (as in
    image_geometry).

    Raises:
        CalibrationError: the camera is not calibrated.
    """
    if rectified:
        P, R = _numbers(msg.p, 12, "P").reshape(3, 4), _numbers(msg.r, 9, "R").reshape(3, 3)
        if P[0, 0] == 0:
            raise CalibrationError("CameraInfo has P[0] = 0: it describes no rectified image; use the raw one")
        # Drivers of single cameras leave R at zero.
        K, values = P[:, :3], {"rectified": True, "R": R if np.any(R) else np.eye(3)}
    else:
        K = _numbers(msg.k, 9, "K").reshape(3, 3)
        if K[0, 0] == 0:
            raise CalibrationError(
                "CameraInfo has K[0] = 0: the camera is not calibrated; calibrate it or use a rig file"
            )
        values = _lens(msg)
    size, scale, shift = _window(msg)
    if scale != (1.0, 1.0) or shift != (0.0, 0.0):
        K = windowed(K, scale, shift)
    return {"width": size[0], "height": size[1], "K": K, **values}


def windowed(K: np.ndarray, scale: tuple[float, float], shift: tuple[float, float]) -> np.ndarray:
    """K [3,3] of a resized, shifted image: u' = (u + 0.5) * scale - 0.5 + shift, both per axis (x, y)."""
    K = K.copy()
    for axis in (0, 1):
        K[axis, axis] *= scale[axis]
        K[axis, 2] = (K[axis, 2] + 0.5) * scale[axis] - 0.5 + shift[axis]
    return K


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size != count:
        raise CalibrationError(f"CameraInfo has {numbers.size} numbers in {name}, expected {count}")
    return numbers


def _lens(msg: Any) -> dict[str, Any]:
    """The distortion and its coefficients, without the zeros that some drivers append."""
    D = tuple(float(d) for d in msg.d)
    model = str(msg.distortion_model).strip().lower()
    model = OTHER_NAMES.get(model, model)
    if not any(D) and model in ("", "none", *MOST_COEFFICIENTS):
        return {"distortion": "none"}
    most = MOST_COEFFICIENTS.get(model, len(D))
    return {"distortion": model, "D": D[:most] if not any(D[most:]) else D}


def _window(msg: Any) -> tuple[tuple[int, int], tuple[float, float], tuple[float, float]]:
    """Size, scale and shift (see ``windowed``) of the image that region of interest and binning leave."""
    left, top, width, height = 0, 0, int(msg.width), int(msg.height)
    roi = getattr(msg, "roi", None)
    if roi is not None and roi.width > 0 and roi.height > 0:
        left, top, width, height = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    bin_x = max(1, int(getattr(msg, "binning_x", 0)))
    bin_y = max(1, int(getattr(msg, "binning_y", 0)))
    return (width // bin_x, height // bin_y), (1 / bin_x, 1 / bin_y), (-left / bin_x, -top / bin_y)
