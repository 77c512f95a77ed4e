# SPDX-License-Identifier: Apache-2.0
"""The prose of an ablation's page: what was run, and what the figures say, whichever way they fall."""

from __future__ import annotations

import textwrap
from typing import Any

WIDTH = 150
LABELS = {
    "joint": "joint training, no dropout (the teacher)",
    "dropout": "dropout only",
    "mad": "dropout + MAD",
    "mad_umd": "dropout + MAD + UMD",
    "mad_umd_cmd": "dropout + MAD + UMD + CMD",
}

Summary = dict[str, Any]


def label(recipe: str) -> str:
    """A recipe in words."""
    return LABELS.get(recipe, recipe)


def paragraph(*sentences: str, bullet: bool = False) -> str:
    """Sentences, wrapped; as an entry of a list if asked for."""
    first, rest = ("- ", "  ") if bullet else ("", "")
    return textwrap.fill(
        " ".join(sentences), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def setup(summary: Summary) -> list[str]:
    """What was run, on what, and how it is run again."""
    plan, cells, seeds = summary["plan"], summary["cells"], summary["seeds_finished"]
    recipe, machine = cells[0]["exact_recipe"], cells[0]["machine"]
    unfinished = (
        f" **Unfinished: {len(seeds)} of {len(plan['seeds'])} seeds.**" if len(seeds) < len(plan["seeds"]) else ""
    )
    weights = {part: max(c["exact_recipe"][f"{part}_weight"] for c in cells) for part in ("mad", "umd", "cmd")}
    return [
        "```",
        "anyseg-train ablation --out runs/ablation    # drives, packs, all runs, this page; resumable",
        "```",
        paragraph(
            "This page is written by that command; [ablation.json](ablation.json) has every run by subset, seed and",
            f"class, with its exact recipe. {len(plan['recipes'])} recipes, seeds",
            f"{', '.join(map(str, seeds))}.{unfinished} For one seed all recipes start from the same random weights",
            "and see the same batches, augmentation and (but for joint training) draws of subsets; a student",
            "distils from joint training of its seed.",
        ),
        "",
        paragraph(
            f"Network: MiT {recipe['backbone']}, head of width {recipe['head_width']}, {plan['grid'][0]} x",
            f"{plan['grid'][1]} pixels, no pretraining. {recipe['steps']} steps of {recipe['batch']} samples, AdamW,",
            f"peak learning rate {recipe['lr']:g}; the averaged weights of the last step are scored, no checkpoint",
            "is chosen. One subset is drawn per batch, as in AnySeg's release.",
            bullet=True,
        ),
        paragraph(
            f"Weights as in the paper: MAD {weights['mad']:g} (mean over pixels and classes, teacher to student),",
            f"UMD {weights['umd']:g} (softmax over the channels), CMD {weights['cmd']:g} (in the well-posed form of",
            "[training.md](training.md)).",
            bullet=True,
        ),
        paragraph(
            f"Simulated drives: {drives(summary)}. No drive is in two splits or in what the shipped student saw. All",
            "settings were fixed beforehand; the selection drives serve to say which recipe is best, and the test",
            "drives choose nothing.",
            bullet=True,
        ),
        paragraph(
            f"{machine['cpu_cores']} CPU cores ({machine['architecture']}), torch {machine['versions']['torch']};",
            f"seconds of a step (median of a run, the fastest seed's): {step_times(summary)}. {hours(summary):.1f}",
            "hours of steps in all, other programs beside them included.",
            bullet=True,
        ),
    ]


def drives(summary: Summary) -> str:
    """The splits in words."""
    splits = summary["plan"]["splits"]
    return "; ".join(
        f"{name} {split['drives']} drives with {summary['splits'][name]['samples']} samples "
        f"(seeds {split['first_seed']} to {split['first_seed'] + split['drives'] - 1})"
        for name, split in splits.items()
    )


def step_times(summary: Summary) -> str:
    """Median time of a step by recipe: the fastest seed's, for other programs slow the others down."""
    found = {}
    for name in summary["plan"]["recipes"]:
        times = [c["seconds_per_step"] for c in summary["cells"] if c["recipe"] == name and c["seconds_per_step"]]
        found[name] = f"{min(times):.2f}" if times else "-"
    return ", ".join(f"{name} {text}" for name, text in found.items())


def hours(summary: Summary) -> float:
    """Time of all steps."""
    return sum((c["seconds_per_step"] or 0.0) * c["exact_recipe"]["steps"] for c in summary["cells"]) / 3600


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


def listed(found: dict[str, Any], key: str) -> str:
    """The differences of several students in words."""
    return "; ".join(f"{label(name)} {verdict(d[key])}" for name, d in found.items())


def below_prior(summary: Summary) -> str:
    """Which scores lie below those of no sensor at all; empty where none does."""
    prior = summary["prior"]["mean"]
    found = []
    for name, scores in summary["table"].items():
        low = [f"{c} {e['mean']:.1f}" for c, e in scores.items() if e["mean"] < prior]
        if low:
            found.append(f"{label(name)} ({', '.join(low)})")
    if not found:
        return ""
    return (
        f"**Below the answer of no sensor at all** ({prior:.1f}) are: {'; '.join(found)}. There the networks have "
        "learnt less than where things usually are, and differences to them say little."
    )


def says(summary: Summary) -> list[str]:
    """What the figures say."""
    found, chosen = summary["differences"], summary["selection"]
    dropout = next(iter(found.values()))
    added = {name: d for name, d in found.items() if d is not dropout}
    scores = ", ".join(f"{label(n)} {v:.1f}" for n, v in chosen["mean_over_subsets"].items())
    seeds = len(summary["seeds_finished"])
    chance = f", which {seeds} seeds do by chance once in {2 ** (seeds - 1)} times" if seeds > 1 else ""
    return [
        f"A difference counts as one only if its interval leaves out zero and all seeds agree on its sign{chance}.",
        "",
        paragraph(
            "**Student against joint training, mean over the subsets:**",
            f"{listed(found, 'joint_training_mean_over_subsets')}. Joint training is never shown a subset, so the",
            "mean that its head sees with one sensor is nothing that it was trained on: a weak baseline. The",
            "paper's +20 on MUSES is likewise against the weakest networks of its table. Such a difference is one",
            "of dropout before it is one of distillation.",
            bullet=True,
        ),
        paragraph(
            f"**Student against teacher, all sensors:** {listed(found, 'teacher_all_sensors')}. The paper's is -0.2",
            "on MUSES. With three sensors, dropout shows a student all of them together in a third of its steps,",
            "the teacher in every one.",
            bullet=True,
        ),
        paragraph(
            "**What each part of the distillation adds to the row above it, mean over the subsets:**",
            f"{listed(added, 'recipe_before_mean_over_subsets')}. The paper's own steps on MUSES are +0.8, -0.4 and",
            "+0.5, without seeds. With all sensors:",
            f"{listed(added, 'recipe_before_all_sensors')}. All three parts pull the student towards a teacher whose",
            "features of one sensor were only ever a share of a mean and never had to do alone, which may be why they",
            "do not do for single sensors what they do for all.",
            bullet=True,
        ),
        *([paragraph(below, bullet=True)] if (below := below_prior(summary)) else []),
        paragraph(
            f"**The best student** on the selection drives is {label(chosen['best_student'])} (mean over the subsets",
            f"and seeds there: {scores}).",
            bullet=True,
        ),
    ]


def limits(summary: Summary) -> str:
    """What the figures cannot say."""
    return paragraph(
        "The intervals say what other drives would change with these weights; the spread says what other seeds would",
        f"change, as far as {len(summary['seeds_finished'])} can show it. A small network, small pictures,",
        "simulated drives",
        f"and {summary['cells'][0]['exact_recipe']['steps']} steps from random weights say nothing about MUSES:",
        "they compare",
        "the recipes with each other.",
    )
