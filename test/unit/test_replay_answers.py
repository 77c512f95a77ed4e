# SPDX-License-Identifier: Apache-2.0
"""A camera of which nothing can be used leads no longer: in a replay, and as the node hands its answers over."""

from collections import deque

from sync_support import MS, NOW0, frame, timing

from anyseg_ros.bags.replay import virtual_time
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import SyncConfig

LIDAR_LATE_MS = 300


def drive(last_ms=4000):
    """A camera at 10 Hz, and a lidar whose clouds arrive too late for any image."""
    arrivals = [(NOW0 + (ms + 10) * MS, frame("camera", ms)) for ms in range(0, last_ms, 100)]
    arrivals += [(NOW0 + (ms + LIDAR_LATE_MS) * MS, frame("lidar", ms)) for ms in range(0, last_ms, 100)]
    return sorted(arrivals, key=lambda entry: entry[0])


def played(black):
    synchronizer = Synchronizer(SyncConfig((timing("camera"), timing("lidar")), max_wait_ns=150 * MS))
    led, useful = deque(), []
    for frame_set in virtual_time(drive(), synchronizer, led):
        used = [name for name in frame_set.present if not (black and name == "camera")]
        led.append((frame_set, used))
        useful.append((frame_set.stamp_ns, frame_set.closed_ns, bool(used)))
    return useful


def test_a_black_camera_beside_a_late_lidar_is_no_silence():
    useful = [closed_ns for _, closed_ns, used in played(black=True) if used]
    assert (useful[0] - NOW0) / MS <= 700
    assert max(b - a for a, b in zip(useful, useful[1:], strict=False)) <= 200 * MS
    assert len(useful) > 30


def test_sets_of_another_leader_come_in_order():
    stamps = [stamp_ns for stamp_ns, _, _ in played(black=True)]
    assert stamps == sorted(set(stamps))


def test_a_good_camera_goes_on_leading():
    assert len(played(black=False)) == 40
