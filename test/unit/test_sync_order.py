# SPDX-License-Identifier: Apache-2.0
"""Known answers for sets that wait together, for stalls, and for what is late, a duplicate, unused or too much."""

from sync_support import Player, chunk, chunks, frame, frames, partner_ms, play, stamp_ms, stamps_ms, timing

from anyseg_ros.types import Absence

# Several open sets


def test_sets_that_wait_at_the_same_time_close_one_by_one_in_stamp_order():
    player = Player(timing("camera", 30), timing("event"), max_wait_ms=400)
    play(player, frames("camera", 0, 900, period_ms=30) + chunks(0, 840, lag_ms=70))
    player.sets.clear()
    assert player.sync.open_sets == 2
    assert stamps_ms(player.add(940, chunk(840, 870))) == [870]
    assert stamps_ms(player.add(970, chunk(870, 900))) == [900]


def test_a_later_set_that_completes_closes_the_earlier_with_what_it_has():
    player = Player(timing("camera", 50), timing("lidar", 200, tolerance_ms=20), max_wait_ms=400)
    play(player, frames("camera", -205, 195, period_ms=50) + frames("lidar", -200, 0, period_ms=200, lag_ms=150))
    assert player.sync.open_sets == 1
    assert player.deadline_ms > 300  # the lidar's 200 is near enough to wait for
    player.sets.clear()
    sets = player.add(255, frame("camera", 245))  # no scan will be near enough to this one
    assert stamps_ms(sets) == [195, 245]
    assert [s.absent for s in sets] == [{"lidar": Absence.LATE}] * 2


def test_references_that_arrive_in_the_wrong_order_are_given_out_in_stamp_order():
    player = Player(timing("camera", 30), timing("lidar", 100), max_wait_ms=400)
    play(player, frames("camera", 0, 840, period_ms=30) + frames("lidar", 0, 800, lag_ms=100))
    player.sets.clear()
    player.at(910, frame("camera", 900))
    player.at(915, frame("camera", 870))
    assert stamps_ms(player.at(1000, frame("lidar", 900))) == [870, 900]


def test_more_open_sets_than_the_bound_close_the_oldest():
    player = Player(timing("camera", 30), timing("lidar", 1000), max_wait_ms=5000, max_open_sets=3)
    play(player, frames("camera", 0, 2400, period_ms=30) + frames("lidar", 0, 1000, lag_ms=900, period_ms=1000))
    player.sets.clear()
    play(player, frames("camera", 2430, 2700, period_ms=30))
    assert player.sync.open_sets == 3
    assert [stamp_ms(s) for s in player.sets] == list(range(2430 - 90, 2700 - 60, 30))


# After a stall


def test_after_a_stall_no_partner_is_lost():
    player = Player(timing("camera"), timing("lidar"), timing("event"))
    play(player, frames("camera", 0, 900) + frames("lidar", 0, 900) + chunks(0, 1000))
    player.sets.clear()
    stalled = frames("camera", 1000, 2900) + frames("lidar", 1000, 2900) + chunks(1000, 2950)
    sets = player.add(3000, *[m for _, m in sorted(stalled, key=lambda a: a[0])])
    sets += player.advance(3000)
    assert stamps_ms(sets) == list(range(1000, 3000, 100))
    assert all(set(s.present) == {"camera", "lidar", "event"} for s in sets)
    assert all(s.skew_ns == {"camera": 0, "lidar": 0, "event": 0} for s in sets)


def test_after_a_stall_sensors_drained_one_by_one_lose_nothing():
    player = Player(timing("camera"), timing("lidar"), timing("event"))
    play(player, frames("camera", 0, 900) + frames("lidar", 0, 900))
    player.sets.clear()
    player.add(2000, *[m for _, m in frames("camera", 1000, 1800)])
    player.add(2000, *[m for _, m in frames("lidar", 1000, 1800)])
    player.advance(2000)
    assert stamps_ms(player.sets) == list(range(1000, 1801, 100))
    assert all("lidar" in s.present and s.skew_ns["lidar"] == 0 for s in player.sets)


