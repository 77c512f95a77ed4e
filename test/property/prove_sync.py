# SPDX-License-Identifier: Apache-2.0
"""``make prove``: plays tens of thousands of random schedules to the synchroniser and writes down what it found.

Schedules are numbered: ``--first N --schedules 1`` plays the one that a violation names again.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sync_play import Violation
from sync_proof import VARIANTS, prove, shrink
from sync_rigs import random_steps
from tqdm import tqdm

CHECKS = {
    "stamps_rise_between_jumps",
    "every_due_set_is_answered_once",
    "nothing_waits_past_its_deadline",
    "nothing_waits_at_the_end",
    "partner_is_the_nearest",
    "window_is_whole",
    "memory_is_bounded",
    "every_measurement_is_counted",
    "after_a_jump_the_next_good_measurement_is_answered",
    "while_one_sensor_lives_there_is_output",
    "a_small_step_back_is_followed",
    "while_one_sensor_can_be_used_there_is_something_to_use",
    "taking_the_lead_from_a_live_sensor_costs_no_silence",
    "no_sensor_of_another_time_leads_before_one_that_agrees",
    *VARIANTS,
}
"""Every run puts all of these; a violation may name a smaller one besides."""


def run(seeds: Iterable[int], progress: bool = True, most_violations: int = 5) -> dict[str, Any]:
    """Play the schedules of some seeds; ends early after ``most_violations``."""
    checked: Counter[str] = Counter()
    violations: list[dict[str, Any]] = []
    schedules = steps = sets = 0
    started = time.perf_counter()
    for seed in tqdm(seeds, desc="schedules", unit="", disable=not progress, mininterval=2):
        schedules += 1
        try:
            found, passed, given = prove(seed)
        except Violation as violation:
            fewest = shrink(seed, random_steps(seed), violation.check)
            violations.append(
                {"seed": seed, "check": violation.check, "detail": str(violation)[:2000], "steps": fewest}
            )
            if len(violations) >= most_violations:
                break
            continue
        checked += found
        steps += passed
        sets += given
    seconds = time.perf_counter() - started
    return {
        "schedules": schedules,
        "steps": steps,
        "sets": sets,
        "checked": dict(sorted(checked.items())),
        "violations": violations,
        "seconds": round(seconds, 1),
        "schedules_per_second": round(schedules / seconds, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a check did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--out", type=Path, default=Path("out/prove"), help="folder for prove.json")
    options = parser.parse_args(arguments)
    found = run(range(options.first, options.first + options.schedules))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "prove.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key != "violations"}, indent=1))
    for violation in found["violations"]:
        print(f"schedule {violation['seed']}: {violation['detail']}\n  steps: {violation['steps']}", file=sys.stderr)
    print(f"written: {path}")
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
