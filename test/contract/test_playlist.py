# SPDX-License-Identifier: Apache-2.0
"""What the player makes of recordings that are not the simulator's."""

import io
import json
import threading
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import MS, START_NS, events, image, small_rig  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import get_types_from_msg  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402

from anyseg_ros.bags import messages  # noqa: E402
from anyseg_ros.bags.definitions import EVENT_PACKET, IMAGE, typestore  # noqa: E402
from anyseg_ros.nodes import conversions  # noqa: E402
from anyseg_ros.nodes.parameters import PlayerParameters  # noqa: E402
from anyseg_ros.nodes.player_node import PlayerNode  # noqa: E402
from anyseg_ros.nodes.playlist import Item, Playlist  # noqa: E402
from anyseg_ros.types import Events  # noqa: E402

OWN_TYPE = "vehicle_msgs/msg/Speed"


@pytest.fixture
def random():
    return np.random.default_rng(0)


def no_events():
    none = np.zeros(0, np.uint16)
    return Events(none, none, np.zeros(0, np.int64), np.zeros(0, np.uint8), 80, 45)


def write(path, entries, extra=""):
    """A bag of (topic, type, message) at 10 ms; ``extra`` defines ``OWN_TYPE``."""
    store = typestore()
    types = dict(store.fielddefs)
    if extra:
        from rosbags.typesys import Stores, get_typestore

        store = get_typestore(Stores.ROS2_JAZZY)
        store.register(get_types_from_msg(extra, OWN_TYPE))
        store.register({n: d for n, d in types.items() if n not in store.fielddefs})
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connections = {}
        for tick, (topic, msgtype, make) in enumerate(entries):
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, msgtype, typestore=store)
            message = make(store) if callable(make) else make
            bag.write(connections[topic], START_NS + tick * 10 * MS, store.serialize_cdr(message, msgtype))
    return path


def read(playlist):
    """All its items; the test fails where they do not come."""
    found, failure = [], []

    def collect():
        try:
            found.extend(playlist.items(threading.Event()))
        except Exception as error:
            failure.append(error)

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive(), "the player waits for ever"
    assert not failure, failure
    return found


def picture(random, tick):
    return "/camera/image_raw", IMAGE, messages.image(START_NS + tick * 10 * MS, "cam", image(random))


def test_types_that_only_the_bag_defines_are_played(tmp_path, random, monkeypatch):
    speed = ("/speed", OWN_TYPE, lambda store: store.types[OWN_TYPE](metres_per_second=4.0))
    bag = write(tmp_path / "bag", [picture(random, 0), speed], extra="float64 metres_per_second")
    known = conversions.message_type
    stand_in = SimpleNamespace(
        name="Speed", get_fields_and_field_types=lambda: {"metres_per_second": "double"}
    )  # as where the vehicle's own messages are installed
    monkeypatch.setattr(conversions, "message_type", lambda name: stand_in if name == OWN_TYPE else known(name))
    playlist = Playlist(bag, small_rig(), PlayerParameters(bag="x"))
    items = read(playlist)
    assert [item.track.topic for item in items] == ["/camera/image_raw", "/speed"]
    assert np.frombuffer(items[1].message, "<f8", offset=4)[0] == 4.0


def test_a_packet_without_events_or_of_another_camera_is_passed_over(tmp_path, random):
    if conversions.message_type(EVENT_PACKET) is not None:
        pytest.skip("event_camera_msgs is installed: packets are played as they are")
    packets = [
        messages.event_packet(START_NS, "ev", events(random, START_NS, START_NS + 10 * MS), 0),
        messages.event_packet(START_NS + 10 * MS, "ev", no_events(), 1),
        messages.event_packet(START_NS + 20 * MS, "ev", events(random, START_NS + 20 * MS, START_NS + 30 * MS), 2),
        messages.event_packet(START_NS + 30 * MS, "ev", events(random, START_NS + 30 * MS, START_NS + 40 * MS), 3),
    ]
    # A camera that sees nothing sends the time all the same: EVT 3.0's TIME_HIGH words, here 8 x 4.096 ms on.
    late = int(packets[0].header.stamp.nanosec // 1000 + packets[0].header.stamp.sec * 1_000_000)
    packets[1].events = np.array([0x8000 | ((late >> 12) + step & 0xFFF) for step in range(1, 5)], "<u2").view(np.uint8)
    packets[2].width = 640
    entries = [("/event_camera/events", EVENT_PACKET, packet) for packet in packets]
    items = read(Playlist(write(tmp_path / "bag", entries), small_rig(), PlayerParameters(bag="x")))
    clouds = [deserialize_message(item.message, PointCloud2) for item in items]
    assert len(clouds) == 2 and all(cloud.width > 0 for cloud in clouds)


def test_a_recorded_clock_gives_way_to_the_players_own(tmp_path, random):
    times = [
        ("/clock", "rosgraph_msgs/msg/Clock", lambda store: store.types["rosgraph_msgs/msg/Clock"](clock=_time(store)))
    ]
    bag = write(tmp_path / "bag", [picture(random, 0), *times])
    own = Playlist(bag, small_rig(), PlayerParameters(bag="x", clock_hz=100.0))
    assert "/clock" in own.skipped and "/clock" not in own.tracks
    assert "/clock" in Playlist(bag, small_rig(), PlayerParameters(bag="x")).tracks


def _time(store):
    return store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)


def test_a_message_counts_as_published_before_anybody_can_have_answered_it():
    heard_ns, log = [], io.StringIO()
    track = SimpleNamespace(
        topic="/points", published_as="/points", stamped=False, sensor=SimpleNamespace(name="lidar")
    )
    player = SimpleNamespace(
        _playlist=SimpleNamespace(start_ns=START_NS),
        _out={"/points": SimpleNamespace(publish=lambda message: heard_ns.append(time.monotonic_ns()))},
        _shift_ns=lambda progress_ns: 0,
        _due_ns=lambda item: 0,
        _late_ns=0,
        _published=Counter(),
    )
    PlayerNode._publish(player, Item(track, START_NS, START_NS, b"cloud"), log)
    row = json.loads(log.getvalue())
    assert row["sensor"] == "lidar" and row["published_ns"] <= heard_ns[0] and player._published == {"lidar": 1}
