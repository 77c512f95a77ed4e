# SPDX-License-Identifier: Apache-2.0
"""Known answers on a reference whose payloads lead to nothing: it loses its rank, and gets it back."""

import pytest
from sync_support import MS, NOW0, STAMP0, Player, frame, frames, stamp_ms, timing

from anyseg_ros.sync.health import SensorState
from anyseg_ros.sync.usability import PROBATION_NS

STEP_MS = 5


def answering(player, arrivals, bad, after_ms=30):
    """Play arrivals; each set is answered a while after it closed.

    Args:
        player: takes them.
        arrivals: (ms, measurement).
        bad: function of sensor and stamp in ms: whether a payload is turned down.
        after_ms: how long an answer takes.

    Returns:
        the sets that came to something.
    """
    useful, waiting = [], []
    arrivals = sorted(arrivals, key=lambda a: a[0])
    ms, seen = 0, 0
    while seen < len(arrivals) or waiting:
        given = []
        while waiting and waiting[0][0] <= ms:
            _, each = waiting.pop(0)
            used = [n for n, m in each.present.items() if not bad(n, (m.stamp_ns - STAMP0) / MS)]
            useful += [each] if used else []
            given += player.sync.answered(each, used, NOW0 + ms * MS)
        while seen < len(arrivals) and arrivals[seen][0] <= ms:
            given += player.add(ms, arrivals[seen][1])
            seen += 1
        given += player.advance(ms)
        waiting += [(ms + after_ms, each) for each in given]
        ms += STEP_MS
    return useful


def closings_ms(sets):
    return [(s.closed_ns - NOW0) / MS for s in sets]


def longest_gap_ms(sets, since_ms):
    times = [since_ms, *(t for t in closings_ms(sets) if t > since_ms)]
    return max(b - a for a, b in zip(times, times[1:], strict=False))


def duo():
    return Player(timing("camera"), timing("lidar"))


def always_black(name, ms):
    return name == "camera"


@pytest.mark.parametrize("lag_ms", [10, 310])
@pytest.mark.parametrize("ahead_ms", [0, 250, -250])
def test_a_black_camera_that_no_partner_is_near_hands_over(lag_ms, ahead_ms):
    player = duo()
    camera = [(ms - ahead_ms, m) for ms, m in frames("camera", 3 + ahead_ms, 6003 + ahead_ms) if ms >= ahead_ms]
    useful = answering(player, camera + frames("lidar", 40, 6040, lag_ms=lag_ms), always_black)
    assert useful and longest_gap_ms(useful, 300) < 700
    assert longest_gap_ms(useful, 1000) < 200
    if lag_ms != 10 or ahead_ms:
        assert {s.reference for s in useful} == {"lidar"}
        assert player.sync.reference == "lidar"


def test_two_sets_that_come_to_nothing_are_enough_and_what_was_measured_meanwhile_is_answered():
    player = duo()
    play_both(player, 0, 500)
    player.at(530, frame("lidar", 520))
    player.at(630, frame("lidar", 620))
    first, second = player.sets[-2:]
    assert player.sync.answered(first, [], NOW0 + 635 * MS) == [] and player.sync.reference == "camera"
    given = player.sync.answered(second, [], NOW0 + 640 * MS)
    assert player.sync.open_sets == 1  # the camera is waited for as any partner
    given += player.advance(670)
    assert [(s.reference, stamp_ms(s)) for s in given] == [("lidar", 520), ("lidar", 620)]


def test_a_set_that_came_to_something_in_between_keeps_the_rank():
    player = duo()
    play_both(player, 0, 500)
    for each in player.sets[-4:]:
        player.sync.answered(each, [], NOW0 + 550 * MS)
        player.sync.answered(each, ["lidar"], NOW0 + 550 * MS)
    assert player.sync.reference == "camera"


