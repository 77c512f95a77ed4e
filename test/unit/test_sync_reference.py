# SPDX-License-Identifier: Apache-2.0
"""Known answers for the rows on the reference: which sensor it is, promotion, return, and when none is alive."""

from sync_support import MS, NOW0, Player, chunk, chunks, frame, frames, partner_ms, play, stamp_ms, stamps_ms, timing

from anyseg_ros.types import Absence


def trio(**others):
    return Player(timing("camera"), timing("lidar"), timing("event"), **others)


# Which sensor is the reference


def test_the_best_live_sensor_in_the_order_is_the_reference():
    player = trio()
    play(player, frames("camera", 0, 900) + frames("lidar", 30, 930) + chunks(0, 1000))
    assert {s.reference for s in player.sets} == {"camera"}
    assert stamps_ms(player.sets) == list(range(0, 1000, 100))
    player = Player(timing("lidar"), timing("camera"))
    play(player, frames("camera", 50, 950) + frames("lidar", 30, 930))
    assert {s.reference for s in player.sets} == {"lidar"}


def test_a_set_is_due_for_each_measurement_of_the_reference():
    player = Player(timing("camera", 33))
    play(player, frames("camera", 0, 33 * 30, period_ms=33))
    assert stamps_ms(player.sets) == list(range(0, 33 * 30 + 1, 33))


def test_events_as_reference_are_due_at_each_multiple_that_their_corrected_watermark_crosses():
    player = Player(timing("event", 50, offset_ms=3))
    play(player, chunks(0, 400, step_ms=10))
    assert stamps_ms(player.sets) == [50, 100, 150, 200, 250, 300, 350]
    for given in player.sets:
        assert given.present["event"].stamp_ns == given.stamp_ns + 3 * MS
        assert given.closed_ns == given.due_ns == NOW0 + round(stamp_ms(given) + 10 + 2) * MS
        assert len(given.present["event"].payload) == 30


def test_one_chunk_may_cross_several_multiples():
    player = Player(timing("event", 50))
    player.at(5, chunk(0, 10))
    assert stamps_ms(player.at(210, chunk(10, 201))) == [50, 100, 150, 200]


def test_a_multiple_whose_window_has_not_arrived_by_half_is_not_due_and_is_counted():
    player = Player(timing("event", 50))
    player.at(5, chunk(0, 60))
    assert stamps_ms(player.at(210, chunk(140, 210))) == [200]
    assert player.sync.set_counts() == {"due": 2, "given": 2, "reset": 0, "skipped": 2}


def test_an_absurdly_long_chunk_is_due_for_its_last_multiples_only():
    player = Player(timing("event", 50), max_open_sets=4)
    player.at(5, chunk(-10, 10))
    assert stamps_ms(player.at(20, chunk(-86_400_000, 970, at_ms=[940])))[-4:] == [800, 850, 900, 950]
    assert player.sync.set_counts()["due"] == 4


def test_an_empty_window_of_the_reference_is_due_and_says_so():
    player = Player(timing("event", 50))
    (given,) = player.at(52, chunk(0, 51, at_ms=[5]))
    assert (given.present, given.absent) == ({}, {"event": Absence.EMPTY})


# Promotion


def test_the_next_sensor_takes_over_after_the_stale_time_and_answers_what_came_meanwhile():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 30, 930))
    assert stamps_ms(player.sets) == [0, 100, 200, 300, 400, 430, 530, 630, 730, 830, 930]
    promoted = player.sets[5:7]
    assert [s.closed_ns for s in promoted] == [NOW0 + (410 + 225) * MS] * 2
    assert [s.due_ns for s in promoted] == [NOW0 + 440 * MS, NOW0 + 540 * MS]
    assert [s.reference for s in player.sets] == ["camera"] * 5 + ["lidar"] * 6


def test_stamps_at_or_below_the_last_output_serve_only_as_partners():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 0, 900, lag_ms=5))
    assert stamps_ms(player.sets) == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert partner_ms(player.sets[4], "lidar") == 400


def test_open_sets_still_close_after_a_promotion():
    player = Player(timing("camera", stale_ms=120), timing("lidar"), max_wait_ms=400)
    play(player, frames("camera", 0, 500) + frames("lidar", 0, 400, lag_ms=150))
    assert (player.sync.reference, player.sync.open_sets) == ("camera", 1)
    player.advance(630)
    assert (player.sync.reference, player.sync.open_sets) == ("lidar", 1)
    (given,) = player.add(650, frame("lidar", 500))
    assert (given.reference, stamp_ms(given)) == ("camera", 500)
    assert stamps_ms(player.add(750, frame("lidar", 600))) == [600]


def test_open_sets_keep_their_partners_over_a_promotion():
    sensors = timing("camera", 50, stale_ms=120), timing("lidar", 100, tolerance_ms=10), timing("event", 100)
    player = Player(*sensors, max_wait_ms=400)
    play(player, frames("camera", 0, 600, period_ms=50) + frames("lidar", 45, 645) + chunks(0, 490, lag_ms=220))
    player.advance(735)
    assert (player.sync.reference, player.sync.open_sets) == ("lidar", 4)  # 500, 550, 600 and the lidar's 645
    assert stamps_ms(player.add(765, chunk(490, 540))) == [500]
    (given,) = player.add(775, chunk(540, 555))
    assert (stamp_ms(given), partner_ms(given, "lidar")) == (550, 545)


