# SPDX-License-Identifier: Apache-2.0
"""What the synchroniser has to be told: the timing of each sensor, and its own limits. All times are integer ns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anyseg_ros.modality import Modality
from anyseg_ros.types import DEFAULT_LOST_PERIODS, DEFAULT_STALE_PERIODS, DEFAULT_TOLERANCE_PERIODS

MS = 1_000_000
SECOND = 1_000_000_000

RETURN_STREAK = 3
"""A better sensor takes over as reference after this many consecutive measurements in period."""

CATCH_UP_NS = SECOND
"""But not before it has delivered in period for so long, while its stamps lie far below what has been answered."""

IN_PERIOD = 1.5
"""Consecutive stamps at most this many periods apart are in period."""

STEP_BACK_PERIODS = 3
STEP_BACK_LEAST_NS = 100 * MS
"""A stamp farther back than both of these need not be out of order: the clock may have been set back."""

STEP_BACK_COUNT = 4
"""So many consecutive stamps that go on from there are a jump, however small."""

READY_COUNT = 2
"""A sensor is waited for after this many good measurements."""


@dataclass(frozen=True)
class SensorTiming:
    """The timing of one sensor.

    Attributes:
        name: the sensor's unique name in the rig.
        modality: its kind.
        period_ns: nominal time between measurements; for events the output period, of which every multiple is due
            when an event sensor is the reference.
        tolerance_ns: largest distance between the corrected stamps of the reference and of this sensor as partner.
        stale_ns: silence after which it is not waited for, and not the reference.
        lost_ns: silence after which it counts as lost.
        offset_ns: stamp - offset = time on the rig's common clock.
        window_ns: events only: length of the window that ends at the reference.
        required: its absence is an error in the diagnostics; output goes on all the same.
        enabled: whether it is used at the start.
    """

    name: str
    modality: Modality
    period_ns: int
    tolerance_ns: int
    stale_ns: int
    lost_ns: int
    offset_ns: int = 0
    window_ns: int = 30 * MS
    required: bool = False
    enabled: bool = True

    def __post_init__(self) -> None:
        for field in ("period_ns", "tolerance_ns", "stale_ns", "lost_ns", "offset_ns", "window_ns"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"sensor '{self.name}': {field} is {value!r}, expected an integer of nanoseconds")
        if self.period_ns <= 0 or self.window_ns <= 0:
            raise ValueError(
                f"sensor '{self.name}': period_ns {self.period_ns} and window_ns {self.window_ns} must be above 0"
            )
        if self.tolerance_ns < 0:
            raise ValueError(f"sensor '{self.name}': tolerance_ns is {self.tolerance_ns}, expected 0 or more")
        if not self.period_ns < self.stale_ns <= self.lost_ns:
            raise ValueError(
                f"sensor '{self.name}': expected period < stale <= lost, found {self.period_ns}, {self.stale_ns} "
                f"and {self.lost_ns} ns; a sensor that is stale within its period would never be waited for"
            )

    @classmethod
    def from_period(cls, name: str, modality: Modality, period_ns: int, **others: Any) -> SensorTiming:
        """A timing whose tolerance, stale and lost times follow from the period, where ``others`` does not give them.

        Args:
            name: the sensor's name.
            modality: its kind.
            period_ns: nominal period.
            **others: further fields of SensorTiming.
        """
        derived: dict[str, Any] = {
            "tolerance_ns": round(period_ns * DEFAULT_TOLERANCE_PERIODS),
            "stale_ns": round(period_ns * DEFAULT_STALE_PERIODS),
            "lost_ns": round(period_ns * DEFAULT_LOST_PERIODS),
        }
        return cls(name=name, modality=modality, period_ns=period_ns, **{**derived, **others})

    @property
    def step_back_ns(self) -> int:
        """How far back a stamp may lie because of disorder alone."""
        return max(STEP_BACK_PERIODS * self.period_ns, STEP_BACK_LEAST_NS)

    @property
    def is_event(self) -> bool:
        """Whether measurements are chunks of a stream rather than frames."""
        return self.modality is Modality.EVENT


@dataclass(frozen=True)
class SyncConfig:
    """The sensors of a rig and the limits of the synchroniser.

    Attributes:
        sensors: in order of preference as reference.
        max_wait_ns: no set waits longer than this for its partners.
        margin_ns: added to the learned arrival time of a partner.
        jump_ns: stamps that leave the sequence by more than this are an outlier or a clock jump.
        now_slack_ns: ``now`` may step back by this much (callbacks that read the clock before they queue);
            by more, it is a clock jump.
        max_frames: most measurements that are kept of one sensor.
        max_chunks: most event chunks that are kept of one sensor.
        max_bytes: most payload bytes that are kept of one sensor.
        max_open_sets: most sets that wait at the same time; with one more, the oldest closes with what it has.
    """

    sensors: tuple[SensorTiming, ...]
    max_wait_ns: int = 150 * MS
    margin_ns: int = 10 * MS
    jump_ns: int = SECOND
    now_slack_ns: int = 100 * MS
    max_frames: int = 64
    max_chunks: int = 2048
    max_bytes: int = 256 * 1024 * 1024
    max_open_sets: int = 16

    def __post_init__(self) -> None:
        names = [timing.name for timing in self.sensors]
        if not names:
            raise ValueError("the synchroniser has no sensors; expected at least one")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sensor names must be unique; found twice: {', '.join(twice)}")
        for field in ("max_wait_ns", "margin_ns", "now_slack_ns"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is {getattr(self, field)}, expected 0 or more")
        for field in ("jump_ns", "max_frames", "max_chunks", "max_bytes", "max_open_sets"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} is {getattr(self, field)}, expected more than 0")