def play_both(player, first_ms, last_ms, lidar_ms=20):
    for ms, m in sorted(frames("camera", first_ms, last_ms) + frames("lidar", first_ms + lidar_ms, last_ms)):
        player.at(ms, m)


def test_the_rank_comes_back_with_three_payloads_in_a_row_that_were_used():
    player = duo()
    play_both(player, 0, 500)
    for each in player.sets[-2:]:
        player.sync.answered(each, [], NOW0 + 550 * MS)
    assert player.sync.reference == "lidar"
    play_both(player, 600, 1500)
    both = [s for s in player.sets if s.reference == "lidar" and "camera" in s.present]
    for used in (["camera"], ["camera"], ["lidar"], ["camera", "lidar"], ["camera"]):
        player.sync.answered(both[-1], used, NOW0 + 1550 * MS)
    play_both(player, 1600, 1600)
    assert player.sync.reference == "lidar"
    player.sync.answered(both[-1], ["camera"], NOW0 + 1650 * MS)
    play_both(player, 1700, 1700)
    assert player.sync.reference == "camera"


def test_after_ten_seconds_it_is_tried_again_and_one_failure_is_enough():
    player = duo()
    arrivals = frames("camera", 3, 35403) + frames("lidar", 40, 35040, lag_ms=310)
    useful = answering(player, arrivals, lambda name, ms: name == "camera" and ms < 25_000)
    led = [s for s in player.sets if s.reference == "camera"]
    tries = {ms for ms in closings_ms(led) if 2000 < ms < 25_000}
    assert 2 <= len(tries) <= 4
    assert longest_gap_ms(useful, 1000) < 600
    first = closings_ms(s for s in useful if s.reference == "camera")[0]
    assert first < 25_000 + PROBATION_NS / MS + 500
    assert player.sync.reference == "camera"


def test_one_that_leads_to_nothing_leads_while_no_other_is_alive_and_gives_way_to_the_first():
    player = duo()
    for ms, m in frames("camera", 0, 900):
        for each in player.at(ms, m):
            player.sync.answered(each, [], NOW0 + round(ms + 5) * MS)
    assert player.sync.reference == "camera" and len(player.sets) == 10
    player.at(950, frame("lidar", 940))
    assert player.sync.reference == "lidar"


def test_all_that_lead_to_nothing_leave_the_first_in_the_lead():
    player = duo()
    arrivals = frames("camera", 3, 4403) + frames("lidar", 40, 4040, lag_ms=310)
    assert answering(player, arrivals, lambda name, ms: True) == []
    assert player.sync.reference == "camera" and player.sync.take_resets() == []


def test_health_says_so():
    player = duo()
    play_both(player, 0, 500)
    for each in player.sets[-2:]:
        player.sync.answered(each, [], NOW0 + 550 * MS)
    health = player.sync.health(NOW0 + 560 * MS)["camera"]
    assert (health.state, health.reason) == (SensorState.DEGRADED, "its payloads cannot be used")
    assert not health.is_reference
    player.sync.set_enabled("camera", False)
    player.sync.set_enabled("camera", True)
    play_both(player, 600, 1000)
    assert player.sync.reference == "camera"


def test_a_clock_that_goes_back_does_not_prolong_it():
    player = duo()
    play_both(player, 0, 500)
    for each in player.sets[-2:]:
        player.sync.answered(each, [], NOW0 + 550 * MS)
    player.at(-50_000)
    late_ms = -50_000 + PROBATION_NS / MS
    for ms, m in sorted(frames("camera", 0, 500) + frames("lidar", 20, 520)):
        player.at(ms + late_ms, m)
    assert player.sync.reference == "camera"


def test_an_answer_of_an_unknown_sensor_is_refused():
    player, other = duo(), Player(timing("depth"))
    given = other.at(10, frame("depth", 0))[0]
    with pytest.raises(ValueError, match="no sensor 'depth'"):
        player.sync.answered(given, [], NOW0)
