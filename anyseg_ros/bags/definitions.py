# SPDX-License-Identifier: Apache-2.0
"""The message types that bags are read and written with."""

from __future__ import annotations

from functools import lru_cache

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"

# Fields of event_camera_msgs/msg/EventPacket, which no ROS distribution's core set of types holds.
EVENT_PACKET_DEFINITION = """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The types of ROS 2 Jazzy and EventPacket."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(EVENT_PACKET_DEFINITION, EVENT_PACKET))
    return store
