# SPDX-License-Identifier: Apache-2.0
"""Filling sensor_msgs/PointCloud2 from structured arrays.

Interface: https://docs.ros.org/en/jazzy/p/sensor_msgs_py/
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_TYPES = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The numpy structured type of one point; the item size is ``point_step`` where given."""
    fields = list(fields)
    formats = [_TYPES[f.datatype] if f.count <= 1 else (_TYPES[f.datatype], (f.count,)) for f in fields]
    layout = {"names": [f.name for f in fields], "formats": formats, "offsets": [f.offset for f in fields]}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)


def create_cloud(
    header: Header, fields: Iterable[PointField], points: np.ndarray, step: int | None = None
) -> PointCloud2:
    """An unorganised cloud (height 1) from a structured array of the fields' type.

    Args:
        header: put into the message as it is.
        fields: what a point holds.
        points: structured array [N] of ``dtype_from_fields(fields, step)``.
        step: bytes of a point where there is padding behind the last field.

    Raises:
        ValueError: the array is not one-dimensional or its type is not the fields'.
    """
    fields = list(fields)
    expected = dtype_from_fields(fields, step)
    if points.ndim != 1 or points.dtype != expected:
        raise ValueError(f"points must be an array [N] of {expected}, not {points.shape} of {points.dtype}")
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(points).view(np.uint8))
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        fields=fields,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
        data=data,
    )
