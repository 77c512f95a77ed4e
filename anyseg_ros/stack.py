# SPDX-License-Identifier: Apache-2.0
"""What the network is given of a frame set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.types import Absence


@dataclass(frozen=True)
class Stack:
    """What is left of a frame set after encoding.

    Attributes:
        images: float32 [M,3,H,W], normalised; M sensors are present, none is zero-filled.
        sensors: names, in the order of ``images``.
        modalities: the modality of each.
        absent: by sensor name: the synchroniser's reasons and the payload checks' together.
        pixel_index: by lidar name, int32 [N]: flat grid pixel of each point, -1 outside the grid.
        raw: by sensor name, float32 [3,H,W] as encoded, before normalisation (for pictures).
        problems: by sensor name, a sentence for each payload that was turned down.
        encode_ns: wall time spent.
    """

    images: np.ndarray
    sensors: tuple[str, ...]
    modalities: tuple[Modality, ...]
    absent: dict[str, Absence]
    pixel_index: dict[str, np.ndarray] = field(default_factory=dict)
    raw: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    encode_ns: int = 0
