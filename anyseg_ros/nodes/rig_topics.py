# SPDX-License-Identifier: Apache-2.0
"""Remappings of the inputs of several rigs to the topics in their files, for launch files."""

from __future__ import annotations

from collections.abc import Sequence

from anyseg_ros.bags.topics import info_beside
from anyseg_ros.nodes.inputs import input_topics
from anyseg_ros.nodes.odometry import TOPIC
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.rig_names import rigs_of


def rig_remappings(paths: Sequence[str], odometry: str = "") -> list[tuple[str, str]]:
    """Where each input of several rigs is heard, by the ``topic`` keys of their sensors.

    CameraInfo is expected beside the images: ``/front/camera_info`` for ``/front/image_raw``.

    Args:
        paths: rig files, as for the parameter ``rigs``.
        odometry: the topic of the vehicle's motion, the same for all rigs; empty leaves it as it is.

    Returns:
        Pairs of input and topic. A sensor whose file names no topic has none.

    Raises:
        ParameterError, RigError, OSError: the rigs cannot be used, as at configure.
    """
    found = []
    for names, rig in rigs_of(SegmentorParameters(rigs=tuple(paths))).items():
        for sensor, topic in input_topics(rig, names).items():
            heard = rig.sensor(sensor).topic
            if heard:
                found.append((topic, heard))
                if rig.sensor(sensor).model is not None:
                    found.append((f"{topic}_info", info_beside(heard)))
        if odometry:
            found.append((names.topic(TOPIC), odometry))
    return found
