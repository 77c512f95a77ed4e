# SPDX-License-Identifier: Apache-2.0
"""What a sensor has delivered and may still be needed: bounded, and every measurement ends in one fate."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from anyseg_ros.types import Measurement


class Fate(str, Enum):
    """What became of a measurement. Each one that is received ends in exactly one of them."""

    USED = "used"
    UNUSED = "unused"
    LATE = "late"
    DUPLICATE = "duplicate"
    REJECTED_STAMP = "rejected_stamp"
    REJECTED_OUTLIER = "rejected_outlier"
    DISABLED = "disabled"
    EVICTED_COUNT = "evicted_count"
    EVICTED_BYTES = "evicted_bytes"
    RESET = "reset"


class Item:
    """One measurement in a buffer.

    Attributes:
        corrected_ns: stamp on the rig's common clock.
        start_ns: the same of the start of an event chunk; equal to ``corrected_ns`` for frames.
        arrival_ns: ``now`` when it was taken in.
        due: a set has been opened for it.
        held: an open set refers to it, so that its fate is decided there.
        late: a set that would have taken it had already closed when it came.
        repeated: its stamp has come before.
        fate: how it ended, None as long as that is open.
    """

    __slots__ = (
        "arrival_ns",
        "corrected_ns",
        "due",
        "fate",
        "held",
        "late",
        "measurement",
        "repeated",
        "size",
        "start_ns",
    )

    def __init__(self, measurement: Measurement, corrected_ns: int, start_ns: int, arrival_ns: int) -> None:
        self.measurement = measurement
        self.corrected_ns = corrected_ns
        self.start_ns = start_ns
        self.arrival_ns = arrival_ns
        self.size = payload_bytes(measurement.payload)
        self.due = False
        self.held = False
        self.late = False
        self.repeated = False
        self.fate: Fate | None = None


def payload_bytes(payload: Any) -> int:
    """Bytes that a payload occupies: of an array, of a message's ``data``, or of the arrays of a dataclass."""
    size = getattr(payload, "nbytes", None)
    if size is not None:
        return int(size)
    data = getattr(payload, "data", None)
    if data is not None:
        return payload_bytes(data) if hasattr(data, "nbytes") else len(data) * getattr(data, "itemsize", 1)
    if is_dataclass(payload):
        return sum(int(getattr(getattr(payload, f.name), "nbytes", 0)) for f in fields(payload))
    return len(payload) if isinstance(payload, (bytes, bytearray)) else 0


class Buffer:
    """The measurements of one sensor in order of their corrected stamps."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._keys: list[int] = []
        self._items: list[Item] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest_start_ns(self) -> int | None:
        """Corrected start of the oldest item; None where there is none."""
        return self._items[0].start_ns if self._items else None

    def add(self, item: Item) -> list[tuple[Item, Fate]]:
        """Keep an item in its place; returns what had to go for it, the oldest first.

        The newest is always kept, even where it alone is over the bound on bytes.
        """
        at = bisect_right(self._keys, item.corrected_ns)
        self._keys.insert(at, item.corrected_ns)
        self._items.insert(at, item)
        self.size += item.size
        evicted: list[tuple[Item, Fate]] = []
        while len(self._items) > self._max_count:
            evicted.append((self._pop_oldest(), Fate.EVICTED_COUNT))
        while self.size > self._max_bytes and len(self._items) > 1:
            evicted.append((self._pop_oldest(), Fate.EVICTED_BYTES))
        return evicted

    def prune(self, before_ns: int) -> list[Item]:
        """Remove and return the items whose corrected stamp is below ``before_ns``."""
        return self._cut(bisect_left(self._keys, before_ns))

    def clear(self) -> list[Item]:
        """Remove and return everything."""
        return self._cut(len(self._items))

    def after(self, after_ns: int) -> list[Item]:
        """The items whose corrected stamp is above ``after_ns``, in order."""
        return self._items[bisect_right(self._keys, after_ns) :]

    def nearest(self, reference_ns: int, tolerance_ns: int) -> Item | None:
        """The item nearest to a time, the earlier of two as near; None where none lies within the tolerance."""
        at = bisect_left(self._keys, reference_ns)
        best = None
        if at > 0:
            best = self._items[at - 1]
        if at < len(self._items) and (best is None or self._keys[at] - reference_ns < reference_ns - best.corrected_ns):
            best = self._items[at]
        if best is None or abs(best.corrected_ns - reference_ns) > tolerance_ns:
            return None
        return best

    def _cut(self, count: int) -> list[Item]:
        gone = self._items[:count]
        if gone:
            del self._items[:count], self._keys[:count]
            self.size -= sum(item.size for item in gone)
        return gone

    def _pop_oldest(self) -> Item:
        return self._cut(1)[0]
