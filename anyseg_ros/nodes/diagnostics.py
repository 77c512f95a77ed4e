# SPDX-License-Identifier: Apache-2.0
"""/diagnostics of the segmentor: one status per sensor, one for the output; every second and on change."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.sync_loop import SyncLoop
from anyseg_ros.nodes.worker import Worker
from anyseg_ros.sync.health import OutputHealth, OutputState, SensorHealth

_PERIOD_NS = 1_000_000_000
_SEVERITY = ("ok", "warn", "error")


class Reporter:
    """Publishes the health of sensors and output.

    Args:
        node: publishes, and its name stands before every status.
        processor: what came out.
        worker: what was dropped.
        loop: health of sensors and of the grouping, and what event decoders lost.
        episodes: counts of other troubles.
    """

    def __init__(
        self,
        node: Node,
        processor: FrameProcessor,
        worker: Worker[Any],
        loop: SyncLoop,
        episodes: Episodes,
    ) -> None:
        self._node = node
        self._processor = processor
        self._worker = worker
        self._loop = loop
        self._episodes = episodes
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.reliable())
        self._said: tuple[str, ...] = ()
        self._said_ns = 0

    def close(self) -> None:
        """Ends the publisher."""
        self._node.destroy_publisher(self._publisher)

    def report(self, now_ns: int, steady_ns: int) -> None:
        """Publishes if a second has passed or a state changed; to be called at a steady rate.

        Args:
            now_ns: the node's clock.
            steady_ns: the steady clock, which paces the reports.
        """
        sensors = self._loop.synchronizer.health(now_ns)
        output = self._loop.synchronizer.output_health(now_ns)
        subset = self._processor.last.subset if self._processor.last else ""
        states = (*(health.state.value for health in sensors.values()), output.state.value, subset)
        if states == self._said and steady_ns - self._said_ns < _PERIOD_NS:
            return
        self._said, self._said_ns = states, steady_ns
        name = self._node.get_name()
        statuses = [self._sensor_status(f"{name}: {sensor}", sensor, h, now_ns) for sensor, h in sensors.items()]
        statuses.append(self._output_status(f"{name}: output", output, now_ns))
        head = conversions.header(self._node.get_clock().now().nanoseconds, "")
        self._publisher.publish(conversions.diagnostics(statuses, head))

    def _sensor_status(self, name: str, sensor: str, health: SensorHealth, now_ns: int) -> Any:
        losses = {f"events.{what}": n for what, n in self._loop.event_losses(sensor).items()}
        values = {**_figures(health, now_ns), **losses}
        return conversions.status(health.level.value, name, health.reason or health.state.value, values, sensor)

    def _output_status(self, name: str, health: OutputHealth, now_ns: int) -> Any:
        processor, last = self._processor, self._processor.last
        levels, texts = [health.level.value], [health.reason]
        if last is None:
            levels.append("warn")
            texts.append("nothing published yet")
        elif health.state is not OutputState.SILENT and now_ns - last.published_ns > 3 * _PERIOD_NS:
            levels.append("error")
            texts.append(f"sets are due, but nothing was published for {(now_ns - last.published_ns) / 1e9:.1f} s")
        values = {
            "state": health.state.value,
            "reference": health.reference or "",
            "subset": last.subset if last else "",
            "validated_miou": _or_unknown(processor.pipeline.meta.miou.get(last.subset) if last else None),
            "mean_confidence": _or_unknown(last.confidence if last else None),
            "device": str(processor.pipeline.engine.device),
            "rate_hz": health.rate_hz,
            "age_s": _or_unknown(None if health.age_ns is None else health.age_ns / 1e9),
            **{f"sets.{fate}": n for fate, n in health.counts.items()},
            "worker.dropped": self._worker.dropped,
            "worker.failed": self._worker.failed,
            **dict(processor.counters),
            **processor.latencies.percentiles_ms(),
            **{f"trouble.{what}": n for what, n in self._episodes.counts.items()},
        }
        text = "; ".join(t for t in texts if t) or f"publishing {values['subset']}"
        device = str(processor.pipeline.engine.device)
        return conversions.status(max(levels, key=_SEVERITY.index), name, text, values, device)


def _figures(health: SensorHealth, now_ns: int) -> dict[str, Any]:
    return {
        "state": health.state.value,
        "since_s": max(0, now_ns - health.since_ns) / 1e9,
        "reference": health.is_reference,
        "rate_hz": health.rate_hz,
        "expected_hz": health.expected_hz,
        "age_s": _or_unknown(None if health.age_ns is None else health.age_ns / 1e9),
        "skew_ms": _or_unknown(None if health.skew_ns is None else health.skew_ns / 1e6),
        **{f"count.{getattr(fate, 'value', fate)}": n for fate, n in health.counts.items()},
    }


def _or_unknown(value: float | None) -> Any:
    return "unknown" if value is None else float(value)
