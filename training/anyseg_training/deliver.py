# SPDX-License-Identifier: Apache-2.0
"""Reads DELIVER (Zhang et al., CVPR 2023, arXiv 2303.01480): camera, depth, event and lidar pictures of CARLA drives.

``{img,hha,event,lidar,semantic}/<weather>/<split>/<place>/<frame>_{rgb,depth,event,lidar,semantic}_front.png``; the
place is ``MAP_<n>_point<m>``, with ``_<corner case>`` behind it where there is one. Depth is read as HHA, as whoever
published figures did. Labels are the first channel: 1 to 25, and 0 or 255 for none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.labels import LabelSet
from anyseg_ros.types import UNLABELLED, Absence
from anyseg_training.muses import DatasetError, TornFile, read_image
from anyseg_training.pictures import PictureEncoding, of_size, on_grid, picture_grid
from anyseg_training.samples import Drawn, Source

FOLDERS = {
    "camera": ("img", "rgb"),
    "depth": ("hha", "depth"),
    "event": ("event", "event"),
    "lidar": ("lidar", "lidar"),
}
LABELS = ("semantic", "semantic")
PLACE = re.compile(r"(?P<place>.*point\d+)(_(?P<corner>.+))?")
NO_CORNER = "no corner case"
# Names and colours by class id; the files hold the id plus one.
DELIVER_CLASSES = LabelSet(
    names=(
        "Building", "Fence", "Other", "Pedestrian", "Pole", "RoadLine", "Road", "SideWalk", "Vegetation", "Cars",
        "Wall", "TrafficSign", "Sky", "Ground", "Bridge", "RailTrack", "GroundRail", "TrafficLight", "Static",
        "Dynamic", "Water", "Terrain", "TwoWheeler", "Bus", "Truck",
    ),
    palette=(
        (70, 70, 70), (100, 40, 40), (55, 90, 80), (220, 20, 60), (153, 153, 153), (157, 234, 50), (128, 64, 128),
        (244, 35, 232), (107, 142, 35), (0, 0, 142), (102, 102, 156), (220, 220, 0), (70, 130, 180), (81, 0, 81),
        (150, 100, 100), (230, 150, 140), (180, 165, 180), (250, 170, 30), (110, 190, 160), (170, 120, 50),
        (45, 60, 150), (145, 170, 100), (0, 0, 230), (0, 60, 100), (0, 0, 70),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One moment: where its files lie.

    Attributes:
        weather: cloud, fog, night, rain or sun: the name of its folder.
        split: train, val or test.
        place: name of the folder of its drive.
        frame: what its file names begin with.
    """

    weather: str
    split: str
    place: str
    frame: str

    @property
    def corner(self) -> str:
        """The corner case that the folder names, or ``no corner case``."""
        match = PLACE.fullmatch(self.place)
        return (match["corner"] if match else None) or NO_CORNER

    def file(self, root: Path, folder: str, what: str) -> Path:
        """``<folder>/<weather>/<split>/<place>/<frame>_<what>_front.png``."""
        return root / folder / self.weather / self.split / self.place / f"{self.frame}_{what}_front.png"


def find_shots(root: Path, split: str) -> tuple[Shot, ...]:
    """The moments of a split, sorted by path.

    Raises:
        DatasetError: there are none.
    """
    folder, what = FOLDERS["camera"]
    ending = f"_{what}_front.png"
    shots = [
        Shot(path.parts[-4], path.parts[-3], path.parts[-2], path.name.removesuffix(ending))
        for path in sorted((root / folder).glob(f"*/{split}/*/*{ending}"))
    ]
    if not shots:
        raise DatasetError(
            f"{root} has no picture of split '{split}'; expected {folder}/<weather>/{split}/<place>/<frame>{ending}"
        )
    return tuple(shots)