def test_events_take_over_when_nothing_else_lives():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 30, 430) + chunks(0, 1000))
    assert stamps_ms(player.sets) == [0, 100, 200, 300, 400, 430, 500, 600, 700, 800, 900, 1000]
    assert [s.reference for s in player.sets[6:]] == ["event"] * 6


def test_a_disabled_reference_is_followed_at_the_next_advance():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 30, 430))
    player.sync.set_enabled("camera", False)
    assert stamps_ms(player.advance(450)) == [430]
    assert player.sync.reference == "lidar"


def test_a_cut_stream_of_events_is_noticed_from_its_last_output_time():
    player = Player(timing("event", 50), timing("camera", 50))
    play(player, chunks(0, 490) + frames("camera", 20, 970, period_ms=50, lag_ms=5))
    assert player.sets[8].reference == "event"
    assert stamps_ms(player.sets[8:12]) == [450, 470, 520, 570]
    assert player.sets[9].closed_ns == NOW0 + round((450 + 2 + 2.25 * 50) * MS)


def test_a_sensor_that_delivers_steadily_is_promoted_before_one_that_has_just_come():
    player = trio()
    play(player, frames("camera", 0, 400) + chunks(0, 700) + frames("lidar", 615, 615))
    assert player.sync.reference == "event"


def test_a_sensor_that_falls_silent_again_is_noticed_again():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("camera", 1000, 1400) + frames("lidar", 30, 2030))
    references = [s.reference for s in player.sets]
    changes = [one for one, two in zip(references, [*references[1:], None], strict=True) if one != two]
    assert changes == ["camera", "lidar", "camera", "lidar"]
    assert player.sets[-1].absent["camera"] is Absence.STALE


# Return


def test_a_sensor_returns_after_three_measurements_in_period():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 30, 1530) + frames("camera", 1000, 1500))
    by_camera = [stamp_ms(s) for s in player.sets if s.reference == "camera"]
    assert by_camera == [0, 100, 200, 300, 400, 1200, 1300, 1400, 1500]
    by_lidar = [stamp_ms(s) for s in player.sets if s.reference == "lidar"]
    assert by_lidar == list(range(430, 1131, 100))


def test_measurements_out_of_period_do_not_bring_a_sensor_back():
    player = trio()
    every_160 = [(ms + 10, frame("camera", ms)) for ms in range(1000, 2601, 160)]
    play(player, frames("camera", 0, 400) + frames("lidar", 30, 2630) + every_160)
    assert player.sync.reference == "lidar"


def test_a_returning_sensor_is_answered_from_its_first_stamp_above_the_last_output():
    player = Player(timing("camera"), timing("lidar", 1000))
    play(player, frames("lidar", 0, 1000, period_ms=1000) + frames("camera", 1110, 1310))
    assert stamps_ms(player.sets) == [0, 1000, 1110, 1210, 1310]
    assert [s.closed_ns for s in player.sets[2:]] == [NOW0 + 1320 * MS] * 3


def test_a_better_sensor_is_the_reference_at_once_as_long_as_nothing_has_been_answered():
    player = trio()
    player.at(5, chunk(0, 3))
    assert stamps_ms(player.at(10, frame("camera", 0))) == [0]


# No sensor alive


def test_with_no_sensor_alive_nothing_is_due_and_the_first_good_measurement_is_answered():
    player = trio()
    play(player, frames("camera", 0, 400) + frames("lidar", 0, 400))
    for ms in range(500, 5000, 100):
        assert player.advance(ms) == []
    assert player.sync.reference is None
    assert player.deadline_ms is None
    (given,) = player.add(5030, frame("lidar", 5000))
    assert (given.reference, given.absent["camera"]) == ("lidar", Absence.LOST)


def test_what_came_while_no_sensor_was_alive_is_not_answered_later():
    player = Player(timing("camera", 200), timing("lidar", 50))
    play(player, frames("camera", 0, 400, period_ms=200) + frames("lidar", 405, 455, period_ms=50))
    player.advance(870)
    assert player.sync.reference is None
    assert stamps_ms(player.at(2000, frame("lidar", 1990))) == [1990]
    assert stamps_ms(player.at(2050, frame("lidar", 2040))) == [2040]


# Two clocks


def test_outputs_increase_in_their_own_stamps_when_sensors_differ_in_offset():
    player = Player(timing("camera"), timing("lidar", offset_ms=-40))
    play(player, frames("camera", 0, 400) + frames("lidar", 380, 980, period_ms=100))
    stamps = stamps_ms(player.sets)  # the lidar's 380 is 420 on the common clock, but below 400 in its own
    assert stamps == [0, 100, 200, 300, 400, 480, 580, 680, 780, 880, 980]
