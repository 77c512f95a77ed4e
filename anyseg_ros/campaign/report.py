# SPDX-License-Identifier: Apache-2.0
"""The campaign's one table and one JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyseg_ros import __version__
from anyseg_ros.campaign.verdict import Verdict

PHASES = ("fault", "after")


def summary(verdicts: Sequence[Verdict], facts: dict[str, Any]) -> dict[str, Any]:
    """The JSON: totals first, then every row.

    Args:
        verdicts: of all rows.
        facts: what was played, where and how fast.
    """
    deaths = {text for verdict in verdicts for text in verdict.deaths}
    return {
        "rows": len(verdicts),
        "rows_skipped": sum(bool(verdict.skipped) for verdict in verdicts),
        "rows_broken": sum(bool(verdict.broken) for verdict in verdicts),
        "wrong_outputs": sum(len(verdict.wrong) for verdict in verdicts),
        "process_deaths": len(deaths),
        "frames_due": sum(verdict.due for verdict in verdicts),
        "frames_answered": sum(verdict.answered for verdict in verdicts),
        "version": __version__,
        **facts,
        "table": [verdict.as_dict() for verdict in verdicts],
    }


def table(data: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        "# Fault campaign",
        "",
        f"{data['rows']} rows, {data['rows_broken']} with a broken promise, {data['rows_skipped']} skipped; "
        f"{data['wrong_outputs']} wrong outputs, {data['process_deaths']} process deaths; {data['frames_answered']} of "
        f"{data['frames_due']} due frames answered. Played at {data['rate']:g} x real speed; times are of the drive.",
        "",
        "Subset: share of the due frames with at least the expected sensors, during the fault / after it. Counted: "
        "frames that the segmentor counted as not answered. Latency: from when an answer was owed to its receipt; "
        "wait: the median of the sets that lack a late sensor.",
        "",
        "| | act | fault | answered | counted | subset | latency p99, limit, wait ms | longest gap, limit s | wrong "
        "| recovery s | diagnostics (s from its begin) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in data["table"]),
    ]
    broken = [row for row in data["table"] if row["broken"]]
    if broken:
        lines += ["", "## Broken promises", ""]
        for row in broken:
            lines.append(f"- **{row['name']}** ({row['act']}; {row['must']}): {'; '.join(row['broken'])}.")
            lines += [f"    - {_cell(text)}" for text in row["wrong"][:3]]
            lines += [f"    - died: {_cell(text)}" for text in row["deaths"][:3]]
    return "\n".join(lines) + "\n"


def write(folder: Path, data: dict[str, Any]) -> None:
    """Writes faults.json and faults.md."""
    folder.joinpath("faults.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    folder.joinpath("faults.md").write_text(table(data), encoding="utf-8")


def _row(row: dict[str, Any]) -> str:
    if row["skipped"]:
        return f"| skipped | {row['act']} | {_cell(row['name'])} |" + " - |" * 7 + f" {_cell(row['skipped'])} |"
    said = "<br>".join(_cell(text) for text in row["said"][:4]) or "nothing"
    subset = " / ".join(f"{row['partners'][name]:.0%}" if name in row["partners"] else "-" for name in PHASES)
    gap, gap_limit, back = (_number(row[key], 2) for key in ("gap_s", "gap_limit_s", "recovery_s"))
    latency = ", ".join(
        _number(value, 0) for value in (row["latency_ms"].get("p99"), row["latency_limit_ms"], row["wait_ms"])
    )
    return (
        f"| {'BROKEN' if row['broken'] else 'holds'} | {row['act']} | {_cell(row['name'])} | {row['answered']} of "
        f"{row['due']} | {row['counted']} | {subset} | {latency} | {gap}, {gap_limit} | {len(row['wrong'])} "
        f"| {back} | {said} |"
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
