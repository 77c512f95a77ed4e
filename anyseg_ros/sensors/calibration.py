# SPDX-License-Identifier: Apache-2.0
"""Cameras and the network's grid: where a 3D point lies in an image, and where an image lies on the grid.

Pixel convention is OpenCV's: integer coordinates are pixel centres, so that an image of width W spans
-0.5 <= u < W - 0.5 and a point is drawn at floor(u + 0.5). Resizing therefore carries half-pixel terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from anyseg_ros.sensors.camera_info import CalibrationError, camera_info_values, windowed
from anyseg_ros.sensors.lens import lens_parameters
from anyseg_ros.sensors.projection import project_points, unproject_pixels

Z_MIN_M = 0.1
COEFFICIENT_COUNTS = {"none": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
FIT_MODES = ("letterbox", "crop", "stretch")


@dataclass(frozen=True, eq=False)
class CameraModel:
    """An image of ``width`` x ``height`` pixels: raw (distorted), or rectified.

    Attributes:
        width, height: image size in pixels.
        K: float64 [3,3], fx 0 cx / 0 fy cy / 0 0 1; of a rectified image the left part of P.
        distortion: none, plumb_bob, rational_polynomial or equidistant (the names of sensor_msgs/CameraInfo).
        D: its coefficients: 4 or 5, 8, or 4.
        rectified: whether the image is rectified.
        R: float64 [3,3], of a rectified image: takes a vector of the camera's optical frame into the frame in which
            the image is a pinhole's; the identity but for stereo cameras. Points and rays here are always in the
            optical frame.

    Raises:
        CalibrationError: a size, K, D or R that no camera has.
    """

    width: int
    height: int
    K: np.ndarray
    distortion: str = "none"
    D: tuple[float, ...] = ()
    rectified: bool = False
    R: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        K = np.asarray(self.K, dtype=np.float64)
        if K.size != 9:
            raise CalibrationError(f"K has {K.size} numbers, expected 9 (3x3, row by row)")
        object.__setattr__(self, "K", K.reshape(3, 3).copy())
        R = np.asarray(self.R, dtype=np.float64)
        if R.size != 9:
            raise CalibrationError(f"R has {R.size} numbers, expected 9 (3x3, row by row)")
        object.__setattr__(self, "R", R.reshape(3, 3).copy())
        object.__setattr__(self, "D", tuple(float(d) for d in self.D))
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))
        self._check()

    def _check(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise CalibrationError(
                f"the image size is {self.width} x {self.height}, expected positive numbers of pixels"
            )
        if not np.all(np.isfinite(self.K)) or self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise CalibrationError(
                f"K has focal lengths {self.K[0, 0]:g} and {self.K[1, 1]:g}, expected positive numbers of pixels: "
                "the camera is not calibrated"
            )
        if self.K[0, 1] != 0:
            raise CalibrationError(f"K has the skew term {self.K[0, 1]:g}, which the models of CameraInfo do not know")
        counts = COEFFICIENT_COUNTS.get(self.distortion)
        if counts is None:
            known = ", ".join(COEFFICIENT_COUNTS)
            raise CalibrationError(f"distortion model '{self.distortion}' is unknown, expected one of: {known}")
        if len(self.D) not in counts:
            expected = " or ".join(str(c) for c in counts)
            raise CalibrationError(f"{self.distortion} has {len(self.D)} coefficients, expected {expected}")
        if not all(math.isfinite(d) for d in self.D):
            raise CalibrationError(f"distortion coefficients {self.D} are not all finite")
        if self.rectified and self.distortion != "none":
            raise CalibrationError(f"the image is said to be rectified, but has the distortion '{self.distortion}'")
        if not np.all(np.abs(self.R @ self.R.T - np.eye(3)) < 1e-3) or not np.linalg.det(self.R) > 0:
            raise CalibrationError(f"R is no rotation: {self.R.tolist()}")
        if not self.rectified and not np.array_equal(self.R, np.eye(3)):
            raise CalibrationError("R turns rectified images only, and the image is not said to be rectified")

    @cached_property
    def lens(self) -> tuple[int, np.ndarray, float]:
        """Kernel code, coefficients and valid limit (see ``lens.lens_parameters``)."""
        return lens_parameters(self.distortion, self.D)

    @property
    def intrinsics(self) -> np.ndarray:
        """Float64 [4]: fx, fy, cx, cy in pixels."""
        return np.array([self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]])

    def project(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the optical frame (x right, y down, z forward; metres) into the image.

        Args:
            xyz: [N,3].

        Returns:
            uv float64 [N,2] in pixels (NaN where not valid), and valid bool [N]: finite, depth over 0.1 m and inside
            the angle up to which the distortion polynomial grows. Image bounds are not applied.
        """
        points = np.asarray(xyz, dtype=np.float64).reshape(-1, 3)
        points = np.ascontiguousarray(points @ self.R.T if self.rectified else points)
        uv = np.empty((len(points), 2))
        valid = np.empty(len(points), dtype=np.bool_)
        project_points(points, self.intrinsics, *self.lens, Z_MIN_M, uv, valid)
        return uv, valid

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """Viewing rays of pixel positions, as long as makes their depth in the image 1; NaN where the lens has none.

        Args:
            uv: [N,2] pixel positions, OpenCV's convention.

        Returns:
            float64 [N,3] in the optical frame.
        """
        pixels = np.ascontiguousarray(np.asarray(uv, dtype=np.float64).reshape(-1, 2))
        rays = np.empty((len(pixels), 3))
        unproject_pixels(pixels, self.intrinsics, *self.lens, rays)
        return rays @ self.R if self.rectified else rays

    def pixel_rays(self) -> np.ndarray:
        """Rays of all pixel centres, row by row: float64 [H*W,3]."""
        v, u = np.mgrid[: self.height, : self.width]
        return self.rays(np.stack([u.ravel(), v.ravel()], axis=1))

    @classmethod
    def pinhole(cls, width: int, height: int, hfov_deg: float) -> CameraModel:
        """An ideal camera with square pixels, the axis in the image's middle, and a horizontal field of view."""
        if not 0 < hfov_deg < 180:
            raise CalibrationError(f"a pinhole camera cannot have a field of view of {hfov_deg} degrees")
        focal = width / 2 / math.tan(math.radians(hfov_deg) / 2)
        return cls(width, height, np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]))

    @classmethod
    def from_camera_info(cls, msg: Any, rectified: bool = False) -> CameraModel:
        """The camera of the image that comes with a sensor_msgs/CameraInfo, with its region of interest and binning.

        Args:
            msg: read by its fields, so that rclpy's and rosbags' classes both do.
            rectified: the image is image_rect (P and R describe it), not image_raw (K and D do).

        Raises:
            CalibrationError: the camera is uncalibrated (K[0], or P[0] for a rectified image, is 0), has no size, or
                its model is unknown.
        """
        return cls(**camera_info_values(msg, rectified))


