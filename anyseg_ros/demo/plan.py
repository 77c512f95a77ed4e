# SPDX-License-Identifier: Apache-2.0
"""The cut list: which sensor is silent when, so that a drive walks through every subset and back."""

from __future__ import annotations

from dataclasses import dataclass

from anyseg_ros.modality import Modality, parse_subset, subset_name

MS = 1_000_000
SECOND = 1_000_000_000

# In the simulated bags camera images and clouds arrive within 15 ms after each multiple of 100 ms. A cut 55 ms after
# one coincides with no arrival, and neither does the moment, 2.25 periods after the last one, at which it is noticed.
PHASE_NS = 55 * MS

# Each step cuts or returns one sensor. Together the two walks cut the reference sensor in each way there is:
# camera to lidar, lidar to events, camera to events.
# Lengths are in periods of 100 ms; over both walks the full rig and each rig with one sensor dead has more than 50.
DAY_WALK = (
    ("CEL", 34),
    ("EL", 24),
    ("E", 20),
    ("CE", 32),
    ("C", 18),
    ("CL", 32),
    ("L", 20),
    ("EL", 14),
    ("CEL", 18),
)
NIGHT_WALK = (
    ("CEL", 26),
    ("EL", 22),
    ("L", 20),
    ("CL", 32),
    ("C", 18),
    ("CE", 32),
    ("E", 20),
    ("EL", 18),
    ("CEL", 24),
)


@dataclass(frozen=True)
class Segment:
    """A stretch of the drive in which the same sensors deliver; times are from the start of the drive."""

    subset: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Cut:
    """One sensor delivers nothing from ``start_ns`` (included) to ``end_ns``, counted from the start of the drive."""

    sensor: str
    start_ns: int
    end_ns: int

    def __str__(self) -> str:
        """As the player takes it: ``camera@5.625-13.225``, in seconds."""
        return f"{self.sensor}@{self.start_ns / SECOND:.3f}-{self.end_ns / SECOND:.3f}"


@dataclass(frozen=True)
class Walk:
    """A named walk through subsets: what a drive is put through.

    Attributes:
        name: ``day`` or ``night``.
        segments: in time order, without gaps, from 0 to the end of the drive.
    """

    name: str
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, name: str, steps: tuple[tuple[str, int], ...], scale: float = 1.0) -> Walk:
        """A walk from (subset, length in periods of 100 ms) pairs, each at least 4 periods long.

        Raises:
            ValueError: a subset name is not made of modality letters, or is empty.
        """
        segments, start = [], 0
        for subset, periods in steps:
            if not parse_subset(subset):
                raise ValueError("a segment without a sensor has nothing to show; name at least one, such as 'C'")
            length = max(4, round(periods * scale)) * 100 * MS
            end = start + length + (PHASE_NS if start == 0 else 0)
            segments.append(Segment(subset_name(parse_subset(subset)), start, end))
            start = end
        return cls(name, tuple(segments))

    @property
    def duration_ns(self) -> int:
        """Length of the walk."""
        return self.segments[-1].end_ns

    def subset_at(self, since_start_ns: int) -> str:
        """The subset that the script lets through at a time; the last one after the end."""
        for segment in self.segments:
            if since_start_ns < segment.end_ns:
                return segment.subset
        return self.segments[-1].subset

    def cuts(self, sensors: dict[Modality, str]) -> tuple[Cut, ...]:
        """The cut list for sensors given by modality; adjoining segments without a sensor become one cut."""
        cuts: list[Cut] = []
        for modality, sensor in sensors.items():
            start: int | None = None
            for segment in self.segments:
                live = modality in parse_subset(segment.subset)
                if not live and start is None:
                    start = segment.start_ns
                if live and start is not None:
                    cuts.append(Cut(sensor, start, segment.start_ns))
                    start = None
            if start is not None:
                cuts.append(Cut(sensor, start, self.duration_ns))
        return tuple(sorted(cuts, key=lambda cut: (cut.start_ns, cut.sensor)))


def walks(scale: float = 1.0) -> tuple[Walk, ...]:
    """The two walks of the demo; ``scale`` shortens them for a quick look."""
    return Walk.of("day", DAY_WALK, scale), Walk.of("night", NIGHT_WALK, scale)
