# SPDX-License-Identifier: Apache-2.0
"""Known answers for the rows on the clock: what now is, jumps, outliers, zero stamps."""

import pytest
from sync_support import (
    MS,
    NOW0,
    STAMP0,
    Player,
    chunk,
    chunks,
    frame,
    frames,
    play,
    stamp_ms,
    stamps_ms,
    timing,
)

from anyseg_ros.sync.synchronizer import Reset
from anyseg_ros.types import Absence, Measurement


def pair(**others):
    return Player(timing("camera"), timing("lidar"), **others)


def run(player, first_ms, last_ms, now_minus_stamp_ms=10, names=("camera", "lidar")):
    """Frames of all sensors at the same stamps, every 100 ms."""
    for ms in range(first_ms, last_ms + 1, 100):
        player.at(ms + now_minus_stamp_ms, *[frame(name, ms) for name in names])


# What is now


def test_while_now_is_zero_nothing_is_closed_by_deadline():
    player = pair()
    for measurement in (frame("camera", 0), frame("lidar", 0), frame("camera", 100), frame("lidar", 100)):
        player.sync.add(measurement, 0)
    assert player.sync.add(frame("camera", 300), 0) == []  # waits for the lidar's 300
    assert player.sync.advance(0) == []
    assert player.sync.next_deadline_ns() is None
    assert player.sync.reference == "camera"


def test_when_simulated_time_starts_sets_wait_from_then_on():
    player = pair()
    for measurement in (frame("camera", 0), frame("lidar", 0), frame("camera", 100), frame("lidar", 100)):
        player.sync.add(measurement, 0)
    player.sync.add(frame("camera", 300), 0)
    assert player.at(0) == []
    assert player.deadline_ms == 150
    (given,) = player.advance(150)
    assert (given.due_ns, given.closed_ns) == (NOW0, NOW0 + 150 * MS)
    assert player.sync.take_resets() == []


def test_while_now_stands_still_nothing_ages():
    player = pair()
    run(player, 0, 500)
    for _ in range(100):
        player.advance(515)
    assert player.sync.reference == "camera"
    assert player.at(520, frame("camera", 600)) == []  # the lidar is still waited for


def test_a_small_step_back_of_now_is_held():
    player = pair()
    run(player, 0, 500)
    (given,) = player.at(450, frame("camera", 600), frame("lidar", 600))
    assert given.closed_ns == NOW0 + 510 * MS
    assert player.sync.take_resets() == []


# Clock jump


def test_until_now_has_caught_up_advance_does_what_the_next_deadline_says():
    """A reference that is switched off while now is held is followed when now has caught up, not before."""
    player = pair()
    run(player, 0, 500)
    player.at(540, frame("lidar", 530))
    player.sets.clear()
    assert player.advance(480) == []
    player.sync.set_enabled("camera", False)
    assert player.deadline_ms == 540
    assert player.advance(500) == []
    assert player.sync.reference == "camera"
    assert stamps_ms(player.advance(540)) == [530]


def test_now_jumping_back_resets_everything():
    player = pair()
    run(player, 0, 500)
    player.at(605, frame("camera", 600))
    (closed,) = player.advance(-10_000)  # what was open closes with what it has, then everything starts over
    assert (stamp_ms(closed), closed.closed_ns) == (600, NOW0 + 605 * MS)
    (reset,) = player.sync.take_resets()
    assert (reset.sensor, reset.reason) == (None, "the clock went back by 10.605 s")
    (given,) = player.at(-9_990, frame("camera", -10_000))
    assert given.absent == {"lidar": Absence.LATE}


@pytest.mark.parametrize("jump_ms", [-60_000, -1_200, 1_200, 60_000])
def test_two_reference_stamps_that_agree_on_a_jump_reset_everything(jump_ms):
    player = pair()
    run(player, 0, 500)
    player.sets.clear()
    assert player.at(610, frame("camera", 600 + jump_ms)) == []
    sets = player.at(710, frame("camera", 700 + jump_ms))
    assert stamps_ms(sets) == [600 + jump_ms, 700 + jump_ms]  # the next good measurement is answered
    assert [s.present.keys() for s in sets] == [{"camera"}, {"camera"}]
    assert player.sync.take_resets() == [
        Reset(NOW0 + 710 * MS, f"the stamps of 'camera' jumped by {(jump_ms + 200) / 1000:+.3f} s")
    ]
    assert player.sync.take_resets() == []


