# SPDX-License-Identifier: Apache-2.0
"""AnySync: the synchroniser as a message_filters filter, for nodes of one's own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import message_filters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from anyseg_ros.nodes import conversions
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.sync_loop import TICK_NS, DeadlineLoop
from anyseg_ros.sync.health import SensorHealth
from anyseg_ros.sync.output_health import OutputHealth
from anyseg_ros.sync.synchronizer import Reset, Synchronizer
from anyseg_ros.sync.timing import SyncConfig
from anyseg_ros.types import FrameSet, Measurement

Decoder = Callable[[Any], Measurement | None]
_LOG_EVERY_S = 5.0


class AnySync(message_filters.SimpleFilter):
    """Calls back with a FrameSet of whatever is alive, where ApproximateTimeSynchronizer waits for every input.

    A callback registered with ``registerCallback(cb, *args)`` is called as ``cb(frame_set, *args)``, in order of the
    stamps, for each message of the reference: the first sensor in the order of the configuration that is alive. The
    messages are in ``frame_set.present[name].payload``; why a sensor is missing is in ``frame_set.absent[name]``.

    Callbacks run in the thread that delivers a message or serves the node's timers. Where several threads do, one at
    a time is let in.

    Args:
        node: gives the clock (``use_sim_time`` is followed), a timer for the deadlines, and a logger.
        fs: the input filters by sensor name: Subscribers, or anything with ``registerCallback``.
        config: name, modality and period of each sensor, in order of preference as reference.
        decoders: for each event sensor a function that makes its decoder: a callable from message to measurement, or
            to None where a message adds nothing, such as ``lambda: EventFeed(sensor)``. A new one is made after every
            reset. Other sensors need none: header stamp and message are taken as they are.

    Attributes:
        rejected: messages that could not be read, by sensor name.

    Raises:
        ValueError: filters or decoders do not fit the configuration.
    """

    def __init__(
        self,
        node: Node,
        fs: Mapping[str, Any],
        config: SyncConfig,
        decoders: Mapping[str, Callable[[], Decoder]] | None = None,
    ) -> None:
        super().__init__()
        self._makers = dict(decoders or {})
        _check_names(config, fs, self._makers)
        self.rejected: Counter[str] = Counter()
        self._node = node
        self._log = node.get_logger()
        self._sensors = {timing.name: timing for timing in config.sensors}
        self._decoders = {name: make() for name, make in self._makers.items()}
        self._lock = threading.RLock()
        self._loop = _FilterLoop(Synchronizer(config), self.signalMessage, self._begin_anew)
        self._clock = NodeClock(node, self._on_jump, lambda: self._loop.held_up(time.monotonic_ns()))
        self._timer = node.create_timer(TICK_NS / 1e9, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        for name, source in fs.items():
            source.registerCallback(self._receive, name)

    def add(self, sensor: str, msg: Any) -> None:
        """Takes in a message, or a Measurement, by hand; calls back with what is complete.

        Raises:
            ValueError: there is no such sensor, or the message cannot be read.
        """
        with self._lock:
            self._loop.take_measurement(self._read(sensor, msg), self._clock.now_ns())

    def set_enabled(self, sensor: str, enabled: bool) -> None:
        """Uses a sensor or does not.

        Raises:
            ValueError: there is no such sensor.
        """
        with self._lock:
            self._loop.synchronizer.set_enabled(sensor, enabled)

    def health(self) -> tuple[dict[str, SensorHealth], OutputHealth]:
        """How each sensor and the output do; for diagnostics, once a second."""
        with self._lock:
            now_ns = self._clock.now_ns()
            return self._loop.synchronizer.health(now_ns), self._loop.synchronizer.output_health(now_ns)

    def close(self) -> None:
        """Ends the timer; the inputs are their owner's."""
        self._node.destroy_timer(self._timer)

    def _receive(self, msg: Any, sensor: str) -> None:
        with self._lock:
            try:
                measurement = self._read(sensor, msg)
            except ValueError as error:
                self.rejected[sensor] += 1
                text = f"a message of '{sensor}' is not used: {error}"
                self._log.error(text, throttle_duration_sec=_LOG_EVERY_S)
                return
            self._loop.take_measurement(measurement, self._clock.now_ns())

    def _read(self, sensor: str, msg: Any) -> Measurement | None:
        timing = self._sensors.get(sensor)
        if timing is None:
            raise ValueError(f"there is no sensor '{sensor}'; the configuration has {', '.join(self._sensors)}")
        if isinstance(msg, Measurement):
            if (msg.sensor, msg.modality) != (sensor, timing.modality):
                raise ValueError(f"the measurement is of '{msg.sensor}' ({msg.modality}), expected '{sensor}'")
            return msg
        if timing.is_event:
            return self._decoders[sensor](msg)
        head = getattr(msg, "header", None)
        if head is None:
            raise ValueError(f"{type(msg).__name__} has no header, and so no stamp; expected a stamped message")
        return Measurement(sensor, timing.modality, conversions.stamp_ns(head), msg, head.frame_id)

    def _on_tick(self) -> None:
        with self._lock:
            self._loop.tick(self._clock.now_ns(), time.monotonic_ns())
            for reset in self._loop.take_resets():
                self._log.warning(f"{reset.sensor or 'all sensors'}: starting over ({reset.reason})")

    def _on_jump(self, reason: str) -> None:
        with self._lock:
            self._loop.reset(reason, self._clock.now_ns())

    def _begin_anew(self, reset: Reset) -> None:
        for name, make in self._makers.items():
            if reset.sensor in (None, name):
                self._decoders[name] = make()


class _FilterLoop(DeadlineLoop):
    """Tells the filter of resets at once."""

    def __init__(
        self,
        synchronizer: Synchronizer,
        emit: Callable[[FrameSet], None],
        on_reset: Callable[[Reset], None],
    ) -> None:
        super().__init__(synchronizer, emit)
        self._on_reset = on_reset

    def begin_anew(self, reset: Reset) -> None:
        self._on_reset(reset)


def _check_names(config: SyncConfig, fs: Mapping[str, Any], decoders: Mapping[str, Any]) -> None:
    names = {timing.name for timing in config.sensors}
    events = {timing.name for timing in config.sensors if timing.is_event}
    if set(fs) != names:
        raise ValueError(
            f"the filters are for {', '.join(sorted(fs)) or 'nothing'}, the configuration has "
            f"{', '.join(sorted(names))}; expected one filter for each sensor"
        )
    if set(decoders) != events:
        raise ValueError(
            f"decoders are given for {', '.join(sorted(decoders)) or 'nothing'}, the event sensors are "
            f"{', '.join(sorted(events)) or 'none'}; expected one for each of them"
        )
