# SPDX-License-Identifier: Apache-2.0
"""Lets everything that compiles or allocates on first use do so before the first real frame."""

from __future__ import annotations

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors import event_messages
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.types import Events, FrameSet, Measurement, Points

_STAMP_NS = 1_000_000_000
_POINTS = 20_000
_EVENTS = 5_000


def warm_up(pipeline: Pipeline) -> None:
    """Runs made-up measurements through a pipeline, with one sensor, two, and so on; compiles the event decoders."""
    sensors = pipeline.rig.sensors
    present = {s.name: Measurement(s.name, s.modality, _STAMP_NS, _payload(s, pipeline), s.frame_id) for s in sensors}
    for count in range(1, len(sensors) + 1):
        some = dict(list(present.items())[:count])
        pipeline(FrameSet(_STAMP_NS + sensors[0].offset_ns, sensors[0].name, some))
    pipeline.reset()
    if any(sensor.modality is Modality.EVENT for sensor in sensors):
        event_messages.warm_up()


def _payload(sensor: Sensor, pipeline: Pipeline) -> np.ndarray | Points | Events:
    random = np.random.default_rng(0)
    if sensor.modality is Modality.LIDAR:
        xyz = random.uniform((2.0, -20.0, -2.0), (40.0, 20.0, 3.0), (_POINTS, 3)).astype(np.float32)
        return Points(xyz, random.random(_POINTS, np.float32))
    assert sensor.model is not None
    width, height = sensor.model.width, sensor.model.height
    if sensor.modality is Modality.CAMERA:
        return random.integers(0, 256, (height, width, 3), np.uint8)
    if sensor.modality is Modality.DEPTH:
        return random.uniform(2.0, 50.0, (height, width)).astype(np.float32)
    return _events(sensor, random, pipeline)


def _events(sensor: Sensor, random: np.random.Generator, pipeline: Pipeline) -> Events:
    assert sensor.model is not None
    width, height = sensor.model.width, sensor.model.height
    x = random.integers(0, width, _EVENTS).astype(np.uint16)
    y = random.integers(0, height, _EVENTS).astype(np.uint16)
    ages = np.sort(random.integers(0, pipeline.encoding.event.window_ns, _EVENTS))[::-1]
    t_ns = _STAMP_NS + sensor.offset_ns - ages
    return Events(x, y, t_ns.astype(np.int64), random.integers(0, 2, _EVENTS).astype(np.uint8), width, height)
