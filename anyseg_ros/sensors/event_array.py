# SPDX-License-Identifier: Apache-2.0
"""dvs_msgs/EventArray and prophesee_event_msgs/EventArray, whose fields are the same.

One object per event costs microseconds each, where cameras give millions of events a second. Read as it was
serialised, a message is an array: events are 16 bytes apart. Source: the message definitions (ROS 2 ports of
ros-event-camera) and the plain CDR encoding of OMG's DDS-XTypes, in which every number lies at a multiple of its size
from the end of the 4-byte encapsulation header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.sensors.event_messages import check_size
from anyseg_ros.sensors.payload import PayloadError, stamp_ns
from anyseg_ros.types import Events

# Representation identifiers: CDR and PLAIN_CDR2, which differ in numbers of 8 bytes only; odd ones are little-endian.
REPRESENTATIONS = (0x0000, 0x0001, 0x0006, 0x0007)
EVENT_BYTES = 16
# Of the first event; a later one has its column and row 2 bytes earlier, where the one before left off.
X, Y, SEC, NANOSEC, POLARITY = 0, 2, 4, 8, 12
EARLIER = 2


@dataclass(frozen=True)
class EventArray:
    """One message.

    Attributes:
        stamp_ns: the header's stamp.
        frame_id: the header's frame.
        events: in time order. Their stamps are host time already, each its own.
        torn: events that the message announces and does not hold.
        outside: events beyond the sensor, dropped.
        unordered: events that were stamped earlier than the one before them, and sorted.
    """

    stamp_ns: int
    frame_id: str
    events: Events
    torn: int = 0
    outside: int = 0
    unordered: int = 0


def event_array_from_cdr(data: bytes | bytearray | memoryview, width: int, height: int) -> EventArray:
    """The events of a serialised EventArray.

    Args:
        data: the message with its encapsulation header, as a raw subscription or a bag gives it.
        width: of the rig's sensor in pixels.
        height: of the rig's sensor in pixels.

    Raises:
        PayloadError: it is no CDR, it ends before its events, or it is of another sensor.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    order, body = _body(raw)
    (sec, nanosec, length), at = _numbers(body, 0, order, 3)
    if at + length > len(body):
        raise _torn(len(raw))
    frame_id = body[at : at + length].tobytes().rstrip(b"\0").decode("utf-8", "replace")
    at += length + -length % 4
    (rows, columns, announced), at = _numbers(body, at, order, 3)
    check_size(columns, rows, width, height)
    count = min(announced, (len(body) - at + EVENT_BYTES - POLARITY - 1) // EVENT_BYTES)
    x, y = _column(body, at + X, order + "u2", count, EARLIER), _column(body, at + Y, order + "u2", count, EARLIER)
    seconds = _column(body, at + SEC, order + "i4", count).astype(np.int64)
    t_ns = seconds * 1_000_000_000 + _column(body, at + NANOSEC, order + "u4", count)
    p = _column(body, at + POLARITY, "u1", count)
    signed = sec - (1 << 32) if sec >> 31 else sec
    stamp = signed * 1_000_000_000 + nanosec
    return _event_array(stamp, frame_id, (x, y, t_ns, p), width, height, announced - count)


def event_array_from(msg: Any, width: int, height: int) -> EventArray:
    """The events of an EventArray that has been deserialised already (slow: one object per event).

    Raises:
        PayloadError: it is of another sensor.
    """
    check_size(msg.width, msg.height, width, height)
    rows = [(e.x, e.y, e.ts.sec * 1_000_000_000 + e.ts.nanosec, e.polarity) for e in msg.events]
    x, y, t_ns, p = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return _event_array(stamp_ns(msg.header), str(msg.header.frame_id), (x, y, t_ns, p), width, height, 0)


def _event_array(
    stamp: int, frame_id: str, columns: tuple[np.ndarray, ...], width: int, height: int, torn: int
) -> EventArray:
    """Drops what is outside and sorts the rest, stably."""
    x, y, t_ns, p = columns
    inside = (x < width) & (y < height)
    kept = int(np.count_nonzero(inside))
    if kept < len(x):
        x, y, t_ns, p = (column[inside] for column in columns)
    unordered = int(np.count_nonzero(t_ns[1:] < t_ns[:-1]))
    if unordered:
        by_time = np.argsort(t_ns, kind="stable")
        x, y, t_ns, p = (column[by_time] for column in (x, y, t_ns, p))
    x, y, p = x.astype(np.uint16), y.astype(np.uint16), (p != 0).astype(np.uint8)
    events = Events(x, y, np.ascontiguousarray(t_ns), p, width, height)
    return EventArray(stamp, frame_id, events, torn, len(inside) - kept, unordered)


def _body(raw: np.ndarray) -> tuple[str, np.ndarray]:
    """The byte order and what follows the encapsulation header."""
    if len(raw) < 4:
        raise _torn(len(raw))
    representation = int(raw[0]) << 8 | int(raw[1])
    if representation not in REPRESENTATIONS:
        raise PayloadError(
            f"the serialised message has the representation 0x{representation:04x}, expected plain CDR (0x0000, "
            "0x0001, 0x0006 or 0x0007)"
        )
    return "<" if representation & 1 else ">", raw[4:]


def _numbers(body: np.ndarray, at: int, order: str, count: int) -> tuple[list[int], int]:
    """Some uint32 in a row, and where they end."""
    end = at + 4 * count
    if end > len(body):
        raise _torn(len(body) + 4)
    return np.ndarray(count, order + "u4", body, at).tolist(), end


def _column(body: np.ndarray, at: int, kind: str, count: int, earlier: int = 0) -> np.ndarray:
    """One field of all events; all but the first lie ``earlier`` bytes before their place."""
    values = np.empty(count, dtype=np.dtype(kind).newbyteorder("="))
    if count:
        values[:1] = np.ndarray(1, kind, body, at)
        values[1:] = np.ndarray(count - 1, kind, body, at + EVENT_BYTES - earlier, EVENT_BYTES) if count > 1 else 0
    return values


def _torn(size: int) -> PayloadError:
    return PayloadError(f"the serialised EventArray is torn: it ends after {size} bytes, before its events begin")
