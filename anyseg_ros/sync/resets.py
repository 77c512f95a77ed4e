# SPDX-License-Identifier: Apache-2.0
"""What the synchroniser has started over, for the log and for whoever keeps state beside it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEPT_RESETS = 64


@dataclass(frozen=True)
class Reset:
    """A reset: of everything, or of the one sensor that is named."""

    now_ns: int
    reason: str
    sensor: str | None = None


class ResetLog:
    """The last resets that nobody has taken yet."""

    def __init__(self) -> None:
        self._kept: deque[Reset] = deque(maxlen=KEPT_RESETS)

    def note(self, now_ns: int, reason: str, sensor: str | None = None) -> None:
        """Keep a reset."""
        self._kept.append(Reset(now_ns, reason, sensor))

    def take(self) -> list[Reset]:
        """The resets since the last call."""
        taken = list(self._kept)
        self._kept.clear()
        return taken
