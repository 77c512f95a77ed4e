# SPDX-License-Identifier: Apache-2.0
"""Known answers for health: states, their reasons and hysteresis, levels, and the configuration's sentences."""

import numpy as np
import pytest
from sync_support import MS, NOW0, STAMP0, Player, chunk, frame, timing

from anyseg_ros.modality import Modality
from anyseg_ros.sync.buffers import payload_bytes
from anyseg_ros.sync.health import Level, SensorState
from anyseg_ros.sync.output_health import OutputState
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import (
    DEFAULT_LOST_PERIODS,
    DEFAULT_STALE_PERIODS,
    DEFAULT_TOLERANCE_PERIODS,
    SensorTiming,
    SyncConfig,
)
from anyseg_ros.sync.windows import join_events
from anyseg_ros.types import Measurement


def health(player, ms, name):
    return player.sync.health(NOW0 + round(ms * MS))[name]


def output(player, ms):
    return player.sync.output_health(NOW0 + round(ms * MS))


def run(player, first_ms, last_ms, names=("camera", "lidar"), period_ms=100):
    for ms in range(first_ms, last_ms + 1, period_ms):
        player.at(ms + 10, *[frame(name, ms) for name in names])


def test_states_follow_a_sensor_through_its_life():
    player = Player(timing("camera"), timing("lidar"))
    run(player, 0, 500, names=["camera"])
    assert health(player, 515, "lidar").state is SensorState.NEVER_SEEN
    run(player, 600, 1500)
    seen = health(player, 1515, "lidar")
    assert (seen.state, seen.level, seen.reason) == (SensorState.OK, Level.OK, "")
    assert seen.rate_hz == pytest.approx(10)
    assert (seen.age_ns, seen.skew_ns, seen.lag_ns, seen.period_ns) == (5 * MS, 0, NOW0 - STAMP0 + 10 * MS, 100 * MS)
    run(player, 1600, 1800, names=["camera"])
    stale = health(player, 1812, "lidar")
    assert (stale.state, stale.level) == (SensorState.STALE, Level.WARN)
    assert stale.since_ns == NOW0 + (1510 + 225) * MS
    assert stale.reason == "silent for 0.30 s, expected every 0.100 s"
    run(player, 1900, 4900, names=["camera"])
    lost = health(player, 4912, "lidar")
    assert (lost.state, lost.since_ns) == (SensorState.LOST, NOW0 + 4510 * MS)
    player.sync.set_enabled("lidar", False)
    off = health(player, 4913, "lidar")
    assert (off.state, off.level, off.reason) == (SensorState.DISABLED, Level.OK, "disabled")


def test_a_stale_sensor_is_ok_again_after_two_measurements_and_not_after_one():
    player = Player(timing("camera"), timing("lidar"))
    run(player, 0, 500)
    run(player, 600, 1000, names=["camera"])
    assert health(player, 1011, "lidar").state is SensorState.STALE
    run(player, 1100, 1100)
    assert health(player, 1111, "lidar").state is SensorState.STALE
    run(player, 1200, 1200)
    assert health(player, 1211, "lidar").state is SensorState.OK


def test_a_slow_sensor_is_degraded_until_it_is_clearly_faster():
    player = Player(timing("camera"))
    ms = 0

    def at_period(period_ms):
        nonlocal ms
        for _ in range(40):
            player.at(ms + 10, frame("camera", ms))
            ms += period_ms
        return health(player, ms - period_ms + 11, "camera")

    assert at_period(100).state is SensorState.OK
    slow = at_period(150)
    assert (slow.state, slow.level, slow.reason) == (SensorState.DEGRADED, Level.WARN, "6.7 Hz, expected 10.0 Hz")
    assert at_period(125).state is SensorState.DEGRADED  # 8 Hz: over 7, not over 8.5
    assert at_period(110).state is SensorState.OK
    assert at_period(125).state is SensorState.OK  # 8 Hz again: not under 7


def test_a_sensor_that_is_always_late_is_degraded():
    player = Player(timing("camera"), timing("lidar", tolerance_ms=20), max_wait_ms=30)
    for k in range(20):
        player.at(100 * k + 10, frame("camera", 100 * k))
        player.at(100 * k + 60, frame("lidar", 100 * k - 30))
    found = health(player, 1965, "lidar")
    assert found.state is SensorState.DEGRADED
    assert found.reason == "too late for, or too far from, 16 of the last 16 sets"


