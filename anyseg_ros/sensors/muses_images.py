# SPDX-License-Identifier: Apache-2.0
"""Draws payloads as the MUSES SDK does, on the grid or through its PNG files as the AnySeg release reads them."""

from __future__ import annotations

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors import muses_sdk, release
from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.checks import RejectedPayload
from anyseg_ros.sensors.grid_images import DrawnEvents, GridImages
from anyseg_ros.sensors.lidar import Projected
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig, Sensor, optical_model
from anyseg_ros.types import Absence, Events


class MusesImages:
    """Draws by ``muses_sdk``. The SDK knows neither depth cameras nor lenses: those payloads are turned down.

    Args:
        rig: sensors and calibration.
        grid: the grid, filled by the whole camera image.
        encoding: with parameters of this way of drawing.
    """

    def __init__(self, rig: Rig, grid: Grid, encoding: Encoding) -> None:
        self._rig, self._grid, self._encoding = rig, grid, encoding
        self._on_grid = GridImages(rig, grid, encoding)
        if encoding.through_png:
            release.pillow()  # a sentence now, not at the first payload
        camera = grid.camera
        self._size = (camera.width, camera.height) if encoding.through_png else (grid.width, grid.height)
        self._K = muses_sdk.scaled_intrinsics(camera.K, (camera.width, camera.height), self._size)
        self._pixels: dict[str, np.ndarray] = {}

    def camera(self, sensor: Sensor, image: np.ndarray) -> np.ndarray:
        """uint8 [h,w,3] RGB -> float32 [3,H,W]."""
        if not self._encoding.through_png:
            return self._on_grid.camera(sensor, image)
        if sensor.name != self._rig.image_plane:
            raise self._rejected(sensor, f"knows one camera, which is '{self._rig.image_plane}'")
        return release.squash(image, self._grid.width, self._grid.height)

    def cloud(self, sensor: Sensor, xyz: np.ndarray, intensity: np.ndarray) -> Projected:
        """Points [N,3] in metres in the sensor's frame, and their raw intensity [N]."""
        if sensor.modality is Modality.DEPTH:
            raise self._rejected(sensor, "knows no depth images")
        self._check_lens(sensor, self._grid.camera)
        encoding = self._encoding.cloud
        far_m = np.inf if encoding.max_range_m is None else encoding.max_range_m
        image, pixel_index = muses_sdk.draw_points(
            xyz,
            np.asarray(intensity, np.float64) * (sensor.intensity_scale * 255.0),
            self._image_from(sensor),
            self._K,
            self._size,
            (encoding.min_range_m, far_m),
        )
        in_view = int(np.count_nonzero(pixel_index >= 0))
        if encoding.fill == "dilate_2x2":
            image = muses_sdk.dilate_points(image)
        if not self._encoding.through_png:
            return Projected(_planes(image), pixel_index, in_view)
        squashed = release.squash(release.read_png16(muses_sdk.to_png16(image)), self._grid.width, self._grid.height)
        return Projected(squashed, self._index_on_grid(pixel_index), in_view)

    def events(self, sensor: Sensor, events: Events, until_ns: int) -> DrawnEvents:
        """The last events; ``until_ns``, the end of the window in the sensor's own clock, does not matter here."""
        model = optical_model(sensor)
        self._check_lens(sensor, self._grid.camera)
        self._check_lens(sensor, model)
        if sensor.name not in self._pixels:
            self._pixels[sensor.name] = muses_sdk.event_pixels(
                (model.width, model.height), self._image_from(sensor), model.K, self._K, self._size
            )
        encoding = self._encoding.event
        image, used, outside = muses_sdk.draw_events(events, self._pixels[sensor.name], self._size, encoding.window_ns)
        if encoding.dilate:
            image = muses_sdk.dilate_events(image)
        if not self._encoding.through_png:
            return DrawnEvents(_planes(image), used, outside)
        squashed = release.squash(release.read_png8(image), self._grid.width, self._grid.height)
        return DrawnEvents(squashed, used, outside)

    def _image_from(self, sensor: Sensor) -> np.ndarray:
        """[4,4] into the frame of the image; of rectified cameras into and out of the turned frames."""
        pose = np.eye(4)
        pose[:3] = self._grid.camera.R @ self._rig.plane_from(sensor.name)[:3]
        if sensor.model is not None:
            pose[:3, :3] = pose[:3, :3] @ sensor.model.R.T
        return pose

    def _index_on_grid(self, pixel_index: np.ndarray) -> np.ndarray:
        """Flat pixels of the camera image, int32 [N], to those of the grid."""
        v, u = np.divmod(pixel_index, self._size[0])
        column = ((u + 0.5) * self._grid.scale[0]).astype(np.int32)
        row = ((v + 0.5) * self._grid.scale[1]).astype(np.int32)
        return np.where(pixel_index < 0, -1, row * self._grid.width + column).astype(np.int32)

    def _check_lens(self, sensor: Sensor, model: CameraModel) -> None:
        if any(model.D):
            raise self._rejected(sensor, f"knows no lens, but there is {model.distortion}: rectify the images")

    def _rejected(self, sensor: Sensor, what: str) -> RejectedPayload:
        return RejectedPayload(
            Absence.REJECTED, f"'{sensor.name}' cannot be used: the encoding '{self._encoding.name}' {what}"
        )


def _planes(image: np.ndarray) -> np.ndarray:
    """[H,W,3] -> float32 [3,H,W]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32, copy=False)
