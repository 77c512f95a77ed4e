# SPDX-License-Identifier: Apache-2.0
"""Known answers on sensors that tell another time than the reference: when they take the lead, and when not."""

import pytest
from sync_support import MS, NOW0, Player, chunk, frame, frames, play, stamps_ms, timing


def closings_ms(sets, since_ms):
    return [(s.closed_ns - NOW0) / MS for s in sets if s.closed_ns >= NOW0 + since_ms * MS]


def longest_gap_ms(sets, since_ms):
    times = closings_ms(sets, since_ms)
    return max(b - a for a, b in zip(times, times[1:], strict=False))


def behind(by_ms, first_ms, last_ms):
    """(ms, camera frame) whose stamps are behind by so much."""
    return [(ms + 10, frame("camera", ms - by_ms)) for ms in range(first_ms, last_ms + 1, 100)]


@pytest.mark.parametrize("by_ms", [250, 507, 957, 5000])
def test_a_camera_whose_clock_is_behind_returns_without_a_gap(by_ms):
    player = Player(timing("camera"), timing("lidar"))
    play(player, behind(by_ms, 3, 5003) + behind(by_ms, 8003, 12_003) + frames("lidar", 40, 12_040))
    assert player.sync.reference == "camera"
    assert longest_gap_ms(player.sets, 1000) < 300
    resets = [r.reason for r in player.sync.take_resets()]
    assert len(resets) == (by_ms > 300) and all("'camera' is now the reference" in r for r in resets)


def test_a_camera_that_catches_up_after_a_cut_leads_when_it_has():
    """What waited in the network comes at once: in period by its stamps, and of the past."""
    player = Player(timing("camera"), timing("lidar"))
    late = [(8000 + k, frame("camera", 5100 + 100 * k)) for k in range(29)]
    play(player, frames("camera", 0, 5000) + late + frames("camera", 8000, 9000) + frames("lidar", 40, 9040))
    assert player.sync.take_resets() == []
    assert stamps_ms(player.sets) == sorted(stamps_ms(player.sets))
    assert longest_gap_ms(player.sets, 1000) < 300
    assert player.sync.reference == "camera"


def jumped(first_ms, last_ms, begin_ms, end_ms):
    """(ms, lidar frame) that is 10 s ahead from one time to another."""
    return [
        (ms + 10, frame("lidar", ms + (10_000 if begin_ms <= ms < end_ms else 0)))
        for ms in range(first_ms, last_ms + 1, 100)
    ]


def test_a_partner_in_another_time_is_not_preferred_to_one_that_agrees():
    player = Player(timing("camera"), timing("lidar"), timing("depth"))
    camera = frames("camera", 3, 5003) + frames("camera", 9003, 12_003)
    play(player, camera + jumped(40, 12_040, 4000, 8000) + frames("depth", 60, 12_060))
    assert stamps_ms(player.sets) == sorted(stamps_ms(player.sets))
    assert {r.sensor for r in player.sync.take_resets()} == {"lidar"}
    assert {s.reference for s in player.sets if 5500 < (s.closed_ns - NOW0) / MS < 8000} == {"depth"}
    assert longest_gap_ms(player.sets, 1000) < 300
    assert player.sync.reference == "camera"


def test_it_leads_where_it_is_the_only_one_that_is_alive():
    player = Player(timing("camera"), timing("lidar"))
    play(player, frames("camera", 3, 5003) + jumped(40, 7000, 4000, 8000))
    assert player.sync.reference == "lidar"
    assert longest_gap_ms(player.sets, 1000) < 300


def test_nor_before_anything_has_been_answered():
    """No window is covered by half yet; the first stream dies, and a camera that ranks before the second has jumped."""
    first, second = (timing(name, 20, window_ms=400) for name in ("event1", "event2"))
    player = Player(first, timing("camera", 20), second)
    events = [(k + 10, chunk(k, k + 10, name="event1")) for k in range(0, 40, 10)]
    events += [(k + 10, chunk(k, k + 10, name="event2")) for k in range(0, 150, 10)]
    play(player, events + [(ms, frame("camera", ms + (3000 if ms > 50 else 0))) for ms in range(15, 150, 20)])
    assert [r.sensor for r in player.sync.take_resets()] == ["camera"]
    assert player.sync.reference == "event2"
