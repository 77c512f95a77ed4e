# SPDX-License-Identifier: Apache-2.0
"""The segmentor: camera, events, lidar and depth in, in any combination; labels out.

Threads: the executor's takes in messages and runs the synchroniser; one worker thread answers the frame sets.

Run it with ``python -m anyseg_ros.nodes.segmentor_node --ros-args -p rig:=config/rigs/sim.yaml
-r ~/input/camera:=/camera/image_raw -r ~/input/lidar:=/lidar/points -r ~/input/events:=/event_camera/events``.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from anyseg_ros.nodes import fallbacks, parameters, refuse_broken_packages, runner
from anyseg_ros.nodes.calibration import CalibrationKeeper, TransformSource, transform_source
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.diagnostics import Reporter
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.inputs import Inputs
from anyseg_ros.nodes.outputs import Outputs
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.sync_loop import MS, TICK_NS, SyncLoop
from anyseg_ros.nodes.warmup import warm_up
from anyseg_ros.nodes.worker import Worker
from anyseg_ros.pipeline import PAYLOAD_ERRORS, Pipeline, timings_from_rig
from anyseg_ros.sensors.calibration import CalibrationError
from anyseg_ros.sensors.rig import Rig, Sensor, load_rig
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import FrameSet

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_HOUSEKEEPING_S = 0.2
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


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
        self._time = NodeClock(self, self._reset)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._settings: SegmentorParameters | None = None
        self._keeper: CalibrationKeeper | None = None
        self._outputs: Outputs | None = None
        self._processor: FrameProcessor | None = None
        self._worker: Worker[FrameSet] | None = None
        self._loop: SyncLoop | None = None
        self._inputs: Inputs | None = None
        self._transforms: TransformSource | None = None
        self._reporter: Reporter | None = None
        self._timers_running: list[Any] = []
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def autostart(self) -> bool:
        """Whether the node configures and activates itself."""
        return bool(self.get_parameter("autostart").value)

    # Lifecycle, in its order.

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads parameters, rig and checkpoint, and warms the network up."""
        try:
            refuse_broken_packages()
            self._settings = parameters.read(self, SegmentorParameters)
            self._keeper = CalibrationKeeper(load_rig(runner.find_file(self._settings.rig)))
            self._outputs = Outputs(self, self._settings)
            self._processor = FrameProcessor(
                self._build_pipeline, self._keeper.rig, self._outputs, self._time.now_ns, self._episodes
            )
            self._declare_sensors(self._keeper.rig)
            warm_up(self._processor.pipeline)
        except (ValueError, OSError, RuntimeError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._release()
            return FAILURE
        self._say_what_serves()
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the sensors and starts the worker."""
        assert self._settings and self._keeper and self._outputs and self._processor
        rig = self._keeper.rig
        config = replace(timings_from_rig(rig), max_wait_ns=self._settings.max_wait_ms * MS)
        self._worker = Worker(self._processor, self._on_worker_error, self._settings.max_queue_ms * MS)
        self._loop = SyncLoop(Synchronizer(config), rig, self._worker.submit)
        for name in self._processor.pipeline.unknown:
            self._loop.synchronizer.set_enabled(name, False)
            self.get_logger().warning(f"sensor '{name}' is not used: the checkpoint was not trained with its modality")
        for name in self._sensor_names():
            if not self.get_parameter(_enabled(name)).value:
                self._loop.synchronizer.set_enabled(name, False)
        try:
            self._inputs = Inputs(self, rig, self._settings, self._on_message, self._on_camera_info)
        except ValueError as error:
            self.get_logger().error(f"cannot activate: {error}")
            return FAILURE
        self._transforms = transform_source(self, self._settings.use_tf)
        self._reporter = Reporter(self, self._processor, self._worker, self._loop.synchronizer, self._episodes)
        result = super().on_activate(state)
        self._outputs.publish_label_set(self._processor.pipeline)
        self._worker.start()
        self._timers_running = [
            self.create_timer(TICK_NS / 1e9, self._on_tick, clock=self._steady),
            self.create_timer(_HOUSEKEEPING_S, self._on_housekeeping, clock=self._steady),
        ]
        self.get_logger().info("active")
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the subscriptions and the worker."""
        self._halt()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of network and publishers."""
        self._release()
        return SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends everything from whatever state."""
        self._halt()
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """Ends the worker before the publishers go."""
        self._halt()
        super().destroy_node()

    # Callbacks of the executor's thread.

    def _on_message(self, sensor: Sensor, msg: Any) -> None:
        trouble = f"messages of {sensor.name}"
        try:
            self._loop.take(sensor, msg, self._time.now_ns())
        except PAYLOAD_ERRORS as error:
            self._episodes.report(trouble, f"a message of '{sensor.name}' is not used: {error}")
        else:
            self._episodes.clear(trouble)

    def _on_camera_info(self, sensor: Sensor, msg: Any) -> None:
        trouble = f"camera_info of {sensor.name}"
        try:
            changed = self._keeper.take_camera_info(sensor.name, msg)
        except CalibrationError as error:
            self._episodes.report(trouble, f"the CameraInfo of '{sensor.name}' is not used: {error}")
            return
        self._episodes.clear(trouble)
        if changed:
            self._recalibrate(f"the intrinsics of '{sensor.name}' come from its CameraInfo now")

    def _on_tick(self) -> None:
        self._loop.tick(self._time.now_ns(), time.monotonic_ns())
        for reset in self._loop.take_resets():
            self.get_logger().warning(f"{reset.sensor or 'all sensors'}: starting over ({reset.reason})")
            self._processor.reset()

    def _on_housekeeping(self) -> None:
        if self._time.simulated and self._time.now_ns() == 0:
            self._episodes.report("/clock", "use_sim_time is set, but /clock says nothing; no deadline runs until then")
        else:
            self._episodes.clear("/clock")
        if self._transforms is not None:
            self._look_up_poses()
        self._reporter.report(self._time.now_ns(), time.monotonic_ns())

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            head, _, tail = change.name.partition(".")
            name, _, what = tail.rpartition(".")
            if head == "sensors" and what == "enabled" and self._loop is not None:
                self._loop.synchronizer.set_enabled(name, change.value and name not in self._processor.pipeline.unknown)
        return SetParametersResult(successful=True)

    def _reset(self, reason: str) -> None:
        if self._loop is not None:
            self._loop.reset(reason, self._time.now_ns())

    # Helpers.

    def _look_up_poses(self) -> None:
        rig = self._keeper.rig
        for sensor in rig.sensors:
            pose = self._transforms.base_from(rig.base_frame, sensor.frame_id)
            if pose is not None and self._keeper.take_pose(sensor.name, pose):
                self._recalibrate(f"the pose of '{sensor.name}' comes from TF now")

    def _recalibrate(self, why: str) -> None:
        self.get_logger().info(why)
        self._processor.recalibrate(self._keeper.rig)
        self._loop.recalibrate(self._keeper.rig)

    def _build_pipeline(self, rig: Rig) -> Pipeline:
        checkpoint = runner.find_file(self._settings.checkpoint) if self._settings.checkpoint else None
        return Pipeline(rig, checkpoint, self._settings.device, self._settings.threads or None)

    def _declare_sensors(self, rig: Rig) -> None:
        for sensor in rig.sensors:
            if not self.has_parameter(_enabled(sensor.name)):
                descriptor = ParameterDescriptor(description=f"Whether sensor '{sensor.name}' is used.")
                self.declare_parameter(_enabled(sensor.name), sensor.enabled, descriptor)

    def _sensor_names(self) -> list[str]:
        return [sensor.name for sensor in self._keeper.rig.sensors]

    def _on_worker_error(self, error: Exception) -> None:
        self._episodes.report("output", f"a frame failed ({type(error).__name__}: {error}); the next one is tried")

    def _say_what_serves(self) -> None:
        log = self.get_logger()
        log.info(f"network on {self._processor.pipeline.engine.device}, grid {self._processor.pipeline.meta.grid}")
        if fallbacks():
            log.info(f"not installed, our own small versions serve: {', '.join(fallbacks())}")
        if "fastrtps" in rclpy.get_rmw_implementation_identifier() and not os.environ.get(_PROFILES):
            log.warning(
                f"{_PROFILES} is not set: Fast DDS loses most best-effort messages above 0.5 MB; "
                "set it to config/fastdds.xml of this package in every process"
            )

    def _halt(self) -> None:
        for timer in self._timers_running:
            self.destroy_timer(timer)
        self._timers_running = []
        if self._inputs is not None:
            self._inputs.close()
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the worker is still busy after 10 s; its last frame is left to itself")
        if self._reporter is not None:
            self._reporter.close()
        self._inputs = self._worker = self._loop = self._reporter = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = self._processor = self._keeper = None


def _enabled(sensor: str) -> str:
    return f"sensors.{sensor}.enabled"


def make() -> SegmentorNode:
    """A segmentor that has started itself, if it is to.

    Raises:
        StartError: autostart is on and the node cannot configure or activate.
    """
    node = SegmentorNode()
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