def test_a_sensor_with_unusable_stamps_is_degraded_and_says_so():
    player = Player(timing("camera"), timing("lidar"))
    for k in range(5):
        player.at(100 * k + 10, frame("camera", 100 * k), Measurement("lidar", Modality.LIDAR, 0, b""))
    found = health(player, 415, "lidar")
    assert (found.state, found.reason) == (SensorState.DEGRADED, "none of 5 measurements had a usable stamp")


def test_a_fast_stream_of_events_is_not_degraded():
    player = Player(timing("event"))
    for k in range(60):
        player.at(10 * k + 12, chunk(10 * k, 10 * k + 10))
    found = health(player, 605, "event")
    assert (found.state, found.expected_hz) == (SensorState.OK, 10)
    assert found.rate_hz == pytest.approx(100)


def test_what_was_learned_of_each_sensor_is_shown_with_the_clocks_taken_out():
    player = Player(timing("camera", 50), timing("lidar"))
    for k in range(40):
        player.at(50 * k + 10 + k % 3, frame("camera", 50 * k))
        if k % 2 == 0:
            player.at(50 * k + 42, frame("lidar", 50 * k - 8))
    found = player.sync.health(NOW0 + 2000 * MS)
    camera, lidar = found["camera"], found["lidar"]
    assert (camera.period_ns, camera.delay_ns, camera.jitter_ns) == (50 * MS, 2 * MS, 2 * MS)
    assert (lidar.period_ns, lidar.delay_ns, lidar.jitter_ns) == (100 * MS, 40 * MS, 0)
    assert lidar.lag_ns == NOW0 - STAMP0 + 50 * MS
    unseen = Player(timing("camera")).sync.health(NOW0)["camera"]
    assert (unseen.lag_ns, unseen.delay_ns, unseen.jitter_ns) == (None, None, None)


# A required sensor that is missing


def test_output_goes_on_without_a_required_sensor_and_only_health_says_error():
    player = Player(timing("camera"), timing("lidar", required=True))
    run(player, 0, 500)
    assert output(player, 515).level is Level.OK
    run(player, 600, 1500, names=["camera"])
    assert len(player.sets) == 16
    assert health(player, 1512, "lidar").level is Level.ERROR
    missing = output(player, 1512)
    assert (missing.state, missing.level, missing.reason) == (OutputState.DEGRADED, Level.ERROR, "without lidar")
    assert missing.reference == "camera"


def test_a_missing_sensor_that_is_not_required_is_a_warning_and_a_disabled_one_is_fine():
    player = Player(timing("camera"), timing("lidar"))
    run(player, 0, 1000, names=["camera"])
    assert (output(player, 1011).state, output(player, 1011).level) == (OutputState.DEGRADED, Level.WARN)
    player.sync.set_enabled("lidar", False)
    assert (output(player, 1012).state, output(player, 1012).level) == (OutputState.OK, Level.OK)


def test_a_sensor_that_is_switched_on_has_its_stale_time_to_begin():
    player = Player(timing("camera"), timing("lidar"))
    run(player, 0, 500)
    player.sync.set_enabled("lidar", False)
    run(player, 600, 3000, names=["camera"])
    player.sync.set_enabled("lidar", True)
    assert health(player, 3011, "lidar").state is SensorState.OK
    assert (output(player, 3011).state, output(player, 3011).level) == (OutputState.OK, Level.OK)
    run(player, 3100, 3200, names=["camera"])
    assert health(player, 3225, "lidar").state is SensorState.OK
    run(player, 3300, 3300, names=["camera"])
    gone = health(player, 3311, "lidar")
    assert (gone.state, gone.reason) == (SensorState.STALE, "silent for 0.30 s, expected every 0.100 s")
    assert output(player, 3311).reason == "without lidar"


def test_output_is_silent_when_no_sensor_is_alive_and_since_when():
    player = Player(timing("camera"))
    assert (output(player, 0).state, output(player, 0).reason) == (OutputState.SILENT, "no sensor is alive")
    run(player, 0, 1000, names=["camera"])
    good = output(player, 1011)
    assert (good.state, good.age_ns, good.wait_ns) == (OutputState.OK, MS, {"p50": 0, "p95": 0, "p99": 0})
    assert good.rate_hz == pytest.approx(10)
    player.advance(2000)
    silent = output(player, 2000)
    assert (silent.state, silent.level, silent.since_ns) == (OutputState.SILENT, Level.ERROR, NOW0 + 2000 * MS)
    assert output(player, 3000).since_ns == NOW0 + 2000 * MS


def test_wait_percentiles_are_of_the_sets_given_out():
    player = Player(timing("camera"), timing("lidar"))
    for k in range(101):
        player.at(100 * k + 10, frame("camera", 100 * k))
        player.at(100 * k + (60 if k % 10 == 0 else 30), frame("lidar", 100 * k))
    waits = output(player, 10_100).wait_ns
    assert (waits["p50"], waits["p95"], waits["p99"]) == (20 * MS, 50 * MS, 50 * MS)


