# SPDX-License-Identifier: Apache-2.0
"""The time of a drive that is paused and that jumps.

Three times are told apart, all in nanoseconds from the beginning: *elapsed* runs on; *progress* is how far the drive
is and stands still in a pause; the *shift* is what jumps have added to its stamps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

NS_PER_S = 1_000_000_000
_PAUSE = re.compile(r"pause@(?P<begin>\d+(?:\.\d+)?)\+(?P<length>\d+(?:\.\d+)?)")
_JUMP = re.compile(r"jump@(?P<begin>\d+(?:\.\d+)?)(?P<by>[+-]\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Timeline:
    """Pauses and jumps of a drive.

    Attributes:
        pauses: (progress at which it stands still, for how long), in order.
        jumps: (progress from which it holds, what is added to stamps), in order.
    """

    pauses: tuple[tuple[int, int], ...] = ()
    jumps: tuple[tuple[int, int], ...] = ()

    def elapsed_ns(self, progress_ns: int) -> int:
        """When the drive is at ``progress_ns``; what is due at the begin of a pause comes before it."""
        return progress_ns + sum(length for begin, length in self.pauses if begin < progress_ns)

    def progress_ns(self, elapsed_ns: int) -> int:
        """How far the drive is after ``elapsed_ns``."""
        progress = elapsed_ns
        for begin, length in self.pauses:
            if progress <= begin:
                break
            progress = max(begin, progress - length)
        return progress

    def shift_ns(self, progress_ns: int) -> int:
        """What is added to the stamps of what is due at ``progress_ns``."""
        return sum(by for begin, by in self.jumps if begin <= progress_ns)


def parse_timeline(texts: Iterable[str]) -> Timeline:
    """Reads ``pause@8+2`` (stands still for 2 s at 8 s), ``jump@12+60`` and ``jump@20-5`` (stamps and /clock leap).

    Times are in seconds of the drive's progress.

    Raises:
        ValueError: the syntax is another.
    """
    pauses, jumps = [], []
    for text in texts:
        pause, jump = _PAUSE.fullmatch(text), _JUMP.fullmatch(text)
        if pause:
            pauses.append((_ns(pause["begin"]), _ns(pause["length"])))
        elif jump:
            jumps.append((_ns(jump["begin"]), _ns(jump["by"])))
        else:
            raise ValueError(f"cannot read '{text}'; write pause@8+2 or jump@12+60 or jump@20-5, in seconds")
    return Timeline(tuple(sorted(pauses)), tuple(sorted(jumps)))


def _ns(seconds: str) -> int:
    return round(float(seconds) * NS_PER_S)
