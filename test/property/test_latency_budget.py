# SPDX-License-Identifier: Apache-2.0
"""The controller that keeps a latency budget goes down when it has to, comes back when it can, and does not flutter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.latency_budget import CLIMB_AFTER, DESCEND_AFTER, ROOM, LatencyBudget, grid_steps

MS = 1_000_000
STEPS = grid_steps(192, 320)


def run(budget, cost_ms, frames):
    """Frames whose cost is in proportion to the grid's area; the level after each."""
    levels = []
    for number in range(frames):
        work = round(cost_ms(number) * budget.step.share * MS)
        budget.record(work, work)
        levels.append(budget.level)
    return levels


def changes(levels):
    return sum(a != b for a, b in zip(levels, levels[1:], strict=False))


def test_steps_are_smaller_grids_of_whole_strides():
    assert [(s.height, s.width) for s in STEPS] == [(192, 320), (128, 256), (96, 160)]
    assert [s.share for s in STEPS] == sorted((s.share for s in STEPS), reverse=True) and STEPS[0].share == 1


@given(st.integers(1, 40), st.integers(1, 40))
def test_steps_never_cost_more_than_the_full_grid(height, width):
    steps = grid_steps(32 * height, 32 * width)
    assert steps[0].share == 1 and all(a.share > b.share for a, b in zip(steps, steps[1:], strict=False))
    assert all(s.height % 32 == 0 and s.width % 32 == 0 for s in steps)


@given(st.floats(1, 400), st.integers(20, 200))
def test_a_steady_load_ends_at_a_step_that_keeps_the_budget_if_there_is_one(cost_ms, budget_ms):
    budget = LatencyBudget(budget_ms * MS, STEPS)
    last = run(budget, lambda number: cost_ms, 400)[-1]
    fits = [level for level, step in enumerate(STEPS) if round(cost_ms * step.share * MS) <= budget_ms * MS]
    assert last == (fits[0] if fits else len(STEPS) - 1)


@given(st.floats(1, 400), st.integers(20, 200))
def test_a_steady_load_does_not_flutter(cost_ms, budget_ms):
    levels = run(LatencyBudget(budget_ms * MS, STEPS), lambda number: cost_ms, 3000)
    assert changes([0, *levels]) <= len(STEPS) - 1


@given(st.lists(st.integers(0, 1000), max_size=300), st.integers(1, 500))
def test_steps_are_taken_one_at_a_time_and_not_in_haste(latencies, budget_ms):
    budget, since = LatencyBudget(budget_ms * MS, STEPS), 0
    for latency_ms in latencies:
        before = budget.level
        changed = budget.record(latency_ms * MS, latency_ms * MS // 2)
        since += 1
        assert 0 <= budget.level < len(STEPS) and changed == (budget.level != before)
        if changed:
            assert abs(budget.level - before) == 1
            assert since >= (DESCEND_AFTER if budget.level > before else CLIMB_AFTER)
            since = 0


def test_an_overload_that_ends_is_forgotten():
    budget = LatencyBudget(100 * MS, STEPS)
    levels = run(budget, lambda number: 300 if number < 60 else 50, 300)
    assert max(levels) == len(STEPS) - 1 and levels[-1] == 0


def test_climbing_in_vain_is_tried_ever_more_rarely():
    # The cost does not follow the area: each larger grid looks affordable, and is not.
    budget, tries = LatencyBudget(100 * MS, STEPS), []
    for number in range(8000):
        work = 130 * MS if budget.level == 0 else 20 * MS
        before = budget.level
        budget.record(work, work)
        if budget.level < before:
            tries.append(number)
    pauses = [b - a for a, b in zip(tries, tries[1:], strict=False)]
    assert len(tries) < 12 and pauses[-1] > 4 * pauses[0], tries


def test_waiting_in_the_queue_counts_against_the_budget_but_not_for_the_climb():
    budget = LatencyBudget(100 * MS, STEPS)
    for _ in range(DESCEND_AFTER):
        budget.record(150 * MS, 10 * MS)
    assert budget.level == 1
    for _ in range(10 * CLIMB_AFTER):
        budget.record(round(99 * MS), round(ROOM * 100 * MS))
    assert budget.level == 1, "the larger grid would have no room"


@pytest.mark.parametrize("budget_ns, steps", [(0, STEPS), (-1, STEPS), (5, ())])
def test_a_budget_that_cannot_be_is_refused(budget_ns, steps):
    with pytest.raises(ValueError, match="budget"):
        LatencyBudget(budget_ns, steps)
