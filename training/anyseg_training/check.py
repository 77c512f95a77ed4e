# SPDX-License-Identifier: Apache-2.0
"""Reads every file of a split before anything is trained on it, and lists what is missing or broken by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.sensors.rig import Rig, optical_model
from anyseg_ros.types import UNLABELLED
from anyseg_training.muses import (
    DatasetError,
    Scene,
    TornFile,
    read_events,
    read_image,
    read_labels,
    read_points,
    read_rig,
    read_scenes,
)


@dataclass(frozen=True)
class Findings:
    """What is wrong with a split.

    Attributes:
        files: number of files looked at.
        fatal: a sentence for each file that packing would stop at: missing, or labels that cannot be used.
        torn: a sentence for each sensor file that is broken; its sample does without that sensor.
    """

    files: int
    fatal: list[str]
    torn: list[str]

    def text(self) -> str:
        """All findings, a line each, and the counts."""
        counts = f"{self.files} files: {len(self.fatal)} missing or unusable, {len(self.torn)} broken sensor files"
        return "\n".join([*self.fatal, *self.torn, counts])


def check_split(root: Path, split: str, bar: bool = True) -> Findings:
    """Read every camera, lidar, event and label file of a split.

    Args:
        root: dataset in the MUSES layout.
        split: train, val or test.
        bar: show progress.

    Raises:
        DatasetError: there is no such split, no calibration, or not one picture to take the size from.
    """
    scenes = read_scenes(root, split)
    pictured = [s for s in scenes if s.file(root, "frame_camera", "frame_camera.png").is_file()]
    rig = read_rig(root, *(pictured or scenes))
    fatal: list[str] = []
    torn: list[str] = []
    files = 0
    for scene in tqdm(scenes, unit="scene", disable=not bar, desc=f"check {split}"):
        for read in readers(root, scene, rig):
            files += 1
            try:
                read()
            except TornFile as error:
                torn.append(str(error))
            except DatasetError as error:
                fatal.append(str(error))
    return Findings(files, fatal, torn)


def readers(root: Path, scene: Scene, rig: Rig) -> list[Callable[[], object]]:
    """One call for each file of a scene."""
    events = optical_model(rig.sensor("event"))
    camera = optical_model(rig.sensor("camera"))
    return [
        lambda: read_image(scene.file(root, "frame_camera", "frame_camera.png")),
        lambda: read_points(scene.file(root, "lidar", "lidar.bin")),
        lambda: read_events(
            scene.file(root, "event_camera", "event_camera.h5"), (events.width, events.height), scene.exposure_end_us
        ),
        lambda: usable_labels(root, scene, (camera.height, camera.width)),
    ]


def usable_labels(root: Path, scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """The labels of a scene.

    Raises:
        DatasetError: they cannot be read, are of another size than the camera's, or hold values that are no class.
    """
    labels = read_labels(root, scene)
    path = scene.file(root, "gt_semantic", "gt_labelTrainIds.png")
    if labels.shape != size:
        raise DatasetError(f"{path} is {labels.shape[0]}x{labels.shape[1]} (height x width), the camera {size}")
    strange = np.setdiff1d(labels, [*range(len(CITYSCAPES)), UNLABELLED]).tolist()
    if strange:
        raise DatasetError(f"{path} holds labels {strange}; classes are 0 to {len(CITYSCAPES) - 1}, and 255 for none")
    return labels
