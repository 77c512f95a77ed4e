# SPDX-License-Identifier: Apache-2.0
"""Frames that were not answered and why: what the segmentor counted, and when it was inactive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyseg_ros.campaign.answers import Answer
from anyseg_ros.campaign.evidence import Report
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.rows import Action

COUNTERS = ("worker.dropped", "worker.failed", "nothing_left", "sets.reset")
BORDER = 1  # a frame due just before a row, or whose set was open at its end
ACTIVATION_S = 1.0  # an activation takes its time after it was asked for


def counted(placed: Placed, outputs: Sequence[Report]) -> int:
    """How many sets the segmentor counted as not answered in a row, by its last report before it and the first after.

    Args:
        placed: the row.
        outputs: the output's reports over the act, in order.
    """
    before = [r for r in outputs if r.at_s <= placed.begin_s][-1:]
    inside = [r for r in outputs if placed.begin_s < r.at_s < placed.until_s]
    after = [r for r in outputs if r.at_s >= placed.until_s][:1]
    last = _counters(before[0].values) if before else dict.fromkeys(COUNTERS, 0)
    total = 0
    for report in (*inside, *after):
        now = _counters(report.values)
        # A figure that is lower than before has been started anew, by cleanup and configure.
        total += sum(now[name] - last[name] if now[name] >= last[name] else now[name] for name in COUNTERS)
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


def _counters(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(values.get(name, 0)) for name in COUNTERS}
