# SPDX-License-Identifier: Apache-2.0
"""Which promises of a row were not kept, in words."""

from __future__ import annotations

from collections.abc import Sequence

from anyseg_ros.campaign.counted import BORDER, OUTPUT
from anyseg_ros.campaign.evidence import Report
from anyseg_ros.campaign.graph import Placed
from anyseg_ros.campaign.rows import RECOVERY_S, TOLD_WITHIN_S, WAIT_MS
from anyseg_ros.campaign.verdict import Verdict

SETTLED_S = 1.2  # diagnostics come once a second, and on change
TOLD_S = 0.5  # what is said this soon after a row began may speak of the one before
LEVELS = ("ok", "warn", "error")


def not_kept(placed: Placed, verdict: Verdict, spoken: Sequence[Report]) -> list[str]:
    """What a row promised and its verdict does not show.

    Args:
        placed: the row.
        verdict: all but its sentences.
        spoken: the segmentor's reports from its begin to its end.
    """
    return [*_of_outputs(placed, verdict), *_of_sets(placed, verdict), *_of_diagnostics(placed, spoken)]


def _of_outputs(placed: Placed, verdict: Verdict) -> list[str]:
    row, found = placed.row, []
    if verdict.wrong:
        found.append(f"{len(verdict.wrong)} wrong output(s)")
    if verdict.gap_limit_s is not None and verdict.gap_s >= verdict.gap_limit_s:
        found.append(f"a gap of {verdict.gap_s:.3f} s, promised under {verdict.gap_limit_s:.3f} s")
    if verdict.answered < row.answered * verdict.due:
        found.append(f"{verdict.answered} of {verdict.due} due frames answered, promised {row.answered:.0%}")
    if verdict.due - verdict.answered > verdict.counted + BORDER:
        found.append(f"{verdict.due - verdict.answered} due frames were not answered, but {verdict.counted} counted")
    if row.recovers and (verdict.recovery_s is None or verdict.recovery_s > RECOVERY_S):
        found.append(f"the full rig was not back within {RECOVERY_S:g} s")
    return found


def _of_sets(placed: Placed, verdict: Verdict) -> list[str]:
    row, found = placed.row, []
    for phase, share in verdict.partners.items():
        if share < row.partners:
            when = "during the fault" if phase == "fault" else "after it"
            found.append(f"{share:.0%} of the due frames {when} had the expected subset, promised {row.partners:.0%}")
    late = verdict.latency_ms.get("p99", 0.0)
    if verdict.latency_limit_ms is not None and late > verdict.latency_limit_ms:
        found.append(f"a latency of {late:.0f} ms (p99), promised {verdict.latency_limit_ms:.0f} ms")
    if verdict.wait_ms is not None and verdict.wait_ms > WAIT_MS:
        found.append(
            f"sets without '{row.late}' waited {verdict.wait_ms:.0f} ms (median), promised at most {WAIT_MS:.0f} ms"
        )
    return found


def _of_diagnostics(placed: Placed, spoken: Sequence[Report]) -> list[str]:
    row, found = placed.row, []
    told = [r for r in spoken if r.at_s < placed.begin_s + row.told_within_s]
    for name, states in row.says.items():
        mine = [r for r in told if r.name == f"segmentor: {name}"]
        if not any(_says(mine, state) for state in states):
            found.append(f"diagnostics of '{name}' never said {' or '.join(states)} within {row.told_within_s:g} s")
    outputs = [r for r in spoken if r.name == OUTPUT]
    if row.costs:
        found += _costs(placed, outputs)
    if row.ends_well and not any(r.level == "ok" for r in outputs[-1:]):
        last = outputs[-1].message if outputs else "nothing was said"
        found.append(f"diagnostics of the output did not end well: {last}")
    if row.quiet:
        later = [r for r in spoken if placed.begin_s + TOLD_S < r.at_s < placed.end_s + SETTLED_S and r.level != "ok"]
        found += sorted({f"diagnostics complained: {r.name} {r.message}" for r in later})[:3]
    return found


def _says(reports: Sequence[Report], wanted: str) -> bool:
    """Whether one of the reports says ``stale``, or ``error: fail``, or whether they count ``counted: x``."""
    kind, _, words = wanted.partition(": ")
    if kind == "counted":
        seen = [int(report.values.get(words, 0)) for report in reports]
        return bool(seen) and seen[-1] > seen[0]
    if kind in LEVELS:
        return any(report.level == kind and words in report.message for report in reports)
    return any(wanted in f"{report.level} {report.message} {report.values.get('state', '')}" for report in reports)


def _costs(placed: Placed, outputs: Sequence[Report]) -> list[str]:
    """What the output did not say of sensors that contribute nothing."""
    settled = [r for r in outputs if placed.begin_s + TOLD_WITHIN_S <= r.at_s < placed.cause_ends_s]
    if not settled:
        return [f"the output said nothing from {TOLD_WITHIN_S:g} s to the end of the fault"]
    for report in settled:
        silent = [name for name in placed.row.costs if report.level == "ok" or name not in report.message]
        if silent:
            at_s = report.at_s - placed.begin_s
            return [
                f"at {at_s:.1f} s the output said {report.level} '{report.message}', nothing of {', '.join(silent)}"
            ]
    return []
