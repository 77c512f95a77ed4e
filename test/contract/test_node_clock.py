# SPDX-License-Identifier: Apache-2.0
"""Which clock the synchroniser lives by, and what counts as its jump."""

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

from anyseg_ros.nodes import conversions  # noqa: E402
from anyseg_ros.nodes.clock import NodeClock  # noqa: E402

S = 1_000_000_000


class Timeline:
    def __init__(self, simulated):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        given = [Parameter("use_sim_time", value=simulated)]
        self.node = rclpy.create_node("clock", context=self.context, parameter_overrides=given)
        self.publisher = self.node.create_publisher(Clock, "/clock", 10)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.jumps, self.held_up = [], False
        self.clock = NodeClock(self.node, self.jumps.append, lambda: self.held_up)

    def say(self, now_ns):
        """Publishes /clock until the node has taken it over."""
        for _ in range(200):
            self.publisher.publish(conversions.clock(now_ns))
            self.executor.spin_once(timeout_sec=0.05)
            if self.clock.now_ns() == now_ns:
                return
        raise AssertionError(f"the clock never came to {now_ns}")

    def close(self):
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def timeline():
    made = []

    def make(simulated):
        made.append(Timeline(simulated))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_live_time_is_steady_and_runs(timeline):
    clock = timeline(False).clock
    first = clock.now_ns()
    assert not clock.simulated and 0 < first <= clock.now_ns()


def test_simulated_time_is_zero_until_it_starts_and_starting_is_no_jump(timeline):
    t = timeline(True)
    assert t.clock.simulated and t.clock.now_ns() == 0
    t.say(1_700_000_000 * S)
    assert t.jumps == []


def test_steps_are_no_jumps_but_leaps_and_ways_back_are(timeline):
    t = timeline(True)
    for now_ns in (100 * S, 100 * S + S // 10, 101 * S):
        t.say(now_ns)
    assert t.jumps == []
    t.say(150 * S)
    t.say(10 * S)
    assert len(t.jumps) == 2 and "+49.000 s" in t.jumps[0] and "-140.000 s" in t.jumps[1]


def test_what_the_clock_did_while_the_process_stood_still_is_no_jump(timeline):
    t = timeline(True)
    t.say(100 * S)
    t.held_up = True
    t.say(103 * S)
    assert t.jumps == []
    t.say(10 * S)
    assert len(t.jumps) == 1, "time never runs back of itself"


def test_the_steps_of_a_fast_bag_are_no_jumps_but_a_leap_among_them_is(timeline):
    t, now_ns = timeline(True), 100 * S
    # 100 times a bag's speed at 40 Hz: one message held up, so that the next comes on its heels; one lost
    for step_ms in (0, 2500, 2500, 2500, 4900, 100, 2500, 5000, 2500):
        now_ns += step_ms * S // 1000
        t.say(now_ns)
    assert t.jumps == []
    for leap_s in (60, 60):
        now_ns += leap_s * S
        t.say(now_ns)
    assert ["+60.000 s" in jump for jump in t.jumps] == [True, True]
    t.say(now_ns - 1)
    assert len(t.jumps) == 3, "back is back, however small"


def test_a_clock_that_becomes_faster_is_followed_after_a_few_jumps(timeline):
    t = timeline(True)
    for tick in range(10):
        t.say(100 * S + tick * S // 10)
    for tick in range(10):
        t.say(200 * S + tick * 5 * S // 2)
    assert 1 <= len(t.jumps) <= 4 and "+99.100 s" in t.jumps[0]


def test_the_change_to_simulated_time_is_a_jump_though_no_step_is_known(timeline):
    t = timeline(False)
    assert t.clock.now_ns() > 0
    t.node.set_parameters([Parameter("use_sim_time", value=True)])
    assert t.clock.simulated and len(t.jumps) == 1