# Late, duplicate


def test_a_reference_stamp_at_or_below_the_last_output_is_late_and_not_due():
    player = Player(timing("camera"))
    play(player, frames("camera", 0, 300))
    assert player.at(320, frame("camera", 250)) == []
    assert player.counts("camera") == {"received": 5, "used": 4, "late": 1}


def test_the_same_sensor_and_stamp_is_a_duplicate_and_the_first_is_kept():
    player = Player(timing("camera"), timing("lidar"))
    player.at(5, frame("camera", 0), frame("lidar", 0, b"first"), frame("lidar", 0, b"second"))
    player.at(105, frame("lidar", 100))
    (given,) = player.at(106, frame("camera", 20))
    assert given.present["lidar"].payload == b"first"
    assert player.at(107, frame("camera", 20)) == []
    assert player.counts("lidar") == {"received": 3, "used": 1, "buffered": 1, "duplicate": 1}
    assert player.counts("camera") == {"received": 3, "used": 2, "duplicate": 1}


def test_a_partner_that_comes_after_its_set_has_closed_is_late():
    player = Player(timing("camera"), timing("lidar", tolerance_ms=10))
    play(player, frames("lidar", 0, 0, lag_ms=0) + frames("camera", -100, 500) + frames("lidar", 100, 400))
    before = player.counts("lidar")
    player.advance(560)
    assert player.sets[-1].absent == {"lidar": Absence.LATE}
    player.at(570, frame("lidar", 500))
    play(player, frames("camera", 600, 800) + frames("lidar", 600, 800))
    assert player.counts("lidar")["late"] == before.get("late", 0) + 1


# Unused measurements of a fast partner


def test_measurements_of_a_fast_partner_that_no_set_takes_are_unused():
    player = Player(timing("camera", 100), timing("lidar", 10))
    play(player, frames("camera", 0, 1000) + frames("lidar", 0, 1000, period_ms=10))
    counts = player.counts("lidar")
    assert counts["used"] == 10  # the camera's first image came before any of them
    assert counts["late"] == 2  # which is why the first two within its tolerance were late
    assert counts["unused"] + counts["buffered"] == 89


# Bounded buffers


def test_buffers_are_bounded_by_count():
    player = Player(timing("camera", 1000, stale_ms=60_000, lost_ms=60_000), timing("lidar", 10), max_frames=8)
    player.at(1, frame("camera", 0))
    for k in range(1, 50):
        player.at(10 * k, frame("lidar", 10 * k))
    counts = player.counts("lidar")
    assert (counts["buffered"], counts["evicted_count"]) == (8, 41)
    (given,) = player.at(500, frame("camera", 480))
    assert partner_ms(given, "lidar") == 480


def test_buffers_are_bounded_by_bytes():
    player = Player(timing("camera", 1000, stale_ms=60_000, lost_ms=60_000), timing("lidar", 10), max_bytes=1000)
    player.at(1, frame("camera", 0))
    for k in range(1, 21):
        player.at(10 * k, frame("lidar", 10 * k, bytes(300)))
    assert player.counts("lidar")["buffered"] == 3
    assert player.counts("lidar")["evicted_bytes"] == 17
    player.at(300, frame("lidar", 300, bytes(5000)))  # alone over the bound: kept all the same
    assert player.counts("lidar")["buffered"] == 1


def test_a_reference_that_is_evicted_while_its_set_waits_is_used():
    player = Player(timing("camera", 20), timing("lidar", 1000), max_wait_ms=5000, max_frames=2)
    player.at(1, frame("camera", 0))
    player.at(2, frame("lidar", -1000), frame("lidar", 0))
    for k in range(26, 34):
        player.at(20 * k, frame("camera", 20 * k))
    assert player.sync.open_sets == 8
    player.at(1001, frame("lidar", 1000))
    assert player.counts("camera")["used"] == 9
    assert "evicted_count" not in player.counts("camera")
