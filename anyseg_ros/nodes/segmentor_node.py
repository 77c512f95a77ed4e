# SPDX-License-Identifier: Apache-2.0
"""The segmentor: camera, events, lidar and depth in, in any combination; labels out.

Threads: the executor's takes in messages and runs the synchroniser; one worker thread answers the frame sets.

Run it with ``python -m anyseg_ros.nodes.segmentor_node --ros-args -p rig:=config/rigs/sim.yaml
-r ~/input/camera:=/camera/image_raw -r ~/input/lidar:=/lidar/points -r ~/input/events:=/event_camera/events``.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from anyseg_ros.engine.threads import shared_threads
from anyseg_ros.latency_budget import LatencyBudget, grid_steps
from anyseg_ros.nodes import fallbacks, parameters, refuse_broken_packages, runner
from anyseg_ros.nodes.calibration import CalibrationKeeper
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.outputs import Outputs
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.rig_names import RigNames, rigs_of
from anyseg_ros.nodes.rig_session import RigParts
from anyseg_ros.nodes.session import Session
from anyseg_ros.nodes.warmup import warm_up
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.rig import Rig

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


@dataclass(frozen=True)
class _Configured:
    """What a configured node holds."""

    settings: SegmentorParameters
    rigs: tuple[RigParts, ...]


def _logged(transition: Callable[..., TransitionCallbackReturn]) -> Callable[..., TransitionCallbackReturn]:
    """Says what a transition raises, which rclpy swallows."""

    @wraps(transition)
    def told(node: SegmentorNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            raise

    return told


class SegmentorNode(LifecycleNode):
    """A managed node; with ``autostart`` it manages itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__("segmentor", **options)
        parameters.declare(self, SegmentorParameters)
        self._episodes: dict[RigNames, Episodes] = {}
        self._configured: _Configured | None = None
        self._session: Session | None = None
        self._time = NodeClock(self, self._on_clock_jump, self._held_up)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def autostart(self) -> bool:
        """Whether the node configures and activates itself."""
        return bool(self.get_parameter("autostart").value)

    def make_pipeline(self, rig: Rig, settings: SegmentorParameters) -> Pipeline:
        """What answers frame sets."""
        checkpoint = runner.find_file(settings.checkpoint) if settings.checkpoint else None
        threads = settings.threads or shared_threads()
        return Pipeline(rig, checkpoint, settings.device, threads, settings.backend, settings.precision)

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads parameters, rig and checkpoint, and warms the network up."""
        outputs: list[Outputs] = []
        try:
            refuse_broken_packages()
            settings = parameters.read(self, SegmentorParameters)
            rigs = rigs_of(settings)
            for names, rig in rigs.items():
                self._declare_sensors(names, rig)
                outputs.append(Outputs(self, settings, names))
            pipelines = self._make_pipelines(list(rigs.values()), settings)
            parts = self._assemble(settings, rigs, outputs, pipelines)
            for pipeline in pipelines:
                warm_up(pipeline)
        except (ValueError, OSError, RuntimeError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            for each in outputs:
                each.close()
            return FAILURE
        self._configured = _Configured(settings, parts)
        self._say_what_serves(pipelines)
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the sensors and starts the worker."""
        own = self._configured
        if own is None:
            return FAILURE
        try:
            session = Session(self, own.settings, own.rigs, self._time)
        except (ValueError, RuntimeError) as error:
            self.get_logger().error(f"cannot activate: {error}")
            return FAILURE
        self._session = session
        for sensor in session.sensors:
            session.set_enabled(sensor, bool(self.get_parameter(_enabled(sensor)).value))
        result = super().on_activate(state)
        for rig in own.rigs:
            rig.outputs.publish_label_set(rig.processor.pipeline)
        session.start()
        self.get_logger().info("active")
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the subscriptions and the worker."""
        self._end_session()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of network and publishers."""
        self._release()
        return SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends everything from whatever state."""
        self._end_session()
        self._release()
        return SUCCESS

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of everything after a transition that raised: the node can be configured anew."""
        self._end_session()
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """Ends the worker before the publishers go."""
        self._end_session()
        super().destroy_node()

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            reason = self._refusal(change)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        for change in changes:
            sensor = _switched(change.name)
            if self._session is not None and sensor is not None:
                self._session.set_enabled(sensor, bool(change.value))
        return SetParametersResult(successful=True)

    def _refusal(self, change: Parameter) -> str:
        """Why a parameter cannot be changed now; empty where it can."""
        if self._configured is None:
            return ""
        sensor = _switched(change.name)
        if sensor is not None and self._session is not None and sensor not in self._session.sensors:
            return f"the rig has no sensor '{sensor}'"  # declared for a rig that was used before
        # A value that is the present one may come again, as when a whole parameter file is loaded.
        if parameters.same(change.value, getattr(self._configured.settings, change.name, change.value)):
            return ""
        return (
            f"parameter '{change.name}' takes effect at configure only; deactivate and clean up first "
            f"(ros2 lifecycle set {self.get_fully_qualified_name()} deactivate, then cleanup), set it, and configure"
        )

    def _on_clock_jump(self, reason: str) -> None:
        if self._session is not None:
            self._session.reset(reason)

    def _held_up(self) -> bool:
        return self._session is not None and self._session.held_up

    def _declare_sensors(self, names: RigNames, rig: Rig) -> None:
        for sensor in rig.sensors:
            switch = _enabled(names.key(sensor.name))
            if not self.has_parameter(switch):
                descriptor = ParameterDescriptor(description=f"Whether sensor '{names.part(sensor.name)}' is used.")
                self.declare_parameter(switch, sensor.enabled, descriptor)

    def _make_pipelines(self, rigs: list[Rig], settings: SegmentorParameters) -> list[Pipeline]:
        """One pipeline for each rig; the network is the first one's."""
        first = self.make_pipeline(rigs[0], settings)
        return [first, *(first.for_rig(rig) for rig in rigs[1:])]

    def _assemble(
        self,
        settings: SegmentorParameters,
        rigs: dict[RigNames, Rig],
        outputs: list[Outputs],
        pipelines: list[Pipeline],
    ) -> tuple[RigParts, ...]:
        budget = _budget(settings.latency_budget_ms, pipelines[0])
        parts = []
        for (names, rig), output, pipeline in zip(rigs.items(), outputs, pipelines, strict=True):
            episodes = self._episodes.setdefault(names, Episodes(*names.lines_of(self.get_logger())))
            processor = FrameProcessor(pipeline, output, self._time.now_ns, episodes, budget)
            parts.append(RigParts(names, CalibrationKeeper(rig), output, processor, episodes))
        return tuple(parts)

    def _say_what_serves(self, pipelines: list[Pipeline]) -> None:
        log, first, engine = self.get_logger(), pipelines[0], pipelines[0].engine
        height, width = first.meta.grid
        log.info(
            f"network on {engine.device}: {first.checkpoint_path}, weights {engine.weights}, backend {first.backend}, "
            f"precision {engine.precision}, threads {engine.threads}, grid of {width} x {height} pixels"
        )
        if len(pipelines) > 1:
            log.info(f"one copy of it serves the rigs {', '.join(pipeline.rig.name for pipeline in pipelines)}")
        if fallbacks():
            log.info(f"not installed, our own small versions serve: {', '.join(fallbacks())}")
        if "fastrtps" in rclpy.get_rmw_implementation_identifier() and not os.environ.get(_PROFILES):
            log.warning(
                f"{_PROFILES} is not set: Fast DDS loses most best-effort messages above 0.5 MB; "
                "set it to config/fastdds.xml of this package in every process"
            )

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _release(self) -> None:
        own, self._configured = self._configured, None
        if own is not None:
            for rig in own.rigs:
                rig.outputs.close()


