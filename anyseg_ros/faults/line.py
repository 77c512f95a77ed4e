# SPDX-License-Identifier: Apache-2.0
"""One route of a relay: serialised messages in, what is left of them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from anyseg_ros.faults import cdr
from anyseg_ros.faults.delivery import Delivery
from anyseg_ros.faults.payload import TRANSFORMS, Memory
from anyseg_ros.faults.schedule import NS_PER_S, Fault

# What a transform raises for a message that it does not fit, such as a black cloud.
MISFITS = (AttributeError, KeyError, IndexError, ValueError, TypeError)


class Line:
    """Applies the faults of one route: to the payload, to the stamp, to the time of delivery, in this order.

    Args:
        faults: of this route.
        read: makes a message of bytes.
        write: makes bytes of a message.
        seed: of everything random.

    Attributes:
        counts: messages by the kind of fault that they met, and ``in`` and ``out``.
    """

    def __init__(
        self, faults: Sequence[Fault], read: Callable[[bytes], Any], write: Callable[[Any], bytes], seed: int = 0
    ) -> None:
        self._faults = tuple(faults)
        self._read = read
        self._write = write
        self._delivery = Delivery(faults, f"{seed}")
        self._memories = [Memory(seed + place) for place in range(len(self._faults))]
        self.counts: Counter[str] = Counter()

    def take(self, raw: bytes, now_ns: int) -> None:
        """Take in a message.

        Raises:
            ValueError: a fault does not fit this kind of message.
        """
        self.counts["in"] += 1
        active = [(fault, memory) for fault, memory in zip(self._faults, self._memories, strict=True)]
        active = [(fault, memory) for fault, memory in active if fault.covers(now_ns)]
        self.counts.update(fault.kind for fault, _ in active)
        self._delivery.take(self._stamped(self._changed(raw, active), [fault for fault, _ in active]), now_ns)

    def ready(self, now_ns: int) -> list[bytes]:
        """The messages that go on now."""
        given = self._delivery.ready(now_ns)
        self.counts["out"] += len(given)
        return given

    def dies(self, now_ns: int) -> bool:
        """Whether the schedule ends the process now."""
        return any(fault.kind == "die" and fault.covers(now_ns) for fault in self._faults)

    def _changed(self, raw: bytes, active: Sequence[tuple[Fault, Memory]]) -> bytes:
        transforms = [(fault, memory) for fault, memory in active if fault.kind in TRANSFORMS]
        if not transforms:
            return raw
        message = self._read(raw)
        for fault, memory in transforms:
            try:
                TRANSFORMS[fault.kind](message, fault.arguments, memory)
            except MISFITS as error:
                raise ValueError(f"the fault '{fault.kind}' does not fit route '{fault.route}': {error}") from error
        return self._write(message)

    @staticmethod
    def _stamped(raw: bytes, active: Sequence[Fault]) -> bytes:
        for fault in active:
            if fault.kind == "zero_stamp":
                raw = cdr.with_stamp(raw, 0)
            elif fault.kind == "shift_stamp":
                raw = cdr.with_stamp(raw, cdr.stamp_ns(raw) + round(float(fault.arguments["by_s"]) * NS_PER_S))
        return raw
