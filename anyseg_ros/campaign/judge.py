# SPDX-License-Identifier: Apache-2.0
"""Judges the rows of an act: answers, gaps, wrong outputs, what diagnostics said, recovery."""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

from anyseg_ros.campaign.evidence import Evidence, Frame, Report
from anyseg_ros.campaign.graph import Placed, Played
from anyseg_ros.campaign.offline import Offline, WrongOutput
from anyseg_ros.campaign.rows import RECOVERY_S
from anyseg_ros.demo.due import Delivery, SensorRule, frames_due
from anyseg_ros.demo.gather import rules_from_rig
from anyseg_ros.pipeline import checkpoint_encoding
from anyseg_ros.sensors.rig import Rig

SETTLED_S = 1.2  # diagnostics come once a second, and on change
ROW_S = 20.0  # no row lasts longer; the stamps of a drive whose time jumps come again after that
SAME_MOMENT_NS = 10_000_000
TOLD_S = 0.5  # what is said this soon after a row began may speak of the one before


@dataclass
class Verdict:
    """What was found of one row. Times in seconds of the drive, from the begin of the fault.

    Attributes:
        act, name, must: the row.
        due, answered: frames from the begin of the fault to the end of the row; unanswered_s: when the others were due.
        gap_s: longest silence of the output; gap_limit_s: what was promised, None for nothing.
        wrong: sentences about outputs that are wrong.
        said: what diagnostics said, and when: changes of level or text.
        recovery_s: from the end of the fault to the first output of the full rig; None: it did not come.
        deaths: processes that died during the act.
        broken: promises that were not kept, in words; empty where the row holds.
    """

    act: str
    name: str
    must: str
    due: int = 0
    answered: int = 0
    unanswered_s: list[float] = field(default_factory=list)
    gap_s: float = 0.0
    gap_limit_s: float | None = None
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    recovery_s: float | None = None
    deaths: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For the JSON."""
        return asdict(self)


def judge_act(played: Played, rig: Rig, checkpoint: Path, routes: dict[str, str]) -> list[Verdict]:
    """The verdicts on all rows of an act."""
    evidence = Evidence(played.folder, played.began_ns, played.rate, routes)
    rules = rules_from_rig(rig, checkpoint_encoding(checkpoint))
    wrong = wrong_outputs(evidence, Offline(evidence, rig, rules, checkpoint), played)
    due = _due(evidence, rig, rules, played)
    verdicts = [_judge_row(p, played, evidence, due, wrong, rules) for p in played.placed]
    if played.act.twin:
        _compare_twin(verdicts[0], evidence, Evidence(played.twin, played.began_ns, played.rate, {}))
    for verdict in verdicts:
        verdict.deaths = list(played.deaths)
        if played.deaths:
            verdict.broken.append("a process died")
    return verdicts


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


def _due(evidence: Evidence, rig: Rig, rules: Sequence[SensorRule], played: Played) -> list[tuple[float, int]]:
    """(arrival, stamp) of what is owed. Where all time jumps, the ledger begins anew."""
    arrived = [
        (at_s, name, stamp_ns)
        for name, entries in evidence.deliveries(rig).items()
        for at_s, stamp_ns in entries
        if not any(name in p.row.unusable and p.begin_s <= at_s < p.end_s for p in played.placed)
    ]
    deliveries = [Delivery(name, stamp_ns, round(at_s * 1e9)) for at_s, name, stamp_ns in sorted(arrived)]
    cuts = [p.begin_s for p in played.placed if p.row.timeline.startswith("jump") or p.row.jumps]
    owed = []
    for begin, end in pairwise([float("-inf"), *cuts, float("inf")]):
        part = [d for d in deliveries if begin <= d.arrival_ns / 1e9 < end]
        owed += [(d.arrival_ns / 1e9, d.stamp_ns) for d in frames_due(part, rules)]
    return owed


def _judge_row(
    placed: Placed,
    played: Played,
    evidence: Evidence,
    due: Sequence[tuple[float, int]],
    wrong: Sequence[tuple[float, str]],
    rules: Sequence[SensorRule],
) -> Verdict:
    row = placed.row
    verdict = Verdict(played.act.name, row.name, row.must)
    stamps = sorted(frame.stamp_ns for frame in evidence.frames if abs(frame.at_s - placed.begin_s) < ROW_S)
    owed = [(at_s, stamp_ns) for at_s, stamp_ns in due if placed.begin_s <= at_s < placed.until_s]
    verdict.unanswered_s = [round(at_s - placed.begin_s, 3) for at_s, stamp_ns in owed if not _near(stamps, stamp_ns)]
    verdict.due, verdict.answered = len(owed), len(owed) - len(verdict.unanswered_s)
    inside = [f for f in evidence.frames if placed.begin_s - 0.35 <= f.at_s < placed.until_s]
    verdict.gap_s = max((b.at_s - a.at_s for a, b in pairwise(inside)), default=row.fault_s + row.clean_s)
    if row.gap_periods is not None:
        verdict.gap_limit_s = row.gap_periods * slower_period_ns({i.route for i in row.injects}, rules) / 1e9
    verdict.wrong = [f"{at_s - placed.begin_s:+.2f} s: {text}" for at_s, text in wrong if _within(at_s, placed)]
    verdict.recovery_s = _recovery_s(placed, inside, "".join(sorted(rule.modality.letter for rule in rules)))
    spoken = [r for r in evidence.reports if _within(r.at_s, placed) and r.name.startswith("segmentor: ")]
    verdict.said = _changes(spoken, placed.begin_s)
    verdict.broken = _broken(placed, verdict, spoken, played)
    return verdict


def slower_period_ns(at_fault: Collection[str], rules: Sequence[SensorRule]) -> int:
    """The longer period of the sensors at fault and the one that takes over; of all, where none is at fault."""
    taker = next((rule.name for rule in rules if rule.name not in at_fault), None)
    involved = [rule.period_ns for rule in rules if not at_fault or rule.name in at_fault or rule.name == taker]
    return max(involved)


def _broken(placed: Placed, verdict: Verdict, spoken: Sequence[Report], played: Played) -> list[str]:
    row, found = placed.row, []
    if verdict.wrong:
        found.append(f"{len(verdict.wrong)} wrong output(s)")
    if verdict.gap_limit_s is not None and verdict.gap_s >= verdict.gap_limit_s:
        found.append(f"a gap of {verdict.gap_s:.3f} s, promised under {verdict.gap_limit_s:.3f} s")
    if verdict.answered < row.answered * verdict.due:
        found.append(f"{verdict.answered} of {verdict.due} due frames answered, promised {row.answered:.0%}")
    if row.recovers and (verdict.recovery_s is None or verdict.recovery_s > RECOVERY_S):
        found.append("the full rig was not back within 2 s")
    during = [r for r in spoken if placed.begin_s <= r.at_s < placed.end_s + SETTLED_S]
    for name, states in row.says.items():
        mine = [f"{r.level} {r.message} {r.values.get('state', '')}" for r in during if r.name == f"segmentor: {name}"]
        if not any(state in text for state in states for text in mine):
            found.append(f"diagnostics of '{name}' never said {' or '.join(states)}")
    last = [r for r in spoken if r.name == "segmentor: output"][-1:]
    if row.ends_well and not any(r.level == "ok" for r in last):
        found.append(f"diagnostics of the output did not end well: {last[0].message if last else 'nothing was said'}")
    if row.quiet:
        later = [r for r in during if r.at_s > placed.begin_s + TOLD_S and r.level != "ok"]
        found += sorted({f"diagnostics complained: {r.name} {r.message}" for r in later})[:3]
    return found + _refusals(placed, played)


def _refusals(placed: Placed, played: Played) -> list[str]:
    """Actions that were taken or refused against what was to be."""
    found = []
    answers = {entry["detail"]: entry["ok"] for entry in played.answers}
    for action in placed.row.actions:
        if action.what in ("set", "change", "engine"):
            ok = answers.get(action.detail)
            if ok is None or ok == action.refused:
                found.append(f"'{action.detail}' was {'not answered' if ok is None else 'taken' if ok else 'refused'}")
    return found


def _recovery_s(placed: Placed, inside: Sequence[Frame], full: str) -> float | None:
    back = [f.at_s for f in inside if f.at_s >= placed.end_s and "".join(sorted(f.used)) == full]
    return round(back[0] - placed.end_s, 3) if back else None


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


def _near(stamps: Sequence[int], stamp_ns: int) -> bool:
    """Whether a moment was answered: which of two sensors led in it depends on whose message came first."""
    after = bisect.bisect_left(stamps, stamp_ns - SAME_MOMENT_NS)
    return after < len(stamps) and stamps[after] <= stamp_ns + SAME_MOMENT_NS


def _within(at_s: float, placed: Placed) -> bool:
    return placed.begin_s <= at_s < placed.until_s
