# SPDX-License-Identifier: Apache-2.0
"""Reads the values of a rig file: each of its type, or a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.drivers import INTENSITY_SCALES
from anyseg_ros.sensors.poses import RigError, pose_matrix

CAMERA_KEYS = {"width", "height", "K", "fx", "fy", "cx", "cy", "hfov_deg", "distortion", "D", "rectified", "R"}


def check_keys(data: Any, known: set[str], needed: set[str], what: str) -> None:
    """Refuse what is no mapping, or has keys too many or too few.

    Raises:
        RigError: names them.
    """
    if not isinstance(data, dict):
        raise RigError(
            f"{what} is a {type(data).__name__}, expected a mapping with {', '.join(sorted(needed or known))}"
        )
    unknown, missing = data.keys() - known, needed - data.keys()
    if unknown or missing:
        found = [f"unknown: {', '.join(sorted(map(str, unknown)))}"] if unknown else []
        found += [f"missing: {', '.join(sorted(missing))}"] if missing else []
        raise RigError(f"{what} has keys that do not fit ({'; '.join(found)}); known: {', '.join(sorted(known))}")


def number(data: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A finite number.

    Raises:
        RigError: it is something else; YAML reads 1e-3 without a point as a text.
    """
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RigError(f"'{key}' is {_shown(value)}, expected a number")
    return float(value)


def flag(data: Mapping[str, Any], key: str, default: bool) -> bool:
    """True or false.

    Raises:
        RigError: it is something else, such as the text "false", which counts as true in Python.
    """
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise RigError(f"'{key}' is {_shown(value)}, expected true or false")
    return value


def text(data: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A text that is not empty, or the default.

    Raises:
        RigError: it is something else.
    """
    if key not in data and default is not None:
        return default
    value = data.get(key)
    if not isinstance(value, str) or not (value or default == ""):
        raise RigError(f"'{key}' is {_shown(value)}, expected a text")
    return value


def modality(data: Mapping[str, Any]) -> Modality:
    """The kind of a sensor.

    Raises:
        RigError: there is no such kind; the message lists those there are.
    """
    try:
        return Modality(data["modality"])
    except ValueError:
        known = ", ".join(m.value for m in Modality)
        raise RigError(f"'modality' is {_shown(data['modality'])}, expected one of: {known}") from None


def period_ns(data: Mapping[str, Any]) -> int:
    """The time between two measurements, of a rate in Hz.

    Raises:
        RigError: the rate is not above 0.
    """
    rate_hz = number(data, "rate_hz", 10.0)
    if not 0 < rate_hz <= 1e9:
        raise RigError(f"'rate_hz' is {rate_hz:g}, expected more than 0 measurements a second")
    return round(1e9 / rate_hz)


def intensity_scale(data: Mapping[str, Any]) -> float:
    """What brings a lidar's intensity to 0..1: a number, or the name of its driver.

    Raises:
        RigError: it is neither; the message lists the drivers.
    """
    value = data.get("intensity_scale", 1.0)
    if isinstance(value, str) and value in INTENSITY_SCALES:
        return INTENSITY_SCALES[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        drivers = ", ".join(INTENSITY_SCALES)
        raise RigError(
            f"'intensity_scale' is {_shown(value)}, expected a number above 0 or the name of a driver: {drivers}"
        )
    return float(value)


def pose(data: Any) -> np.ndarray:
    """Float64 [4,4] of a pose in the base frame.

    Raises:
        RigError: says what is missing or of another type.
    """
    check_keys(data, {"xyz_m", "rpy_deg", "optical", "matrix"}, set(), "a pose")
    if "matrix" in data:
        return np.array(_numbers(data, "matrix", 16), dtype=np.float64).reshape(4, 4)
    if "xyz_m" not in data:
        raise RigError("a pose needs 'matrix' or 'xyz_m' (with 'rpy_deg' and 'optical')")
    angles = _numbers(data, "rpy_deg", 3) if "rpy_deg" in data else (0.0, 0.0, 0.0)
    return pose_matrix(_numbers(data, "xyz_m", 3), angles, flag(data, "optical", False))


def camera(data: Any) -> CameraModel:
    """A camera's calibration.

    Raises:
        RigError: says what is missing or of another type.
        CalibrationError: no camera has such a calibration.
    """
    check_keys(data, CAMERA_KEYS, {"width", "height"}, "a camera")
    width, height = int(number(data, "width")), int(number(data, "height"))
    lens: dict[str, Any] = {
        "distortion": text(data, "distortion", "none"),
        "D": tuple(_numbers(data, "D")) if "D" in data else (),
        "rectified": flag(data, "rectified", False),
        "R": np.reshape(_numbers(data, "R", 9), (3, 3)) if "R" in data else np.eye(3),
    }
    if "hfov_deg" in data:
        return replace(CameraModel.pinhole(width, height, number(data, "hfov_deg")), **lens)
    if "K" in data:
        return CameraModel(width, height, np.array(_numbers(data, "K"), dtype=np.float64), **lens)
    missing = {"fx", "fy", "cx", "cy"} - data.keys()
    if missing:
        raise RigError(f"a camera needs 'hfov_deg', 'K', or fx fy cx cy; missing: {', '.join(sorted(missing))}")
    fx, fy, cx, cy = (number(data, key) for key in ("fx", "fy", "cx", "cy"))
    return CameraModel(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), **lens)


def _numbers(data: Mapping[str, Any], key: str, count: int | None = None) -> list[float]:
    """A list of numbers, which may be nested."""
    try:
        flat = np.asarray(data[key], dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise RigError(f"'{key}' is {_shown(data[key])}, expected a list of numbers") from None
    if count is not None and len(flat) != count:
        raise RigError(f"'{key}' has {len(flat)} numbers, expected {count}")
    return flat.tolist()


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)
