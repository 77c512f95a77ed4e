# SPDX-License-Identifier: Apache-2.0
"""Stamps that step back by less than a jump, or repeat: disorder is borne, a clock that is set back is followed."""

import pytest
from sync_support import MS, NOW0, Player, chunk, frame, stamps_ms, timing

from anyseg_ros.sync.output_health import OutputState
from anyseg_ros.sync.synchronizer import Reset


def play(player, stamps, first_ms, period_ms, name="camera"):
    """One frame per period of ``now``, with the stamps given; returns the gaps between outputs in ms."""
    for k, ms in enumerate(stamps):
        player.at(first_ms + k * period_ms, frame(name, ms))
    closed = [s.closed_ns for s in player.sets]
    return [(b - a) / MS for a, b in zip(closed, closed[1:], strict=False)]


def test_a_correction_of_more_than_disorder_is_followed_after_four_stamps():
    """At 30 Hz, by 0.2 s: six periods."""
    player = Player(timing("camera", 33))
    stamps = [33 * k for k in range(20)] + [33 * k - 200 for k in range(20, 40)]
    gaps = play(player, stamps, 10, 33)
    assert max(gaps) == 4 * 33
    assert stamps_ms(player.sets)[19:21] == [627, 627 + 4 * 33 - 200]
    assert stamps_ms(player.sets)[20:] == stamps[23:]
    assert player.counts("camera") == {"received": 40, "used": 37, "late": 3}
    (reset,) = player.sync.take_resets()
    assert reset == Reset(NOW0 + (10 + 23 * 33) * MS, "the stamps of 'camera' jumped by -0.068 s")


@pytest.mark.parametrize("back_ms", [50, 100, 132, 165])
def test_a_smaller_correction_is_borne_for_at_most_six_periods(back_ms):
    player = Player(timing("camera", 33))
    stamps = [33 * k for k in range(20)] + [33 * k - back_ms for k in range(20, 40)]
    gaps = play(player, stamps, 10, 33)
    assert max(gaps) <= 6 * 33
    given = stamps_ms(player.sets)
    assert given == sorted(set(given))
    assert player.counts("camera").get("late", 0) + player.counts("camera").get("duplicate", 0) == sum(
        stamp <= 627 for stamp in stamps[20:]
    )
    assert player.sync.take_resets() == []


def test_a_single_stamp_of_an_earlier_time_holds_the_new_one_up_for_four():
    """A message that was on its way when everything started over is the first of the new time."""
    player = Player(timing("camera", 33))
    play(player, [33 * k for k in range(10)], 10, 33)
    player.sync.reset("asked for", NOW0 + 330 * MS)
    player.sync.take_resets()
    player.sets.clear()
    gaps = play(player, [330, *(33 * k - 600 for k in range(11, 30))], 340, 33)
    assert max(gaps) == 4 * 33
    assert stamps_ms(player.sets) == [330, *(33 * k - 600 for k in range(14, 30))]
    assert len(player.sync.take_resets()) == 1


def test_a_reference_that_falls_silent_by_stepping_back_is_followed_when_it_returns():
    """It steps back by 30 periods: all stamps that follow are known, and count as duplicates until it is clear."""
    player = Player(timing("camera", 20), timing("lidar"))
    for k in range(80):
        ms = 20 * k
        lidar = [frame("lidar", ms)] if k % 5 == 2 else []
        player.at(ms + 10, frame("camera", ms - (600 if k >= 50 else 0)), *lidar)
    assert [(r.sensor, r.reason) for r in player.sync.take_resets()] == [
        ("camera", "the stamps of 'camera' jumped by -0.520 s"),
        (None, "'camera' is now the reference, 0.540 s behind the last output"),
    ]
    assert stamps_ms(player.sets)[50:] == [1040, *(20 * k - 600 for k in range(55, 80))]
    assert [s.reference for s in player.sets[49:52]] == ["camera", "lidar", "camera"]


