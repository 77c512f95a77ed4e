# SPDX-License-Identifier: Apache-2.0
"""What a benchmark is, and how two ways of doing the same work are timed against each other.

Ours and its rivals run in one process and take turns: every round runs each of them once, in an order that rotates
from round to round, so that what else the machine does falls on all of them. The figure is the median over the
rounds of (their time / our time in the same round). A rival whose result is not ours gets no ratio.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

from tqdm import tqdm

MAX_CALLS = 10_000


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        quick: small sizes, to see that everything works; the figures mean nothing.
        repeats: number of rounds.
        sample_s: a sample is the mean of as many calls as fit in this time (at least one).
        device: what the network runs on: auto, cpu, cuda.
    """

    quick: bool = False
    repeats: int = 15
    sample_s: float = 0.2
    device: str = "auto"


@dataclass(frozen=True)
class Agreement:
    """Whether two results are the same, and by what measure."""

    same: bool
    detail: str


@dataclass(frozen=True)
class Rival:
    """Something one would use instead of ours.

    Attributes:
        name: as its users know it.
        run: does the work and returns the result.
        agreement: compares (our result, its result).
        note: what it does less, more or differently.
    """

    name: str
    run: Callable[[], Any]
    agreement: Callable[[Any, Any], Agreement]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: unique in the suite.
        work: what is done, in a sentence.
        amount: how much of it one call does, in ``unit``s.
        ours: does the work our way and returns the result.
        rivals: what it is compared with.
        skipped: rivals that are not here, with the reason.
        rounds: no more than these, where a rival takes very long; 0: as set.
    """

    name: str
    work: str
    amount: int
    unit: str
    ours: Callable[[], Any]
    rivals: tuple[Rival, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    rounds: int = 0


@dataclass(frozen=True)
class Table:
    """Figures that are no times of calls: rows of values under column names."""

    name: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As it is written to JSON."""
        return asdict(self)


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Run a case.

    Returns:
        its entry for the JSON file: the times of ours and of each rival, whether the results agree, and the ratio
        (None where they do not).
    """
    runs = [case.ours, *(rival.run for rival in case.rivals)]
    results = [run() for run in runs]  # compiles and warms up, too
    agreements = [rival.agreement(results[0], result) for rival, result in zip(case.rivals, results[1:], strict=True)]
    del results
    if case.rounds:
        settings = replace(settings, repeats=min(case.rounds, settings.repeats))
    samples = take_turns(runs, settings, case.name)
    rivals = [
        {"name": rival.name, "note": rival.note, **asdict(agreement), **times(theirs, case.amount)}
        | {"ratio": ratio(samples[0], theirs) if agreement.same else None}
        for rival, agreement, theirs in zip(case.rivals, agreements, samples[1:], strict=True)
    ]
    return {
        "name": case.name,
        "work": case.work,
        "amount": case.amount,
        "unit": case.unit,
        "ours": times(samples[0], case.amount),
        "rivals": rivals,
        "skipped": case.skipped,
    }


def take_turns(runs: Sequence[Callable[[], Any]], settings: Settings, name: str) -> list[list[float]]:
    """Seconds per call: for each of the runs one sample per round."""
    calls = [_calls(run, settings.sample_s) for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    for number in tqdm(range(settings.repeats), desc=name, unit="round", leave=False):
        for k in range(len(runs)):
            turn = (number + k) % len(runs)
            samples[turn].append(_sample(runs[turn], calls[turn]))
    return samples


def _calls(run: Callable[[], Any], sample_s: float) -> int:
    """How many calls make up a sample, by the time of one."""
    return max(1, min(MAX_CALLS, math.floor(sample_s / max(_sample(run, 1), 1e-9))))


def _sample(run: Callable[[], Any], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        run()
    return (perf_counter() - start) / calls


def times(samples: list[float], amount: int) -> dict[str, Any]:
    """Median and quartiles of the samples in ms, the samples, and the amount of work per second."""
    median_s = statistics.median(samples)
    return {
        "median_ms": median_s * 1e3,
        "quartiles_ms": [q * 1e3 for q in quartiles(samples)],
        "per_second": amount / median_s,
        "samples_ms": [s * 1e3 for s in samples],
    }


def ratio(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """How many times as long they take as we do: median and quartiles of the rounds' ratios."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(ratios), "quartiles": quartiles(ratios)}


def quartiles(values: list[float]) -> list[float]:
    """The lower and the upper quartile; of a single value, the value twice."""
    if len(values) == 1:
        return [values[0], values[0]]
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return [lower, upper]
