# SPDX-License-Identifier: Apache-2.0
"""Command lines of the nodes that are started as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from anyseg_ros.demo.stage import Stage
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig

INPUTS = {Modality.CAMERA: "camera", Modality.LIDAR: "lidar", Modality.EVENT: "events"}


def ros_arguments(remap: Sequence[str] = (), parameters: Mapping[str, Any] | None = None) -> list[str]:
    """Command-line arguments for a node; strings are quoted as YAML."""
    arguments = ["--ros-args"]
    for name, value in (parameters or {}).items():
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    for rule in remap:
        arguments += ["-r", rule]
    return arguments


def played_topics(rig: Rig, packets: bool) -> dict[str, str]:
    """The topics on which the player publishes, by the name of the segmentor's input; ``camera_info`` among them.

    Args:
        rig: the sensors.
        packets: whether event_camera_msgs is installed; without it events are played as points.
    """
    topics = {}
    for sensor in rig.sensors:
        space = sensor.topic.rsplit("/", 1)[0]
        points = sensor.modality is Modality.EVENT and not packets
        topics[INPUTS[sensor.modality]] = f"{space}/points" if points else sensor.topic
        if sensor.modality is Modality.CAMERA:
            topics["camera_info"] = f"{space}/camera_info"
    return topics


def has_event_packets(stage: Stage) -> bool:
    """Whether the children can import the event camera's own message type, which PyPI lacks."""
    probe = [sys.executable, "-c", "import event_camera_msgs.msg"]
    return subprocess.run(probe, env=stage.environment, capture_output=True, timeout=60, check=False).returncode == 0
