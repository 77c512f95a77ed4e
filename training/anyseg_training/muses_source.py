# SPDX-License-Identifier: Apache-2.0
"""The raw files of MUSES, and what the simulator writes, drawn by the encodings and checks of anyseg_ros.sensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.labels import CITYSCAPES, LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import Grid
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS, RejectedPayload
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.motion import compensate, untimed
from anyseg_ros.sensors.motion_history import MotionError
from anyseg_ros.sensors.motion_messages import twist_from_gnss
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig, optical_model
from anyseg_ros.types import Absence, Measurement, Points, Twist
from anyseg_training.muses import (
    DatasetError,
    Scene,
    read_calib,
    read_events,
    read_image,
    read_labels,
    read_measurements,
    read_points,
    read_rig,
    read_scenes,
)
from anyseg_training.samples import MODALITIES, Drawn, Source, check_classes, digest_of


@dataclass(frozen=True)
class MusesSource(Source):
    """A split in the layout of MUSES.

    Attributes:
        motion: bring every point to the middle of the picture's exposure by the vehicle's motion, from ``gnss``.
    """

    encoding: Encoding
    motion: bool = False

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """Of the split, sorted by name."""
        return tuple(read_scenes(self.root, self.split))

    @property
    def classes(self) -> LabelSet:
        """Those of Cityscapes."""
        return CITYSCAPES

    @property
    def modalities(self) -> tuple[str, ...]:
        """Camera, event, lidar."""
        return MODALITIES

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Scene, drive, weather and time of day, as meta.json has them."""
        return [
            {"scene": s.name, "drive": s.drive, "weather": s.weather, "time_of_day": s.time_of_day} for s in self.scenes
        ]

    def options(self) -> dict[str, Any]:
        """Whether points were brought to one time."""
        return {"motion_compensated": True} if self.motion else {}

    def rig(self) -> Rig:
        """Of the dataset; the pictures' size is that of the first one that can be read."""
        pictured = [s for s in self.scenes if s.file(self.root, "frame_camera", "frame_camera.png").is_file()]
        return read_rig(self.root, *(pictured or self.scenes))

    def geometry(self, grid: tuple[int, int]) -> dict[str, Any]:
        """Where the camera image lies on the grid, and the lidar's height."""
        return rig_geometry(self.rig(), grid, self.encoding)

    def drawer(self, grid: tuple[int, int]) -> Callable[[int], Drawn]:
        """Reads and draws scenes."""
        return MusesDrawer(self, grid)

    def checks(self) -> Iterator[list[Callable[[], object]]]:
        """Camera, lidar, event and label files, and gnss where it is used."""
        rig = self.rig()
        events, camera = optical_model(rig.sensor("event")), optical_model(rig.sensor("camera"))
        for scene in self.scenes:
            file = partial(scene.file, self.root)
            reads: list[Callable[[], object]] = [
                partial(read_image, file("frame_camera", "frame_camera.png")),
                partial(read_points, file("lidar", "lidar.bin")),
                partial(
                    read_events,
                    file("event_camera", "event_camera.h5"),
                    (events.width, events.height),
                    scene.exposure_end_us,
                ),
                partial(usable_labels, self.root, scene, (camera.height, camera.width)),
            ]
            yield [*reads, partial(read_twist, self.root, scene, rig)] if self.motion else reads


class MusesDrawer:
    """Draws the scenes of one source; a payload that the run time would turn down is left out, as it would be there."""

    def __init__(self, source: MusesSource, grid: tuple[int, int]) -> None:
        self.source = source
        self.rig = read_rig(source.root, *source.scenes)
        self.encoder = Encoder(self.rig, *grid, source.encoding)

    def __call__(self, number: int) -> Drawn:
        """Draw scene ``number``."""
        source, scene = self.source, self.source.scenes[number]
        data = read_measurements(source.root, scene, self.rig)
        measurements = dict(data.measurements)
        if source.motion and "lidar" in measurements:
            points = steady_points(source.root, scene, self.rig)
            measurements["lidar"] = replace(measurements["lidar"], payload=points)
        images, absent = drawn_images(self.encoder, measurements, data.reference_ns)
        absent = {name: (Absence.REJECTED, sentence) for name, sentence in data.torn.items()} | absent
        picture = measurements["camera"].payload if "camera" in measurements else None
        camera = self.encoder.grid.camera
        labels = usable_labels(source.root, scene, (camera.height, camera.width))
        return Drawn(images, labels, absent, self.encoder.grid, digest_of(picture))


