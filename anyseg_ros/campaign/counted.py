# SPDX-License-Identifier: Apache-2.0
"""Frames that were not answered and why: what the segmentor counted, and when it was inactive."""

from __future__ import annotations

from collections.abc import Sequence

from anyseg_ros.campaign.answers import Answer
from anyseg_ros.campaign.evidence import Report
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.rows import Action

OUTPUT = "segmentor: output"
FATES = ("count.late", "count.duplicate", "count.rejected_stamp", "count.rejected_outlier")
COUNTERS = ("worker.dropped", "worker.failed", "nothing_left", "sets.reset")
BORDER = 1  # a frame due just before a row, or whose set was open at its end
ACTIVATION_S = 1.0  # an activation takes its time after it was asked for


def counted(placed: Placed, reports: Sequence[Report]) -> int:
    """How many sets the segmentor counted as not answered in a row, by its last report before it and the first after.

    Where the stamps of the output may go back, and where another sensor leads because one cannot be used, measurements
    of the sensors at fault count that were not above the last output.

    Args:
        placed: the row.
        reports: the segmentor's over the act, in order.
    """
    row = placed.row
    total = _risen(placed, [r for r in reports if r.name == OUTPUT], COUNTERS)
    for route in {inject.route for inject in row.injects} if row.jumps or row.without else ():
        total += _risen(placed, [r for r in reports if r.name == f"segmentor: {route}"], FATES)
    return total


def _risen(placed: Placed, reports: Sequence[Report], names: Sequence[str]) -> int:
    """By how much values rose in a row, in all."""
    before = [r for r in reports if r.at_s <= placed.begin_s][-1:]
    inside = [r for r in reports if placed.begin_s < r.at_s < placed.until_s]
    after = [r for r in reports if r.at_s >= placed.until_s][:1]
    last = _values(before[0], names) if before else dict.fromkeys(names, 0)
    total = 0
    for report in (*inside, *after):
        now = _values(report, names)
        # A figure that is lower than before has been started anew, by cleanup and configure.
        total += sum(now[name] - last[name] if now[name] >= last[name] else now[name] for name in names)
        last = now
    return total


def inactive(placed: Placed, played: Played, found: Sequence[Answer]) -> int:
    """How many unanswered frames were due while the segmentor was deactivated."""
    spans, off_s = [], None
    for action in placed.row.actions:
        at_s = placed.begin_s + action.at_s
        if action.what != "change" or not answer_to(action, placed, played):
            continue
        if action.detail == "deactivate":
            off_s = at_s
        elif action.detail == "activate" and off_s is not None:
            spans.append((off_s, at_s + ACTIVATION_S))
            off_s = None
    if off_s is not None:
        spans.append((off_s, placed.until_s))
    lost = [a.at_s for a in found if a.frame is None]
    return sum(any(begin <= at_s < end for begin, end in spans) for at_s in lost)


def answer_to(action: Action, placed: Placed, played: Played) -> bool | None:
    """Whether an action was taken; None: nobody answered. The same may be done twice in an act, at other times."""
    at_s = (placed.begin_s + action.at_s) / played.rate
    mine = [e["ok"] for e in played.answers if e["detail"] == action.detail and abs(e["at_s"] - at_s) < 1e-3]
    return mine[0] if mine else None


def refusals(placed: Placed, played: Played) -> list[str]:
    """Actions that were taken or refused against what was to be."""
    found = []
    for action in placed.row.actions:
        if action.what in ("set", "change", "engine"):
            ok = answer_to(action, placed, played)
            if ok is None or ok == action.refused:
                found.append(f"'{action.detail}' was {'not answered' if ok is None else 'taken' if ok else 'refused'}")
    return found


def _values(report: Report, names: Sequence[str]) -> dict[str, int]:
    return {name: int(report.values.get(name, 0)) for name in names}
