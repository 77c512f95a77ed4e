# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 recordings without a ROS installation."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from anyseg_ros.bags import messages
from anyseg_ros.bags.definitions import typestore
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.types import Events, Points

STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
NO_LIMIT = QosTime(0, 0)


class BagError(ValueError):
    """A bag cannot be read or written; the message says what was found and what to do."""


def looks_like_bag(path: Path) -> bool:
    """True for a rosbag2 folder or a bare storage file."""
    return (path / "metadata.yaml").is_file() or (path.is_file() and path.suffix in (".mcap", ".db3"))


def prepare_bag_path(path: Path, overwrite: bool) -> None:
    """Makes sure that a new bag can be created at ``path``.

    Raises:
        BagError: something is there and may not be overwritten, or is no bag.
    """
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"{path} exists already; choose another name, or give --force to overwrite a bag")
    if not path.is_dir() or not looks_like_bag(path):
        raise BagError(f"{path} exists and is not a rosbag2 folder, so it is not overwritten; choose another name")
    shutil.rmtree(path)


def _qos(latched: bool) -> Qos:
    """The offered quality of service that is stored with a topic, so that players publish it alike."""
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        NO_LIMIT,
        NO_LIMIT,
        QosLiveliness.AUTOMATIC,
        NO_LIMIT,
        False,
    )


class BagWriter:
    """A new rosbag2; use it as a context manager.

    ``arrival_ns`` of each call is when the message is taken to have arrived, ``stamp_ns`` goes into its
    header. Messages are to come in the order of arrival.

    Args:
        path: the folder to create.
        storage: ``mcap`` or ``sqlite3``.
        overwrite: replace an existing bag.

    Raises:
        BagError: the path is taken or the storage unknown.
    """

    def __init__(self, path: Path | str, storage: str = "mcap", overwrite: bool = False):
        if storage not in STORAGE:
            raise BagError(f"unknown bag storage '{storage}'; known are {', '.join(STORAGE)}")
        self.path = Path(path)
        prepare_bag_path(self.path, overwrite)
        self._writer = Writer(self.path, version=9, storage_plugin=STORAGE[storage])
        self._connections: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()

    def write(self, topic: str, arrival_ns: int, message: Any, latched: bool = False) -> None:
        """Writes any message whose type the store of ``definitions.typestore`` knows."""
        msgtype = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_qos(latched)]
            )
        self._writer.write(self._connections[topic], int(arrival_ns), typestore().serialize_cdr(message, msgtype))
        self.counts[topic] += 1

    def write_image(self, topic: str, arrival_ns: int, stamp_ns: int, frame_id: str, pixels: np.ndarray) -> None:
        """Writes uint8 [H,W,3] RGB, uint8 [H,W] (labels, mono8) or float32 [H,W] (depth in metres)."""
        self.write(topic, arrival_ns, messages.image(stamp_ns, frame_id, pixels))

    def write_camera_info(self, topic: str, arrival_ns: int, stamp_ns: int, frame_id: str, model: CameraModel) -> None:
        """Writes the CameraInfo of a raw image."""
        self.write(topic, arrival_ns, messages.camera_info(stamp_ns, frame_id, model))

    def write_points(self, topic: str, arrival_ns: int, stamp_ns: int, frame_id: str, cloud: Points) -> None:
        """Writes a PointCloud2 in the XYZIRT layout."""
        self.write(topic, arrival_ns, messages.points(stamp_ns, frame_id, cloud))

    def write_events(self, topic: str, arrival_ns: int, stamp_ns: int, frame_id: str, events: Events) -> None:
        """Writes an EventPacket in evt3."""
        packet = messages.event_packet(stamp_ns, frame_id, events, self.counts[topic])
        self.write(topic, arrival_ns, packet)

    def write_tf_static(self, arrival_ns: int, parent: str, children: Iterable[tuple[str, np.ndarray]]) -> None:
        """Writes the places of frames in a parent frame, latched, on /tf_static."""
        self.write("/tf_static", arrival_ns, messages.tf_static(arrival_ns, parent, children), latched=True)
