# SPDX-License-Identifier: Apache-2.0
"""Which topic of a bag belongs to which sensor of a rig."""

from __future__ import annotations

from anyseg_ros.bags.definitions import CAMERA_INFO, COMPRESSED_IMAGE, EVENT_ARRAYS, EVENT_PACKET, IMAGE, POINT_CLOUD
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig

GROUND_TRUTH_TOPIC = "/ground_truth/labels"
ODOMETRY_TOPIC = "/odometry"

# Types that a sensor's own topic may have, and types by which a topic is found when the rig's name is not there.
ACCEPTED = {
    Modality.CAMERA: (IMAGE, COMPRESSED_IMAGE),
    Modality.DEPTH: (IMAGE, COMPRESSED_IMAGE),
    Modality.EVENT: (EVENT_PACKET, *EVENT_ARRAYS, POINT_CLOUD),
    Modality.LIDAR: (POINT_CLOUD,),
}
SOUGHT = {**ACCEPTED, Modality.DEPTH: (IMAGE,), Modality.EVENT: (EVENT_PACKET, *EVENT_ARRAYS)}


def match_topics(rig: Rig, topics: dict[str, str]) -> dict[str, str]:
    """Topic by sensor name; a sensor without a topic is left out.

    The rig's own topic names come first. A sensor whose name the bag lacks takes the one topic of its
    type that is left, ground truth and segmentation outputs apart.

    Args:
        rig: the rig.
        topics: message type by topic.

    Raises:
        ValueError: a topic has the wrong type, several would do, or no sensor of the rig is there.
    """
    matched: dict[str, str] = {}
    for sensor in rig.sensors:
        if sensor.topic not in topics:
            continue
        if topics[sensor.topic] not in ACCEPTED[sensor.modality]:
            wanted = " or ".join(ACCEPTED[sensor.modality])
            raise ValueError(
                f"topic {sensor.topic} of sensor '{sensor.name}' holds {topics[sensor.topic]}, expected {wanted}"
            )
        matched[sensor.name] = sensor.topic
    for sensor in rig.sensors:
        if sensor.name not in matched:
            candidates = _candidates(sensor.modality, topics, set(matched.values()))
            if len(candidates) > 1:
                raise ValueError(
                    f"the rig's topic '{sensor.topic}' of sensor '{sensor.name}' is not there, and "
                    f"{', '.join(candidates)} would all do; name one of them as its topic in the rig file"
                )
            if candidates:
                matched[sensor.name] = candidates[0]
    if not matched:
        held = ", ".join(f"{topic} ({msgtype})" for topic, msgtype in sorted(topics.items())) or "no topic"
        wanted = ", ".join(f"'{sensor.name}' at {sensor.topic or '(no topic)'}" for sensor in rig.sensors)
        raise ValueError(f"no sensor of rig '{rig.name}' is there: wanted {wanted}; the bag holds {held}")
    return matched


def _candidates(modality: Modality, topics: dict[str, str], taken: set[str]) -> list[str]:
    """Topics of a modality's type that no sensor has, without ground truth, outputs and depth for colour."""
    found = []
    for topic, msgtype in sorted(topics.items()):
        made_by_us = topic == GROUND_TRUTH_TOPIC or "/output/" in topic
        depth = "depth" in topic
        wrong_kind = modality in (Modality.CAMERA, Modality.DEPTH) and depth != (modality is Modality.DEPTH)
        if msgtype in SOUGHT[modality] and topic not in taken and not made_by_us and not wrong_kind:
            found.append(topic)
    return found


def camera_info_topic(image_topic: str, topics: dict[str, str]) -> str | None:
    """The CameraInfo topic beside an image or event topic; None where there is none."""
    beside = info_beside(image_topic)
    return beside if topics.get(beside) == CAMERA_INFO else None


def info_beside(image_topic: str) -> str:
    """Where the CameraInfo of an image or event topic stands by ROS convention: ``<namespace>/camera_info``."""
    levels = 2 if image_topic.endswith(("/compressed", "/compressedDepth")) else 1
    return image_topic.rsplit("/", levels)[0] + "/camera_info"
