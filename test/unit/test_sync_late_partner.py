# SPDX-License-Identifier: Apache-2.0
"""Known answers on a sensor that becomes too late for the sets: they stop waiting for it, and begin again."""

import pytest
from sync_support import MS, NOW0, Player, frame, frames, play, stamp_ms, timing


def late_lidar(until_ms, quick_every=0):
    """(ms, frame): 40 ms late, from 5 s on 340 ms, but for one in so many."""
    for k in range(until_ms // 100):
        ms = 40 + 100 * k
        late = ms > 5000 and not (quick_every and k % quick_every == 0)
        yield ms + (340 if late else 40), frame("lidar", ms)


@pytest.mark.parametrize("quick_every", [0, 40, 10])
def test_a_sensor_that_has_become_too_late_is_soon_waited_for_no_longer(quick_every):
    player = Player(timing("camera"), timing("lidar"))
    play(player, frames("camera", 3, 20_003) + list(late_lidar(20_000, quick_every)))
    without = [s for s in player.sets if s.closed_ns > NOW0 + 5000 * MS and "lidar" not in s.present]
    waited = [s for s in without if s.closed_ns > s.due_ns]
    assert len(without) > 100 and len(waited) <= 4
    assert max(stamp_ms(s) for s in waited) < 6000


def test_it_is_waited_for_again_once_two_in_a_row_would_have_been_in_time():
    player = Player(timing("camera"), timing("lidar"))
    rig = frames("camera", 3, 12_003) + list(late_lidar(8000))
    play(player, rig + frames("lidar", 8040, 12_040, lag_ms=40))
    held = {stamp_ms(s) for s in player.sets if s.skew_ns.get("lidar") in (37 * MS, -63 * MS)}
    assert held >= set(range(8503, 12_004, 100))
    assert all(s.skew_ns["lidar"] == 37 * MS for s in player.sets if 8503 <= stamp_ms(s) < 12_003)


def test_a_few_lost_messages_do_not_end_the_waiting():
    player = Player(timing("camera"), timing("lidar"))
    lidar = [a for a in frames("lidar", 40, 10_040, lag_ms=40) if not 5000 < a[0] < 5200 and a[0] % 500 < 400]
    play(player, frames("camera", 3, 10_003) + lidar)
    arrived = {round((m.stamp_ns - frame("lidar", 0).stamp_ns) / MS) for _, m in lidar}
    nearest = [s for s in player.sets if stamp_ms(s) > 6000 and round(stamp_ms(s)) + 37 in arrived]
    assert nearest and all(s.skew_ns["lidar"] == 37 * MS for s in nearest)
