# SPDX-License-Identifier: Apache-2.0
"""Calibration sanity: what can be said of intrinsics, poses and clouds without looking at a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.projection import EQUIDISTANT
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Points

CELL_M = 1.0
AHEAD_M, ASIDE_M = (3.0, 20.0), 4.0  # where the ground is looked for, in the base frame
MIN_CELLS = 10


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a camera, as figures that a person can judge.

    Attributes:
        sensor: name in the rig.
        width, height: of the calibration, in pixels.
        hfov_deg, vfov_deg: fields of view along the axes through the principal point; None where the model ends before.
        centre_off: principal point from the middle, in shares of width and height.
        aspect: fx by fy.
        distortion: model name.
        valid_deg: angle from the axis up to which the distortion polynomial holds; None without a limit.
        corner_deg: angle of the farthest corner; None where the model has no ray for it.
    """

    sensor: str
    width: int
    height: int
    hfov_deg: float | None
    vfov_deg: float | None
    centre_off: tuple[float, float]
    aspect: float
    distortion: str
    valid_deg: float | None
    corner_deg: float | None


def lens(sensor: Sensor) -> Lens:
    """The figures of an optical sensor's model."""
    model = sensor.model
    assert model is not None  # Sensor refuses an optical sensor without a model
    fx, fy, cx, cy = model.intrinsics
    right, bottom = model.width - 0.5, model.height - 0.5
    corners = _angles(model, [(-0.5, -0.5), (right, -0.5), (-0.5, bottom), (right, bottom)])
    return Lens(
        sensor.name,
        model.width,
        model.height,
        _sum(_angles(model, [(-0.5, cy), (right, cy)])),
        _sum(_angles(model, [(cx, -0.5), (cx, bottom)])),
        (float((cx + 0.5) / model.width - 0.5), float((cy + 0.5) / model.height - 0.5)),
        float(fx / fy),
        model.distortion,
        _valid_deg(model),
        float(corners.max()) if np.isfinite(corners).all() else None,
    )


def _angles(model: CameraModel, pixels: list[tuple[float, float]]) -> np.ndarray:
    """Angle from the optical axis of each pixel's ray, in degrees; NaN where the model has none."""
    rays = model.rays(np.array(pixels))
    return np.degrees(np.arctan(np.hypot(rays[:, 0], rays[:, 1])))


def _sum(angles: np.ndarray) -> float | None:
    return float(angles.sum()) if np.isfinite(angles).all() else None


def _valid_deg(model: CameraModel) -> float | None:
    code, _, limit = model.lens
    if not math.isfinite(limit):
        return None
    return math.degrees(limit if code == EQUIDISTANT else math.atan(limit))


@dataclass(frozen=True)
class CloudView:
    """Where the points of one sweep lie as seen by the image plane's camera.

    Attributes:
        sensor: the lidar's name in the rig.
        points: all; ``finite`` of them have a position.
        ahead: in front of the camera and within 45 degrees of its axis.
        in_view: in the image.
        behind: behind the camera.
        beyond: would fall into the image, but only because the distortion polynomial folds back there.
        ground_m: median height over the base frame of the lowest points ahead; None where there are too few.
    """

    sensor: str
    points: int
    finite: int
    ahead: int
    in_view: int
    behind: int
    beyond: int
    ground_m: float | None


def project_cloud(rig: Rig, sensor: Sensor, points: Points) -> tuple[np.ndarray, np.ndarray, CloudView]:
    """Where a sweep lies in the image plane's picture.

    Returns:
        uv float64 [N,2] in pixels, inside bool [N], and the figures.
    """
    model = rig.sensor(rig.image_plane).model
    assert model is not None  # Rig refuses an image plane without a model
    pose = rig.plane_from(sensor.name)
    xyz = np.asarray(points.xyz, np.float64)
    seen = xyz @ pose[:3, :3].T + pose[:3, 3]
    uv, valid = model.project(seen)
    finite = np.isfinite(xyz).all(axis=1)
    with np.errstate(invalid="ignore"):
        bounds = (uv >= -0.5) & (uv < (model.width - 0.5, model.height - 0.5))
        inside = valid & finite & bounds.all(axis=1)
        ahead = finite & (seen[:, 2] > 0.1) & (np.hypot(seen[:, 0], seen[:, 1]) < seen[:, 2])
        behind = finite & (seen[:, 2] <= 0.1)
        front = finite & (seen[:, 2] > 0.1)
    figures = CloudView(
        sensor.name,
        len(xyz),
        int(finite.sum()),
        int(ahead.sum()),
        int(inside.sum()),
        int(behind.sum()),
        int((front & ~valid & _folded(model, seen)).sum()),
        ground_height_m(xyz[finite] @ sensor.base_from_sensor[:3, :3].T + sensor.base_from_sensor[:3, 3]),
    )
    return uv, inside, figures


def _folded(model: CameraModel, xyz: np.ndarray) -> np.ndarray:
    """Bool [N]: the bare polynomial, without its limit, puts the point into the image."""
    code, d, limit = model.lens
    if not math.isfinite(limit):
        return np.zeros(len(xyz), bool)
    with np.errstate(all="ignore"):
        a, b = xyz[:, 0] / xyz[:, 2], xyz[:, 1] / xyz[:, 2]
        r2 = a * a + b * b
        if code == EQUIDISTANT:
            r = np.sqrt(r2)
            t2 = np.arctan(r) ** 2
            radial = np.arctan(r) * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))) / r
        else:
            radial = (1 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / (1 + r2 * (d[5] + r2 * (d[6] + r2 * d[7])))
        fx, fy, cx, cy = model.intrinsics
        u, v = fx * a * radial + cx, fy * b * radial + cy
        return (u >= -0.5) & (v >= -0.5) & (u < model.width - 0.5) & (v < model.height - 0.5)


def ground_height_m(xyz: np.ndarray) -> float | None:
    """Median height of the lowest point of each square metre ahead, in the base frame; about 0 on a flat road.

    Args:
        xyz: float64 [N,3] in metres, in the base frame.
    """
    x, y = xyz[:, 0], xyz[:, 1]
    near = (x > AHEAD_M[0]) & (x < AHEAD_M[1]) & (np.abs(y) < ASIDE_M)
    cells = np.floor(xyz[near, :2] / CELL_M).astype(np.int64)
    if not len(cells):
        return None
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    lowest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(lowest, cell.ravel(), xyz[near, 2])
    return float(np.median(lowest)) if len(lowest) >= MIN_CELLS else None
