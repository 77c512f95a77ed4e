# SPDX-License-Identifier: Apache-2.0
"""The loop around the synchroniser: deadlines at every tick, and what a stall may not cost."""

from itertools import pairwise

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from anyseg_ros.nodes import sync_loop  # noqa: E402

MS = 1_000_000


class Spy:
    """Stands in for the synchroniser and writes down what it is asked."""

    def __init__(self):
        self.calls = []
        self.open_sets = 0
        self.deadline_ns = None

    def add(self, measurement, now_ns):
        self.calls.append(("add", measurement.sensor, now_ns))
        return []

    def advance(self, now_ns):
        self.calls.append(("advance", now_ns))
        return []

    def next_deadline_ns(self):
        return self.deadline_ns

    def take_resets(self):
        return []


@pytest.fixture
def loop():
    from live_graph import small_rig
    from sensor_msgs.msg import PointCloud2

    from anyseg_ros.nodes import conversions

    rig = small_rig()
    spy = Spy()
    made = sync_loop.SyncLoop(spy, rig, pytest.fail)
    made.spy, made.lidar, made.msg = spy, rig.sensor("lidar"), PointCloud2(header=conversions.header(1, "lidar"))
    return made


def test_deadlines_run_at_every_tick(loop):
    for tick in range(3):
        loop.tick(1000 + tick, tick * sync_loop.TICK_NS)
    assert loop.spy.calls == [("advance", 1000), ("advance", 1001), ("advance", 1002)]


def test_no_deadline_runs_while_simulated_time_has_not_started(loop):
    loop.tick(0, 0)
    loop.take(loop.lidar, loop.msg, 0)
    loop.tick(0, sync_loop.TICK_NS)
    assert loop.spy.calls == [("add", "lidar", 0)]


def test_after_a_stall_everything_that_waits_is_taken_in_before_deadlines_run(loop):
    loop.tick(1, 0)
    stall = 300 * MS
    loop.tick(2, stall)
    loop.take(loop.lidar, loop.msg, 3)
    loop.tick(4, stall + 5 * MS)
    loop.take(loop.lidar, loop.msg, 5)
    loop.tick(6, stall + 10 * MS)
    loop.tick(7, stall + 15 * MS)
    assert loop.spy.calls == [("advance", 1), ("add", "lidar", 3), ("add", "lidar", 5), ("advance", 7)]


def test_a_sensor_that_never_rests_cannot_hold_deadlines_off_for_ever(loop):
    loop.tick(1, 0)
    loop.tick(2, 300 * MS)
    for step in range(1, 60):
        loop.take(loop.lidar, loop.msg, step)
        loop.tick(step, 300 * MS + step * 5 * MS)
    first = next(now for kind, *_, now in loop.spy.calls[1:] if kind == "advance")
    assert first * 5 * MS == sync_loop.CATCH_UP_NS + 5 * MS


def test_a_stall_is_known_before_and_after_the_first_tick_that_follows(loop):
    assert not loop.held_up(0)
    loop.tick(1, 0)
    assert not loop.held_up(sync_loop.TICK_NS) and loop.held_up(300 * MS)
    loop.tick(2, 300 * MS)
    assert loop.held_up(301 * MS)
    loop.tick(3, 305 * MS)
    assert not loop.held_up(306 * MS)


def test_a_machine_whose_every_tick_is_late_still_applies_deadlines(loop):
    period = sync_loop.STALL_NS + 10 * MS
    for step in range(1, 40):
        loop.take(loop.lidar, loop.msg, step)
        loop.tick(step, step * period)
    ran = [now for kind, *_, now in loop.spy.calls if kind == "advance"]
    assert len(ran) > 5
    assert max(b - a for a, b in pairwise(ran)) * period <= sync_loop.CATCH_UP_NS + 3 * period


def test_the_next_tick_comes_when_it_is_needed(loop):
    assert loop.tick_in_ns(1000 * MS, False) == sync_loop.IDLE_TICK_NS  # no deadline
    for after_ms, wait_ms in ((-3, 5), (2, 5), (12, 12), (500, 25)):
        loop.spy.deadline_ns = (1000 + after_ms) * MS
        assert loop.tick_in_ns(1000 * MS, False) == wait_ms * MS
    # How fast /clock runs is not known: often while a set waits, whenever its deadline is.
    assert loop.tick_in_ns(1000 * MS, True) == sync_loop.IDLE_TICK_NS
    loop.spy.open_sets = 1
    assert loop.tick_in_ns(1000 * MS, True) == sync_loop.TICK_NS


def test_a_slow_tick_is_no_stall(loop):
    loop.tick(1000, 0)
    loop.tick(1001, sync_loop.IDLE_TICK_NS)
    assert loop.spy.calls == [("advance", 1000), ("advance", 1001)]
