# SPDX-License-Identifier: Apache-2.0
"""The JSON of a run as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import busy

QUICK = "**Quick sizes: these figures only show that everything runs.**"
BUSY = "**The machine was busy with something else when this run began: do not trust the figures.**"


def markdown(run: dict[str, Any]) -> str:
    """Machine, one row per rival, the tables, and what was skipped."""
    parts = [machine_line(run), *warnings(run), comparison(run["cases"])]
    parts += [f"{table['note']}\n\n{grid(table['columns'], table['rows'])}" for table in run["tables"]]
    skipped = [
        f"- {entry['name']}: {name} skipped: {reason}"
        for entry in (*run["cases"], *run["tables"])
        for name, reason in entry["skipped"].items()
    ]
    if skipped:
        parts.append("\n".join(skipped))
    return "\n\n".join(parts) + "\n"


def machine_line(run: dict[str, Any]) -> str:
    """CPU, cores, threads, versions, date."""
    machine = run["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    where = machine["cpu"] + (f" and {machine['gpu']}" if machine["gpu"] else "")
    return (
        f"{where}, {machine['cores_usable']} cores, torch with {machine['threads']['torch']} threads; "
        f"Python {machine['python']}, {libraries}; {run['repeats']} rounds, {run['started']}; "
        f"load average {machine['load_average']}."
    )


def warnings(run: dict[str, Any]) -> list[str]:
    """What forbids to use the figures."""
    return [text for text, holds in ((QUICK, run["quick"]), (BUSY, busy(run["machine"]))) if holds]


def comparison(cases: list[dict[str, Any]]) -> str:
    """Per case ours, then a row per rival with the ratio of the times."""
    rows = []
    for case in cases:
        ours = case["ours"]
        work = f"{case['name']}: {case['work']}"
        rows.append((work, "ours", f"{ours['median_ms']:.3g}", rate(ours, case["unit"]), "", ""))
        for rival in case["rivals"]:
            name = rival["name"] + (f" ({rival['note']})" if rival["note"] else "")
            figures = (f"{rival['median_ms']:.3g}", rate(rival, case["unit"]), ratio_text(rival["ratio"]))
            verdict = ("same: " if rival["same"] else "NOT THE SAME: ") + rival["detail"]
            rows.append(("", name, *figures, verdict))
    return grid(("work", "by", "median ms", "rate", "time / ours", "results"), rows)


def rate(times: dict[str, Any], unit: str) -> str:
    """Work per second, in millions or thousands where it is many."""
    value = times["per_second"]
    for size, letter in ((1e6, "M "), (1e3, "k ")):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}s/s"
    return f"{value:.3g} {unit}s/s"


def ratio_text(ratio: dict[str, Any] | None) -> str:
    """Median and quartiles; nothing where the results differ."""
    if ratio is None:
        return "none"
    low, high = ratio["quartiles"]
    return f"{ratio['median']:.2f} ({low:.2f} to {high:.2f})"


def grid(columns: Any, rows: Any) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
