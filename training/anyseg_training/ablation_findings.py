# SPDX-License-Identifier: Apache-2.0
"""What the figures of an ablation say; an explanation is given only where the signs of the differences bear it out."""

from __future__ import annotations

from typing import Any

from anyseg_training.ablation_text import PARTS, Summary, labels, paragraph, parts_of, recipes, stated

# The published steps on MUSES, by the parts that a row and the one above it have.
PAPER_ROWS = [[], ["dropout"], ["dropout", "mad"], ["dropout", "mad", "umd"], ["dropout", "mad", "umd", "cmd"]]
PAPER_STEPS = "The paper's own steps on MUSES are +0.8, -0.4 and +0.5, without seeds."

Found = dict[str, dict[str, Any]]


def direction(e: dict[str, Any]) -> str:
    """Where a difference lies, as far as drives can tell and the seeds agree."""
    signs = {(value > 0) - (value < 0) for value in e["per_seed"]}
    if e["low"] > 0 and signs == {1}:
        return "above"
    if e["high"] < 0 and signs == {-1}:
        return "below"
    return "not told apart from"


def verdict(e: dict[str, Any]) -> str:
    """``+1.2 (+0.4 to +1.9, above zero)``."""
    return f"{e['mean']:+.1f} ({e['low']:+.1f} to {e['high']:+.1f}, {direction(e)} zero)"


def listed(summary: Summary, found: Found, key: str) -> str:
    """The differences of several students in words."""
    called = labels(summary)
    return "; ".join(f"{called[name]} {verdict(d[key])}" for name, d in found.items())


def says(summary: Summary) -> list[str]:
    """What the figures say."""
    seeds = len(summary["seeds_finished"])
    chance = f", which {seeds} seeds do by chance once in {2 ** (seeds - 1)} times" if seeds > 1 else ""
    entries = [
        against_teacher(summary), with_all_sensors(summary), step_by_step(summary), below_prior(summary), best(summary)
    ]  # fmt: skip
    return [
        f"A difference counts as one only if its interval leaves out zero and all seeds agree on its sign{chance}.",
        "",
        *(paragraph(entry, bullet=True) for entry in entries if entry),
    ]


def dropout_alone(summary: Summary) -> bool:
    """Whether the first student differs from the teacher by dropout, and by nothing that is distilled."""
    teacher, first, *_ = map(parts_of, recipes(summary).values())
    return teacher == [] and first == ["dropout"]


def borne_out(summary: Summary, key: str, sign: str, opposite: str) -> bool:
    """Whether dropout alone differs from the teacher with a sign, and no student with the opposite one."""
    signs = [direction(d[key]) for d in summary["differences"].values()]
    return dropout_alone(summary) and signs[0] == sign and opposite not in signs


def against_teacher(summary: Summary) -> str:
    """Students against the teacher in the mean over the subsets."""
    found, key = summary["differences"], "joint_training_mean_over_subsets"
    why = (
        " Joint training is never shown a subset, so the mean that its head sees with one sensor is nothing that it "
        "was trained on: a weak baseline. Such a difference is one of dropout before it is one of distillation."
    )
    return (
        f"**Students against the teacher, mean over the subsets:** {listed(summary, found, key)}. The paper's +20 on "
        f"MUSES is against the weakest networks of its table.{why if borne_out(summary, key, 'above', 'below') else ''}"
    )


def with_all_sensors(summary: Summary) -> str:
    """Students against the teacher with all sensors."""
    found, key = summary["differences"], "teacher_all_sensors"
    sensors = len(summary["columns"][-2])  # a letter each
    draws = stated(summary, "modality_dropout", list(found), {"batch": "steps", "sample": "draws"})
    why = (
        f" With {sensors} sensors, dropout shows a student all of them together in one of {sensors} {draws}, the "
        "teacher sees them in every one."
    )
    return (
        f"**Students against the teacher, all sensors:** {listed(summary, found, key)}. The paper's is -0.2 on MUSES."
        f"{why if borne_out(summary, key, 'below', 'above') else ''}"
    )


def step_by_step(summary: Summary) -> str:
    """What each row adds to the one above it; empty where there is one student."""
    mean, everything = "recipe_before_mean_over_subsets", "recipe_before_all_sensors"
    exact, called = recipes(summary), labels(summary)
    added = dict(list(summary["differences"].items())[1:])
    if not added:
        return ""
    paper = [parts_of(recipe) for recipe in exact.values()] == PAPER_ROWS
    torn = [
        called[name]
        for name, d in added.items()
        if direction(d[everything]) == "above"
        and direction(d[mean]) == "below"
        and set(parts_of(exact[name])) & set(PARTS)
    ]
    why = (
        f" {', '.join(torn)}: more with all sensors, less in the mean. Distillation pulls a student towards a teacher "
        "whose features of one sensor were only ever a share of a mean and never had to do alone, which may be why."
    )
    return (
        "**What each row adds to the one above it, mean over the subsets:** "
        f"{listed(summary, added, mean)}.{f' {PAPER_STEPS}' if paper else ''} With all sensors: "
        f"{listed(summary, added, everything)}.{why if torn and dropout_alone(summary) else ''}"
    )


def below_prior(summary: Summary) -> str:
    """Which scores lie below those of no sensor at all; empty where none does."""
    prior, called = summary["prior"]["mean"], labels(summary)
    found = []
    for name, scores in summary["table"].items():
        low = [f"{c} {e['mean']:.1f}" for c, e in scores.items() if e["mean"] < prior]
        if low:
            found.append(f"{called[name]} ({', '.join(low)})")
    if not found:
        return ""
    return (
        f"**Below the answer of no sensor at all** ({prior:.1f}) are: {'; '.join(found)}. There the networks have "
        "learnt less than where things usually are, and differences to them say little."
    )


def best(summary: Summary) -> str:
    """Which student the selection drives choose."""
    chosen, called = summary["selection"], labels(summary)
    scores = ", ".join(f"{called[name]} {value:.1f}" for name, value in chosen["mean_over_subsets"].items())
    return (
        f"**The best student** on the selection drives is {called[chosen['best_student']]} (mean over the subsets "
        f"and seeds there: {scores})."
    )


def limits(summary: Summary) -> str:
    """What the figures cannot say."""
    height, width = summary["plan"]["grid"]
    return paragraph(
        "The intervals say what other drives would change with these weights; the spread says what other seeds would",
        f"change, as far as {len(summary['seeds_finished'])} can show it. MiT {stated(summary, 'backbone')} at",
        f"{height} x {width}, simulated drives and {stated(summary, 'steps')} steps from random weights say nothing",
        "about MUSES: they compare the recipes with each other.",
    )