def test_a_bag_loop_costs_no_measurement_of_the_sensors_that_jumped_first():
    player = Player(timing("camera"), timing("event"))
    for k in range(50):
        player.at(10 * k + 12, chunk(10 * k, 10 * k + 10), *([frame("camera", 10 * k)] if k % 10 == 0 else []))
    player.sets.clear()
    for k in range(12):
        now = 512 + 10 * k
        back = 10 * k - 30_000
        player.at(now, chunk(back, back + 10), *([frame("camera", back)] if k % 10 == 0 else []))
    assert stamps_ms(player.sets) == [-30000, -29900]
    assert player.sets[1].skew_ns == {"camera": 0, "event": 0}
    assert [r.sensor for r in player.sync.take_resets()] == ["event", None]


def test_a_jump_of_another_sensor_alone_resets_that_one():
    player = pair()
    run(player, 0, 500)
    player.at(610, frame("camera", 600), frame("lidar", -20_000))
    player.at(710, frame("camera", 700), frame("lidar", -19_900))
    (reset,) = player.sync.take_resets()
    assert reset.sensor == "lidar"
    player.advance(800)
    assert stamps_ms(player.sets)[-3:] == [500, 600, 700]
    assert player.sync.reference == "camera"
    for ms in (800, 900, 1000):
        player.at(ms + 10, frame("camera", ms), frame("lidar", ms - 20_600))
    assert stamps_ms(player.sets)[-3:] == [800, 900, 1000]
    assert player.sets[-1].absent == {"lidar": Absence.LATE}


def test_a_promoted_sensor_in_an_earlier_time_does_not_wait_until_it_catches_up():
    player = pair()
    run(player, 0, 500)
    for ms in range(600, 2000, 100):  # the bag loops for the lidar alone: the camera had been cut
        player.at(ms + 10, frame("lidar", ms - 20_000))
    assert player.sync.reference == "lidar"
    assert stamps_ms(player.sets)[-3:] == [-18_300, -18_200, -18_100]
    reason = player.sync.take_resets()[-1].reason
    assert reason == "'lidar' is now the reference, 19.700 s behind the last output"


def test_the_set_that_waits_at_a_promotion_into_an_earlier_time_costs_no_measurement_of_it():
    """That set closes far above the stamps of the new time, which are not too old for the next one."""
    player = Player(timing("lidar"), timing("camera"), timing("depth"), max_wait_ms=400)
    rig = frames("camera", 0, 1000) + frames("depth", 0, 900, lag_ms=160)
    play(player, rig + frames("lidar", -19_910, -19_010, lag_ms=20_021))
    assert player.sync.open_sets == 1
    play(player, frames("lidar", -18_910, -18_810, lag_ms=20_021))
    assert stamps_ms(player.sets)[-3:] == [1000, -18_910, -18_810]
    assert player.counts("lidar") == {"received": 12, "used": 2, "unused": 10}


def test_a_promotion_into_an_earlier_time_leaves_the_window_of_events_whole():
    player = Player(timing("event", 20), timing("camera"), timing("depth"), max_wait_ms=400)
    rig = frames("camera", 0, 1000) + frames("depth", 0, 900, lag_ms=160)
    play(player, rig + chunks(-19_950, -18_950, lag_ms=19_975, step_ms=20))
    assert player.sync.open_sets == 1
    play(player, chunks(-18_950, -18_910, lag_ms=19_975, step_ms=20))
    assert stamps_ms(player.sets)[-2:] == [1000, -18_920]
    assert len(player.sets[-1].present["event"].payload) == 30


@pytest.mark.parametrize("outlier_ms", [-60_000, 60_000])
def test_one_outlier_is_rejected_and_never_raises_the_last_output(outlier_ms):
    player = pair()
    run(player, 0, 500)
    player.sets.clear()
    player.at(555, frame("camera", 550 + outlier_ms), frame("lidar", 550 + outlier_ms))
    run(player, 600, 900)
    assert stamps_ms(player.sets) == [600, 700, 800, 900]
    assert all(s.skew_ns["lidar"] == 0 for s in player.sets)
    assert player.counts("camera")["rejected_outlier"] == player.counts("lidar")["rejected_outlier"] == 1
    assert player.sync.take_resets() == []


