# SPDX-License-Identifier: Apache-2.0
"""The campaign's one table and one JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyseg_ros import __version__
from anyseg_ros.campaign.judge import Verdict


def summary(verdicts: Sequence[Verdict], facts: dict[str, Any]) -> dict[str, Any]:
    """The JSON: totals first, then every row.

    Args:
        verdicts: of all rows.
        facts: what was played, where and how fast.
    """
    deaths = {text for verdict in verdicts for text in verdict.deaths}
    return {
        "rows": len(verdicts),
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
        f"{data['rows']} rows, {data['rows_broken']} with a broken promise; {data['wrong_outputs']} wrong outputs, "
        f"{data['process_deaths']} process deaths; {data['frames_answered']} of {data['frames_due']} due frames "
        f"answered. Played at {data['rate']:g} x real speed; times are of the drive.",
        "",
        "| | act | fault | answered | longest gap s | limit s | wrong | recovery s | diagnostics (s from its begin) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in data["table"]:
        limit = "-" if row["gap_limit_s"] is None else f"{row['gap_limit_s']:.2f}"
        back = "-" if row["recovery_s"] is None else f"{row['recovery_s']:.2f}"
        said = "<br>".join(_cell(text) for text in row["said"][:4]) or "nothing"
        lines.append(
            f"| {'BROKEN' if row['broken'] else 'holds'} | {row['act']} | {_cell(row['name'])} | {row['answered']} of "
            f"{row['due']} | {row['gap_s']:.2f} | {limit} | {len(row['wrong'])} | {back} | {said} |"
        )
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


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
