# SPDX-License-Identifier: Apache-2.0
"""What a player publishes: a bag's messages in order, serialised ahead of time in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from anyseg_ros.bags.drops import parse_drops
from anyseg_ros.bags.reader import BagReader, EventFeed
from anyseg_ros.nodes import conversions
from anyseg_ros.nodes.parameters import PlayerParameters
from anyseg_ros.sensors.rig import Rig, Sensor

EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
CLOCK = "/clock"
# Two seconds of a rig with a hundred event packets a second: the disk may stutter, the player must not.
_AHEAD = 300


@dataclass(frozen=True)
class Track:
    """One topic to publish.

    Attributes:
        topic: the topic in the bag.
        published_as: the topic to publish on; another one for events that travel as points.
        kind: message class.
        msgtype: its name.
        sensor: the rig's sensor that it belongs to, or None.
        latched: transient local, as /tf_static is.
        stamped: its messages begin with a header.
    """

    topic: str
    published_as: str
    kind: type
    msgtype: str
    sensor: Sensor | None
    latched: bool
    stamped: bool


@dataclass(frozen=True)
class Item:
    """One message to publish.

    Attributes:
        track: its topic.
        bag_ns: time of arrival in the bag.
        stamp_ns: of a sensor's measurement (events: of the last event), else 0.
        message: serialised; None where a cut silences the sensor.
        moved_ns: by how much the stamp is to be moved when it is published.
    """

    track: Track
    bag_ns: int
    stamp_ns: int
    message: bytes | None
    moved_ns: int = 0


class Playlist:
    """The topics and messages of a bag that can be published here.

    Args:
        bag: the bag.
        rig: gives names to topics.
        settings: cuts and topics that are left out.

    Attributes:
        tracks: by topic.
        skipped: why a topic is not played, by topic.
        start_ns, end_ns: of the bag, in time of arrival.

    Raises:
        ValueError: no bag is there, it does not fit the rig, or the cut list cannot be read.
    """

    def __init__(self, bag: Path, rig: Rig, settings: PlayerParameters) -> None:
        self._bag = bag
        self._drops = parse_drops(settings.drop, rig)
        self.skipped: dict[str, str] = {}
        self.tracks: dict[str, Track] = {}
        with BagReader(bag) as reader:
            self.start_ns, self.end_ns = reader.start_ns, reader.end_ns
            sensors = {topic: rig.sensor(name) for name, topic in reader.match(rig).items()}
            for topic, msgtype in reader.topics().items():
                if topic in settings.exclude:
                    self.skipped[topic] = "excluded"
                    continue
                if topic == CLOCK and settings.clock_hz > 0:
                    self.skipped[topic] = "the player's own clock runs; two would send time to and fro"
                    continue
                self._add_track(topic, msgtype, sensors.get(topic))

    def items(self, stop: threading.Event) -> Iterator[Item]:
        """All messages in order of arrival, read ahead in a thread; the first one comes when it is well ahead.

        Args:
            stop: ends the reading early.
        """
        ahead: queue.Queue[Item | Exception | None] = queue.Queue(maxsize=_AHEAD)
        primed = threading.Event()
        threading.Thread(target=self._read, args=(ahead, primed, stop), name="read ahead", daemon=True).start()
        primed.wait()
        while True:
            item = ahead.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def _add_track(self, topic: str, msgtype: str, sensor: Sensor | None) -> None:
        kind, published_as = conversions.message_type(msgtype), topic
        if kind is None and msgtype == EVENT_PACKET and sensor is not None:
            published_as, msgtype = f"{topic.rsplit('/', 1)[0]}/points", POINT_CLOUD
            kind = conversions.message_type(POINT_CLOUD)
        if kind is None:
            self.skipped[topic] = f"the type {msgtype} is not installed"
            return
        stamped = next(iter(kind.get_fields_and_field_types()), "") == "header"  # type: ignore[attr-defined]
        self.tracks[topic] = Track(topic, published_as, kind, msgtype, sensor, topic == "/tf_static", stamped)

    def _read(
        self, ahead: queue.Queue[Item | Exception | None], primed: threading.Event, stop: threading.Event
    ) -> None:
        last: Exception | None = None
        try:
            with BagReader(self._bag) as reader:
                feeds = {
                    t.topic: EventFeed(t.sensor) for t in self.tracks.values() if t.sensor and t.published_as != t.topic
                }
                for bag_ns, topic, msg in reader.messages(self.tracks):
                    item = self._item(reader, self.tracks[topic], bag_ns, msg, feeds.get(topic))
                    if item is not None and not _put(ahead, item, stop):
                        break
                    if ahead.full():
                        primed.set()
        except Exception as error:  # it reaches the reader of the queue, who would wait for ever without it
            last = error
        primed.set()
        _put(ahead, last, stop)

    def _item(self, reader: BagReader, track: Track, bag_ns: int, msg: Any, feed: EventFeed | None) -> Item | None:
        sensor = track.sensor
        cut = sensor is not None and any(d.covers(sensor.name, bag_ns - self.start_ns) for d in self._drops)
        if feed is None:
            stamp_ns = conversions.stamp_ns(msg.header) if sensor is not None else 0
            return Item(track, bag_ns, stamp_ns, None if cut else reader.serialise(msg, track.msgtype))
        try:
            measurement = feed(msg)  # the decoder has to see every packet, also those that are cut
        except ValueError as error:
            reader.reject(track.topic, str(error))
            return None
        if measurement is None or not len(measurement.payload):
            return None  # a packet that only tells the time: a cloud has nothing to say it with
        cloud = conversions.event_cloud(measurement.payload, measurement.frame_id)
        message = None if cut else bytes(serialize_message(cloud))
        return Item(track, bag_ns, measurement.stamp_ns, message)


def _put(ahead: queue.Queue[Item | Exception | None], item: Item | Exception | None, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ahead.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    # Whoever still reads must not wait for ever.
    with ahead.mutex:
        ahead.queue.clear()
        ahead.queue.append(None)
        ahead.not_empty.notify()
    return False
