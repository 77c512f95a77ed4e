# SPDX-License-Identifier: Apache-2.0
"""The sensor's clock against a simulated truth: whatever the latency and the drift, the error is bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.event_clock import JUMP_NS, MAX_DRIFT, SLEW, WINDOW_NS, SensorClock

EXAMPLES = settings(max_examples=25)
MS, S = 1_000_000, 1_000_000_000
PERIOD_NS = 4 * MS
TOLERANCE_NS = PERIOD_NS // MAX_DRIFT + 3  # drift within a packet, and rounding


def drive(clock, latencies_ns, offset_ns, drift_ppm, start_ns=0, kept=None):
    """Packets of ten events every 4 ms: the error of every event's time [K,10], and the times."""
    errors, hosts = [], []
    for k, latency in enumerate(latencies_ns):
        t_ns = start_ns + k * PERIOD_NS + np.arange(10) * (PERIOD_NS // 10)
        true_ns = t_ns + offset_ns + t_ns * drift_ppm // 1_000_000
        if kept is None or kept[k]:
            hosts.append(clock.to_host(t_ns, None, int(true_ns[0]) + int(latency)))
            errors.append(hosts[-1] - true_ns)
    return np.array(errors), np.concatenate(hosts)


def test_hosts_of_a_perfect_clock_are_exact():
    errors, _ = drive(SensorClock(), np.zeros(100), 5 * S, 0)
    assert not errors.any()


@EXAMPLES
@given(
    st.integers(0, 10**6),
    st.integers(-(10**18), 2 * 10**18),
    st.integers(-100, 100),
    st.integers(1, 20),
    st.sampled_from([1.0, 0.5]),
)
def test_the_error_lies_between_nothing_and_the_least_latency(seed, offset_ns, drift_ppm, worst_ms, share):
    rng, clock = np.random.default_rng(seed), SensorClock()
    latencies, kept = rng.uniform(0, worst_ms * MS, 600), rng.random(600) < share
    errors, hosts = drive(clock, latencies, offset_ns, drift_ppm, kept=kept)
    assert clock.resets == 0 and np.all(np.diff(hosts) >= 0)
    assert errors.min() >= -TOLERANCE_NS, "no event is put before it happened"
    # An offset that is too large by this much takes ten times as long to come down.
    catch_up_ns = (SLEW + 1) * worst_ms * MS
    arrived, t_ns = latencies[kept], np.flatnonzero(kept) * PERIOD_NS
    for k in range(len(t_ns)):
        past = t_ns <= t_ns[k] - catch_up_ns
        if past.any():
            bound = (arrived[past] + 2 * (t_ns[k] - t_ns[past]) / MAX_DRIFT).min()
            assert errors[k].max() <= bound + TOLERANCE_NS


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.integers(-100, 100))
def test_better_than_the_mean_under_load(seed, drift_ppm):
    """For two of every ten seconds the machine is busy and packets come 5 to 30 ms late: the mean follows."""
    rng, k = np.random.default_rng(seed), np.arange(3500)
    latencies = rng.gamma(2, MS, 3500)
    latencies += np.where(k % 2500 >= 2000, rng.uniform(5 * MS, 30 * MS, 3500), 0)
    errors, _ = drive(SensorClock(), latencies, S, drift_ppm)
    mean, means = latencies[0], []
    for latency in latencies:
        mean += 0.01 * (latency - mean)  # of a clock without drift: a favour
        means.append(mean)
    assert np.abs(errors[250:]).max() < MS < 10 * MS < max(means[250:])


@EXAMPLES
@given(st.integers(0, 10**6), st.integers(-5, 5), st.sampled_from(["host", "sensor", "both"]))
def test_after_a_jump_it_begins_anew(seed, seconds, which):
    rng, clock = np.random.default_rng(seed), SensorClock()
    drive(clock, rng.uniform(0, MS, 50), 7 * S, 10)
    if which == "both":  # the driver was started again and said so by its sequence numbers
        clock.reset()
    moved = seconds * S if abs(seconds) > 1 else 2 * S
    offset_ns = 7 * S + (moved if which == "host" else -moved)
    start_ns = 50 * PERIOD_NS + (0 if which == "host" else moved)
    errors, hosts = drive(clock, rng.uniform(0, MS, 200), offset_ns, 10, start_ns)
    assert clock.resets == 1 and np.all(np.diff(hosts) >= 0)
    assert errors.min() >= -TOLERANCE_NS and errors[20:].max() < 0.5 * MS


def test_a_step_of_the_host_below_a_second_is_followed():
    """Back: at the pace of the slew. Forward: after the window, because until then it could be latency."""
    for step in (-300 * MS, 300 * MS):
        clock = SensorClock()
        drive(clock, np.zeros(100), S, 0)
        errors, hosts = drive(clock, np.zeros(4000), S + step, 0, 100 * PERIOD_NS)
        assert clock.resets == 0 and np.all(np.diff(hosts) >= 0)
        back = int(np.argmax(np.abs(errors[:, 0]) < 5)) * PERIOD_NS
        expected = abs(step) * SLEW + (WINDOW_NS if step > 0 else 0)
        assert back == pytest.approx(expected, rel=0.02)


def test_silence_and_time_words():
    clock = SensorClock()
    assert clock.to_host(np.array([], np.int64), 5, 10).tolist() == [] and clock.watermark_ns is None
    assert clock.to_host(np.array([100, 200]), 250, 1000).tolist() == [1000, 1100]
    assert clock.watermark_ns == 1150
    assert len(clock.to_host(np.array([], np.int64), None, 77)) == 0 and clock.watermark_ns == 1150
    later = 60 * S
    assert clock.to_host(np.array([later]), None, later + 950).tolist() == [later + 950], "all older bounds have gone"


times = st.lists(st.integers(-(2**40), 2**62), min_size=0, max_size=6)


@settings(max_examples=300)
@given(st.lists(st.tuples(times, st.none() | st.integers(0, 2**62), st.integers(-(2**61), 2**61)), max_size=8))
def test_any_times_give_times_in_order_and_no_overflow(packets):
    clock, last_ns, resets = SensorClock(), None, 0
    for t_ns, now_ns, header_ns in packets:
        host = clock.to_host(np.array(t_ns, np.int64), now_ns, header_ns)
        if len(t_ns) == 0 or clock.offset_ns is None:
            continue
        assert np.all(np.diff(host) >= 0)
        assert last_ns is None or clock.resets > resets or host[0] >= last_ns
        assert abs(int(host[0]) - header_ns) <= JUMP_NS or host[0] == last_ns
        last_ns, resets = int(host[-1]), clock.resets
