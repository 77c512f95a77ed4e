# SPDX-License-Identifier: Apache-2.0
"""What happens to a payload between synchroniser and encoder: the same in node, replay and when a bag is extracted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anyseg_ros.sensors.checks import FrozenDetector
from anyseg_ros.sensors.messages import converted
from anyseg_ros.sensors.motion_history import MotionHistory
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import Measurement, Points


def taken_in(
    measurement: Measurement, rig: Rig, reference_ns: int, frozen: FrozenDetector, motion: MotionHistory | None
) -> Measurement:
    """The measurement as the encoder takes it: read from its message, not frozen, its points at the reference time.

    Args:
        measurement: of a frame set.
        rig: of its sensor.
        reference_ns: corrected stamp of the frame set.
        frozen: has seen the measurements before.
        motion: the vehicle's twists; None leaves the points as they are.

    Raises:
        RejectedPayload: a camera repeats its image.
        ValueError, TypeError: the message is malformed, see ``PAYLOAD_ERRORS``.
    """
    measurement = converted(measurement)
    payload = measurement.payload
    if isinstance(payload, np.ndarray):
        frozen(measurement.sensor, measurement.stamp_ns, payload)
    if motion is None or not isinstance(payload, Points):
        return measurement
    sensor = rig.sensor(measurement.sensor)
    stamp_ns = measurement.stamp_ns - sensor.offset_ns
    return replace(measurement, payload=motion.compensated(payload, stamp_ns, reference_ns, sensor.base_from_sensor))
