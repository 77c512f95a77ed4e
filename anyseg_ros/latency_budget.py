# SPDX-License-Identifier: Apache-2.0
"""Lowers the cost of a frame when it takes too long, and climbs back: a controller without clock, thread or network.

What a frame costs grows with the area of the grid, so that the steps are smaller grids. The network is fully
convolutional and runs on any of them; only the mIoU that its checkpoint was validated with does not hold there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

STRIDE = 32  # of the network's coarsest map: sides are multiples of it
SCALES = (1.0, 0.75, 0.5)
DESCEND_AFTER = 5  # frames at one step before it may be left for a smaller one
CLIMB_AFTER = 30  # frames that would have been fast enough on the larger grid
MOST_PATIENCE = 64  # times CLIMB_AFTER, where climbing was in vain again and again
ROOM = 0.8  # of the budget that a frame may take on the larger grid


@dataclass(frozen=True)
class GridStep:
    """A grid to run on. ``share`` is its area over that of the full one: what a frame costs there."""

    height: int
    width: int
    share: float


def grid_steps(height: int, width: int) -> tuple[GridStep, ...]:
    """The full grid and the smaller ones, from large to small; each side a multiple of 32, or as it is."""
    found: dict[tuple[int, int], GridStep] = {}
    for scale in SCALES:
        size = (height, width) if scale == 1 else (_rounded(height * scale), _rounded(width * scale))
        found.setdefault(size, GridStep(*size, size[0] * size[1] / (height * width)))
    return tuple(step for step in found.values() if step.share <= 1)


def _rounded(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)


class LatencyBudget:
    """Picks the step to run at.

    It goes down one step when the median latency of the last frames at this step is over the budget, and up one when
    the slowest of many frames would have had room on the larger grid. Where climbing turns out to be in vain, the next
    try comes twice as late.

    Args:
        budget_ns: from a closed frame set to its labels; above 0.
        steps: from the most to the least expensive.

    Attributes:
        level: index of the present step.
    """

    def __init__(self, budget_ns: int, steps: tuple[GridStep, ...]) -> None:
        if budget_ns <= 0 or not steps:
            raise ValueError(f"a budget of {budget_ns} ns and {len(steps)} steps; expected more than 0 of both")
        self.budget_ns = budget_ns
        self.steps = steps
        self.level = 0
        self._latencies: deque[int] = deque(maxlen=CLIMB_AFTER)
        self._work: deque[int] = deque(maxlen=CLIMB_AFTER)
        self._frames = 0
        self._patience = 1
        self._climbed = False

    @property
    def step(self) -> GridStep:
        """The present step."""
        return self.steps[self.level]

    def record(self, latency_ns: int, work_ns: int) -> bool:
        """Takes in a frame; True when the step changes with it.

        Args:
            latency_ns: from the closed frame set to its labels, waiting included.
            work_ns: of it, what was spent on the frame itself.
        """
        self._latencies.append(latency_ns)
        self._work.append(work_ns)
        self._frames += 1
        if self._too_slow():
            self._patience = min(2 * self._patience, MOST_PATIENCE) if self._climbed else self._patience
            self._go(self.level + 1, climbed=False)
            return True
        if self._has_room():
            self._go(self.level - 1, climbed=True)
            return True
        if self._climbed and self._frames >= CLIMB_AFTER:
            self._climbed, self._patience = False, 1  # it was worth it
        return False

    def _too_slow(self) -> bool:
        last = list(self._latencies)[-DESCEND_AFTER:]
        return len(last) == DESCEND_AFTER and self.level + 1 < len(self.steps) and median(last) > self.budget_ns

    def _has_room(self) -> bool:
        if self.level == 0 or self._frames < CLIMB_AFTER * self._patience:
            return False
        larger = max(self._work) * self.steps[self.level - 1].share / self.step.share
        return larger < ROOM * self.budget_ns and max(self._latencies) < self.budget_ns

    def _go(self, level: int, climbed: bool) -> None:
        self.level, self._climbed, self._frames = level, climbed, 0
        self._latencies.clear()
        self._work.clear()
