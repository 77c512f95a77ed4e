# SPDX-License-Identifier: Apache-2.0
"""/diagnostics of the segmentor: a rig's sensors and its output, a status each; every second and on change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from anyseg_ros.modality import subset_name
from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.rig_names import ONLY_RIG, RigNames
from anyseg_ros.nodes.state_log import SEVERITY, StateLog
from anyseg_ros.nodes.sync_loop import SyncLoop
from anyseg_ros.nodes.worker import Lane
from anyseg_ros.sync.health import SensorHealth, SensorState
from anyseg_ros.sync.output_health import OutputHealth, OutputState

_PERIOD_NS = 1_000_000_000
# A frame set that is due and not answered after this long is no hiccup.
_UNANSWERED_NS = 1_000_000_000


class Reporter:
    """Publishes the health of sensors and output.

    Args:
        node: publishes, and its name stands before every status.
        processor: what came out.
        lane: what was dropped.
        loop: health of sensors and of the grouping, and what event decoders lost.
        episodes: counts of other troubles.
        names: what the rig's statuses are called.
    """

    def __init__(
        self,
        node: Node,
        processor: FrameProcessor,
        lane: Lane[Any],
        loop: SyncLoop,
        episodes: Episodes,
        names: RigNames = ONLY_RIG,
    ) -> None:
        self._node = node
        self._processor = processor
        self._lane = lane
        self._loop = loop
        self._episodes = episodes
        self._names = names
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", qos.reliable(), event_callbacks=qos.without_events()
        )
        self._required = {timing.name: timing.required for timing in loop.synchronizer.config.sensors}
        self._said: tuple[str, ...] = ()
        self._said_ns = 0
        self._dropped = 0
        self._began_ns: int | None = None
        self._owed_ns: int | None = None
        self._log = StateLog(*names.lines_of(node.get_logger()))

    def close(self) -> None:
        """Says that nothing more is to be expected, and ends the publisher."""
        if self._node.context.ok():  # after SIGINT nothing can be published
            part = self._names.part("output")
            name = f"{self._node.get_name()}: {part}"
            last = conversions.status("warn", name, "not active: nothing is published", {}, part)
            head = conversions.header(self._node.get_clock().now().nanoseconds, "")
            self._publisher.publish(conversions.diagnostics([last], head))
        self._node.destroy_publisher(self._publisher)

    def report(self, now_ns: int, steady_ns: int) -> None:
        """Publishes if a second has passed or a state changed; to be called at a steady rate.

        Args:
            now_ns: the node's clock.
            steady_ns: the steady clock, which paces the reports.
        """
        self._watch_drops()
        if self._began_ns is None or now_ns < self._began_ns:
            self._began_ns, self._owed_ns = now_ns, None
        sensors = self._loop.synchronizer.health(now_ns)
        output = self._loop.synchronizer.output_health(now_ns)
        if self._owed_ns is None and output.counts.get("given", 0):
            self._owed_ns = now_ns
        self._tell_log(sensors, output, now_ns, steady_ns)
        subset = self._processor.last.subset if self._processor.last else ""
        states = (*(health.state.value for health in sensors.values()), output.state.value, subset)
        states += tuple(str(len(self._episodes.about(what))) for what in (*sensors, "output"))
        if states == self._said and steady_ns - self._said_ns < _PERIOD_NS:
            return
        self._said, self._said_ns = states, steady_ns
        name = self._node.get_name()
        statuses = [self._sensor_status(name, sensor, h, now_ns, steady_ns) for sensor, h in sensors.items()]
        statuses.append(self._output_status(name, output, now_ns))
        head = conversions.header(self._node.get_clock().now().nanoseconds, "")
        self._publisher.publish(conversions.diagnostics(statuses, head))

    def _tell_log(self, sensors: Mapping[str, SensorHealth], output: OutputHealth, now_ns: int, steady_ns: int) -> None:
        """A line for each sensor whose state changes, and one where there is no output; troubles have their own."""
        for name, health in sensors.items():
            self._log.tell(name, health.level.value, health.reason or health.state.value, steady_ns)
        level, texts = self._output_level(output, now_ns)
        silent = level == "error" and (output.state is OutputState.SILENT or self._unanswered_ns(now_ns) > 0)
        self._log.tell("output", "error" if silent else "ok", "; ".join(t for t in texts if t), steady_ns)

    def _unanswered_ns(self, now_ns: int) -> int:
        """For how long sets have come to nothing, if that is no hiccup; 0 otherwise."""
        last = self._processor.last
        # Before it was activated nobody expected an output.
        times = [t for t in (last.published_ns if last else self._owed_ns, self._began_ns) if t is not None]
        owed = last is not None or self._owed_ns is not None
        silent_ns = now_ns - max(times) if owed and times else 0
        return silent_ns if silent_ns > _UNANSWERED_NS else 0

    def _watch_drops(self) -> None:
        """Tells of frame sets that gave way to newer ones: the network does not keep up."""
        dropped, self._dropped = self._lane.dropped - self._dropped, self._lane.dropped
        if dropped:
            self._episodes.report(
                "overload",
                "the network is behind: frame sets were dropped for newer ones (worker.dropped counts them); "
                "lower the sensors' rate, or take a smaller network or a faster device",
            )
        else:
            self._episodes.clear("overload")

    def _sensor_status(self, node: str, sensor: str, health: SensorHealth, now_ns: int, steady_ns: int) -> Any:
        level, texts = health.level.value, [health.reason or health.state.value]
        troubles = [] if health.state is SensorState.DISABLED else self._episodes.about(sensor)
        if troubles:
            level = _worst(level, "error" if self._required[sensor] else "warn")
            texts = [trouble.sentence for trouble in troubles] + [health.reason]
        values = {
            **_figures(health, now_ns),
            **{f"events.{what}": n for what, n in self._loop.event_losses(sensor).items()},
            "troubles": len(troubles),
            "trouble_since_s": max((steady_ns - t.since_ns for t in troubles), default=0) / 1e9,
            "turned_down": self._processor.counters[f"turned_down.{sensor}"],
        }
        part = self._names.part(sensor)
        return conversions.status(level, f"{node}: {part}", "; ".join(t for t in texts if t), values, part)

    def _output_level(self, health: OutputHealth, now_ns: int) -> tuple[str, list[str]]:
        """How bad it is, and what there is to say."""
        last = self._processor.last
        level, texts = health.level.value, [health.reason]
        troubles = self._episodes.about("output")
        unanswered_ns = self._unanswered_ns(now_ns)
        if last is None:
            level = _worst(level, "warn")
            texts.append("nothing published yet")
        if health.state is not OutputState.SILENT and unanswered_ns:
            level = "error"
            texts.append(f"sets are due, but nothing was published for {unanswered_ns / 1e9:.1f} s")
        if troubles:
            level = _worst(level, "warn")
            texts += [trouble.sentence for trouble in troubles]
        refused = [name for name in self._required if any(t.unused for t in self._episodes.about(name))]
        if refused:
            level = _worst(level, "error" if any(self._required[name] for name in refused) else "warn")
            texts.append(f"nothing usable from {', '.join(refused)}")
        return level, texts

    def _output_status(self, node: str, health: OutputHealth, now_ns: int) -> Any:
        processor = self._processor
        newest = last = processor.last
        level, texts = self._output_level(health, now_ns)
        if health.state is OutputState.SILENT or self._unanswered_ns(now_ns):
            last = None  # what was in use before says nothing of now
        miou = processor.pipeline.meta.miou
        full = subset_name(sensor.modality for sensor in processor.pipeline.rig.sensors)
        sized = processor.pipeline.full_size  # a smaller grid was validated by nobody
        validated, best = miou.get(last.subset) if last and sized else None, miou.get(full)
        values = {
            "state": health.state.value,
            "reference": health.reference or "",
            "subset": last.subset if last else "",
            "grid": f"{processor.pipeline.grid.width}x{processor.pipeline.grid.height}",
            "validated_miou": _or_unknown(validated),
            "validated_miou_change": _or_unknown(None if validated is None or best is None else validated - best),
            "mean_confidence": _or_unknown(last.confidence if last else None),
            "device": str(processor.pipeline.engine.device),
            "weights": processor.pipeline.engine.weights,
            "motion.state": "off" if processor.pipeline.motion is None else "on",
            "rate_hz": processor.rate_hz(now_ns),
            "sets_hz": health.rate_hz,
            "age_s": _or_unknown(None if newest is None else max(0, now_ns - newest.published_ns) / 1e9),
            **{f"sets.{fate}": n for fate, n in health.counts.items()},
            "worker.dropped": self._lane.dropped,
            "worker.failed": self._lane.failed,
            **dict(processor.counters),
            **processor.latencies.percentiles_ms(),
            **({} if processor.pipeline.motion is None else processor.pipeline.motion.figures()),
            **{f"trouble.{what}": n for what, n in self._episodes.counts.items()},
        }
        text = "; ".join(t for t in texts if t) or f"publishing {values['subset']}"
        device = str(processor.pipeline.engine.device)
        return conversions.status(level, f"{node}: {self._names.part('output')}", text, values, device)


def _worst(*levels: str) -> str:
    return max(levels, key=SEVERITY.index)


def _figures(health: SensorHealth, now_ns: int) -> dict[str, Any]:
    return {
        "state": health.state.value,
        "since_s": max(0, now_ns - health.since_ns) / 1e9,
        "reference": health.is_reference,
        "rate_hz": health.rate_hz,
        "expected_hz": health.expected_hz,
        "age_s": _or_unknown(None if health.age_ns is None else health.age_ns / 1e9),
        "skew_ms": _milliseconds(health.skew_ns),
        "period_ms": _milliseconds(health.period_ns),
        "delay_ms": _milliseconds(health.delay_ns),
        "jitter_ms": _milliseconds(health.jitter_ns),
        **{f"count.{getattr(fate, 'value', fate)}": n for fate, n in health.counts.items()},
    }


def _milliseconds(duration_ns: int | None) -> Any:
    return _or_unknown(None if duration_ns is None else duration_ns / 1e6)


def _or_unknown(value: float | None) -> Any:
    return "unknown" if value is None else float(value)
