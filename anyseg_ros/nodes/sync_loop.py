# SPDX-License-Identifier: Apache-2.0
"""Drives the synchroniser from message callbacks and a timer, in the executor's thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.modality import Modality
from anyseg_ros.nodes import conversions
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.sync.synchronizer import Reset, Synchronizer
from anyseg_ros.types import FrameSet, Measurement

MS = 1_000_000
TICK_NS = 5 * MS
# The longest time between ticks. An executor in Python makes every one dear, so that they come when they are needed.
IDLE_TICK_NS = 25 * MS
# A timer that comes this late means that messages wait in the middleware, too: they are taken in before any
# deadline is applied, or a pause of the process would cost partners that arrived in time.
STALL_NS = 50 * MS
CATCH_UP_NS = 200 * MS
EVENT_LOSSES = (
    "lost_packets", "outside", "untimed", "unknown_words", "torn_bytes", "torn_events", "invalid", "held_back",
    "unordered", "overtaken", "resets",
)  # fmt: skip


class DeadlineLoop:
    """Turns measurements into frame sets: deadlines are served by a timer, and never before what waits is taken in.

    Args:
        synchronizer: the state machine.
        emit: takes every frame set that closes, in order. If it raises, the sets after that one come with the next
            message or tick.
    """

    def __init__(self, synchronizer: Synchronizer, emit: Callable[[FrameSet], None]) -> None:
        self.synchronizer = synchronizer
        self._emit = emit
        self._closed: deque[FrameSet] = deque()
        self._resets: list[Reset] = []
        self._last_tick_ns: int | None = None
        self._catch_up_until_ns: int | None = None
        self._arrived = False

    def take_measurement(self, measurement: Measurement | None, now_ns: int) -> None:
        """Takes in what a message held, which may be nothing, and closes what is complete."""
        self._arrived = True
        if measurement is not None:
            self._give(self.synchronizer.add(measurement, now_ns))

    def answered(self, given: FrameSet, used: Collection[str], now_ns: int) -> None:
        """Takes in what a set has led to: the sensors whose payloads were good. See ``Synchronizer.answered``."""
        self._give(self.synchronizer.answered(given, used, now_ns))

    def tick(self, now_ns: int, steady_ns: int) -> None:
        """Applies deadlines, unless messages are still being drained after a stall.

        Args:
            now_ns: the node's clock; 0 while /clock has not spoken: nothing is closed by deadline then.
            steady_ns: the steady clock, by which stalls are noticed.
        """
        late = self._last_tick_ns is not None and steady_ns - self._last_tick_ns > STALL_NS
        self._last_tick_ns = steady_ns
        if self._catch_up_until_ns is not None:
            # On a machine where every tick is late deadlines have to run all the same, or a dead sensor would be
            # waited for without end.
            if steady_ns > self._catch_up_until_ns or not (self._arrived or late):
                self._catch_up_until_ns = None
        elif late:
            self._catch_up_until_ns = steady_ns + CATCH_UP_NS
        self._arrived = False
        if self._catch_up_until_ns is None and now_ns > 0:
            self._give(self.synchronizer.advance(now_ns))

    def tick_in_ns(self, now_ns: int, simulated: bool) -> int:
        """How soon the next tick has to come, by the steady clock.

        Args:
            now_ns: the node's clock.
            simulated: it follows /clock, whose pace nobody knows.
        """
        if simulated:
            return TICK_NS if self.synchronizer.open_sets else IDLE_TICK_NS
        deadline_ns = self.synchronizer.next_deadline_ns()
        if deadline_ns is None:
            return IDLE_TICK_NS
        return min(max(deadline_ns - now_ns, TICK_NS), IDLE_TICK_NS)

    def held_up(self, steady_ns: int) -> bool:
        """Whether the process stood still just now, so that messages still wait to be taken in."""
        late = self._last_tick_ns is not None and steady_ns - self._last_tick_ns > STALL_NS
        return late or self._catch_up_until_ns is not None

    def reset(self, reason: str, now_ns: int) -> None:
        """Forgets everything that depends on the clocks, as after a jump of the node's."""
        self.synchronizer.reset(reason, now_ns)
        self._follow_resets()

    def take_resets(self) -> list[Reset]:
        """What the synchroniser has reset since the last call; event decoders have followed it."""
        resets, self._resets = self._resets, []
        return resets

    def begin_anew(self, reset: Reset) -> None:
        """Called at each reset, before anything else is taken in: for state that must not outlive it."""

    def _follow_resets(self) -> None:
        resets = self.synchronizer.take_resets()
        self._resets += resets
        for reset in resets:
            self.begin_anew(reset)

    def _give(self, frame_sets: list[FrameSet]) -> None:
        self._follow_resets()
        self._closed.extend(frame_sets)
        while self._closed:
            self._emit(self._closed.popleft())


class SyncLoop(DeadlineLoop):
    """The loop of a rig: reads messages as its sensors send them.

    Args:
        synchronizer: the state machine.
        rig: the sensors.
        emit: as above.
    """

    def __init__(self, synchronizer: Synchronizer, rig: Rig, emit: Callable[[FrameSet], None]) -> None:
        super().__init__(synchronizer, emit)
        self._feeds = {s.name: EventFeed(s) for s in rig.sensors if s.modality is Modality.EVENT}
        # Counts of decoders that were replaced: a fresh one starts at zero.
        self._lost: dict[str, Counter[str]] = {name: Counter() for name in self._feeds}

    def take(self, sensor: Sensor, msg: Any, now_ns: int) -> None:
        """Takes in a message: reads the header (events: decodes them, in order) and closes what is complete.

        Raises:
            ValueError: events that cannot be decoded.
        """
        self._arrived = True
        self.take_measurement(self._measurement(sensor, msg), now_ns)

    def begin_anew(self, reset: Reset) -> None:
        """Begins event decoders anew. A packet read with the offset from before would look like a second jump."""
        for name, feed in self._feeds.items():
            if reset.sensor in (None, name):
                self._renew(name, feed.sensor)

    def recalibrate(self, rig: Rig) -> None:
        """Gives event decoders whose camera model changed the new one."""
        for name, feed in self._feeds.items():
            if rig.sensor(name).model is not feed.sensor.model:
                self._renew(name, rig.sensor(name))

    def event_losses(self, sensor: str) -> dict[str, int]:
        """What the decoder of an event sensor lost, by reason, and its clock against the host's; empty for others."""
        feed = self._feeds.get(sensor)
        if feed is None:
            return {}
        counters = feed.counters
        losses = {what: self._lost[sensor][what] + counters[what] for what in EVENT_LOSSES}
        clock = feed.stream.clock
        if clock.offset_ns is None:
            return losses
        return {**losses, "clock_offset_us": clock.offset_ns // 1000, "header_late_us": clock.lateness_ns // 1000}

    def _renew(self, name: str, sensor: Sensor) -> None:
        """Gives an event sensor a decoder that knows nothing of the past; what the old one lost stays counted."""
        self._lost[name] = Counter(self.event_losses(name))
        self._feeds[name] = EventFeed(sensor)

    def _measurement(self, sensor: Sensor, msg: Any) -> Measurement | None:
        if sensor.modality is Modality.EVENT:
            return self._feeds[sensor.name](msg)
        stamp_ns = conversions.stamp_ns(msg.header)
        return Measurement(sensor.name, sensor.modality, stamp_ns, msg, msg.header.frame_id)
