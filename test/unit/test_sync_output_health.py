# SPDX-License-Identifier: Apache-2.0
"""What health says of sensors that live, but that no set holds."""

from sync_support import MS, NOW0, Player, frame, timing

from anyseg_ros.sync.health import Level
from anyseg_ros.sync.output_health import OutputState


def health(player, ms, name):
    return player.sync.health(NOW0 + round(ms * MS))[name]


def far_apart(leaps, by_ms):
    """Three sensors at 10 Hz; the stamps of one are off from 2 s to 5 s; what is said of the output at each ms."""
    names = ("camera", "lidar", "depth")
    player = Player(*[timing(name) for name in names])
    said = {}
    for ms in range(0, 7001, 100):
        off = by_ms if 2000 <= ms < 5000 else 0
        player.at(ms + 10, *[frame(name, ms + (off if name == leaps else 0)) for name in names])
        said[ms] = player.sync.output_health(NOW0 + (ms + 15) * MS)
    return player, said


def test_a_live_sensor_that_no_set_holds_is_a_warning_that_names_it():
    player, said = far_apart("lidar", -700)
    assert (said[1900].state, said[4900].level) == (OutputState.OK, Level.WARN)
    assert said[4900].reason == "hardly any set holds lidar: too late for, or too far from, 'camera'"
    assert said[7000].state is OutputState.OK
    assert health(player, 7015, "lidar").skew_ns == 0


def test_where_all_others_agree_against_the_leader_it_is_named():
    _, said = far_apart("camera", 700)
    assert said[4900].reason.startswith("every other sensor is too late for, or too far from, 'camera', which leads")
    assert said[7000].state is OutputState.OK


def test_a_skew_of_long_ago_is_not_shown():
    player = Player(timing("camera"), timing("lidar"))
    for ms in range(0, 4000, 100):
        player.at(ms + 10, frame("camera", ms), frame("lidar", ms - (700 if ms > 2000 else 0)))
    assert health(player, 4000, "lidar").skew_ns is None
