# SPDX-License-Identifier: Apache-2.0
"""One rig while the segmentor is active: its messages in, its frame sets to the worker, its health out.

Everything here runs in the executor's thread, but for what the worker tells.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rclpy.node import Node

from anyseg_ros.nodes.calibration import CalibrationKeeper, TransformSource
from anyseg_ros.nodes.clock import NodeClock
from anyseg_ros.nodes.diagnostics import Reporter
from anyseg_ros.nodes.episodes import Episodes
from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.nodes.inputs import Inputs
from anyseg_ros.nodes.odometry import Odometry
from anyseg_ros.nodes.outputs import Outputs
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.rig_names import RigNames
from anyseg_ros.nodes.rounds import Due
from anyseg_ros.nodes.sync_loop import MS, SyncLoop
from anyseg_ros.nodes.worker import Worker
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.calibration import CalibrationError
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import FrameSet

KEPT_ANSWERS = 16  # there are at most a few between two ticks; they hold their payloads
STILL_NS = 3_000_000_000  # a /clock that stands still for longer is told


@dataclass(frozen=True)
class RigParts:
    """What a configured node holds for one rig.

    Attributes:
        names: what its topics, statuses and parameters are called.
        keeper: the calibration.
        outputs: its publishers.
        processor: answers its frame sets.
        episodes: its troubles are told here.
    """

    names: RigNames
    keeper: CalibrationKeeper
    outputs: Outputs
    processor: FrameProcessor
    episodes: Episodes


class RigSession:
    """A rig's part of a session.

    Args:
        node: subscribes, publishes, logs.
        settings: its parameters.
        parts: the rig.
        worker: gets a lane for the rig.
        clock: what ``now`` is.
        transforms: TF, where it is listened to.
        plan_tick: is told in how many nanoseconds the next tick has to come at the latest.

    Raises:
        ValueError, RuntimeError: an input cannot be subscribed to as the parameters ask. Nothing is left behind then.
    """

    def __init__(
        self,
        node: Node,
        settings: SegmentorParameters,
        parts: RigParts,
        worker: Worker[Due],
        clock: NodeClock,
        transforms: TransformSource | None,
        plan_tick: Callable[[int], None],
    ) -> None:
        self._node = node
        self._log = node.get_logger()
        self.names, self._keeper, self._processor = parts.names, parts.keeper, parts.processor
        self._episodes = parts.episodes
        self._clock, self._transforms, self._plan_tick = clock, transforms, plan_tick
        processor, rig = parts.processor, parts.keeper.rig
        config = replace(timings_from_rig(rig, processor.pipeline.encoding), max_wait_ns=settings.max_wait_ms * MS)
        lane = worker.add_lane(self._on_worker_error, settings.max_queue_ms * MS)
        self.loop = SyncLoop(Synchronizer(config), rig, lambda frame_set: lane.submit((processor, frame_set)))
        # From the worker's thread to this one, in which the synchroniser is.
        self._looked_at: deque[tuple[FrameSet, Sequence[str]]] = deque(maxlen=KEPT_ANSWERS)
        processor.looked_at = self._looked_at.append
        self._inputs = Inputs(
            node, rig, settings, self._on_message, self._on_camera_info, self._on_incompatible_qos, parts.names
        )
        self._odometry = self._listen_to_motion(settings.motion_compensation)
        self._reporter = Reporter(node, processor, lane, self.loop, parts.episodes, parts.names)
        self._said: set[str] = set()

    def close_inputs(self) -> None:
        """Ends the subscriptions."""
        self._inputs.close()
        if self._odometry is not None:
            self._odometry.close()

    def close(self) -> None:
        """Ends the rest, once the worker has ended."""
        self._processor.pipeline.motion = None
        self._reporter.close()

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the rig's sensors."""
        return tuple(sensor.name for sensor in self._keeper.rig.sensors)

    def set_enabled(self, sensor: str, enabled: bool) -> None:
        """Uses a sensor or does not; one whose modality the checkpoint does not know is never used."""
        known = sensor not in self._processor.pipeline.unknown
        if enabled and not known:
            text = f"sensor '{sensor}' is not used: the checkpoint was not trained with its modality"
            self._log.warning(self.names.sentence(text))
        self.loop.synchronizer.set_enabled(sensor, enabled and known)

    def reset(self, reason: str) -> None:
        """Forgets everything that depends on the clock, because it jumped."""
        self.loop.reset(reason, self._clock.now_ns())
        if self._odometry is not None:
            self._odometry.history.reset()

    def tick(self) -> None:
        """Applies deadlines, takes in what sets have led to, and says what was reset."""
        while self._looked_at:
            self.loop.answered(*self._looked_at.popleft(), self._clock.now_ns())
        self.loop.tick(self._clock.now_ns(), time.monotonic_ns())
        for reset in self.loop.take_resets():
            text = f"{reset.sensor or 'all sensors'}: starting over ({reset.reason})"
            self._log.warning(self.names.sentence(text))
            self._processor.reset(reset.sensor)

    def tick_in_ns(self) -> int:
        """How soon the next tick has to come."""
        return self.loop.tick_in_ns(self._clock.now_ns(), self._clock.simulated)

    def keep_house(self) -> None:
        """What is looked at every now and then: /clock, TF, odometry, diagnostics."""
        if self._clock.simulated and self._clock.now_ns() == 0:
            self._episodes.report("/clock", "use_sim_time is set, but /clock says nothing; no deadline runs until then")
        elif self._clock.simulated and self._clock.still_ns > STILL_NS:
            self._episodes.report(
                "/clock",
                f"/clock has not moved for over {STILL_NS // 10**9} s: playback is paused, or its publisher is gone",
            )
        else:
            self._episodes.clear("/clock")
        self._look_up_poses()
        if self._odometry is not None:
            self._odometry.check()
        self._episodes.settle()
        self._reporter.report(self._clock.now_ns(), time.monotonic_ns())

    def _listen_to_motion(self, kind: str) -> Odometry | None:
        if kind == "off":
            return None
        try:
            base_frame = self._keeper.rig.base_frame
            odometry = Odometry(self._node, kind, base_frame, self._base_from, self._episodes, self.names)
        except Exception:
            self._inputs.close()
            raise
        self._processor.pipeline.motion = odometry.history
        return odometry

    def _base_from(self, frame: str) -> np.ndarray | None:
        return None if self._transforms is None else self._transforms.base_from(self._keeper.rig.base_frame, frame)

    def _on_message(self, sensor: Sensor, msg: Any) -> None:
        trouble = f"messages of {sensor.name}"
        try:
            self.loop.take(sensor, msg, self._clock.now_ns())
        except PAYLOAD_ERRORS as error:
            self._episodes.report(trouble, f"a message of '{sensor.name}' is not used: {error}", sensor.name, True)
            return
        finally:
            self._plan_tick(self.tick_in_ns())
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
            self._log.info(self.names.sentence(why))
        self._processor.recalibrate(self._keeper.rig)
        self.loop.recalibrate(self._keeper.rig)


def _qos_of(sensor: Sensor) -> str:
    return f"quality of service of {sensor.name}"
