# SPDX-License-Identifier: Apache-2.0
"""The vehicle's motion as a bag tells it, fed into a history as the bag's time goes on."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np

from anyseg_ros.bags.calibration import chain
from anyseg_ros.bags.definitions import ODOMETRY, TWIST_STAMPED, TWIST_WITH_COVARIANCE
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.writer import BagError
from anyseg_ros.sensors.motion_history import MotionError, MotionHistory
from anyseg_ros.sensors.motion_messages import twist_from

log = logging.getLogger(__name__)

TYPES = (ODOMETRY, TWIST_STAMPED, TWIST_WITH_COVARIANCE)
AUTO = "auto"


def odometry_topic(reader: BagReader, wanted: str) -> str:
    """The topic that motion is read from.

    Args:
        reader: an open bag.
        wanted: a topic, or ``auto`` for the bag's only nav_msgs/Odometry topic.

    Raises:
        BagError: it is not there, is of another type, or ``auto`` has several or none to choose from.
    """
    topics = reader.topics()
    if wanted == AUTO:
        found = sorted(topic for topic, msgtype in topics.items() if msgtype == ODOMETRY)
        if len(found) != 1:
            raise BagError(
                f"{reader.path} has {len(found)} topics of {ODOMETRY}{': ' if found else ''}{', '.join(found)}; "
                "expected one, or name the topic: --odometry TOPIC"
            )
        return found[0]
    if topics.get(wanted) not in TYPES:
        raise BagError(
            f"{reader.path} has {topics.get(wanted, 'nothing')} on {wanted}; expected one of {', '.join(TYPES)}"
        )
    return wanted


class OdometryFeed:
    """Feeds a history with a bag's twists up to a moment of the bag, as if they arrived live.

    Twists that are turned down count as ``rejected`` of the reader, too.

    Attributes:
        history: to be handed to the pipeline.

    Args:
        reader: an open bag.
        topic: from ``odometry_topic``.
        base_frame: the rig's.
    """

    def __init__(self, reader: BagReader, topic: str, base_frame: str):
        self.history = MotionHistory()
        self._reader, self._topic, self._base_frame = reader, topic, base_frame
        transforms = reader.static_transforms()
        self._base_from = partial(_base_from, base_frame, transforms)
        self._messages = reader.messages([topic])
        self._following = next(self._messages, None)

    def until(self, now_ns: int) -> None:
        """Takes in what has arrived up to ``now_ns``, the bag's time of arrival."""
        while self._following is not None and self._following[0] <= now_ns:
            try:
                self.history.add(twist_from(self._following[2], self._base_frame, self._base_from))
            except MotionError as error:
                self._reader.reject(self._topic, str(error))
            self._following = next(self._messages, None)

    def summary(self) -> dict[str, Any]:
        """The topic, and the counts of the history."""
        return {"topic": self._topic, **self.history.counts}


def _base_from(base_frame: str, transforms: dict[str, tuple[str, Any]], frame: str) -> np.ndarray | None:
    try:
        return chain(base_frame, frame, transforms)
    except ValueError as error:
        raise MotionError(f"the place of frame '{frame}' is not known: {error}") from error
