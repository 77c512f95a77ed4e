# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to arrays: fields found by name, whatever the driver's layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyseg_ros.sensors.payload import PayloadError, byte_view, stamp_ns
from anyseg_ros.types import Events, Points

# sensor_msgs/PointField datatype codes.
DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
# Where a cloud has both (Ouster), reflectivity is calibrated like the intensity of other makes; intensity is a count of
# photons, which falls with the range.
INTENSITY_NAMES = ("reflectivity", "intensity", "i")
RING_NAMES = ("ring", "channel", "line")
# Relative to the stamp: velodyne (f4 s; the stamp is that of the last packet, so that times are negative), ouster and
# nebula (u4 ns; the stamp is the start). Absolute: hesai and robosense (f8 s), livox (f8 ns).
TIME_NAMES = ("t", "time", "timestamp", "time_stamp")
LONGEST_SWEEP_S = 1.0  # float times up to this are relative, whatever the stamp
LARGEST = 4e18  # of a float read as an integer, so that a stamp can be added in 64 bits


def points_from(msg: Any) -> Points:
    """The points of a sensor_msgs/PointCloud2; organised clouds are flattened row by row, NaN points stay.

    Returns:
        ``Points``, row by row; intensity 0 where the cloud has none; times relative to the header's stamp.

    Raises:
        PayloadError: x, y or z is missing, or the sizes do not fit together.
    """
    fields = {str(f.name): f for f in reversed(list(msg.fields))}
    chosen: dict[str, Any] = {name: fields[name] for name in ("x", "y", "z") if name in fields}
    if len(chosen) < 3:
        raise PayloadError(f"the cloud has the fields {', '.join(fields) or 'none'}, expected x, y and z among them")
    for wanted, names in (("intensity", INTENSITY_NAMES), ("ring", RING_NAMES), ("time", TIME_NAMES)):
        found = next((name for name in names if name in fields), None)
        if found is not None:
            chosen[wanted] = fields[found]
    cloud = _structured(msg, chosen)
    xyz = np.empty((len(cloud), 3), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = cloud[name]
        intensity = np.zeros(len(cloud), dtype=np.float32)
        if "intensity" in chosen:
            intensity[:] = cloud["intensity"]
        ring = _as_integer(cloud["ring"], np.uint16) if "ring" in chosen else None
    t_ns = _relative_ns(cloud["time"], msg.header) if "time" in chosen else None
    return Points(xyz, intensity, t_ns, ring)


def events_from_points(msg: Any, width: int = 0, height: int = 0) -> Events:
    """The events of a PointCloud2 with fields x, y (uint16), t (ns after the header's stamp) and p.

    Args:
        msg: the cloud.
        width: of the sensor in pixels; 0 where not known, because a cloud does not say.
        height: of the sensor in pixels; 0 where not known.

    Returns:
        ``Events``, in time order.

    Raises:
        PayloadError: a field is missing, a size does not fit, or an event lies outside the sensor.
    """
    fields = {str(f.name): f for f in reversed(list(msg.fields))}
    missing = [name for name in ("x", "y", "t", "p") if name not in fields]
    if missing:
        raise PayloadError(f"the event cloud has no field {', '.join(missing)}, expected x, y, t and p")
    cloud = _structured(msg, {name: fields[name] for name in ("x", "y", "t", "p")})
    with np.errstate(invalid="ignore"):
        columns, rows = (_pixels(cloud[name]) for name in ("x", "y"))
        t_ns = _as_integer(cloud["t"], np.int64)
    end_x, end_y = width or 0x10000, height or 0x10000
    if not (_within(columns, end_x) and _within(rows, end_y)):
        outside = (columns < 0) | (columns >= end_x) | (rows < 0) | (rows >= end_y)
        raise PayloadError(
            f"{int(outside.sum())} of {len(cloud)} events lie outside the {end_x} x {end_y} sensor: correct the rig"
        )
    t_ns += stamp_ns(msg.header)
    order = slice(None) if (t_ns[1:] >= t_ns[:-1]).all() else np.argsort(t_ns, kind="stable")
    polarity = (cloud["p"] > 0).view(np.uint8)
    x, y = (values.astype(np.uint16, copy=False) for values in (columns, rows))
    return Events(x[order], y[order], t_ns[order], polarity[order], width, height)


def _pixels(values: np.ndarray) -> np.ndarray:
    """Positions as uint16 where their type says that they fit, else as int64."""
    return _as_integer(values, np.uint16 if np.can_cast(values.dtype, np.uint16) else np.int64)


def _structured(msg: Any, chosen: dict[str, Any]) -> np.ndarray:
    """The points as a structured [N] array with the chosen fields; a copy only where rows are padded."""
    point_step, width, height, row_step = (int(v) for v in (msg.point_step, msg.width, msg.height, msg.row_step))
    order = ">" if msg.is_bigendian else "<"
    formats, offsets = [], []
    for field in chosen.values():
        kind = DATATYPES.get(int(field.datatype))
        if kind is None:
            raise PayloadError(f"field '{field.name}' has datatype {field.datatype}, expected 1 to 8 (PointField)")
        dtype = np.dtype(order + kind)
        offset = int(field.offset)
        if not 0 <= offset <= point_step - dtype.itemsize:
            raise PayloadError(f"field '{field.name}' at offset {offset} does not fit in a point of {point_step} bytes")
        formats.append(dtype)
        offsets.append(offset)
    data = byte_view(msg.data)
    if height == 1 and row_step == 0:  # some publishers leave it out for a single row
        row_step = width * point_step
    if width < 0 or height < 0 or row_step < width * point_step or len(data) != row_step * height:
        raise PayloadError(
            f"the cloud has {len(data)} bytes, which do not fit {height} rows of {row_step} bytes with {width} points "
            f"of {point_step} bytes each"
        )
    layout = np.dtype({"names": list(chosen), "formats": formats, "offsets": offsets, "itemsize": point_step})
    if width * height == 0:
        return np.empty(0, dtype=layout)
    return np.ndarray((height, width), layout, data, strides=(row_step, point_step)).reshape(-1)


def _within(values: np.ndarray, end: int) -> bool:
    """Whether all are at least 0 and below ``end``."""
    return len(values) == 0 or (int(values.min()) >= 0 and int(values.max()) < end)


def _as_integer(values: np.ndarray, dtype) -> np.ndarray:
    """Any numeric field as integers; what does not fit becomes the nearest that does, NaN becomes 0."""
    if values.dtype.kind != "f" and np.can_cast(values.dtype, dtype):
        return values.astype(dtype)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float64), nan=0.0)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        return np.clip(values, max(limits.min, -LARGEST), min(limits.max, LARGEST)).astype(dtype)
    return np.clip(values.astype(np.int64), limits.min, limits.max).astype(dtype)


def _relative_ns(values: np.ndarray, header: Any) -> np.ndarray:
    """Point times as int64 nanoseconds after the header's stamp.

    Integers count nanoseconds from the stamp. Floats count seconds from it, or seconds or nanoseconds on the stamp's
    own clock: whichever puts the last point nearest to the stamp. So sensors that count from power-on are read, too.
    """
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    with np.errstate(invalid="ignore"):  # torn bytes may hold signalling NaNs
        times = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    last, stamp_s = float(times.max(initial=0.0)), stamp_ns(header) * 1e-9
    distances = (last, abs(last - stamp_s), abs(last * 1e-9 - stamp_s))
    if last <= LONGEST_SWEEP_S or distances[0] <= min(distances):
        return _nanoseconds(times)
    if distances[1] <= distances[2]:
        return _nanoseconds(times - int(header.stamp.sec)) - int(header.stamp.nanosec)
    return _as_integer(times, np.int64) - stamp_ns(header)


def _nanoseconds(seconds: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return _as_integer(np.round(seconds * 1e9), np.int64)
