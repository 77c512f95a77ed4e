# SPDX-License-Identifier: Apache-2.0
"""A rig with the calibration that a bag itself carries: CameraInfo and /tf_static go before the rig file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anyseg_ros.bags.raw_reader import RawReader
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.topics import camera_info_topic
from anyseg_ros.sensors.calibration import CalibrationError, CameraModel
from anyseg_ros.sensors.poses import matrix_from_transform
from anyseg_ros.sensors.rig import Rig, Sensor


def calibrated(rig: Rig, reader: BagReader | RawReader) -> tuple[Rig, list[str]]:
    """The rig with what the bag says about its cameras and frames.

    Returns:
        The rig, and one sentence for everything that was taken from the bag or could not be.

    Raises:
        BagError: as ``BagReader.match``.
    """
    topics, matched = reader.topics(), reader.match(rig)
    notes: list[str] = []
    transforms = reader.static_transforms()
    sensors = []
    for sensor in rig.sensors:
        if sensor.model is not None and sensor.name in matched:
            info = camera_info_topic(matched[sensor.name], topics)
            if info is not None:
                sensor = _with_model(sensor, info, reader.first_message(info), notes)
        sensors.append(_with_pose(sensor, rig.base_frame, transforms, notes))
    for sensor in sensors:
        if sensor.name not in matched:
            notes.append(f"{sensor.name}: the recording has nothing of it, so it counts as never seen")
    return replace(rig, sensors=tuple(sensors)), notes


def _with_model(sensor: Sensor, topic: str, info: Any, notes: list[str]) -> Sensor:
    """The sensor with the intrinsics of a CameraInfo; with its own where that is no calibration."""
    try:
        model = CameraModel.from_camera_info(info, rectified=sensor.model is not None and sensor.model.rectified)
    except CalibrationError as error:
        notes.append(f"{sensor.name}: {topic} is not used, the rig file's intrinsics are: {error}")
        return sensor
    notes.append(f"{sensor.name}: intrinsics from {topic}")
    return replace(sensor, model=model)


def _with_pose(sensor: Sensor, base_frame: str, transforms: dict[str, tuple[str, Any]], notes: list[str]) -> Sensor:
    """The sensor with its pose from the transforms, where they connect its frame to the base frame."""
    try:
        matrix = chain(base_frame, sensor.frame_id, transforms)
    except ValueError as error:
        notes.append(f"{sensor.name}: /tf_static is not used for it, the rig file's pose is: {error}")
        return sensor
    if matrix is None:
        return sensor
    notes.append(f"{sensor.name}: pose from /tf_static")
    return replace(sensor, base_from_sensor=matrix)


def chain(base_frame: str, frame_id: str, transforms: dict[str, tuple[str, Any]]) -> np.ndarray | None:
    """The 4x4 matrix from a frame into the base frame, or None when the tree does not connect them.

    Args:
        base_frame: the ancestor.
        frame_id: the frame to start from.
        transforms: (parent, geometry_msgs Transform) by child frame.

    Raises:
        ValueError: the frames form a loop, or a rotation is none.
    """
    matrix, frame, seen = np.eye(4), frame_id, set()
    while frame != base_frame:
        if frame in seen:
            raise ValueError(f"its frames form a loop through '{frame}'")
        if frame not in transforms:
            return None
        seen.add(frame)
        parent, transform = transforms[frame]
        matrix = matrix_from_transform(transform) @ matrix
        frame = parent
    return matrix
