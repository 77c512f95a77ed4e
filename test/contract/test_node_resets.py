# SPDX-License-Identifier: Apache-2.0
"""What follows when the synchroniser starts over: event decoders at once."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import MS, START_NS, events, small_rig  # noqa: E402

from anyseg_ros.bags import messages  # noqa: E402
from anyseg_ros.nodes.sync_loop import SyncLoop  # noqa: E402
from anyseg_ros.sync.synchronizer import Reset  # noqa: E402

NOW_NS = 1000 * MS
SHIFT_NS = 400 * MS  # of the host's clock against the sensor's: too little for the decoder to take it for a jump


class Sync:
    """Stands in for the synchroniser: notes measurements, resets when told to."""

    def __init__(self):
        self.taken, self.resets, self.reset_with_next = [], [], None

    def add(self, measurement, now_ns):
        self.taken.append(measurement)
        if self.reset_with_next is not None:
            self.resets.append(self.reset_with_next)
            self.reset_with_next = None
        return []

    def advance(self, now_ns):
        self.resets.append(Reset(now_ns, "the clock went back"))
        return []

    def reset(self, reason, now_ns):
        self.resets.append(Reset(now_ns, reason))

    def take_resets(self):
        taken, self.resets = self.resets, []
        return taken


class Driver:
    """An event driver whose host clock may shift."""

    def __init__(self):
        self.sync, rig = Sync(), small_rig()
        self.loop, self.sensor = SyncLoop(self.sync, rig, pytest.fail), rig.sensor("event")
        self.shift_ns, self.sent = 0, 0

    def send(self):
        """Sends 10 ms of events; returns how far the decoded ones lie from their header's clock."""
        begin_ns = START_NS + self.sent * 10 * MS
        chunk = events(np.random.default_rng(self.sent), begin_ns, begin_ns + 10 * MS)
        packet = messages.event_packet(begin_ns, "ev", chunk, self.sent)
        packet.header = messages.header(begin_ns + self.shift_ns, "ev")
        self.loop.take(self.sensor, packet, NOW_NS)
        self.sent += 1
        return int(self.sync.taken[-1].payload.t_ns[0]) - begin_ns - self.shift_ns


@pytest.fixture
def driver():
    made = Driver()
    assert [made.send() for _ in range(3)] == [0, 0, 0]
    made.shift_ns = SHIFT_NS
    return made


def test_without_a_reset_a_small_shift_is_averaged(driver):
    assert driver.send() < -SHIFT_NS // 2


def test_the_first_packet_after_a_clock_jump_is_read_with_a_new_decoder(driver):
    driver.loop.reset("the clock jumped", NOW_NS)
    assert driver.send() == 0


def test_a_deadline_that_finds_the_clock_gone_back_renews_decoders(driver):
    driver.loop.tick(NOW_NS, 0)
    assert driver.send() == 0


@pytest.mark.parametrize("sensor", [None, "event"])
def test_a_measurement_that_resets_renews_the_decoder_before_the_next(driver, sensor):
    driver.sync.reset_with_next = Reset(NOW_NS, "the stamps jumped", sensor)
    driver.send()
    assert driver.send() == 0


def test_a_reset_of_another_sensor_leaves_the_decoder_alone(driver):
    driver.sync.reset_with_next = Reset(NOW_NS, "the stamps jumped", "lidar")
    driver.send()
    assert driver.send() < -SHIFT_NS // 2


def test_resets_are_told_once_after_decoders_have_followed(driver):
    driver.loop.reset("first", NOW_NS)
    driver.loop.reset("second", NOW_NS)
    assert [reset.reason for reset in driver.loop.take_resets()] == ["first", "second"]
    assert driver.loop.take_resets() == []


def test_what_decoders_lost_is_counted_beyond_their_replacement(driver):
    assert driver.loop.event_losses("event")["lost_packets"] == 0
    driver.sent += 2
    driver.send()
    driver.loop.reset("the clock jumped", NOW_NS)
    driver.send()
    driver.sent += 3
    driver.send()
    assert driver.loop.event_losses("event")["lost_packets"] == 5
    assert driver.loop.event_losses("lidar") == {}
