# SPDX-License-Identifier: Apache-2.0
"""What a run was: its recipe, command, code and data, in ``run.json`` beside its weights."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anyseg_ros
from anyseg_training import parallel
from anyseg_training.config import Recipe
from anyseg_training.data import INDEX, Pack

RUN = "run.json"
DIGEST_BYTES = 16
GIT_TIMEOUT_S = 20.0


def digest(data: bytes) -> str:
    """32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def scenes_digest(pack: Pack) -> str:
    """Alike for packs of the same scenes, whatever their grid and encoding."""
    return digest("\n".join(sorted(sample["scene"] for sample in pack.samples)).encode())


def describe_pack(pack: Pack) -> dict[str, Any]:
    """What a pack is made of; its index holds statistics of every pixel, so ``index`` changes when the data does."""
    return {
        "pack": str(pack.root.resolve()),
        "split": pack.index["split"],
        "samples": len(pack),
        "grid": list(pack.grid),
        "encoding": pack.index["encoding"],
        "scenes": scenes_digest(pack),
        "index": digest((pack.root / INDEX).read_bytes()),
    }


def describe_file(path: Path) -> dict[str, str]:
    """Where a file of weights is, and what is in it."""
    return {"file": str(path.resolve()), "content": digest(path.read_bytes())}


def code_version() -> dict[str, Any]:
    """The package's version, and the commit when this code lies in a git checkout; ``dirty`` when that was changed."""
    found: dict[str, Any] = {"anyseg_ros": anyseg_ros.__version__, "commit": None, "dirty": None}
    here = Path(__file__)
    # An installed copy may lie in a checkout of something else, which does not track it.
    if git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return found
    changed = git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return found | {
        "commit": git(here.parent, "rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, no checkout, or an error."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Of what computes."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


def write_run(folder: Path, recipe: Recipe, inputs: dict[str, Any], device: torch.device, step: int) -> None:
    """Write ``run.json``; each start of a run that is resumed is added to those before.

    Args:
        folder: of the run.
        recipe: exactly as it is used.
        inputs: packs and weights that the run reads.
        device: where it computes.
        step: that it starts or goes on from.
    """
    path = folder / RUN
    earlier = json.loads(path.read_text())["starts"] if path.exists() else []
    start = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "from_step": step,
        "command": sys.argv,
        "code": code_version(),
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}",
        "processes": parallel.size(),
        "threads": torch.get_num_threads(),
        "inputs": inputs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    run = {"seed": recipe.seed, "recipe": asdict(recipe), "starts": [*earlier, start]}
    temporary.write_text(json.dumps(run, indent=1) + "\n")
    temporary.replace(path)
