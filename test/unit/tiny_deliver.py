# SPDX-License-Identifier: Apache-2.0
"""A very small data set in the layout of DELIVER."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIDE = 40
SCENES = [
    ("cloud", "MAP_1_point2"),
    ("night", "MAP_1_point2_motionblur"),
    ("rain", "MAP_10_point102_eventlowres"),
    ("sun", "MAP_7_point4_lidarjitter"),
]


def write_tiny_deliver(root: Path, splits: tuple[str, ...] = ("train", "val"), frames: int = 2) -> Path:
    """Two frames of each scene per split. Every picture shows the same blocks, whose class is their label."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (26, 3), np.uint8)
    for split in splits:
        for weather, place in SCENES:
            for frame in range(frames):
                labels = np.kron(rng.integers(0, 26, (5, 5)), np.ones((8, 8))).astype(np.uint8)
                labels[:8, :8], labels[8:16, :8], labels[16:24, :8], labels[24:32, :8] = 0, 1, 25, 255
                name = f"{frame:06d}"

                def save(folder, what, image, at=(weather, split, place), name=name):
                    path = root.joinpath(folder, *at, f"{name}_{what}_front.png")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    assert cv2.imwrite(str(path), image)

                known = np.where(labels == 255, 0, labels)
                save("img", "rgb", colours[known])
                save("hha", "depth", colours[known][..., ::-1])
                save("depth", "depth", known)
                event = np.zeros((SIDE, SIDE, 3), np.uint8)
                event[..., 2] = np.where(known > 12, 255, 0)
                save("event", "event", event[::2, ::2] if place.endswith("eventlowres") else event)
                save(
                    "lidar",
                    "lidar",
                    np.repeat(np.where(known % 3 == 1, known * 3, 0)[..., None], 3, -1).astype(np.uint8),
                )
                save("semantic", "semantic", np.dstack([np.zeros_like(labels), np.zeros_like(labels), labels, labels]))
    return root
