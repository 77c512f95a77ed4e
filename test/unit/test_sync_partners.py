# SPDX-License-Identifier: Apache-2.0
"""Known answers for the rows on stamps, partners, event windows and deadlines of the table of decisions."""

import numpy as np
import pytest
from sync_support import MS, NOW0, STAMP0, Player, chunk, frame, partner_ms, stamp_ms, stamps_ms, timing

from anyseg_ros.types import Absence


def camera_and_lidar(**others):
    return Player(timing("camera"), timing("lidar"), **others)


def warm_up(player, until_ms=500, lidar_lag_ms=20, phase_ms=0):
    """Camera at k*100 with 10 ms lag, lidar at k*100 + phase with the lag given, up to (not with) ``until_ms``."""
    arrivals = [(k * 100 + 10, frame("camera", k * 100)) for k in range(until_ms // 100)]
    arrivals += [
        (k * 100 + phase_ms + lidar_lag_ms, frame("lidar", k * 100 + phase_ms)) for k in range(until_ms // 100)
    ]
    for ms, measurement in sorted(arrivals, key=lambda a: a[0]):
        player.at(ms, measurement)
    player.sets.clear()
    return player


# Sign of a sensor's offset


def test_the_offset_is_taken_off_the_stamp():
    player = Player(timing("camera"), timing("lidar", offset_ms=40))
    player.at(10, frame("camera", 0), frame("lidar", 0), frame("lidar", 50), frame("lidar", 90))
    (given,) = player.at(20, frame("camera", 50))
    assert partner_ms(given, "lidar") == 90
    assert given.skew_ns["lidar"] == 0


def test_the_output_carries_the_references_own_stamp():
    player = Player(timing("camera", offset_ms=-7))
    (given,) = player.at(10, frame("camera", 100))
    assert stamp_ms(given) == 100


# Partner


def test_the_partner_is_the_nearest():
    player = camera_and_lidar()
    player.at(5, frame("camera", 0))
    player.at(100, frame("lidar", 30), frame("lidar", 80), frame("lidar", 115))
    (given,) = player.at(120, frame("camera", 100))
    assert partner_ms(given, "lidar") == 115
    assert given.skew_ns == {"camera": 0, "lidar": 15 * MS}


def test_of_two_as_near_the_earlier_is_taken():
    player = camera_and_lidar()
    player.at(5, frame("camera", 0))
    player.at(100, frame("lidar", 50), frame("lidar", 150))
    (given,) = player.at(120, frame("camera", 100))
    assert partner_ms(given, "lidar") == 50


@pytest.mark.parametrize(("lidar_ms", "present"), [(80, True), (79.999999, False), (120, True), (120.000001, False)])
def test_the_tolerance_is_inclusive(lidar_ms, present):
    player = Player(timing("camera"), timing("lidar", tolerance_ms=20))
    player.at(1, frame("camera", 0))
    player.at(90, frame("lidar", lidar_ms))
    (given,) = player.at(110, frame("camera", 100))
    assert ("lidar" in given.present) is present
    assert present or given.absent == {"lidar": Absence.LATE}


def test_a_partner_is_not_consumed():
    player = Player(timing("camera", 33), timing("lidar", 100))
    player.at(1, frame("camera", 0), frame("lidar", 0))
    sets = [s for k in (0, 1, 2) for s in player.at(40 + 33 * k, frame("camera", 10 + 33 * k))]
    assert [partner_ms(s, "lidar") for s in sets] == [0, 0, 0]
    assert player.counts("lidar")["used"] == 1


def test_a_partner_is_final_once_a_stamp_at_or_after_the_reference_is_there():
    player = warm_up(camera_and_lidar())
    assert player.at(505, frame("camera", 500)) == []
    (given,) = player.add(520, frame("lidar", 500))
    assert given.skew_ns["lidar"] == 0
    assert (given.due_ns, given.closed_ns) == (NOW0 + 505 * MS, NOW0 + 520 * MS)


def test_a_partner_is_final_when_the_next_expected_one_is_farther_off():
    player = warm_up(camera_and_lidar(), phase_ms=40, lidar_lag_ms=50)
    (given,) = player.add(505, frame("camera", 480))
    assert partner_ms(given, "lidar") == 440  # the next is expected at 540: 60 ms off, this one is 40 ms off


def test_a_nearer_partner_is_waited_for_until_its_learned_arrival():
    player = warm_up(camera_and_lidar(), lidar_lag_ms=60)
    assert player.at(510, frame("camera", 500)) == []
    assert player.deadline_ms == 500 + 60 + 10  # stamp expected, lag, margin
    assert player.advance(569.999) == []
    (given,) = player.advance(570)
    assert partner_ms(given, "lidar") == 400
    assert given.closed_ns - given.due_ns == 60 * MS


def test_a_measurement_expected_beyond_the_tolerance_is_not_waited_for():
    player = Player(timing("camera", 100), timing("lidar", 100, tolerance_ms=20))
    for k in range(5):
        player.at(100 * k + 6, frame("camera", 100 * k), frame("lidar", 100 * k))
    (given,) = player.add(446, frame("camera", 470))
    assert given.absent == {"lidar": Absence.LATE}


# Events


def test_a_window_is_complete_once_the_watermark_reaches_the_reference():
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    for k in range(9):
        player.at(10 * k + 12, chunk(10 * k, 10 * k + 10))
    assert player.at(102, frame("camera", 100)) == []
    (given,) = player.add(103, chunk(90, 101))
    window = given.present["event"]
    assert (window.start_ns, window.stamp_ns) == (STAMP0 + 70 * MS, STAMP0 + 100 * MS)
    assert window.frame_id == "event_frame"
    assert given.skew_ns["event"] == 0
    assert ((window.payload.t_ns - STAMP0) // MS).tolist() == list(range(71, 101))


def test_a_window_is_cut_in_the_sensors_own_clock():
    player = Player(timing("camera"), timing("event", offset_ms=3))
    player.at(5, frame("camera", 0))
    player.at(104, chunk(0, 110))
    (given,) = player.at(105, frame("camera", 100))
    times = (given.present["event"].payload.t_ns - STAMP0) // MS
    assert (times[0], times[-1]) == (74, 103)


@pytest.mark.parametrize(("covered_until", "present"), [(85, True), (84, False)])
def test_at_the_deadline_half_a_window_is_enough(covered_until, present):
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0), chunk(-20, 0))
    player.at(90, chunk(0, covered_until))
    assert player.at(101, frame("camera", 100)) == []
    (given,) = player.advance(player.deadline_ms)
    if present:
        assert given.skew_ns["event"] == (covered_until - 100) * MS
        assert given.present["event"].stamp_ns == STAMP0 + covered_until * MS
    else:
        assert given.absent == {"event": Absence.LATE}


def test_coverage_counts_gaps_and_overlaps_once():
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    player.at(100, chunk(60, 76), chunk(70, 76.5), chunk(92, 102))  # 6.5 + 8 of 30 ms: under half
    (given,) = player.at(101, frame("camera", 100))
    assert given.absent == {"event": Absence.LATE}
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    player.at(100, chunk(60, 78, x=1), chunk(70, 79, x=2), chunk(92, 102))  # 9 + 8: above half
    (given,) = player.at(101, frame("camera", 100))
    events = given.present["event"].payload
    assert ((events.t_ns - STAMP0) // MS).tolist() == [71, 72, 73, 74, 75, 76, 77, 78, 79, *range(93, 101)]
    assert np.all(np.diff(events.t_ns) > 0)


def test_a_covered_window_without_events_is_empty():
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    player.at(100, chunk(0, 50), chunk(50, 100, at_ms=[55, 70]))
    (given,) = player.at(101, frame("camera", 100))
    assert given.absent == {"event": Absence.EMPTY}
    assert list(given.present) == ["camera"]


def test_chunks_that_arrive_in_the_wrong_order_are_joined_in_time_order():
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    player.at(100, chunk(60, 80), chunk(90, 100), chunk(80, 90))
    (given,) = player.at(101, frame("camera", 100))
    assert ((given.present["event"].payload.t_ns - STAMP0) // MS).tolist() == list(range(71, 101))


def test_a_chunk_without_a_start_covers_from_its_first_event():
    player = Player(timing("camera"), timing("event"))
    player.at(5, frame("camera", 0))
    whole = chunk(60, 100)
    player.at(100, type(whole)("event", whole.modality, whole.stamp_ns, whole.payload))
    (given,) = player.at(101, frame("camera", 100))
    assert len(given.present["event"].payload) == 30


# Deadline


def test_a_constant_difference_between_the_clocks_cancels():
    closings = []
    for shift_ms in (0, -3_600_000, 3_600_000):
        player = camera_and_lidar()
        for k in range(5):
            player.at(shift_ms + 100 * k + 10, frame("camera", 100 * k))
            player.at(shift_ms + 100 * k + 60, frame("lidar", 100 * k))
        player.at(shift_ms + 510, frame("camera", 500))
        closings.append(player.deadline_ms - shift_ms)
    assert closings == [570, 570, 570]


def test_the_wait_is_capped_by_max_wait():
    player = warm_up(camera_and_lidar(max_wait_ms=55), lidar_lag_ms=60)
    player.at(510, frame("camera", 500))
    assert player.deadline_ms == 510 + 55


def test_a_partner_that_cannot_come_within_max_wait_is_not_waited_for():
    player = warm_up(camera_and_lidar(max_wait_ms=40), lidar_lag_ms=60)
    (given,) = player.add(510, frame("camera", 500))
    assert partner_ms(given, "lidar") == 400


def test_the_lag_is_a_robust_maximum():
    player = camera_and_lidar()
    for k in range(40):
        player.at(100 * k + 10, frame("camera", 100 * k))
        player.at(100 * k + (90 if k == 20 else 30 + k % 3), frame("lidar", 100 * k))
    player.at(4010, frame("camera", 4000))
    assert player.deadline_ms == 4000 + 32 + 10


def test_a_set_that_is_complete_closes_at_once():
    player = warm_up(camera_and_lidar())
    assert stamps_ms(player.add(505, frame("lidar", 500), frame("camera", 500))) == [500]


def test_deadlines_are_acted_on_by_advance_alone():
    player = warm_up(camera_and_lidar(), lidar_lag_ms=60)
    player.at(510, frame("camera", 500))
    assert player.add(900, frame("lidar", 420)) == []
    assert stamps_ms(player.advance(900)) == [500]


# Who is waited for


def test_a_sensor_never_seen_is_not_waited_for_and_comes_in_after_two_measurements():
    player = camera_and_lidar()
    (first,) = player.add(10, frame("camera", 0))
    assert first.absent == {"lidar": Absence.NEVER_SEEN}
    player.at(60, frame("lidar", 40))
    (second,) = player.add(210, frame("camera", 200))
    assert second.absent == {"lidar": Absence.LATE}  # seen once: not waited for
    player.at(260, frame("lidar", 240))
    assert player.at(270, frame("camera", 300)) == []  # seen twice: waited for


def test_a_stale_or_lost_sensor_is_not_waited_for():
    player = warm_up(camera_and_lidar())  # the lidar's last: stamp 400 at 420
    for k in range(5, 60):
        player.at(100 * k + 10, frame("camera", 100 * k))
        if player.sync.open_sets:
            player.advance(player.deadline_ms)
    waits = [s.closed_ns - s.due_ns for s in player.sets]
    reasons = [s.absent.get("lidar") for s in player.sets]
    assert waits[0] == 20 * MS  # until 500 + 20 + margin, before the lidar is stale at 420 + 225
    assert set(waits[2:]) == {0}
    assert reasons[:3] == [None, Absence.LATE, Absence.STALE]
    assert reasons[-1] is Absence.LOST
    assert reasons.index(Absence.LOST) == 30  # of 3500, closed at 3510: 420 + 3000 ms is over at 3420


def test_a_disabled_sensor_is_neither_waited_for_nor_used():
    player = warm_up(camera_and_lidar())
    assert player.at(505, frame("camera", 500)) == []
    player.sync.set_enabled("lidar", False)
    (given,) = player.add(506, frame("lidar", 500))
    assert given.absent == {"lidar": Absence.DISABLED}
    assert player.counts("lidar")["disabled"] == 1
    player.sync.set_enabled("lidar", True)
    player.at(600, frame("lidar", 598), frame("lidar", 602))
    (given,) = player.at(610, frame("camera", 600))
    assert partner_ms(given, "lidar") == 598


def test_a_partner_that_falls_silent_while_a_set_waits_is_waited_for_no_longer():
    player = Player(timing("camera"), timing("lidar", stale_ms=101), max_wait_ms=500)
    for k in range(5):
        player.at(100 * k + 10, frame("camera", 100 * k))
        player.at(100 * k + 90, frame("lidar", 100 * k))
    player.at(510, frame("camera", 500))
    assert player.deadline_ms == 490 + 101
    assert stamps_ms(player.advance(591)) == [500]
