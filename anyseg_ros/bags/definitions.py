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
EVENT_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
TWIST_WITH_COVARIANCE = "geometry_msgs/msg/TwistWithCovarianceStamped"

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

# Fields of dvs_msgs/msg/Event and EventArray; those of prophesee_event_msgs are the same.
EVENT_DEFINITION = """\
uint16 x
uint16 y
builtin_interfaces/Time ts
bool polarity
"""
EVENT_ARRAY_DEFINITION = """\
std_msgs/Header header
uint32 height
uint32 width
Event[] events
"""


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The types of ROS 2 Jazzy, EventPacket and EventArray."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(EVENT_PACKET_DEFINITION, EVENT_PACKET))
    for array in EVENT_ARRAYS:
        event = array.replace("EventArray", "Event")
        store.register(get_types_from_msg(EVENT_DEFINITION, event))
        store.register(get_types_from_msg(EVENT_ARRAY_DEFINITION, array))
    return store
