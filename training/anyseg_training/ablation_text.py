# SPDX-License-Identifier: Apache-2.0
"""The prose of an ablation's page: what was run, said from the recipes as they were run."""

from __future__ import annotations

import textwrap
from typing import Any

from anyseg_training.config import Recipe
from anyseg_training.schedule import learning_rate

WIDTH = 150
PARTS = ("mad", "umd", "cmd")
PAPER_WEIGHTS = {"mad": 50.0, "umd": 5.0, "cmd": 10.0}  # for MAD divided by the number of classes, too
# Recipes that differ in nothing else begin, and see their batches, alike.
METHOD = {"modality_dropout", "mad_direction", "mad_scale", "umd_axis", *(f"{part}_weight" for part in PARTS)}
DROPOUT = {"batch": "one subset per batch, as in AnySeg's release", "sample": "one subset per sample"}
MAD_SCALE = {"pixel_and_class": "mean over pixels and classes", "pixel": "mean over pixels"}
UMD_AXIS = {"channel": "softmax over the channels", "space": "softmax over the positions"}

Summary = dict[str, Any]


def paragraph(*sentences: str, bullet: bool = False) -> str:
    """Sentences, wrapped; as an entry of a list if asked for."""
    first, rest = ("- ", "  ") if bullet else ("", "")
    return textwrap.fill(
        " ".join(filter(None, sentences)), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def recipes(summary: Summary) -> dict[str, dict[str, Any]]:
    """By name each recipe exactly as it was run, the teacher's first, without its seed."""
    found: dict[str, dict[str, Any]] = {}
    for cell in summary["cells"]:
        found.setdefault(cell["recipe"], {k: v for k, v in cell["exact_recipe"].items() if k != "seed"})
    return found


def parts_of(recipe: dict[str, Any]) -> list[str]:
    """The parts of the method that a recipe has: dropout, mad, umd, cmd."""
    dropout = ["dropout"] if recipe["modality_dropout"] != "none" else []
    return dropout + [part for part in PARTS if recipe[f"{part}_weight"]]


def labels(summary: Summary) -> dict[str, str]:
    """Each recipe in words, by its name; the name goes with them where two have the same parts."""
    found: dict[str, str] = {}
    for name, recipe in recipes(summary).items():
        parts = [part if part == "dropout" else part.upper() for part in parts_of(recipe)]
        text = "dropout only" if parts == ["dropout"] else " + ".join(parts) or "joint training, no dropout"
        found[name] = text if found else f"{text} (the teacher)"
    texts = list(found.values())
    return {name: text if texts.count(text) == 1 else f"{text} [{name}]" for name, text in found.items()}


def stated(summary: Summary, setting: str, names: list[str] | None = None, words: dict[str, str] | None = None) -> str:
    """What recipes set: once if all agree, else each value with the names of its recipes.

    Args:
        summary: of the ablation.
        setting: of the recipe.
        names: of the recipes that are asked; None for all.
        words: what a value is called.
    """
    by_value: dict[str, list[str]] = {}
    for name, recipe in recipes(summary).items():
        if names is None or name in names:
            value = recipe[setting]
            text = (words or {}).get(value) or (f"{value:g}" if isinstance(value, float) else str(value))
            by_value.setdefault(text, []).append(name)
    if len(by_value) == 1:
        return next(iter(by_value))
    return ", ".join(f"{text} [{', '.join(found)}]" for text, found in by_value.items())


def setup(summary: Summary) -> list[str]:
    """What was run, on what, and how it is run again."""
    plan, seeds = summary["plan"], summary["seeds_finished"]
    unfinished = (
        f"**Unfinished: {len(seeds)} of {len(plan['seeds'])} seeds.**" if len(seeds) < len(plan["seeds"]) else ""
    )
    entries = (network_text(summary), weights_text(summary), splits_text(summary), machine_text(summary))
    return [
        "```",
        f"anyseg-train ablation --plan {summary['plan_file']} --out runs/ablation",
        "```",
        paragraph(
            "That command simulates and packs the drives, trains and scores all runs, goes on where it was",
            "interrupted, and writes this page; [ablation.json](ablation.json) has every run by subset, seed and",
            f"class, with its exact recipe. {len(plan['recipes'])} recipes, seeds {', '.join(map(str, seeds))}.",
            unfinished,
            alike_text(summary),
        ),
        "",
        *(paragraph(entry, bullet=True) for entry in entries),
    ]


def alike_text(summary: Summary) -> str:
    """What the recipes of one seed share."""
    exact = recipes(summary)
    teacher, *_ = exact.values()
    varied = sorted(key for key in teacher if len({str(recipe.get(key)) for recipe in exact.values()}) > 1)
    if not set(varied) <= METHOD:
        return f"The recipes differ in {', '.join(varied)}."
    same = "subsets"
    if teacher["loss_stride"] > 1:
        same += " and the same offsets of the pixels that the loss is taken on"
        same += "" if "dropout" in parts_of(teacher) else " (joint training draws no subsets, and other offsets)"
    distils = any(set(parts_of(recipe)) & set(PARTS) for recipe in exact.values())
    return (
        "For one seed all recipes start from the same random weights and see the same batches and augmentation; those "
        f"with the same dropout draw the same {same}."
        + (f" Students that distil do so from '{next(iter(exact))}' of their seed." if distils else "")
    )


def network_text(summary: Summary) -> str:
    """Network, optimiser and dropout."""
    height, width = summary["plan"]["grid"]
    dropped = [name for name, recipe in recipes(summary).items() if "dropout" in parts_of(recipe)]
    dropout = f" Dropout draws {stated(summary, 'modality_dropout', dropped, DROPOUT)}." if dropped else ""
    return (
        f"Network: MiT {stated(summary, 'backbone')}, head of width {stated(summary, 'head_width')}, "
        f"{height} x {width} pixels, no pretraining. {stated(summary, 'steps')} steps of {stated(summary, 'batch')} "
        f"samples, AdamW, lr {stated(summary, 'lr')} (decay from the first step times warm-up, so that the rate is at "
        f"most {highest_rates(summary)}); the averaged weights of the last step are scored, no checkpoint is chosen."
        f"{dropout}"
    )


def highest_rates(summary: Summary) -> str:
    """The highest learning rate of the recipes' steps."""
    found = set()
    for exact in recipes(summary).values():
        recipe = Recipe(**{name: exact[name] for name in ("lr", "steps", "warmup_steps", "power")})
        found.add(f"{max(learning_rate(step, recipe) for step in range(recipe.steps)):.2g}")
    return " or ".join(sorted(found))


def weights_text(summary: Summary) -> str:
    """Weights and forms of what is distilled."""
    exact, found, as_printed = recipes(summary), [], True
    for part in PARTS:
        names = [name for name, recipe in exact.items() if recipe[f"{part}_weight"]]
        if names:
            found.append(f"{part.upper()} {stated(summary, f'{part}_weight', names)} ({form(summary, part, names)})")
            as_printed &= {exact[name][f"{part}_weight"] for name in names} == {PAPER_WEIGHTS[part]}
            as_printed &= part != "mad" or {exact[name]["mad_scale"] for name in names} == {"pixel_and_class"}
    if not found:
        return "Nothing is distilled."
    return f"Weights{' as in the paper' if as_printed else ''}: {', '.join(found)}."


def form(summary: Summary, part: str, names: list[str]) -> str:
    """How a part of the distillation is computed."""
    if part == "mad":
        direction = stated(summary, "mad_direction", names).replace("_", " ")
        return f"{stated(summary, 'mad_scale', names, MAD_SCALE)}, {direction}"
    if part == "umd":
        return stated(summary, "umd_axis", names, UMD_AXIS)
    return "in the well-posed form of [training.md](training.md)"


def splits_text(summary: Summary) -> str:
    """The drives of the splits, and those that are kept out."""
    plan = summary["plan"]
    drives = "; ".join(
        f"{name} {split['drives']} drives with {summary['splits'][name]['samples']} samples "
        f"(seeds {split['first_seed']} to {split['first_seed'] + split['drives'] - 1})"
        for name, split in plan["splits"].items()
    )
    kept_out = ", ".join(f"{first} to {last}" for first, last in plan["used_elsewhere"])
    others = f", or of the seeds that the plan keeps out ({kept_out}: in the shipped plan the shipped student's)"
    return (
        f"Simulated drives: {drives}. No drive is in two splits{others if kept_out else ''}. The plan fixes all "
        "settings beforehand; the selection drives serve to say which recipe is best, and the test drives choose "
        "nothing."
    )


def machine_text(summary: Summary) -> str:
    """Where it ran, and how long it took."""
    machine = summary["cells"][0]["machine"]
    return (
        f"{machine['cpu_cores']} CPU cores ({machine['architecture']}), torch {machine['versions']['torch']}; seconds "
        f"of a step (median of a run, the fastest seed's): {step_times(summary)}. {hours(summary):.1f} hours of steps "
        "in all, other programs beside them included."
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
