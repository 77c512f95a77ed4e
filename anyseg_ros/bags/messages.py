# SPDX-License-Identifier: Apache-2.0
"""Builds the rosbags messages that bags are written with (no ROS installation needed)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from anyseg_ros.bags.definitions import CAMERA_INFO, EVENT_PACKET, IMAGE, ODOMETRY, POINT_CLOUD, TF_MESSAGE, typestore
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.evt3 import encode_evt3
from anyseg_ros.types import Events, Points, Twist

NS_PER_S = 1_000_000_000

# The layout that Velodyne's driver calls XYZIRT: 22 bytes a point, `time` in seconds relative to the stamp.
XYZIRT_FIELDS = {"x": "<f4", "y": "<f4", "z": "<f4", "intensity": "<f4", "ring": "<u2", "time": "<f4"}
XYZIRT = np.dtype(list(XYZIRT_FIELDS.items()))
POINT_FIELD_CODE = {"<f4": 7, "<u2": 4}
# ROS states the missing distortion as plumb_bob with zeros; D of another length than the model's is an error there.
DISTORTION = {"none": ("plumb_bob", (0.0,) * 5)}


def message(msgtype: str, **fields: Any) -> Any:
    """A rosbags message of the given type, such as ``std_msgs/msg/Header``."""
    return typestore().types[msgtype](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs Header."""
    stamp = message("builtin_interfaces/msg/Time", sec=int(stamp_ns // NS_PER_S), nanosec=int(stamp_ns % NS_PER_S))
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(stamp_ns: int, frame_id: str, pixels: np.ndarray) -> Any:
    """An Image: rgb8 from uint8 [H,W,3], mono8 from uint8 [H,W], 32FC1 from float32 [H,W].

    Raises:
        ValueError: the array is none of these.
    """
    encodings = {(3, "uint8"): "rgb8", (2, "uint8"): "mono8", (2, "float32"): "32FC1"}
    encoding = encodings.get((pixels.ndim, pixels.dtype.name))
    if encoding is None or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(
            f"cannot write an image of {pixels.dtype} {list(pixels.shape)}; "
            "give uint8 [H,W,3] (RGB), uint8 [H,W] or float32 [H,W]"
        )
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return message(
        IMAGE,
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=len(data) // height if height else 0,
        data=data,
    )


def camera_info(stamp_ns: int, frame_id: str, model: CameraModel) -> Any:
    """A CameraInfo for the raw image of a camera model; P is K, for nothing is rectified."""
    distortion_model, d = DISTORTION.get(model.distortion, (model.distortion, model.D))
    k = np.asarray(model.K, np.float64)
    roi = message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return message(
        CAMERA_INFO,
        header=header(stamp_ns, frame_id),
        height=model.height,
        width=model.width,
        distortion_model=distortion_model,
        d=np.asarray(d, np.float64),
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([k, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def points(stamp_ns: int, frame_id: str, cloud: Points) -> Any:
    """An unorganised PointCloud2 in the XYZIRT layout, 22 bytes a point."""
    table = np.zeros(len(cloud), XYZIRT)
    for axis, name in enumerate("xyz"):
        table[name] = cloud.xyz[:, axis]
    table["intensity"] = cloud.intensity
    if cloud.ring is not None:
        table["ring"] = cloud.ring
    if cloud.t_ns is not None:
        table["time"] = np.asarray(cloud.t_ns, np.float64) / NS_PER_S
    fields, offset = [], 0
    for name, kind in XYZIRT_FIELDS.items():
        fields.append(
            message("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=POINT_FIELD_CODE[kind], count=1)
        )
        offset += np.dtype(kind).itemsize
    return message(
        POINT_CLOUD,
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(table),
        fields=fields,
        is_bigendian=False,
        point_step=XYZIRT.itemsize,
        row_step=XYZIRT.itemsize * len(table),
        data=table.view(np.uint8).reshape(-1),
        is_dense=bool(np.isfinite(cloud.xyz).all()),
    )


def event_packet(stamp_ns: int, frame_id: str, events: Events, seq: int) -> Any:
    """An EventPacket in evt3, whose sensor clock is host time in whole microseconds.

    The header carries the microsecond of the first event, so that a decoder which ties the sensor's
    clock to the header recovers the events' host times exactly to the microsecond.
    """
    t_us = events.t_ns // 1000
    first_ns = int(t_us[0]) * 1000 if len(t_us) else stamp_ns
    data = encode_evt3(events.x, events.y, events.p, t_us)
    return message(
        EVENT_PACKET,
        header=header(first_ns, frame_id),
        height=events.height,
        width=events.width,
        seq=seq,
        time_base=0,
        encoding="evt3",
        is_bigendian=False,
        events=np.frombuffer(data, np.uint8),
    )


def tf_static(stamp_ns: int, parent: str, children: Iterable[tuple[str, np.ndarray]]) -> Any:
    """A TFMessage that places frames in a parent frame.

    Args:
        stamp_ns: stamp of every transform.
        parent: the parent frame, such as ``base_link``.
        children: (frame id, 4x4 matrix that takes a point in that frame into the parent).
    """
    transforms = []
    for frame_id, matrix in children:
        qx, qy, qz, qw = (float(q) for q in quaternion(matrix[:3, :3]))
        x, y, z = (float(v) for v in matrix[:3, 3])
        transform = message(
            "geometry_msgs/msg/Transform",
            translation=message("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=message("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        )
        transforms.append(
            message(
                "geometry_msgs/msg/TransformStamped",
                header=header(stamp_ns, parent),
                child_frame_id=frame_id,
                transform=transform,
            )
        )
    return message(TF_MESSAGE, transforms=transforms)


def odometry(pose: np.ndarray, twist: Twist, base_frame: str, frame_id: str = "odom") -> Any:
    """A nav_msgs/Odometry without noise, all covariances 0.

    Args:
        pose: [4,4], from the base frame into ``frame_id``.
        twist: in the base frame, which becomes ``child_frame_id``; its stamp becomes the message's.
        base_frame: name of the base frame.
        frame_id: name of the fixed frame.
    """
    x, y, z, w = (float(q) for q in quaternion(pose[:3, :3]))
    px, py, pz = (float(v) for v in pose[:3, 3])
    exact = np.zeros(36)
    place = message(
        "geometry_msgs/msg/Pose",
        position=message("geometry_msgs/msg/Point", x=px, y=py, z=pz),
        orientation=message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
    )
    motion = message("geometry_msgs/msg/Twist", linear=_vector(twist.linear_m_s), angular=_vector(twist.angular_rad_s))
    return message(
        ODOMETRY,
        header=header(twist.stamp_ns, frame_id),
        child_frame_id=base_frame,
        pose=message("geometry_msgs/msg/PoseWithCovariance", pose=place, covariance=exact),
        twist=message("geometry_msgs/msg/TwistWithCovariance", twist=motion, covariance=exact),
    )


def _vector(values: np.ndarray) -> Any:
    x, y, z = (float(v) for v in values)
    return message("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The unit quaternion (x, y, z, w) of a 3x3 rotation matrix, w >= 0.

    Bar-Itzhack's symmetric eigenvalue form ("New method for extracting the quaternion from a rotation
    matrix", 2000), which has no special cases.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.asarray(rotation, np.float64)
    form = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    q = np.linalg.eigh(form)[1][:, -1]
    return q if q[3] >= 0 else -q
