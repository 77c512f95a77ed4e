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

from anyseg_ros.latency_budget import LatencyBudget, grid_steps
from anyseg_ros.nodes import fallbacks, parameters, refuse_broken_packages, runner
from anyseg_ros.nodes.calibration import CalibrationKeeper
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.outputs import Outputs
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.session import Session
from anyseg_ros.nodes.warmup import warm_up
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.rig import Rig, load_rig

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


@dataclass(frozen=True)
class _Configured:
    """What a configured node holds."""

    settings: SegmentorParameters
    keeper: CalibrationKeeper
    outputs: Outputs
    processor: FrameProcessor


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
        self._episodes = Episodes(self.get_logger().warning, self.get_logger().info)
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
        threads = settings.threads or None
        return Pipeline(rig, checkpoint, settings.device, threads, settings.backend, settings.precision)

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads parameters, rig and checkpoint, and warms the network up."""
        outputs = None
        try:
            refuse_broken_packages()
            settings = parameters.read(self, SegmentorParameters)
            keeper = CalibrationKeeper(load_rig(runner.find_file(settings.rig)))
            self._declare_sensors(keeper.rig)
            outputs = Outputs(self, settings)
            pipeline = self.make_pipeline(keeper.rig, settings)
            budget = _budget(settings.latency_budget_ms, pipeline)
            processor = FrameProcessor(pipeline, outputs, self._time.now_ns, self._episodes, budget)
            warm_up(pipeline)
        except (ValueError, OSError, RuntimeError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            if outputs is not None:
                outputs.close()
            return FAILURE
        self._configured = _Configured(settings, keeper, outputs, processor)
        self._say_what_serves(pipeline)
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the sensors and starts the worker."""
        own = self._configured
        if own is None:
            return FAILURE
        try:
            session = Session(self, own.settings, own.keeper, own.processor, self._time, self._episodes)
        except (ValueError, RuntimeError) as error:
            self.get_logger().error(f"cannot activate: {error}")
            return FAILURE
        self._session = session
        for sensor in own.keeper.rig.sensors:
            session.set_enabled(sensor.name, bool(self.get_parameter(_enabled(sensor.name)).value))
        result = super().on_activate(state)
        own.outputs.publish_label_set(own.processor.pipeline)
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
        if change.value == getattr(self._configured.settings, change.name, change.value):
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

    def _declare_sensors(self, rig: Rig) -> None:
        for sensor in rig.sensors:
            if not self.has_parameter(_enabled(sensor.name)):
                descriptor = ParameterDescriptor(description=f"Whether sensor '{sensor.name}' is used.")
                self.declare_parameter(_enabled(sensor.name), sensor.enabled, descriptor)

    def _say_what_serves(self, pipeline: Pipeline) -> None:
        log = self.get_logger()
        height, width = pipeline.meta.grid
        log.info(f"network on {pipeline.engine.device}, grid of {width} x {height} pixels")
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
            own.outputs.close()


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