def test_two_outliers_that_do_not_agree_are_both_rejected():
    player = pair()
    run(player, 0, 500)
    player.at(555, frame("camera", 60_000))
    player.at(565, frame("camera", 90_000))
    run(player, 600, 700)
    assert stamps_ms(player.sets)[-2:] == [600, 700]
    assert player.counts("camera")["rejected_outlier"] == 2


def test_an_outlier_before_a_measurement_that_comes_late_is_no_jump():
    player = pair()
    run(player, 0, 500)
    player.at(555, frame("camera", -560))
    player.at(560, frame("camera", 430))  # nearer to what came before than to the outlier
    run(player, 600, 700)
    assert stamps_ms(player.sets)[-3:] == [500, 600, 700]
    assert (player.counts("camera")["rejected_outlier"], player.counts("camera")["late"]) == (1, 1)


@pytest.mark.parametrize("stamp_ns", [0, -1])
def test_a_zero_stamp_is_rejected(stamp_ns):
    player = pair()
    run(player, 0, 500)
    player.sync.add(Measurement("camera", frame("camera", 0).modality, stamp_ns, b""), NOW0 + 555 * MS)
    run(player, 600, 600)
    assert stamps_ms(player.sets)[-1] == 600
    assert player.counts("camera")["rejected_stamp"] == 1


def test_a_sensor_whose_stamps_are_all_refused_is_absent_as_rejected():
    player = pair()
    modality = frame("lidar", 0).modality
    for ms in range(0, 500, 100):
        player.at(ms + 10, Measurement("lidar", modality, 0, b""), frame("camera", ms))
    assert {s.absent["lidar"] for s in player.sets} == {Absence.REJECTED}
    player.at(2000, frame("camera", 1990))
    assert player.sets[-1].absent["lidar"] is Absence.NEVER_SEEN


def test_silence_and_a_stall_are_no_jump():
    player = pair()
    run(player, 0, 500)
    run(player, 10_000, 10_500)  # 9.5 s of silence, by both clocks
    for ms in range(10_600, 14_000, 100):  # 3.4 s of stall: the stamps go on, now arrives in one piece
        player.add(14_000, frame("camera", ms), frame("lidar", ms))
    player.advance(14_000)
    assert player.sync.take_resets() == []
    assert stamps_ms(player.sets)[-34:] == list(range(10_600, 14_000, 100))


def test_an_event_chunk_that_ends_before_it_starts_is_rejected():
    player = Player(timing("event"))
    player.at(5, chunk(10, 0, at_ms=[]))
    assert player.counts("event") == {"received": 1, "rejected_stamp": 1}


def test_an_explicit_reset_loses_what_is_open_and_counts_it():
    player = pair()
    run(player, 0, 500)
    player.at(605, frame("camera", 600))
    player.sync.reset("the clock type changed", NOW0 + 610 * MS)
    assert player.sync.take_resets() == [Reset(NOW0 + 610 * MS, "the clock type changed")]
    assert player.sync.set_counts() == {"due": 7, "given": 6, "reset": 1, "skipped": 0}
    assert player.counts("camera") == {"received": 7, "used": 6, "reset": 1}
    assert player.advance(700) == []
    (given,) = player.at(710, frame("camera", -5_000))
    assert stamp_ms(given) == -5_000


# What is no measurement of this rig


def test_an_unknown_sensor_and_a_float_stamp_are_refused_with_a_sentence():
    player = pair()
    with pytest.raises(ValueError, match="there is no sensor 'radar'; the configuration has camera, lidar"):
        player.sync.add(Measurement("radar", frame("lidar", 0).modality, STAMP0, b""), NOW0)
    with pytest.raises(ValueError, match=r"'camera': the stamp is 1\.5, expected integer nanoseconds"):
        player.sync.add(Measurement("camera", frame("camera", 0).modality, 1.5, b""), NOW0)
    with pytest.raises(ValueError, match="there is no sensor 'radar'"):
        player.sync.set_enabled("radar", False)
