# SPDX-License-Identifier: Apache-2.0
"""Judges the rows of an act: answers, partners, latency, gaps, wrong outputs, what diagnostics said, recovery."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from anyseg_ros.campaign.answers import Ledger, answers, latencies_ms, ledger, recovery_s, shares, wait_ms
from anyseg_ros.campaign.counted import counted, inactive, refusals
from anyseg_ros.campaign.evidence import Evidence, Report
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.offline import Offline, WrongOutput
from anyseg_ros.campaign.promises import not_kept
from anyseg_ros.campaign.verdict import Verdict
from anyseg_ros.demo.due import SensorRule
from anyseg_ros.demo.gather import rules_from_rig
from anyseg_ros.pipeline import checkpoint_encoding
from anyseg_ros.sensors.rig import Rig


def judge_act(played: Played, rig: Rig, checkpoint: Path, routes: dict[str, str]) -> list[Verdict]:
    """The verdicts on all rows of an act."""
    evidence = Evidence(played.folder, played.began_ns, played.rate, routes)
    rules = rules_from_rig(rig, checkpoint_encoding(checkpoint))
    played = replace(played, placed=[with_end_of_cause(p, evidence) for p in played.placed])
    wrong = wrong_outputs(evidence, Offline(evidence, rig, rules, checkpoint), played)
    owed = ledger(evidence, rig, rules, played)
    verdicts = [_judge_row(p, played, evidence, owed, wrong, rules) for p in played.placed]
    if played.act.twin:
        _compare_twin(verdicts[0], evidence, Evidence(played.twin, played.began_ns, played.rate, {}))
    for verdict in verdicts:
        verdict.deaths = list(played.deaths)
        if played.deaths:
            verdict.broken.append("a process died")
    return verdicts


def with_end_of_cause(placed: Placed, evidence: Evidence) -> Placed:
    """A row whose cause goes away with the first message of a publisher that was started again, if there is one."""
    back = [a.at_s for a in evidence.arrivals.get(placed.row.restarts, ()) if placed.cause_ends_s <= a.at_s]
    if not placed.row.restarts or not back or back[0] >= placed.end_s:
        return placed
    return replace(placed, row=replace(placed.row, cause_ends_s=back[0] - placed.begin_s))


def wrong_outputs(evidence: Evidence, offline: Offline, played: Played) -> list[tuple[float, str]]:
    """(at_s, sentence) for each output that is wrong."""
    found, backwards = [], {id(p): p.row.jumps for p in played.placed}
    for before, frame in pairwise([None, *evidence.frames]):
        assert frame is not None
        if before is not None and frame.stamp_ns <= before.stamp_ns:
            row = next((p for p in played.placed if p.begin_s <= frame.at_s < p.until_s), None)
            if row is None or not backwards[id(row)]:
                found.append((frame.at_s, f"its stamp is {(before.stamp_ns - frame.stamp_ns) / 1e9:.3f} s back"))
            else:
                backwards[id(row)] -= 1
        try:
            offline.check(frame)
        except WrongOutput as error:
            found.append((frame.at_s, str(error)))
    return found


def _judge_row(
    placed: Placed,
    played: Played,
    evidence: Evidence,
    owed: Ledger,
    wrong: Sequence[tuple[float, str]],
    rules: Sequence[SensorRule],
) -> Verdict:
    row = placed.row
    verdict = Verdict(played.act.name, row.name, row.must, latency_limit_ms=row.latency_ms)
    found = answers(placed, owed, evidence.frames, rules)
    verdict.unanswered_s = [round(a.at_s - placed.begin_s, 3) for a in found if a.frame is None]
    verdict.due, verdict.answered = len(found), len(found) - len(verdict.unanswered_s)
    verdict.counted = counted(placed, evidence.reports) + inactive(placed, played, found)
    verdict.partners, verdict.latency_ms = shares(placed, found), latencies_ms(found)
    verdict.wait_ms = wait_ms(placed, evidence.frames) if row.late else None
    inside = [f for f in evidence.frames if placed.begin_s - 0.35 <= f.at_s < placed.until_s]
    verdict.gap_s = max((b.at_s - a.at_s for a, b in pairwise(inside)), default=row.fault_s + row.clean_s)
    if row.gap_periods is not None:
        verdict.gap_limit_s = row.gap_periods * slower_period_ns({i.route for i in row.injects}, rules) / 1e9
    verdict.wrong = [f"{at_s - placed.begin_s:+.2f} s: {text}" for at_s, text in wrong if _within(at_s, placed)]
    verdict.recovery_s = recovery_s(placed, found, "".join(rule.modality.letter for rule in rules))
    spoken = [r for r in evidence.reports if _within(r.at_s, placed) and r.name.startswith("segmentor: ")]
    verdict.said = _changes(spoken, placed.begin_s)
    verdict.broken = [*not_kept(placed, verdict, spoken), *refusals(placed, played)]
    return verdict


def slower_period_ns(at_fault: Collection[str], rules: Sequence[SensorRule]) -> int:
    """The longer period of the sensors at fault and the one that takes over; of all, where none is at fault."""
    taker = next((rule.name for rule in rules if rule.name not in at_fault), None)
    involved = [rule.period_ns for rule in rules if not at_fault or rule.name in at_fault or rule.name == taker]
    return max(involved)


def _changes(spoken: Sequence[Report], begin_s: float) -> list[str]:
    """What was said, without what was said before; figures in a sentence do not make it another."""
    last: dict[str, str] = {}
    found = []
    for report in spoken:
        text = f"{report.level.upper()} {report.message}"
        pattern = re.sub(r"[\d.]+", "#", text)
        before, last[report.name] = last.get(report.name, "OK"), pattern
        if before != pattern and not (before.startswith("OK") and report.level == "ok"):
            found.append(f"{report.at_s - begin_s:+.1f} s {report.name.removeprefix('segmentor: ')}: {text}")
    return found


def _compare_twin(verdict: Verdict, evidence: Evidence, twin: Evidence) -> None:
    """Both segmentors have to have said the same of the same sensors."""
    other = {(f.stamp_ns, f.used): f for f in twin.frames}
    both = [(f, other[f.stamp_ns, f.used]) for f in evidence.frames if (f.stamp_ns, f.used) in other]
    if len(both) < 0.9 * len(evidence.frames):
        verdict.broken.append(f"the second segmentor answered {len(both)} of {len(evidence.frames)} frames alike")
    differing = sum((a.labels() != b.labels()).mean() > 1e-4 for a, b in both)
    if differing:
        verdict.broken.append(f"{differing} frames of the second segmentor differ")


def _within(at_s: float, placed: Placed) -> bool:
    return placed.begin_s <= at_s < placed.until_s
