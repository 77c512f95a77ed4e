# SPDX-License-Identifier: Apache-2.0
"""What the segmentor does while it is active: messages in, frame sets to the worker, health out.

Everything here runs in the executor's thread, but for the worker.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from anyseg_ros.nodes.calibration import CalibrationKeeper, transform_source
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.diagnostics import Reporter
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.inputs import Inputs
from anyseg_ros.nodes.odometry import Odometry
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.sync_loop import MS, TICK_NS, SyncLoop
from anyseg_ros.nodes.worker import Worker
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.calibration import CalibrationError
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import FrameSet

_HOUSEKEEPING_S = 0.2


class Session:
    """One stretch of activity, from ``start`` to ``close``.

    Args:
        node: subscribes, publishes, logs.
        settings: its parameters.
        keeper: the calibration.
        processor: answers frame sets.
        clock: what ``now`` is.
        episodes: troubles are told here.

    Raises:
        ValueError, RuntimeError: an input cannot be subscribed to as the parameters ask. Nothing is left behind then.
    """

    def __init__(
        self,
        node: Node,
        settings: SegmentorParameters,
        keeper: CalibrationKeeper,
        processor: FrameProcessor,
        clock: NodeClock,
        episodes: Episodes,
    ) -> None:
        self._node = node
        self._log = node.get_logger()
        self._keeper = keeper
        self._processor = processor
        self._clock = clock
        self._episodes = episodes
        config = replace(
            timings_from_rig(keeper.rig, processor.pipeline.encoding), max_wait_ns=settings.max_wait_ms * MS
        )
        self._worker: Worker[FrameSet] = Worker(processor, self._on_worker_error, settings.max_queue_ms * MS)
        self._loop = SyncLoop(Synchronizer(config), keeper.rig, self._worker.submit)
        self._inputs = Inputs(
            node, keeper.rig, settings, self._on_message, self._on_camera_info, self._on_incompatible_qos
        )
        self._transforms = transform_source(node, settings.use_tf)
        self._odometry = self._listen_to_motion(settings.motion_compensation)
        self._reporter = Reporter(node, processor, self._worker, self._loop, episodes)
        self._timers: list[Any] = []
        self._next_tick_ns = 0
        self._said: set[str] = set()

    def start(self) -> None:
        """Starts the worker and the timers."""
        self._worker.start()
        # The pace of deadlines does not depend on /clock: a paused bag must still be noticed as paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            self._node.create_timer(TICK_NS / 1e9, self._on_tick, clock=steady),
            self._node.create_timer(_HOUSEKEEPING_S, self._on_housekeeping, clock=steady),
        ]

    def close(self) -> None:
        """Ends subscriptions, timers and the worker; what waits is dropped."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._timers = []
        self._close_inputs()
        if not self._worker.stop():
            self._log.error("the worker is still busy after 10 s; its last frame is left to itself")
        self._processor.pipeline.motion = None
        self._reporter.close()

    @property
    def held_up(self) -> bool:
        """Whether the process stood still just now."""
        return self._loop.held_up(time.monotonic_ns())

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the rig's sensors."""
        return tuple(sensor.name for sensor in self._keeper.rig.sensors)

    def set_enabled(self, sensor: str, enabled: bool) -> None:
        """Uses a sensor or does not; one whose modality the checkpoint does not know is never used."""
        known = sensor not in self._processor.pipeline.unknown
        if enabled and not known:
            self._log.warning(f"sensor '{sensor}' is not used: the checkpoint was not trained with its modality")
        self._loop.synchronizer.set_enabled(sensor, enabled and known)

    def reset(self, reason: str) -> None:
        """Forgets everything that depends on the clock, because it jumped."""
        self._loop.reset(reason, self._clock.now_ns())
        if self._transforms is not None:
            self._transforms.reset()
        if self._odometry is not None:
            self._odometry.history.reset()

    def _listen_to_motion(self, kind: str) -> Odometry | None:
        if kind == "off":
            return None
        try:
            odometry = Odometry(self._node, kind, self._keeper.rig.base_frame, self._base_from, self._episodes)
        except Exception:
            self._odometry = None
            self._close_inputs()
            raise
        self._processor.pipeline.motion = odometry.history
        return odometry

    def _base_from(self, frame: str) -> np.ndarray | None:
        return None if self._transforms is None else self._transforms.base_from(self._keeper.rig.base_frame, frame)

    def _close_inputs(self) -> None:
        self._inputs.close()
        if self._transforms is not None:
            self._transforms.close()
        if self._odometry is not None:
            self._odometry.close()

    def _on_message(self, sensor: Sensor, msg: Any) -> None:
        trouble = f"messages of {sensor.name}"
        try:
            self._loop.take(sensor, msg, self._clock.now_ns())
        except PAYLOAD_ERRORS as error:
            self._episodes.report(trouble, f"a message of '{sensor.name}' is not used: {error}", sensor.name, True)
            return
        finally:
            self._plan_tick()
        self._episodes.clear(trouble)
        self._episodes.clear(_qos_of(sensor))
        if not isinstance(msg, bytes):  # a serialised EventArray
            self._look_at_frame(sensor, msg.header.frame_id)

    def _look_at_frame(self, sensor: Sensor, frame_id: str) -> None:
        """Warns of messages that name another frame than the rig: its pose is used for them all the same."""
        trouble = f"frame of {sensor.name}"
        if frame_id.lstrip("/") == sensor.frame_id:
            self._episodes.clear(trouble)
            return
        self._episodes.report(
            trouble,
            f"messages of '{sensor.name}' are in frame '{frame_id}', the rig says '{sensor.frame_id}': its pose in the "
            "rig is used; correct the rig's frame_id, or the driver",
            sensor.name,
        )

    def _on_incompatible_qos(self, sensor: Sensor, topic: str, policy: str) -> None:
        self._episodes.report(
            _qos_of(sensor),
            f"'{sensor.name}' is not heard: a publisher on {topic} offers another quality of service ({policy} is "
            "incompatible); set qos_overrides of this topic, or the publisher's",
            sensor.name,
        )

    def _on_camera_info(self, sensor: Sensor, msg: Any) -> bool:
        trouble = f"camera_info of {sensor.name}"
        try:
            changed = self._keeper.take_camera_info(sensor.name, msg)
        except CalibrationError as error:
            self._episodes.report(trouble, f"the CameraInfo of '{sensor.name}' is not used: {error}", sensor.name)
            return False
        self._episodes.clear(trouble)
        if changed:
            self._recalibrate(f"the intrinsics of '{sensor.name}' come from its CameraInfo now")
        return True

    def _on_tick(self) -> None:
        self._loop.tick(self._clock.now_ns(), time.monotonic_ns())
        for reset in self._loop.take_resets():
            self._log.warning(f"{reset.sensor or 'all sensors'}: starting over ({reset.reason})")
            self._processor.reset(reset.sensor)
        self._plan_tick(ticked=True)

    def _plan_tick(self, ticked: bool = False) -> None:
        """Lets the next tick come as soon as it is needed; a message can bring it forward, and never puts it off."""
        steady_ns = time.monotonic_ns()
        wait_ns = self._loop.tick_in_ns(self._clock.now_ns(), self._clock.simulated)
        if self._timers and (ticked or steady_ns + wait_ns < self._next_tick_ns - MS):
            self._next_tick_ns = steady_ns + wait_ns
            self._timers[0].timer_period_ns = wait_ns
            self._timers[0].reset()

    def _on_housekeeping(self) -> None:
        if self._clock.simulated and self._clock.now_ns() == 0:
            self._episodes.report("/clock", "use_sim_time is set, but /clock says nothing; no deadline runs until then")
        else:
            self._episodes.clear("/clock")
        self._look_up_poses()
        if self._odometry is not None:
            self._odometry.check()
        self._episodes.settle()
        self._reporter.report(self._clock.now_ns(), time.monotonic_ns())

    def _on_worker_error(self, error: Exception) -> None:
        self._episodes.report("output", f"a frame failed ({type(error).__name__}: {error}); the next one is tried")

    def _look_up_poses(self) -> None:
        if self._transforms is None:
            return
        rig = self._keeper.rig
        for sensor in rig.sensors:
            trouble = f"pose of {sensor.name}"
            try:
                pose = self._transforms.base_from(rig.base_frame, sensor.frame_id)
                changed = pose is not None and self._keeper.take_pose(sensor.name, pose)
            except ValueError as error:
                self._episodes.report(trouble, f"the pose of '{sensor.name}' in TF is not used: {error}", sensor.name)
                continue
            self._episodes.clear(trouble)
            if changed:
                self._recalibrate(f"the pose of '{sensor.name}' comes from TF now")

    def _recalibrate(self, why: str) -> None:
        if why not in self._said:  # a pose on a suspension changes with every look
            self._said.add(why)
            self._log.info(why)
        self._processor.recalibrate(self._keeper.rig)
        self._loop.recalibrate(self._keeper.rig)


def _qos_of(sensor: Sensor) -> str:
    return f"quality of service of {sensor.name}"
