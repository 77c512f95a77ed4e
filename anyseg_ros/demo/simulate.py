# SPDX-License-Identifier: Apache-2.0
"""Simulates the drives of the demo into bags, in parallel, unless they are there already."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from anyseg_ros import simulation
from anyseg_ros.demo.plan import SECOND, Walk
from anyseg_ros.demo.stage import Child, Stage
from anyseg_ros.demo.terminal import Step
from anyseg_ros.resources import share_path

RIG = "config/rigs/sim.yaml"
SEEDS = {"day": 4101, "night": 4102}  # drives that no training or validation set holds
TIMEOUT_S = 1200.0
PERCENT = re.compile(rb"(\d+)%\|")  # as tqdm draws it


def bag_path(out: Path, walk: Walk) -> Path:
    """Where the bag of a walk lies."""
    return out / "bags" / walk.name


def settings_of(walk: Walk) -> dict[str, object]:
    """Everything that a bag depends on, the simulator's own code included."""
    digest = hashlib.sha256(share_path(RIG).read_bytes())
    for file in sorted(Path(simulation.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return {
        "time_of_day": walk.name,
        "seed": SEEDS[walk.name],
        "duration_s": round(walk.duration_ns / SECOND, 3),
        "simulator": digest.hexdigest(),
    }


def simulate(stage: Stage, walks: Sequence[Walk], out: Path, step: Step) -> None:
    """Write the bags that are missing or were made with other settings.

    Raises:
        StageError: the simulator failed.
    """
    running: dict[str, Child] = {}
    for walk in walks:
        bag, note = bag_path(out, walk), _note(out, walk)
        if bag.is_dir() and note.is_file() and json.loads(note.read_text()) == settings_of(walk):
            continue
        note.unlink(missing_ok=True)
        bag.parent.mkdir(parents=True, exist_ok=True)
        settings = settings_of(walk)
        arguments = ["simulate", "--bag", str(bag), "--force", "--seed", str(settings["seed"])]
        arguments += ["--duration", str(settings["duration_s"]), "--time-of-day", walk.name]
        running[walk.name] = stage.start(f"simulator {walk.name}", "anyseg_ros.cli", arguments)
    stage.wait(
        lambda: not any(child.running for child in running.values()),
        TIMEOUT_S,
        "the simulator to write the bags",
        lambda: _show(running, step),
    )
    for walk in walks:
        if walk.name in running:
            running[walk.name].check()
            stage.stop(running[walk.name])
            _note(out, walk).write_text(json.dumps(settings_of(walk)), encoding="utf-8")
    seconds = sum(walk.duration_ns for walk in walks) / SECOND
    step.result(f"{seconds:.0f} s of driving{'' if running else ', reused from the last run'}")


def _note(out: Path, walk: Walk) -> Path:
    return out / "bags" / f"{walk.name}.json"


def _show(running: dict[str, Child], step: Step) -> None:
    """Read the simulators' own progress from their logs."""
    shares = {name: _share(child) for name, child in running.items()}
    if shares:
        note = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        step.show(sum(shares.values()) / len(shares), note)


def _share(child: Child) -> float:
    if not child.running:
        return 1.0
    with child.log.open("rb") as log:
        log.seek(max(0, child.log.stat().st_size - 2000))
        found = PERCENT.findall(log.read())
    return int(found[-1]) / 100 if found else 0.0