def test_output_says_that_it_waits_for_the_stamps():
    player = Player(timing("camera"))
    play(player, [100 * k for k in range(10)] + [580, 680, 780, 880], 10, 100)
    found = player.sync.output_health(NOW0 + 1311 * MS)
    assert found.state is OutputState.SILENT
    assert found.reason == "no set for 0.40 s; the last 4 stamps of 'camera' are not above the last output"
    player.at(1410, frame("camera", 980))
    assert player.sync.output_health(NOW0 + 1411 * MS).state is OutputState.OK


def test_disorder_is_no_step_back():
    player = Player(timing("camera", 33))
    stamps = [33 * k for k in range(20)]
    stamps[11:17] = [stamps[16], *stamps[11:16]]  # one overtakes five
    play(player, stamps, 10, 33)
    assert player.sync.take_resets() == []
    assert player.counts("camera") == {"received": 20, "used": 15, "late": 5}


def test_stamps_far_behind_that_do_not_go_on_are_no_step_back():
    player = Player(timing("camera", 33))
    stamps = [33 * k for k in range(20)]
    falling = [int(stamps[-1] - 200 - 20 * k) for k in range(8)]
    play(player, [*stamps, *falling], 10, 33)
    assert player.sync.take_resets() == []
    assert player.counts("camera")["late"] == 8


def test_a_short_bag_in_a_loop_repeats_its_stamps_and_is_followed():
    """Every stamp of the second lap is known from the first: without a rule of its own it would be a duplicate."""
    player = Player(timing("camera"))
    lap = [100 * k for k in range(50)]
    gaps = play(player, lap * 3, 10, 100)
    assert stamps_ms(player.sets) == lap * 3
    assert max(gaps) == 200
    assert len(player.sync.take_resets()) == 2


def test_a_loop_shorter_than_a_jump_is_followed():
    player = Player(timing("camera", 33))
    lap = [33 * k for k in range(20)]
    gaps = play(player, lap * 3, 10, 33)
    assert stamps_ms(player.sets) == [*lap, *lap[3:], *lap[3:]]
    assert max(gaps) == 4 * 33


def test_a_loop_with_every_message_twice_is_followed_once():
    player = Player(timing("camera"))
    lap = [100 * k for k in range(30)]
    for k, ms in enumerate(lap + lap):
        player.at(100 * k + 10, frame("camera", ms), frame("camera", ms))
    assert stamps_ms(player.sets) == lap + lap
    assert player.counts("camera") == {"received": 120, "used": 60, "duplicate": 60}


def test_an_old_message_that_comes_again_is_a_duplicate_and_no_jump():
    player = Player(timing("camera"))
    for k in range(40):
        again = [frame("camera", 0)] if k in (20, 30) else []
        player.at(100 * k + 10, frame("camera", 100 * k), *again)
    assert player.counts("camera") == {"received": 42, "used": 40, "duplicate": 2}
    assert player.sync.take_resets() == []


def test_events_that_step_back_are_followed():
    player = Player(timing("event", 20))
    for k in range(60):
        player.at(10 * k + 12, chunk(10 * k, 10 * k + 10))
    player.sets.clear()
    for k in range(60, 120):
        player.at(10 * k + 12, chunk(10 * k - 300, 10 * k - 290))
    (reset,) = player.sync.take_resets()
    assert reset.sensor is None
    assert len(player.sets) >= 27  # of the 30 output times


def test_another_sensor_that_steps_back_alone_is_reset_alone():
    player = Player(timing("camera", 33), timing("lidar", 33))
    for k in range(60):
        player.at(33 * k + 10, frame("camera", 33 * k), frame("lidar", 33 * k - (300 if k >= 30 else 0)))
    (reset,) = player.sync.take_resets()
    assert reset.sensor == "lidar"
    player.advance(2200)
    assert stamps_ms(player.sets) == [33 * k for k in range(60)]