@dataclass(frozen=True)
class DeliverSource(Source):
    """A split of DELIVER."""

    encoding: PictureEncoding

    @cached_property
    def shots(self) -> tuple[Shot, ...]:
        """Of the split."""
        return find_shots(self.root, self.split)

    @property
    def classes(self) -> LabelSet:
        """The 25 of DELIVER."""
        return DELIVER_CLASSES

    @property
    def modalities(self) -> tuple[str, ...]:
        """Camera, depth, event, lidar."""
        return self.encoding.modalities

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Scene, drive, and as conditions the weather's folder and the corner case of the place's."""
        return [
            {
                "scene": f"{shot.weather}/{shot.place}/{shot.frame}",
                "drive": f"{shot.weather}/{shot.place}",
                "conditions": [shot.weather, shot.corner],
            }
            for shot in self.shots
        ]

    def drawer(self, grid: tuple[int, int]) -> Callable[[int], Drawn]:
        """Reads the pictures of a moment and draws them."""
        return partial(draw, self, grid)

    def checks(self) -> Iterator[list[Callable[[], object]]]:
        """Four pictures and the labels of every moment."""
        for shot in self.shots:
            size = lru_cache(partial(self.size_of, shot))
            yield [
                *(partial(self.picture, shot, name, size) for name in self.modalities),
                partial(self.labels_of, shot, size),
            ]

    def size_of(self, shot: Shot) -> tuple[int, int] | None:
        """(height, width) of the camera's picture; None where it cannot be read."""
        try:
            picture = read_image(shot.file(self.root, *FOLDERS["camera"]))
        except DatasetError:
            return None
        return picture.shape[0], picture.shape[1]

    def picture(self, shot: Shot, name: str, size: Callable[[], tuple[int, int] | None] = lambda: None) -> np.ndarray:
        """uint8 [h,w,3] of a modality; ``size`` says how large the camera's is, where that is to be compared.

        Raises:
            DatasetError: it is missing.
            TornFile: it cannot be read, or is neither the camera's size nor, of the event camera, any other.
        """
        path = shot.file(self.root, *FOLDERS[name])
        picture = read_image(path)
        wanted = None if name in ("camera", "event") else size()
        if wanted is not None and picture.shape[:2] != wanted:
            raise TornFile(f"{path} is {picture.shape[0]}x{picture.shape[1]} (height x width), the camera's {wanted}")
        return picture

    def labels_of(self, shot: Shot, size: Callable[[], tuple[int, int] | None]) -> np.ndarray:
        """uint8 [h,w], 0 to 24, 255 unlabelled.

        Raises:
            DatasetError: they are missing, unreadable, of another size than the camera's, or hold other values.
        """
        path = shot.file(self.root, *LABELS)
        if not path.is_file():
            raise DatasetError(f"{path} is missing")
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint8:
            raise DatasetError(f"{path} is no readable 8-bit image")
        ids = image if image.ndim == 2 else image[..., 2]  # the first channel, red, is OpenCV's third
        wanted = size()
        if wanted is not None and ids.shape != wanted:
            raise DatasetError(f"{path} is {ids.shape[0]}x{ids.shape[1]} (height x width), the camera's {wanted}")
        strange = np.setdiff1d(ids, [*range(len(DELIVER_CLASSES) + 1), UNLABELLED]).tolist()
        if strange:
            raise DatasetError(
                f"{path} holds labels {strange}; expected 1 to {len(DELIVER_CLASSES)}, 0 and 255 for none"
            )
        return np.where(ids == UNLABELLED, ids, ids - np.uint8(1))  # 0 becomes 255: unlabelled, too


def draw(source: DeliverSource, grid: tuple[int, int], number: int) -> Drawn:
    """Draw the moment of a number; a picture that cannot be read is left out.

    Raises:
        DatasetError: a file is missing, or the labels cannot be used.
    """
    shot = source.shots[number]
    pictures: dict[str, np.ndarray] = {}
    absent: dict[str, tuple[Absence, str]] = {}
    labels = source.labels_of(shot, lambda: None)
    size = labels.shape[0], labels.shape[1]
    for name in source.modalities:
        try:
            pictures[name] = source.picture(shot, name, lambda: size)
        except TornFile as error:
            absent[name] = (Absence.REJECTED, str(error))
    if "camera" in pictures and pictures["camera"].shape[:2] != size:
        raise DatasetError(f"its labels are {size} pixels (height, width), its picture {pictures['camera'].shape[:2]}")
    placed = picture_grid(*grid, size, source.encoding.fit)
    images = {
        name: on_grid(of_size(pictures[name], size), placed, how)
        for name, how, _ in source.encoding.pictures
        if name in pictures
    }
    return Drawn(images, labels, absent, placed)
