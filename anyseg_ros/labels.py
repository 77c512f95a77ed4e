# SPDX-License-Identifier: Apache-2.0
"""Label sets: class names and colours by class id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyseg_ros.types import UNLABELLED


@dataclass(frozen=True)
class LabelSet:
    """Class names and RGB colours; the index is the class id."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Names and colours must pair up, and be names and colours.

        Raises:
            ValueError: the two lists differ in length, there are more classes than label ids, a name is there twice, or
                a colour is none.
        """
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"{len(self.names)} class names but {len(self.palette)} colours; give one colour per class"
            )
        if len(self.names) > UNLABELLED:
            raise ValueError(f"{len(self.names)} classes do not fit uint8 labels; at most {UNLABELLED} do")
        for k, (name, colour) in enumerate(zip(self.names, self.palette, strict=True)):
            if name in self.names[:k]:
                raise ValueError(f"class '{name}' is there twice; give each class a name of its own")
            if len(colour) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in colour):
                raise ValueError(f"class '{name}' has the colour {colour}; expected whole numbers r, g, b of 0 to 255")

    def __len__(self) -> int:
        return len(self.names)

    def lookup(self) -> np.ndarray:
        """uint8 [256,3]: colour by label value; black for values that are no class."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table


# Names and colours of the 19 Cityscapes training classes (trainIds), which MUSES uses too.
CITYSCAPES = LabelSet(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)