def drawn_images(
    encoder: Encoder, measurements: dict[str, Measurement], reference_ns: int
) -> tuple[dict[str, np.ndarray], dict[str, tuple[Absence, str]]]:
    """Images by name as the run time draws them, and what it turns down."""
    images: dict[str, np.ndarray] = {}
    absent: dict[str, tuple[Absence, str]] = {}
    for name, measurement in measurements.items():
        try:
            images[name] = encoder(measurement, reference_ns).image
        except RejectedPayload as error:
            absent[name] = (error.absence, str(error))
        except PAYLOAD_ERRORS as error:
            absent[name] = (Absence.REJECTED, f"{type(error).__name__}: {error}")
    return images, absent


def rig_geometry(rig: Rig, grid: tuple[int, int], encoding: Encoding) -> dict[str, Any]:
    """``content`` (top, left, height, width) of the camera image on the grid, ``lidar_height_m`` above the ground."""
    content = Grid.fit(optical_model(rig.sensor(rig.image_plane)), *grid, encoding.fit).content
    heights = [float(s.base_from_sensor[2, 3]) for s in rig.sensors if s.modality is Modality.LIDAR]
    return {"content": list(content), "lidar_height_m": heights[0] if heights else None}


def read_twist(root: Path, scene: Scene, rig: Rig) -> Twist:
    """How the vehicle moved while a scene's picture was taken.

    Raises:
        DatasetError: the gnss file is missing or no such file, or calib.json does not say where the receiver sits.
    """
    path = scene.file(root, "gnss", "gnss.txt")
    lidar2gnss = read_calib(root).get("extrinsics", {}).get("lidar2gnss")
    if lidar2gnss is None:
        raise DatasetError(
            f"{root / 'calib.json'} has no extrinsics.lidar2gnss, which motion needs; leave --motion out"
        )
    if not path.is_file():
        raise DatasetError(f"{path} is missing, and without it no motion is known; add it, or leave --motion out")
    base_from_gnss = rig.sensor("lidar").base_from_sensor @ np.linalg.inv(np.asarray(lidar2gnss, np.float64))
    try:
        return twist_from_gnss(path.read_text(errors="replace"), scene.exposure_middle_ns, base_from_gnss)
    except MotionError as error:
        raise DatasetError(f"{path}: {error}") from error


def steady_points(root: Path, scene: Scene, rig: Rig) -> Points:
    """The cloud of a scene with every point where it lay in the middle of the picture's exposure.

    Raises:
        DatasetError: as ``read_twist``; or most points have times that cannot be of this scene.
    """
    path, when_ns = scene.file(root, "lidar", "lidar.bin"), scene.exposure_middle_ns
    points = read_points(path, when_ns)
    strange = untimed(points)
    if 2 * strange > len(points):
        raise DatasetError(
            f"{path}: {strange} of {len(points)} points are timed more than 0.5 s from the picture, so that lidar and "
            "camera do not share a clock; leave --motion out"
        )
    twist = read_twist(root, scene, rig)
    return compensate(points, when_ns, when_ns, twist, rig.sensor("lidar").base_from_sensor)


def usable_labels(root: Path, scene: Scene, size: tuple[int, int] | None) -> np.ndarray:
    """The labels of a scene; ``size`` is the camera's (height, width), None where it is not known.

    Raises:
        DatasetError: they cannot be read, are of another size than the camera's, or hold values that are no class.
    """
    labels = read_labels(root, scene)
    path = scene.file(root, "gt_semantic", "gt_labelTrainIds.png")
    if size is not None and labels.shape != size:
        raise DatasetError(f"{path} is {labels.shape[0]}x{labels.shape[1]} (height x width), the camera {size}")
    check_classes(labels, CITYSCAPES, path)
    return labels
