# SPDX-License-Identifier: Apache-2.0
"""Reads a road frame: one picture, one lidar sweep and their calibration, as SensorsCalibration lays them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.bags.pcd import read_pcd
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Points


def load_road(folder: Path) -> tuple[Rig, np.ndarray, Points]:
    """The road frame: its rig, image and cloud.

    The base frame is put on the road under the lidar.

    Returns:
        The rig (camera, lidar), uint8 [1200,1920,3] RGB, and the points.

    Raises:
        ValueError: a file is damaged.
        OSError: a file is missing.
    """
    fields = read_pcd(folder / "lidar.pcd")
    points = Points(np.stack([fields[axis] for axis in "xyz"], axis=1), fields["intensity"], ring=fields["ring"])
    rig = road_rig(read_entry(folder / "camera_intrinsic.json"), read_entry(folder / "lidar_to_camera.json"), points)
    image = cv2.imread(str(folder / "camera.png"), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError(f"cannot read the picture {folder / 'camera.png'}")
    return rig, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), points


def read_entry(path: Path) -> dict[str, Any]:
    """The parameters of a calibration file of SensorsCalibration, which holds one named entry."""
    with open(path, encoding="utf-8") as file:
        return next(iter(json.load(file).values()))["param"]


def road_rig(intrinsic: dict[str, Any], extrinsic: dict[str, Any], points: Points) -> Rig:
    """The rig of a camera and a lidar as SensorsCalibration writes them.

    Args:
        intrinsic: ``cam_K``, ``cam_dist``, ``img_dist_w`` and ``img_dist_h``.
        extrinsic: ``sensor_calib``, from the lidar into the camera's optical frame.
        points: a sweep, which says how high over the road the lidar is.
    """
    model = CameraModel(
        int(intrinsic["img_dist_w"]),
        int(intrinsic["img_dist_h"]),
        np.array(intrinsic["cam_K"]["data"], np.float64),
        "plumb_bob",
        tuple(intrinsic["cam_dist"]["data"][0]),
    )
    camera_from_lidar = np.array(extrinsic["sensor_calib"]["data"], np.float64)
    base_from_lidar = np.eye(4)
    base_from_lidar[2, 3] = lidar_height_m(points.xyz)
    sensors = (
        Sensor("camera", Modality.CAMERA, "camera", base_from_lidar @ np.linalg.inv(camera_from_lidar), model=model),
        Sensor("lidar", Modality.LIDAR, "lidar", base_from_lidar, intensity_scale=1.0 / 255.0),
    )
    return Rig("road_frame", "base_link", sensors, "camera")


def lidar_height_m(xyz: np.ndarray) -> float:
    """Height of the lidar above the road: the median depth of what lies 4 to 20 m ahead in the own lane."""
    x, y, z = np.asarray(xyz, np.float64).T
    ahead = (x > 4.0) & (x < 20.0) & (np.abs(y) < 3.0) & (z < 0.0)
    return -float(np.median(z[ahead]))


def points_in_picture(rig: Rig, points: Points, distorted: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Where the cloud lies in the picture, before any rounding.

    Args:
        rig: with a camera and a lidar.
        points: the cloud, N points.
        distorted: apply the camera's distortion, as the raw picture has it.

    Returns:
        uv float64 [N,2] and inside bool [N]: 0 <= u < width, 0 <= v < height, more than 0.1 m in front.
    """
    model = rig.sensor("camera").model
    assert model is not None  # Sensor refuses a camera without a model
    if not distorted:
        model = CameraModel(model.width, model.height, model.K)
    plane_from_lidar = rig.plane_from("lidar")
    xyz = np.asarray(points.xyz, np.float64) @ plane_from_lidar[:3, :3].T + plane_from_lidar[:3, 3]
    uv, valid = model.project(xyz)
    u, v = uv.T
    with np.errstate(invalid="ignore"):
        inside = valid & (u >= 0) & (u < model.width) & (v >= 0) & (v < model.height)
    return uv, inside
