# SPDX-License-Identifier: Apache-2.0
"""Log lines for states: one when something gets worse, one when it is well again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anyseg_ros.nodes.episodes import HOLD_NS

SEVERITY = ("ok", "warn", "error")


@dataclass
class _Spell:
    """A stretch that is not ok: the worst level that was told, when it began, when it was seen last."""

    level: str
    since_ns: int
    last_ns: int


class StateLog:
    """Tells the log of states. What is ok for less than a second in between is one episode.

    Args:
        warn: takes the line of what gets worse. info: takes the line of what is well again.
    """

    def __init__(self, warn: Callable[[str], object], info: Callable[[str], object]) -> None:
        self._warn = warn
        self._info = info
        self._open: dict[str, _Spell] = {}

    def tell(self, name: str, level: str, sentence: str, steady_ns: int) -> None:
        """Takes in a state; to be called at a steady rate.

        Args:
            name: whose state it is.
            level: ``ok``, ``warn`` or ``error``.
            sentence: why.
            steady_ns: the steady clock.
        """
        spell = self._open.get(name)
        if level != "ok":
            if spell is None or SEVERITY.index(level) > SEVERITY.index(spell.level):
                self._warn(f"{name}: {sentence}")
                self._open[name] = _Spell(level, spell.since_ns if spell else steady_ns, steady_ns)
            else:
                spell.last_ns = steady_ns
        elif spell is not None and steady_ns - spell.last_ns >= HOLD_NS:
            self._info(f"{name}: well again after {(spell.last_ns - spell.since_ns) / 1e9:.1f} s")
            del self._open[name]
