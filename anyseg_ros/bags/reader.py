# SPDX-License-Identifier: Apache-2.0
"""Reads rosbag2 recordings without a ROS installation: topics, calibration, measurements."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError

from anyseg_ros.bags.definitions import EVENT_ARRAYS, TF_MESSAGE, typestore
from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.bags.topics import match_topics
from anyseg_ros.bags.writer import BagError, looks_like_bag
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.messages import stamp_ns
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import Measurement

log = logging.getLogger(__name__)


class BagReader:
    """An open rosbag2 (sqlite3 or mcap); use it as a context manager.

    Types come from the definitions that the bag holds; where it holds none, from ROS 2 Jazzy, EventPacket and
    EventArray.

    Attributes:
        rejected: number of messages that could not be read, by topic or sensor.
        damage: a sentence, once a damaged place in the file ended the reading.

    Args:
        path: a rosbag2 folder, or a bare .mcap or .db3 file.

    Raises:
        BagError: nothing is there, or it is no rosbag2.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f"there is no bag at {self.path}; give the folder that holds its metadata.yaml")
        if not looks_like_bag(self.path):
            raise BagError(f"{self.path} is no rosbag2: expected a folder with metadata.yaml, or a .mcap or .db3 file")
        self._reader = AnyReader([self.path], default_typestore=typestore())
        self.rejected: Counter[str] = Counter()
        self.damage: str | None = None

    def __enter__(self) -> BagReader:
        try:
            self._reader.open()
        except Exception as error:  # of a damaged file the storage libraries raise anything
            raise BagError(
                f"cannot read the bag {self.path}: {error} (a recording that was cut off can be repaired with "
                "mcap recover or ros2 bag reindex)"
            ) from error
        known = self._reader.typestore.fielddefs
        missing = {c.msgtype for c in self._reader.connections} - set(known)
        fallback = typestore().fielddefs
        if any(name in fallback for name in missing):
            self._reader.typestore.register({n: d for n, d in fallback.items() if n not in known})
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.close()

    @property
    def start_ns(self) -> int:
        """Arrival of the first message."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """Arrival of the last message."""
        return int(self._reader.end_time)

    def topics(self) -> dict[str, str]:
        """Message type by topic, for topics that hold at least one message."""
        return {c.topic: c.msgtype for c in self._reader.connections if c.msgcount}

    def counts(self) -> dict[str, int]:
        """Number of messages by topic."""
        counts: Counter[str] = Counter()
        for connection in self._reader.connections:
            counts[connection.topic] += connection.msgcount
        return dict(counts)

    def messages(self, topics: Collection[str], serialised: Collection[str] = ()) -> Iterator[tuple[int, str, Any]]:
        """Messages of some topics in order of arrival: (arrival_ns, topic, message).

        Args:
            topics: names of topics.
            serialised: message types that stay bytes (CDR).

        A message that cannot be deserialised is counted in ``rejected`` under its topic and left out. Where the
        file itself is damaged the messages end, and ``damage`` says so.
        """
        wanted = [c for c in self._reader.connections if c.topic in set(topics)]
        if not wanted:
            return
        for connection, arrival_ns, raw in self._records(wanted):
            if connection.msgtype in serialised:
                yield int(arrival_ns), connection.topic, bytes(raw)
                continue
            try:
                msg = self._reader.deserialize(raw, connection.msgtype)
            except (AnyReaderError, ValueError, KeyError, IndexError) as error:
                self.reject(connection.topic, f"a message of {connection.msgtype} cannot be read ({error})")
                continue
            yield int(arrival_ns), connection.topic, msg

    def _records(self, connections: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
        """Records up to the end or to the first damage."""
        try:
            yield from self._reader.messages(connections=connections)
        except Exception as error:  # of a damaged file the storage libraries raise anything
            self.damage = f"{self.path} is damaged, what follows is lost: {error}"
            log.error("%s", self.damage)

    def serialise(self, msg: Any, msgtype: str) -> bytes:
        """A message of this bag as CDR, by the definitions that the bag holds."""
        return bytes(self._reader.typestore.serialize_cdr(msg, msgtype))

    def reject(self, name: str, why: str) -> None:
        """Counts a message that cannot be used; the first of each name is logged."""
        self.rejected[name] += 1
        if self.rejected[name] == 1:
            log.warning("%s: %s; it is left out, and so are others like it", name, why)

    def match(self, rig: Rig) -> dict[str, str]:
        """Topic by sensor name for the sensors of a rig that the bag holds.

        Raises:
            BagError: a sensor's topic is ambiguous, or the bag holds none of the rig's sensors.
        """
        try:
            return match_topics(rig, self.topics())
        except ValueError as error:
            raise BagError(f"{self.path}: {error}") from error

    def measurements(self, rig: Rig) -> Iterator[tuple[int, Measurement]]:
        """What the rig's sensors delivered, in order of arrival: (arrival_ns, measurement).

        Payloads are the raw messages (the pipeline converts those that it uses), but events are decoded,
        because a decoder has to see every packet.

        Raises:
            BagError: as ``match``.
        """
        sensors = {topic: rig.sensor(name) for name, topic in self.match(rig).items()}
        feeds = {topic: EventFeed(sensor) for topic, sensor in sensors.items() if sensor.modality is Modality.EVENT}
        for arrival_ns, topic, msg in self.messages(sensors, serialised=EVENT_ARRAYS):
            sensor = sensors[topic]
            if topic not in feeds:
                yield (
                    arrival_ns,
                    Measurement(sensor.name, sensor.modality, stamp_ns(msg.header), msg, msg.header.frame_id),
                )
                continue
            try:
                measurement = feeds[topic](msg)
            except ValueError as error:
                self.reject(sensor.name, str(error))
                continue
            if measurement is not None:
                yield arrival_ns, measurement

    def static_transforms(self) -> dict[str, tuple[str, Any]]:
        """(parent frame, geometry_msgs Transform) by child frame, from /tf_static."""
        found: dict[str, tuple[str, Any]] = {}
        if self.topics().get("/tf_static") != TF_MESSAGE:
            return found
        for _, _, msg in self.messages(["/tf_static"]):
            for stamped in msg.transforms:
                found[stamped.child_frame_id.lstrip("/")] = (
                    stamped.header.frame_id.lstrip("/"),
                    stamped.transform,
                )
        return found

    def first_message(self, topic: str) -> Any | None:
        """The first message of a topic, or None."""
        return next((msg for _, _, msg in self.messages([topic])), None)
