# SPDX-License-Identifier: Apache-2.0
"""MUSES with the clouds and events that its SDK has drawn: ``projected_to_rgb`` instead of the raw files.

The SDK's script project_sensors_to_rgb writes ``<folder>/{event_camera,lidar}/<split>/<weather>/<time of day>/
<scene>_{event_camera,lidar}.{npz,npy,png}``: of lidar range, intensity 0..255 and z, as float32 or as the 16-bit PNG
of (value + 100) * 150; of events the counts of ON and OFF. See ``anyseg_ros.sensors.muses_sdk`` for its quirks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from anyseg_ros.labels import CITYSCAPES, LabelSet
from anyseg_ros.sensors.muses_sdk import from_png16
from anyseg_ros.types import Absence
from anyseg_training.muses import DatasetError, Scene, TornFile, read_image, read_scenes
from anyseg_training.muses_source import usable_labels
from anyseg_training.pictures import PictureEncoding, on_grid, picture_grid
from anyseg_training.samples import Drawn, Source

FOLDER = "projected_to_rgb"
KINDS = (".npz", ".npy", ".png")
SENSORS = {"event": "event_camera", "lidar": "lidar"}
# No point is nearer than 1 m; an empty pixel of the PNG is 0 to its precision.
LEAST_RANGE_M = 0.5


@dataclass(frozen=True)
class ProjectedSource(Source):
    """A split of MUSES as its SDK has drawn it.

    Attributes:
        folder: of the drawn images, below the root.
    """

    encoding: PictureEncoding
    folder: str = FOLDER

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """Of the split, sorted by name."""
        if not (self.root / self.folder).is_dir():
            raise DatasetError(
                f"{self.root} holds no folder {self.folder}; draw it with the MUSES SDK's project_sensors_to_rgb, or "
                "pack the raw files without --projected"
            )
        return tuple(read_scenes(self.root, self.split))

    @property
    def classes(self) -> LabelSet:
        """Those of Cityscapes."""
        return CITYSCAPES

    @property
    def modalities(self) -> tuple[str, ...]:
        """Camera, event, lidar."""
        return self.encoding.modalities

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Scene, drive, and as conditions weather and time of day from meta.json."""
        return [{"scene": s.name, "drive": s.drive, "conditions": [s.time_of_day, s.weather]} for s in self.scenes]

    def options(self) -> dict[str, Any]:
        """The folder of the drawn images."""
        return {"projected": self.folder}

    def drawer(self, grid: tuple[int, int]) -> Callable[[int], Drawn]:
        """Reads and draws scenes."""
        return partial(draw, self, grid)

    def checks(self) -> Iterator[list[Callable[[], object]]]:
        """Camera, event, lidar and label files."""
        for scene in self.scenes:
            size = lru_cache(partial(self.size_of, scene))
            yield [
                *(partial(self.picture, scene, name, size) for name in self.modalities),
                partial(self.labels_of, scene, size),
            ]

    def size_of(self, scene: Scene) -> tuple[int, int] | None:
        """(height, width) of the camera's picture; None where it cannot be read."""
        try:
            picture = self.picture(scene, "camera", unknown)
        except DatasetError:
            return None
        return picture.shape[0], picture.shape[1]

    def labels_of(self, scene: Scene, size: Callable[[], tuple[int, int] | None]) -> np.ndarray:
        """The labels; ``size`` says how large the camera's picture is, where that is known.

        Raises:
            DatasetError: as ``usable_labels``.
        """
        return usable_labels(self.root, scene, size())

    def picture(self, scene: Scene, name: str, size: Callable[[], tuple[int, int] | None]) -> np.ndarray:
        """uint8 [h,w,3] of the camera, float32 [h,w,3] of another modality, 0 where nothing was drawn.

        Raises:
            DatasetError: it is missing.
            TornFile: it cannot be read, or is drawn at another ``size`` than the camera's, where that is known.
        """
        if name == "camera":
            return read_image(scene.file(self.root, "frame_camera", "frame_camera.png"))
        sensor = SENSORS[name]
        drawn = self.root / self.folder
        path = next(
            (p for kind in KINDS if (p := scene.file(drawn, sensor, f"{sensor}{kind}")).is_file()),
            None,
        )
        if path is None:
            first = scene.file(drawn, sensor, f"{sensor}{KINDS[0]}")
            raise DatasetError(f"{first} is missing, and so are {' and '.join(KINDS[1:])} of that name")
        values, wanted = read_drawn(path), size()
        if wanted is not None and values.shape[:2] != wanted:
            raise TornFile(
                f"{path} is {values.shape[0]}x{values.shape[1]} (height x width), the camera's {wanted}: draw at "
                "full size"
            )
        if name == "lidar":
            values[~(values[..., 0] >= LEAST_RANGE_M)] = 0.0
        return values


def read_drawn(path: Path) -> np.ndarray:
    """An image of the SDK, float32 [h,w,3], whichever way it was saved.

    Raises:
        TornFile: it cannot be read, or is no image of three channels.
    """
    try:
        if path.suffix == ".png":
            numbers = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if numbers is None:
                raise ValueError("no readable image")
            values = from_png16(numbers) if numbers.dtype == np.uint16 else numbers
        else:
            loaded = np.load(path, allow_pickle=False)
            values = loaded if isinstance(loaded, np.ndarray) else loaded["arr_0"]
        values = np.array(values, np.float32)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        raise TornFile(f"{path} cannot be read: {error}") from error
    if values.ndim != 3 or values.shape[2] != 3:
        raise TornFile(f"{path} has the shape {list(values.shape)}, expected [height, width, 3]")
    return values


def draw(source: ProjectedSource, grid: tuple[int, int], number: int) -> Drawn:
    """Draw the scene of a number; a file that cannot be read is left out.

    Raises:
        DatasetError: a file is missing, or the labels cannot be used.
    """
    scene = source.scenes[number]
    labels = source.labels_of(scene, unknown)
    size = labels.shape[0], labels.shape[1]
    placed = picture_grid(*grid, size, source.encoding.fit)
    images: dict[str, np.ndarray] = {}
    absent: dict[str, tuple[Absence, str]] = {}
    for name, how, _ in source.encoding.pictures:
        try:
            picture = source.picture(scene, name, lambda: size)
        except TornFile as error:
            absent[name] = (Absence.REJECTED, str(error))
            continue
        if picture.shape[:2] != size:  # the camera's; then pack stops where --check does
            raise DatasetError(f"its labels are {size} pixels (height, width), its picture {picture.shape[:2]}")
        images[name] = on_grid(picture, placed, how)
    return Drawn(images, labels, absent, placed)


def unknown() -> None:
    """The size of a picture that nothing is compared with."""
