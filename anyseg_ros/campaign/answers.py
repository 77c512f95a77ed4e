# SPDX-License-Identifier: Apache-2.0
"""What was owed, with which sensors and when, and what came: the frames due and the label images that answer them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from anyseg_ros.campaign.evidence import Evidence, Frame
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.offline import FORGOTTEN_S, WITNESS_S
from anyseg_ros.campaign.rows import RECOVERY_S
from anyseg_ros.demo.due import Delivery, Due, SensorRule, frames_due
from anyseg_ros.faults.timeline import Timeline
from anyseg_ros.sensors.rig import Rig

SAME_MOMENT_NS = 10_000_000
SETTLING_PERIODS = 3  # after a jump it depends on the order of arrival which sensor leads first


@dataclass(frozen=True)
class Answer:
    """A frame that was due, and the label image that answers it.

    Attributes:
        at_s: when what it answers arrived, in seconds of the drive.
        owed_s: when an answer was owed: then, or later if its sensor led only later.
        expected: modalities that it has to hold at least, such as ``CL``.
        frame: the answer; None: none came.
    """

    at_s: float
    owed_s: float
    expected: str
    frame: Frame | None

    @property
    def complete(self) -> bool:
        """Whether it was answered, with at least the expected subset."""
        return self.frame is not None and set(self.expected) <= set(self.frame.used)

    @property
    def latency_s(self) -> float | None:
        """From when an answer was owed to its receipt; None without an answer."""
        return None if self.frame is None else self.frame.at_s - self.owed_s


@dataclass(frozen=True)
class Ledger:
    """What is owed over an act; times in ns of the drive.

    Attributes:
        due: in order.
        anew_s: moments at which it begins anew: time jumped, or no stamp meant anything before.
        arrived_s: when measurements first arrived, in seconds of the drive, by sensor and stamp_ns.
    """

    due: list[Due]
    anew_s: list[float]
    arrived_s: dict[tuple[str, int], float]


def ledger(evidence: Evidence, rig: Rig, rules: Sequence[SensorRule], played: Played) -> Ledger:
    """What is owed over an act. While the drive is paused nothing ages; where all time jumps, all begins anew."""
    rows = played.placed
    pauses = [(round(p.begin_s * 1e9), round(p.row.fault_s * 1e9)) for p in rows if p.row.timeline.startswith("pause")]
    paused = Timeline(pauses=tuple(pauses))
    arrived = [
        (at_s, name, stamp_ns)
        for name, entries in evidence.deliveries(rig).items()
        for at_s, stamp_ns in entries
        if not any(name in p.row.unusable and p.begin_s <= at_s < p.end_s for p in rows)
    ]
    deliveries = [
        (at_s, Delivery(name, stamp_ns, paused.progress_ns(round(at_s * 1e9))))
        for at_s, name, stamp_ns in sorted(arrived)
    ]
    jumps = [p.begin_s for p in rows if p.row.timeline.startswith("jump") or p.row.jumps]
    owed: list[Due] = []
    for begin, end in pairwise([float("-inf"), *jumps, float("inf")]):
        owed += frames_due([delivery for at_s, delivery in deliveries if begin <= at_s < end], rules)
    due = [replace(d, arrival_ns=paused.elapsed_ns(d.arrival_ns), owed_ns=paused.elapsed_ns(d.owed_ns)) for d in owed]
    everything = {rule.name for rule in rules}
    anew_s = [*jumps, *(p.end_s for p in rows if everything <= set(p.row.unusable))]
    first_s = {(name, stamp_ns): at_s for at_s, name, stamp_ns in sorted(arrived, reverse=True)}
    return Ledger(due, anew_s, first_s)


def answers(placed: Placed, owed: Ledger, frames: Sequence[Frame], rules: Sequence[SensorRule]) -> list[Answer]:
    """What was due in a row, in order, each with its answer; no label image answers twice.

    An answer lies within 10 ms: which of two sensors with the same phase led depends on whose message came first. It
    may lie as far as the rig's longest period where another sensor may lead: while nothing of what a sensor sends can
    be used and until it has to be back, and for three periods after the ledger began anew, when no partner is expected
    either. Such an answer was owed only when what it answers had arrived.
    """
    letters = {rule.name: rule.modality.letter for rule in rules}
    without = {letters[name] for name in placed.row.without}
    period_ns = max(rule.period_ns for rule in rules)
    within = [f for f in frames if placed.begin_s - WITNESS_S <= f.at_s < placed.until_s + FORGOTTEN_S]
    mine = [d for d in owed.due if placed.begin_s <= d.arrival_ns / 1e9 < placed.until_s]
    arrivals_s = [d.arrival_ns / 1e9 for d in mine]
    faulty = [bool(without) and at_s < placed.end_s for at_s in arrivals_s]
    other = [bool(without) and at_s < placed.end_s + RECOVERY_S for at_s in arrivals_s]
    settling_s = SETTLING_PERIODS * period_ns / 1e9
    anew = [any(0 <= at_s - begin_s < settling_s for begin_s in owed.anew_s) for at_s in arrivals_s]
    found: dict[int, int] = {}
    _match(mine, within, range(len(mine)), SAME_MOMENT_NS, found)
    wide = [n for n in range(len(mine)) if n not in found and (other[n] or anew[n])]
    _match(mine, within, wide, period_ns, found)
    owed_s = [d.owed_ns / 1e9 for d in mine]
    for n in set(wide) & set(found):
        frame = within[found[n]]
        owed_s[n] = max(owed_s[n], owed.arrived_s.get((frame.status.get("reference", ""), frame.stamp_ns), owed_s[n]))
    return [
        Answer(
            arrivals_s[n],
            owed_s[n],
            "" if anew[n] else "".join(letter for letter in d.subset if not (faulty[n] and letter in without)),
            within[found[n]] if n in found else None,
        )
        for n, d in enumerate(mine)
    ]


def _match(
    due: Sequence[Due], frames: Sequence[Frame], places: Sequence[int], limit_ns: int, found: dict[int, int]
) -> None:
    """Finds for what is due at some places the nearest label image that is not taken, and adds it to what was found."""
    taken = set(found.values())
    for n in places:
        at_s = due[n].arrival_ns / 1e9
        free = [
            (abs(f.stamp_ns - due[n].stamp_ns), place)
            for place, f in enumerate(frames)
            if place not in taken and -WITNESS_S <= f.at_s - at_s < FORGOTTEN_S
        ]
        distance_ns, place = min(free, default=(limit_ns + 1, 0))
        if distance_ns <= limit_ns:
            found[n] = place
            taken.add(place)


def shares(placed: Placed, found: Sequence[Answer]) -> dict[str, float]:
    """The share of the due frames with at least the expected subset, until the cause goes away and after.

    An unanswered frame counts against it only where the row demands answers.
    """
    row = placed.row
    counted = [a for a in found if a.frame is not None or row.answered >= row.partners]
    phases = {
        "fault": [a for a in counted if a.at_s < placed.cause_ends_s],
        "after": [a for a in counted if a.at_s >= placed.cause_ends_s],
    }
    return {name: round(sum(a.complete for a in part) / len(part), 3) for name, part in phases.items() if part}


def latencies_ms(found: Sequence[Answer]) -> dict[str, float]:
    """Percentiles of the time from when answers were owed to their receipt."""
    values = [1e3 * a.latency_s for a in found if a.latency_s is not None]
    return {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 99)} if values else {}


def wait_ms(placed: Placed, frames: Sequence[Frame]) -> float | None:
    """Median wait of the sets that lack the row's late sensor, in the second half of its fault; None without any."""
    middle_s = (placed.begin_s + placed.cause_ends_s) / 2
    lacking = [
        float(f.status["stage_ms.wait"])
        for f in frames
        if middle_s <= f.at_s < placed.cause_ends_s and f"absent.{placed.row.late}" in f.status
    ]
    return round(statistics.median(lacking), 1) if lacking else None


def recovery_s(placed: Placed, found: Sequence[Answer], full: str) -> float | None:
    """From when the cause went away to the first answer, owed after that, that is of the full rig."""
    back = [
        a.frame.at_s
        for a in found
        if a.frame is not None and a.at_s >= placed.cause_ends_s and set(full) <= set(a.frame.used)
    ]
    return round(back[0] - placed.cause_ends_s, 3) if back else None
