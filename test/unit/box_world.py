# SPDX-License-Identifier: Apache-2.0
"""A street of boxes between which a vehicle drives a bend: pictures, sweeps and bags with an exact calibration."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Points

MS = 1_000_000
START_NS = 1_700_000_000 * 10**9
FAR_M = 80.0
SPEED_MPS, YAW_RATE_DPS = 9.0, 14.0


def street_rig() -> Rig:
    """Camera 400x225 and a lidar of 48 lines, both at 10 Hz, exactly known."""
    camera = Sensor(
        "camera",
        Modality.CAMERA,
        "camera_optical_frame",
        pose_matrix((1.5, 0.1, 1.6), (0.5, 1.0, -1.0), optical=True),
        model=CameraModel.pinhole(400, 225, 77.0),
        topic="/camera/image_raw",
    )
    lidar = Sensor("lidar", Modality.LIDAR, "lidar", pose_matrix((1.2, 0.0, 1.9)), topic="/lidar/points")
    return Rig("street", "base_link", (camera, lidar), "camera")


def boxes(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper corners [B,3] and albedo [B] of houses, poles, cars and posts along the road."""
    rng = np.random.default_rng(seed)
    low, high, albedo = [], [], []
    for x in np.arange(4.0, 58.0, 3.6):
        for side in (-1, 1):
            kind = rng.integers(3)
            length, width, height = ((2.2, 3.0, rng.uniform(3, 9)), (0.3, 0.3, 6.0), (1.8, 1.6, 1.5))[kind]
            y = side * (rng.uniform(6, 9) if kind == 0 else rng.uniform(3.4, 5.5))
            low.append((x, y - width / 2, 0.0))
            high.append((x + length, y + width / 2, height))
            albedo.append(rng.choice([0.15, 0.35, 0.6, 0.9]))
    return np.array(low), np.array(high), np.array(albedo)


LOW, HIGH, ALBEDO = boxes()


def cast(origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Range in multiples of each ray [N,3] (inf for the sky), and the albedo there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = (1 / rays).astype(np.float32)
        low, high = (LOW - origin).astype(np.float32), (HIGH - origin).astype(np.float32)
        enter = np.full((len(rays), len(LOW)), -np.inf, np.float32)
        leave = -enter
        for axis in range(3):
            a, b = inverse[:, axis, None] * low[:, axis], inverse[:, axis, None] * high[:, axis]
            np.maximum(enter, np.minimum(a, b), out=enter)
            np.minimum(leave, np.maximum(a, b), out=leave)
        ground = np.where(rays[:, 2] < 0, -origin[2] / rays[:, 2], np.inf)
    enter = np.where((enter < leave) & (enter > 0), enter, np.inf)
    box = np.argmin(enter, axis=1)
    nearest = enter[np.arange(len(rays)), box]
    reach = np.minimum(nearest, ground)
    with np.errstate(invalid="ignore"):
        place = origin + rays * np.where(np.isfinite(reach), reach, 0)[:, None]
    painted = (np.abs(np.abs(place[:, 1]) - 1.8) < 0.12) & (np.mod(place[:, 0], 5.0) < 2.5)
    side = np.where(np.abs(place[:, 0] - LOW[box, 0]) < 1e-3, 1.0, 0.75)
    albedo = np.where(nearest < ground, ALBEDO[box] * side, np.where(painted, 0.85, 0.25))
    return reach, np.where(np.isfinite(reach), albedo, 1.0)


def vehicle(t_s: float) -> np.ndarray:
    """The vehicle's pose [4,4] on its bend to and fro."""
    yaw = YAW_RATE_DPS * math.sin(2.5 * t_s) / 2.5
    return pose_matrix((SPEED_MPS * t_s, 0.3 * math.sin(1.5 * t_s), 0.0), (0.0, 0.0, yaw))


@lru_cache(maxsize=64)
def picture(t_s: float, seed: int = 0) -> np.ndarray:
    """uint8 [H,W,3] at a time, with a little noise."""
    camera = street_rig().sensor("camera")
    pose = vehicle(t_s) @ camera.base_from_sensor
    _, albedo = cast(pose[:3, 3], camera.model.pixel_rays() @ pose[:3, :3].T)
    grey = albedo.reshape(camera.model.height, camera.model.width) * 230
    noisy = grey + np.random.default_rng(seed).normal(0, 3, grey.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@lru_cache(maxsize=64)
def sweep(t_s: float) -> Points:
    """All points of one instant, without noise."""
    pose = vehicle(t_s) @ street_rig().sensor("lidar").base_from_sensor
    elevation, azimuth = np.radians(np.linspace(-18, 10, 48)), np.radians(np.arange(-50, 50, 0.3))
    e, a = (each.ravel() for each in np.meshgrid(elevation, azimuth, indexing="ij"))
    rays = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=1)
    reach, albedo = cast(pose[:3, 3], rays @ pose[:3, :3].T)
    hit = reach < FAR_M
    ring = np.repeat(np.arange(48, dtype=np.uint16), len(azimuth))
    xyz, intensity = (rays * reach[:, None])[hit].astype(np.float32), albedo[hit].astype(np.float32)
    return Points(xyz, intensity, ring=ring[hit])


def write_street(
    path: Path,
    seconds: float = 1.2,
    lidar_late_ms: int = 0,
    lidar_every: int = 1,
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    info_size: tuple[int, int] | None = None,
) -> Path:
    """A bag of the street.

    Args:
        path: the folder to write.
        seconds: length; camera at k*100 ms, lidar 30 ms after it.
        lidar_late_ms: the lidar's stamps lie so much after the truth.
        lidar_every: only every so many sweeps are written.
        turn_deg: roll, pitch, yaw of the lidar's pose in /tf_static beyond the truth.
        info_size: (width, height) that CameraInfo claims.
    """
    rig = street_rig()
    camera, lidar = rig.sensors
    said = [(camera.frame_id, camera.base_from_sensor)]
    said.append((lidar.frame_id, lidar.base_from_sensor @ pose_matrix((0, 0, 0), turn_deg)))
    model = camera.model if info_size is None else CameraModel(*info_size, camera.model.K)
    with BagWriter(path) as writer:
        writer.write_tf_static(START_NS, "base_link", said)
        for k in range(round(seconds * 10)):
            t_ns = START_NS + k * 100 * MS
            writer.write_image(camera.topic, t_ns + 10 * MS, t_ns, camera.frame_id, picture(k / 10, k))
            writer.write_camera_info("/camera/camera_info", t_ns + 10 * MS, t_ns, camera.frame_id, model)
            if k % lidar_every == 0:
                true_ns = t_ns + 30 * MS
                cloud = sweep(k / 10 + 0.03)
                stamp_ns = true_ns + lidar_late_ms * MS
                writer.write_points(lidar.topic, true_ns + 60 * MS, stamp_ns, lidar.frame_id, cloud)
    return path
