# SPDX-License-Identifier: Apache-2.0
"""What a rig and an encoding say about time: the synchroniser's timings, and the clock that sensors share."""

from __future__ import annotations

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.presets import Encoding
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.sync.timing import SensorTiming, SyncConfig
from anyseg_ros.types import FrameSet


def timings_from_rig(rig: Rig, encoding: Encoding) -> SyncConfig:
    """The synchroniser's configuration: one timing per sensor, in the rig's order of preference.

    Args:
        rig: sensors and their clocks.
        encoding: says how long the window of events is.
    """
    return SyncConfig(
        sensors=tuple(
            SensorTiming(
                name=s.name,
                modality=s.modality,
                period_ns=s.period_ns,
                offset_ns=s.offset_ns,
                tolerance_ns=s.tolerance_ns,
                stale_ns=s.stale_ns,
                lost_ns=s.lost_ns,
                window_ns=encoding.event.window_ns,
                required=s.required,
                enabled=s.enabled,
            )
            for s in rig.sensors
        )
    )


def corrected_ns(rig: Rig, frame_set: FrameSet) -> int:
    """The time of a frame set on the rig's common clock.

    It is the reference's stamp less its clock offset. An event reference is answered at multiples of its output
    period, which count on the common clock already.
    """
    reference = rig.sensor(frame_set.reference)
    return frame_set.stamp_ns if reference.modality is Modality.EVENT else frame_set.stamp_ns - reference.offset_ns
