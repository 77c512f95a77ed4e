# SPDX-License-Identifier: Apache-2.0
"""Progress on the terminal: one line per step, with a bar while it runs."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

BAR = 24
FULL, EMPTY = "█", "░"


class Step:
    """One step of the demo. On a terminal the line is redrawn; elsewhere only its beginning and end are printed.

    Args:
        title: what happens.
        out: where to print; standard output by default.
    """

    def __init__(self, title: str, out: TextIO | None = None) -> None:
        self.title = title
        self.out = out or sys.stdout
        self.lively = self.out.isatty()
        self.began = time.monotonic()
        self._drawn = 0.0
        self._result = "done"

    def __enter__(self) -> Step:
        if not self.lively:
            print(f"{self.title} ...", file=self.out, flush=True)
        self.show(0.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        how = "ok" if kind is None else "stopped" if kind is KeyboardInterrupt else "FAILED"
        self._line(f"{how:<8}{self.title}  {self._result if kind is None else ''}")
        print(f"  ({time.monotonic() - self.began:.0f} s)", file=self.out, flush=True)

    def show(self, share: float, note: str = "") -> None:
        """Redraw the bar.

        Args:
            share: how much is done, 0 to 1.
            note: what to say beside it.
        """
        now = time.monotonic()
        if not self.lively or (share < 1.0 and now - self._drawn < 0.1):
            return
        self._drawn = now
        filled = round(BAR * min(max(share, 0.0), 1.0))
        self._line(f"{FULL * filled}{EMPTY * (BAR - filled)} {self.title}  {note}")

    def say(self, sentence: str) -> None:
        """Print a sentence that stays, above the bar."""
        self._line(sentence)
        print(file=self.out, flush=True)

    def result(self, text: str) -> None:
        """What to say when the step is over."""
        self._result = text

    def _line(self, text: str) -> None:
        if not self.lively:
            print(f"  {text}", end="", file=self.out, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{text[: width - 8]}", end="", file=self.out, flush=True)
