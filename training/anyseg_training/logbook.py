# SPDX-License-Identifier: Apache-2.0
"""What a run writes down as it goes: ``log.jsonl``, and the same for TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"

Entry = dict[str, float | None]


class Logbook:
    """Entries of one step each; a context manager.

    Opened at a step, it forgets what a killed run wrote of later ones, for they will be done again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        forget_after(folder / LOG, step)
        self._lines = (folder / LOG).open("a")
        self._board = open_tensorboard(folder / TENSORBOARD, step)

    def write(self, step: int, entry: Entry) -> None:
        """Write what is known of a step; what is no finite number becomes null."""
        finite = {k: v if v is not None and math.isfinite(v) else None for k, v in entry.items()}
        self._lines.write(json.dumps({"step": step} | finite) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in finite.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)
            self._board.flush()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()


def open_tensorboard(folder: Path, step: int) -> Any | None:
    """A writer whose readers forget what came after the step; None, and a sentence, where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        tqdm.write(f"TensorBoard is not installed ('pip install tensorboard'); {LOG} alone is written")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def forget_after(log: Path, step: int) -> None:
    """Drop what a killed run logged of steps that will be done again, and a line that it left torn."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            done = json.loads(line)["step"] <= step
        except (ValueError, KeyError, TypeError):
            done = False
        if done:
            kept.append(line + "\n")
    temporary = log.with_name(f"{log.name}.tmp")
    temporary.write_text("".join(kept))
    temporary.replace(log)
