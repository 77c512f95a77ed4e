# SPDX-License-Identifier: Apache-2.0
"""The rows of the campaign: what is done to the segmentor, and what must happen then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

GAP_PERIODS = 3.0
RECOVERY_S = 2.0
MAX_WAIT_MS = 150.0  # the segmentor's default, which no act changes
ALLOWANCE_MS = 150.0  # queue, inference, middleware and a shared processor, beside the wait for partners
LATENCY_MS = MAX_WAIT_MS + ALLOWANCE_MS
WAIT_MS = 50.0  # half a period: what a set may wait for others than the sensor that it lacks
TOLD_WITHIN_S = 3.0
SHARE = 0.9
GONE = ("stale", "lost")
BAD = ("degraded", "not used", "rejected")
OTHERS = "the other sensors answer, the reference changes if it was this one"
CAMERA, LIDAR, ALL = ("camera",), ("lidar",), ("camera", "lidar", "event")


@dataclass(frozen=True)
class Inject:
    """One fault of the relay: the route, the kind, its arguments."""

    route: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """Something that is done to a process at a time of the row.

    Attributes:
        at_s: since the fault began.
        what: ``stop`` and ``start`` (a relay), ``set`` (parameters), ``change`` (a lifecycle transition) or ``engine``.
        detail: which relay, parameter=value, transition or mood.
        refused: it has to be refused.
    """

    at_s: float
    what: str
    detail: str
    refused: bool = False


@dataclass(frozen=True)
class Row:
    """One fault and what it must lead to.

    Attributes:
        name: of the row.
        must: what must happen, in words.
        injects: faults of the relay while it lasts.
        actions: what is done besides.
        timeline: pauses and jumps of the drive, as the player takes them, with ``{at}`` for the begin in seconds.
        from_start: the relay's faults are there from the start of the act, not from the begin of the row.
        fault_s, clean_s: length of the fault, and of what follows to judge the recovery.
        gap_periods: longest silence of the output in periods of the slower sensor; None where none is promised.
        says: by status, words of which one has to be reported within ``told_within_s``: they are looked for in level,
            message and ``state``. Where ``warn: `` or ``error: `` stands before them, the level has to be that one;
            ``counted: x`` stands for a value x that rises.
        told_within_s: longer than 3 s where a process has to start before anything can be told.
        costs: sensors that contribute nothing, or with which no other agrees: from ``TOLD_WITHIN_S`` until the cause
            goes away, every report of the output has to be at WARN or worse and to name them.
        quiet: diagnostics have nothing to complain of.
        unusable: sensors whose messages owe no answer while the fault lasts: their stamps mean nothing.
        without: sensors of whose messages nothing can be used while the fault lasts, so that no set is expected to
            hold them; another one may lead in their place.
        late: a sensor whose messages come too late: sets that lack it must not wait for it.
        cause_ends_s: when the cause goes away, from the begin of the fault; None: with the fault.
        restarts: a sensor whose publisher is started again then: the cause goes away with its first message.
        to_the_end: the relay's faults last to the end of the act.
        jumps: how many times the stamps of the output may go back.
        recovers: the full rig has to be back within two seconds of the cause going away.
        answered: least share of the due frames that has to be answered.
        partners: least share of them, during the fault and after, that has at least the expected subset.
        latency_ms: what at most one of a hundred answers may exceed; None where nothing is promised.
        ends_well: the last that diagnostics say of the output has to be OK.
    """

    name: str
    must: str
    injects: tuple[Inject, ...] = ()
    actions: tuple[Action, ...] = ()
    timeline: str = ""
    from_start: bool = False
    fault_s: float = 2.5
    clean_s: float = 3.5
    gap_periods: float | None = GAP_PERIODS
    says: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told_within_s: float = TOLD_WITHIN_S
    costs: tuple[str, ...] = ()
    quiet: bool = False
    unusable: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    late: str = ""
    cause_ends_s: float | None = None
    restarts: str = ""
    to_the_end: bool = False
    jumps: int = 0
    recovers: bool = True
    answered: float = SHARE
    partners: float = SHARE
    latency_ms: float | None = LATENCY_MS
    ends_well: bool = False


@dataclass(frozen=True)
class Act:
    """Rows that share one segmentor.

    Attributes:
        name: of the act.
        rows: one after the other.
        simulated: whether time comes from /clock; else the drive runs at full speed.
        segmentor: module that is run. parameters: further ones for it.
        twin: a second segmentor runs on the same graph.
        own_relay: the camera has a relay process of its own.
        packets: its events have to be EventPackets: where event_camera_msgs is missing its rows are skipped.
        required: sensors that the rig says are required.
    """

    name: str
    rows: tuple[Row, ...]
    simulated: bool = True
    segmentor: str = "anyseg_ros.nodes.segmentor_node"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    twin: bool = False
    own_relay: bool = False
    packets: bool = False
    required: tuple[str, ...] = ()

    def only(self, parts: Sequence[str]) -> Act:
        """The act with the rows whose name contains one of ``parts``; all of them if there is none."""
        if not parts:
            return self
        return replace(self, rows=tuple(row for row in self.rows if any(part in row.name for part in parts)))


def one(
    name: str, must: str, sensor: str, kind: str, says: Mapping[str, tuple[str, ...]] | None = None, **more: Any
) -> Row:
    """A row with one fault of the relay; what is no field of ``Row`` is the fault's argument."""
    known = {key: more.pop(key) for key in list(more) if key in Row.__dataclass_fields__}
    return Row(name, must, (Inject(sensor, kind, more),), says=says or {}, **known)