def camera_window(
    camera: CameraModel, size: tuple[int, int], scale: tuple[float, float], shift: tuple[float, float]
) -> CameraModel:
    """The camera of a resized, shifted image: u' = (u + 0.5) * scale - 0.5 + shift, both per axis (x, y)."""
    return replace(camera, width=size[0], height=size[1], K=windowed(camera.K, scale, shift))


@dataclass(frozen=True, eq=False)
class Grid:
    """The network's grid and which part of the camera image lies where on it.

    Attributes:
        height, width: size of the grid in pixels.
        camera: the camera of the image plane.
        content: (top, left, height, width), the whole-pixel rectangle of the grid that the camera fills.
        source: (top, left, height, width), the whole-pixel rectangle of the camera image that lies there, resized.
    """

    height: int
    width: int
    camera: CameraModel
    content: tuple[int, int, int, int]
    source: tuple[int, int, int, int]
    scale: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", (self.content[3] / self.source[3], self.content[2] / self.source[2]))

    @classmethod
    def fit(cls, camera: CameraModel, height: int, width: int, mode: str = "letterbox") -> Grid:
        """The camera image on a grid; the calibration follows exactly, also where whole pixels bend the aspect.

        Args:
            camera: of the image plane.
            height: of the grid.
            width: of the grid.
            mode: ``letterbox`` (the whole image in the middle, its aspect kept), ``crop`` (the middle of the image
                fills the grid, its aspect kept) or ``stretch`` (the whole image fills the grid).

        Raises:
            CalibrationError: the grid has no pixels, or there is no such mode.
        """
        if height <= 0 or width <= 0:
            raise CalibrationError(f"the grid is {width} x {height}, expected positive numbers of pixels")
        ratios = (height / camera.height, width / camera.width)
        if mode == "letterbox":
            content = _middle((height, width), min(ratios) * camera.height, min(ratios) * camera.width)
            return cls(height, width, camera, content, (0, 0, camera.height, camera.width))
        if mode == "crop":
            source = _middle((camera.height, camera.width), height / max(ratios), width / max(ratios))
            return cls(height, width, camera, (0, 0, height, width), source)
        if mode == "stretch":
            return cls(height, width, camera, (0, 0, height, width), (0, 0, camera.height, camera.width))
        raise CalibrationError(f"a camera cannot be fitted by '{mode}', expected one of: {', '.join(FIT_MODES)}")

    def camera_to_grid(self, uv: np.ndarray) -> np.ndarray:
        """Positions [N,2] in camera pixels to grid pixels."""
        (top, left), (source_top, source_left) = self.content[:2], self.source[:2]
        return (np.asarray(uv, dtype=np.float64) - (source_left, source_top) + 0.5) * self.scale - 0.5 + (left, top)

    def grid_to_camera(self, uv: np.ndarray) -> np.ndarray:
        """Positions [N,2] in grid pixels to camera pixels."""
        (top, left), (source_top, source_left) = self.content[:2], self.source[:2]
        on_source = (np.asarray(uv, dtype=np.float64) - (left, top) + 0.5) / self.scale - 0.5
        return on_source + (source_left, source_top)

    @cached_property
    def source_camera(self) -> CameraModel:
        """The camera of the part of the image that lies on the grid: ``scale`` and ``content`` count from it."""
        top, left, height, width = self.source
        if (height, width) == (self.camera.height, self.camera.width):
            return self.camera
        return camera_window(self.camera, (width, height), (1.0, 1.0), (-left, -top))

    @cached_property
    def plane(self) -> CameraModel:
        """The camera of the grid's own pixels: K follows the resize exactly, D stays."""
        top, left, _, _ = self.content
        return camera_window(self.source_camera, (self.width, self.height), self.scale, (left, top))

    def mask(self) -> np.ndarray:
        """Bool [H,W], True where the camera image lies."""
        top, left, height, width = self.content
        mask = np.zeros((self.height, self.width), dtype=bool)
        mask[top : top + height, left : left + width] = True
        return mask


def _middle(size: tuple[int, int], height: float, width: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a rectangle in the middle of (height, width), in whole pixels, at least one."""
    inner_h = min(size[0], max(1, math.floor(height + 0.5)))
    inner_w = min(size[1], max(1, math.floor(width + 0.5)))
    return (size[0] - inner_h) // 2, (size[1] - inner_w) // 2, inner_h, inner_w
