# SPDX-License-Identifier: Apache-2.0
"""The nouns that cross rooms: measurements, frame sets, segmentations.

All times are integer nanoseconds. ``stamp_ns`` is always the sensor's own stamp as it was received;
a *corrected* stamp is ``stamp_ns - offset_ns`` with the offset that the rig gives for the sensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from anyseg_ros.modality import Modality, subset_name

UNLABELLED = 255

# What rig and synchroniser assume of a sensor that says nothing else, in periods of it.
DEFAULT_TOLERANCE_PERIODS = 1.0
"""A partner may be this many of its own periods away from the reference."""

DEFAULT_STALE_PERIODS = 2.25
"""Silence after which a sensor is no longer waited for and no longer the reference.

One lost message makes a silence of 2 periods, so 2.25 rides through it with a quarter of a period of jitter.
A cut of the reference leaves a gap of 2.25 periods plus what the set that follows waits, under the 3 periods
that are promised.
"""

DEFAULT_LOST_PERIODS = 30.0
"""Silence after which a sensor is called lost."""


@dataclass(frozen=True)
class Events:
    """Events of one camera, in time order.

    Attributes:
        x, y: uint16 [N], pixel position.
        t_ns: int64 [N], non-decreasing, in the stamp clock of the sensor (host time, not sensor ticks).
        p: uint8 [N], 1 for brighter (ON), 0 for darker (OFF).
        width, height: sensor size in pixels.
    """

    x: np.ndarray
    y: np.ndarray
    t_ns: np.ndarray
    p: np.ndarray
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.t_ns)

    def between(self, after_ns: int, until_ns: int) -> Events:
        """The events with ``after_ns < t_ns <= until_ns`` (views, no copy)."""
        lo, hi = np.searchsorted(self.t_ns, (after_ns, until_ns), side="right")
        cut = slice(int(lo), int(hi))
        return Events(self.x[cut], self.y[cut], self.t_ns[cut], self.p[cut], self.width, self.height)


@dataclass(frozen=True)
class Points:
    """A point cloud in the frame of its sensor.

    Attributes:
        xyz: float32 [N,3] in metres; may hold NaN.
        intensity: float32 [N], as the driver gives it (the rig's ``intensity_scale`` brings it to 0..1).
        t_ns: int64 [N], time of each point relative to the cloud's stamp, or None.
        ring: uint16 [N], or None.
    """

    xyz: np.ndarray
    intensity: np.ndarray
    t_ns: np.ndarray | None = None
    ring: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True, eq=False)
class Twist:
    """How the vehicle moves: taken as constant around its stamp.

    Attributes:
        stamp_ns: the true (corrected) time at which it holds.
        linear_m_s: float64 [3], velocity of the base frame's origin, seen in the base frame (x forward, y left, z up).
        angular_rad_s: float64 [3], angular velocity in the base frame.
    """

    stamp_ns: int
    linear_m_s: np.ndarray
    angular_rad_s: np.ndarray


@dataclass(frozen=True)
class Measurement:
    """What one sensor delivered once.

    Attributes:
        sensor: the sensor's unique name in the rig.
        modality: its kind.
        stamp_ns: its stamp as received. For events: the watermark, that is, every event up to it is in
            this measurement or in an earlier one.
        payload: camera: uint8 [H,W,3] RGB; depth: float32 [H,W] in metres, NaN or 0 where nothing returned;
            lidar: ``Points``; event: ``Events``. On its way through the synchroniser it may be anything
            that the pipeline later turns into one of these (a message, say).
        frame_id: the coordinate frame that the payload is expressed in.
        start_ns: events only: the measurement holds everything in (start_ns, stamp_ns].
    """

    sensor: str
    modality: Modality
    stamp_ns: int
    payload: Any
    frame_id: str = ""
    start_ns: int | None = None


class Absence(str, Enum):
    """Why a sensor of the rig is not in a frame set."""

    DISABLED = "disabled"
    NEVER_SEEN = "never_seen"
    LATE = "late"
    STALE = "stale"
    LOST = "lost"
    EMPTY = "empty"
    FROZEN = "frozen"
    BLIND = "blind"
    REJECTED = "rejected"


@dataclass(frozen=True)
class FrameSet:
    """Measurements that belong together.

    Attributes:
        stamp_ns: the reference sensor's own stamp (uncorrected); for events a multiple of the output period.
        reference: name of the reference sensor.
        present: by sensor name. An event sensor's measurement holds exactly the events of its window.
        absent: by sensor name, the reason.
        skew_ns: by sensor name, corrected stamp of the partner minus corrected stamp of the reference.
        due_ns: the ``now`` at which the reference measurement was taken in.
        closed_ns: the ``now`` at which the set was closed.
    """

    stamp_ns: int
    reference: str
    present: dict[str, Measurement]
    absent: dict[str, Absence] = field(default_factory=dict)
    skew_ns: dict[str, int] = field(default_factory=dict)
    due_ns: int = 0
    closed_ns: int = 0

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities present, in canonical order."""
        found = {m.modality for m in self.present.values()}
        return tuple(m for m in Modality if m in found)


@dataclass(frozen=True)
class Segmentation:
    """What the network said about one frame set.

    Attributes:
        labels: uint8 [H,W] class ids on the network's grid, 255 where unlabelled (outside the camera image).
        confidence: float32 [H,W], probability of the label, 0 where unlabelled.
        stamp_ns: stamp of the reference.
        frame_id: optical frame of the rig's image plane.
        modalities: what was used.
        absent: by sensor name, why the others were not (synchroniser's reasons and payload checks together).
        stage_ns: time spent per stage: encode, infer, ...
    """

    labels: np.ndarray
    confidence: np.ndarray
    stamp_ns: int
    frame_id: str
    modalities: tuple[Modality, ...]
    absent: dict[str, Absence] = field(default_factory=dict)
    stage_ns: dict[str, int] = field(default_factory=dict)

    @property
    def subset(self) -> str:
        """Subset name such as ``CEL``."""
        return subset_name(self.modalities)