def _enabled(sensor: str) -> str:
    return f"sensors.{sensor}.enabled"


def _switched(parameter: str) -> str | None:
    """The sensor that a parameter switches on and off; None for any other parameter."""
    head, _, tail = parameter.partition(".")
    sensor, _, what = tail.rpartition(".")
    return sensor if (head, what) == ("sensors", "enabled") else None


def _budget(budget_ms: int, pipeline: Pipeline) -> LatencyBudget | None:
    height, width = pipeline.meta.grid
    return LatencyBudget(budget_ms * 1_000_000, grid_steps(height, width)) if budget_ms else None


def make(kind: type[SegmentorNode] = SegmentorNode) -> SegmentorNode:
    """A segmentor that has started itself, if it is to.

    Raises:
        StartError: autostart is on and the node cannot configure or activate.
    """
    node = kind()
    if node.autostart:
        for name, transition in (("configure", node.trigger_configure), ("activate", node.trigger_activate)):
            if transition() != SUCCESS:
                node.destroy_node()
                raise runner.StartError(f"the segmentor could not {name}; the sentence above says why")
    return node


def main(args: list[str] | None = None) -> int:
    """Entry point of the ``segmentor`` command."""
    return runner.run(make, args=args)


if __name__ == "__main__":
    sys.exit(main())