# Configuration


def test_defaults_follow_from_the_period():
    found = SensorTiming.from_period("camera", Modality.CAMERA, 100 * MS, required=True)
    assert (found.tolerance_ns, found.stale_ns, found.lost_ns) == (100 * MS, 225 * MS, 3000 * MS)
    assert (DEFAULT_TOLERANCE_PERIODS, DEFAULT_STALE_PERIODS, DEFAULT_LOST_PERIODS) == (1.0, 2.25, 30.0)
    assert found.required


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"period_ns": 0}, "period_ns 0 and window_ns 30000000 must be above 0"),
        ({"period_ns": 1e8}, "period_ns is 100000000.0, expected an integer of nanoseconds"),
        ({"tolerance_ns": -1}, "tolerance_ns is -1, expected 0 or more"),
        ({"stale_ns": 100 * MS}, "expected period < stale <= lost, found 100000000, 100000000 and 3000000000 ns"),
        ({"lost_ns": 200 * MS}, "expected period < stale <= lost"),
    ],
)
def test_timings_that_cannot_work_are_refused(fields, sentence):
    good = {"period_ns": 100 * MS, "tolerance_ns": 100 * MS, "stale_ns": 225 * MS, "lost_ns": 3000 * MS}
    with pytest.raises(ValueError, match=f"^sensor 'camera': .*{sentence}"):
        SensorTiming(name="camera", modality=Modality.CAMERA, **{**good, **fields})


@pytest.mark.parametrize(
    ("names", "others", "sentence"),
    [
        ([], {}, "the synchroniser has no sensors"),
        (["lidar", "camera", "lidar"], {}, "sensor names must be unique; found twice: lidar"),
        (["camera"], {"max_wait_ns": -1}, "max_wait_ns is -1, expected 0 or more"),
        (["camera"], {"max_frames": 0}, "max_frames is 0, expected more than 0"),
    ],
)
def test_configurations_that_cannot_work_are_refused(names, others, sentence):
    with pytest.raises(ValueError, match=sentence):
        SyncConfig(tuple(timing(name) for name in names), **others)


def test_a_synchroniser_without_input_is_quiet():
    sync = Synchronizer(SyncConfig((timing("camera"),)))
    assert (sync.advance(NOW0), sync.next_deadline_ns(), sync.reference) == ([], None, None)


# Payloads


def test_payload_bytes_of_what_may_come():
    class Message:
        data = bytes(10)

    class ArrayMessage:
        data = np.zeros(10, np.uint16)

    assert payload_bytes(np.zeros((4, 5, 3), np.uint8)) == 60
    assert payload_bytes(Message()) == 10
    assert payload_bytes(ArrayMessage()) == 20
    assert payload_bytes(bytes(7)) == 7
    assert payload_bytes(chunk(0, 10).payload) == 10 * (2 + 2 + 8 + 1)
    assert payload_bytes(object()) == 0


def test_joined_events_are_the_chunks_in_a_row():
    one, two = chunk(0, 5, x=1).payload, chunk(5, 8, x=2).payload
    both = join_events([one, two])
    assert both.x.tolist() == [1] * 5 + [2] * 3
    assert both.t_ns.tolist() == [STAMP0 + k * MS for k in range(1, 9)]
    assert (both.width, both.height) == (320, 180)
    assert join_events([one]) is one
    with pytest.raises(ValueError, match="no event chunks to join"):
        join_events([])


def test_a_jump_of_the_clock_is_no_silence_of_the_output():
    player = Player(timing("camera"), timing("lidar"))
    run(player, 0, 1000)
    player.sync.reset("the clock jumped by +60.000 s", NOW0 + 61_000 * MS)
    assert output(player, 61_050).age_ns == 50 * MS
    player.add(61_060, frame("camera", 61_050))
    after = output(player, 61_065)
    assert after.state is not OutputState.SILENT and after.rate_hz == 0.0
    # Silence after it counts from there.
    player.sync.reset("the clock jumped by +60.000 s", NOW0 + 130_000 * MS)
    player.sync.reset("and again", NOW0 + 130_100 * MS)
    assert output(player, 131_100).age_ns == 1000 * MS


def test_before_the_first_set_a_jump_starts_no_silence():
    player = Player(timing("camera"), timing("lidar"))
    player.sync.reset("the clock jumped", NOW0 + 61_000 * MS)
    assert output(player, 65_000).age_ns is None
