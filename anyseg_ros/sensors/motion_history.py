# SPDX-License-Identifier: Apache-2.0
"""The latest twists of the vehicle: which one holds at a time, and which ones are not to be believed."""

from __future__ import annotations

from collections import Counter

import numpy as np

from anyseg_ros.sensors.motion import compensate, untimed
from anyseg_ros.types import Points, Twist

TOLERANCE_NS = 500_000_000
"""A twist serves for a time up to this far from its stamp."""

CAPACITY = 256
MAX_SPEED_M_S = 100.0
MAX_RATE_RAD_S = 10.0
# Between two twists: twice what a road vehicle does in a crash, and steps as large as coarse encoders make.
MAX_ACCELERATION_M_S2, SPEED_STEP_M_S = 100.0, 2.0
MAX_ANGULAR_ACCELERATION_RAD_S2, RATE_STEP_RAD_S = 50.0, 1.0
CLOCK_JUMP_NS = 1_000_000_000


class MotionError(ValueError):
    """A twist that is not used; the message says what was found and what was expected."""


class MotionHistory:
    """A bounded buffer of twists. One thread may add while another asks.

    Attributes:
        counts: twists ``received`` and ``rejected``; times asked for that were ``served`` and that had none
            (``missing``); and ``untimed_points``, which count as measured at their cloud's stamp.
        age_ns: the asked time minus the stamp of the twist that served last; None before, and when the last time
            that was asked for had none.

    Args:
        tolerance_ns: how far from its stamp a twist serves.
    """

    def __init__(self, tolerance_ns: int = TOLERANCE_NS) -> None:
        self._tolerance_ns = tolerance_ns
        self._twists: tuple[Twist, ...] = ()  # replaced as a whole, so that a reader in another thread needs no lock
        self._last: Twist | None = None
        self.counts: Counter[str] = Counter(received=0, rejected=0, served=0, missing=0, untimed_points=0)
        self.age_ns: int | None = None

    def add(self, twist: Twist) -> None:
        """Takes a twist in. Stamps that go back by over a second are a new beginning: a bag that starts over.

        Raises:
            MotionError: it is not finite, no vehicle moves so, or it does not follow on the one before.
        """
        self.counts["received"] += 1
        try:
            _check(twist)
            before, kept = self._last, self._twists
            if before is not None and twist.stamp_ns < before.stamp_ns - CLOCK_JUMP_NS:
                before, kept = None, ()
            # A spike costs the twist after it, too; a step that lasts is believed at its second twist.
            if before is None or twist.stamp_ns > before.stamp_ns:
                self._last = twist
            if before is not None:
                _check_step(before, twist)
        except MotionError:
            self.counts["rejected"] += 1
            raise
        self._twists = (*kept[1 - CAPACITY :], twist)

    def at(self, stamp_ns: int) -> Twist | None:
        """The twist whose stamp is nearest to a true time, or None where none is within the tolerance."""
        twists = self._twists
        nearest = min(twists, key=lambda twist: abs(twist.stamp_ns - stamp_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) > self._tolerance_ns:
            self.counts["missing"] += 1
            self.age_ns = None
            return None
        self.counts["served"] += 1
        self.age_ns = stamp_ns - nearest.stamp_ns
        return nearest

    def compensated(
        self, points: Points, cloud_stamp_ns: int, reference_ns: int, base_from_sensor: np.ndarray
    ) -> Points:
        """A cloud at the reference time (see ``motion.compensate``); as it is where no twist is known for that time."""
        twist = self.at(reference_ns)
        if twist is None:
            return points
        self.counts["untimed_points"] += untimed(points)
        return compensate(points, cloud_stamp_ns, reference_ns, twist, base_from_sensor)

    def reset(self) -> None:
        """Forgets all twists, as after a jump of the clock; the counts stay."""
        self._twists, self._last, self.age_ns = (), None, None

    def figures(self) -> dict[str, int | float | str]:
        """Counts and the age of the twist in use in ms, for diagnostics and summaries."""
        age = "none" if self.age_ns is None else self.age_ns / 1e6
        return {"motion.twist_age_ms": age, **{f"motion.{what}": n for what, n in self.counts.items()}}


def _check(twist: Twist) -> None:
    if twist.stamp_ns <= 0:
        raise MotionError(f"a twist has the stamp {twist.stamp_ns} ns; expected the time of its measurement")
    for what, values, limit, unit in (
        ("velocity", twist.linear_m_s, MAX_SPEED_M_S, "m/s"),
        ("angular velocity", twist.angular_rad_s, MAX_RATE_RAD_S, "rad/s"),
    ):
        size = float(np.linalg.norm(values))
        if not size <= limit:  # also where it is NaN
            raise MotionError(f"a twist has a {what} of {size:g} {unit}; expected at most {limit:g}")


def _check_step(before: Twist, twist: Twist) -> None:
    passed_s = (twist.stamp_ns - before.stamp_ns) / 1e9
    if passed_s <= 0:
        raise MotionError(f"a twist is {-passed_s * 1e3:.1f} ms older than the one before; expected rising stamps")
    for what, step, limit, unit in (
        (
            "velocity",
            np.subtract(twist.linear_m_s, before.linear_m_s),
            SPEED_STEP_M_S + MAX_ACCELERATION_M_S2 * passed_s,
            "m/s",
        ),
        (
            "angular velocity",
            np.subtract(twist.angular_rad_s, before.angular_rad_s),
            RATE_STEP_RAD_S + MAX_ANGULAR_ACCELERATION_RAD_S2 * passed_s,
            "rad/s",
        ),
    ):
        size = float(np.linalg.norm(step))
        if size > limit:
            raise MotionError(
                f"the {what} jumped by {size:.3g} {unit} within {passed_s * 1e3:.0f} ms; expected at most {limit:.3g}"
            )
