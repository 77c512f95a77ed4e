# SPDX-License-Identifier: Apache-2.0
"""How faults change a message in place: duck-typed on the fields of sensor_msgs and event_camera_msgs.

Message classes are not known here: whoever calls brings a fresh message, and gets it back changed.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

Transform = Callable[[Any, Mapping[str, Any], "Memory"], None]
_EVT3_Y = 0x0000  # EVT 3.0: the upper four bits name the kind of a word, 0 is the row of what follows
_EVT3_KIND, _EVT3_ROW = 0xF000, 0x07FF
_DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # sensor_msgs/PointField


class Memory:
    """What a fault remembers from message to message, and its random numbers.

    Attributes:
        frozen: the image data that a frozen camera repeats.
        random: seeded.
    """

    def __init__(self, seed: int) -> None:
        self.frozen: Any = None
        self.random = np.random.default_rng(seed)


def frame_id(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Names another frame."""
    msg.header.frame_id = str(arguments["to"])


def freeze(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Repeats the first image; stamps go on."""
    if memory.frozen is None:
        memory.frozen = _bytes_of(msg.data)
    _fill(msg, "data", memory.frozen)


def black(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Makes every pixel zero."""
    _fill(msg, "data", np.zeros(len(msg.data), np.uint8))


def encoding(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Claims another encoding for the same bytes."""
    msg.encoding = str(arguments["to"])


def swap_channels(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Sends rgb8 as bgr8 and the other way round: another encoding of the same picture."""
    pixels = _bytes_of(msg.data).reshape(msg.height, msg.step)[:, : 3 * msg.width].reshape(msg.height, msg.width, 3)
    msg.encoding = {"rgb8": "bgr8", "bgr8": "rgb8"}[msg.encoding]
    msg.step = 3 * int(msg.width)
    _fill(msg, "data", np.ascontiguousarray(pixels[..., ::-1]))


def resize(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Sends an 8-bit colour image of another size."""
    pixels = _bytes_of(msg.data).reshape(msg.height, msg.step)[:, : 3 * msg.width].reshape(msg.height, msg.width, 3)
    height, width = (max(1, round(side * float(arguments["scale"]))) for side in pixels.shape[:2])
    smaller = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    msg.height, msg.width, msg.step = height, width, 3 * width
    _fill(msg, "data", smaller)


def empty(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Sends a cloud without points, or a packet without events."""
    if hasattr(msg, "point_step"):
        msg.width, msg.height, msg.row_step = 0, 1, 0
    _fill(msg, _payload_field(msg), np.zeros(0, np.uint8))


def blocked(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Pulls every point in to a small range, as dirt on the window does."""
    points, table = _points(msg)
    xyz = np.stack([points[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    ranges = np.linalg.norm(xyz, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = xyz * (float(arguments["range_m"]) / ranges)
    for axis, name in enumerate("xyz"):
        points[name] = near[..., axis]
    _fill(msg, "data", table)


def not_a_number(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Makes a share of the coordinates NaN or infinite."""
    points, table = _points(msg)
    for name in "xyz":
        hit = memory.random.random(points.shape) < float(arguments["share"])
        odd = memory.random.choice(np.array([np.nan, np.inf, -np.inf]), points.shape)
        points[name] = np.where(hit, odd, points[name])
    _fill(msg, "data", table)


def point_step(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Claims another number of bytes per point."""
    msg.point_step = int(arguments["to"])


def truncate(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Leaves out the end of the data, in the middle of a value."""
    field = _payload_field(msg)
    data = _bytes_of(getattr(msg, field))
    _fill(msg, field, data[: int(len(data) * (1 - float(arguments["share"]))) | 1])


def out_of_bounds(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Moves a share of the events below the last row of the sensor; of a packet, whole rows of events."""
    share = float(arguments["share"])
    if hasattr(msg, "point_step"):
        points, table = _points(msg)
        points["y"][memory.random.random(points.shape) < share] = np.iinfo(points["y"].dtype).max
        _fill(msg, "data", table)
        return
    words = _bytes_of(msg.events).view("<u2").copy()
    rows = (words & _EVT3_KIND) == _EVT3_Y
    words[rows & (memory.random.random(words.shape) < share)] |= _EVT3_ROW
    _fill(msg, "events", words)


def recalibrate(msg: Any, arguments: Mapping[str, Any], memory: Memory) -> None:
    """Changes the focal lengths of a CameraInfo."""
    scale = float(arguments["scale"])
    for name, diagonal in (("k", (0, 4)), ("p", (0, 5))):
        matrix = np.array(getattr(msg, name), np.float64)
        matrix[list(diagonal)] *= scale
        setattr(msg, name, matrix)


TRANSFORMS: dict[str, Transform] = {
    "frame_id": frame_id,
    "freeze": freeze,
    "black": black,
    "encoding": encoding,
    "swap_channels": swap_channels,
    "resize": resize,
    "empty": empty,
    "silent": empty,
    "blocked": blocked,
    "not_a_number": not_a_number,
    "point_step": point_step,
    "truncate": truncate,
    "out_of_bounds": out_of_bounds,
    "recalibrate": recalibrate,
}


def _payload_field(msg: Any) -> str:
    return "events" if hasattr(msg, "events") else "data"


def _bytes_of(data: Any) -> np.ndarray:
    return np.frombuffer(bytes(data) if isinstance(data, list) else data, np.uint8)


def _fill(msg: Any, field: str, values: np.ndarray) -> None:
    filled = array.array("B")
    filled.frombytes(np.ascontiguousarray(values).tobytes())
    setattr(msg, field, filled)


def _points(msg: Any) -> tuple[np.ndarray, np.ndarray]:
    """A structured view [N] of a cloud's points, and the copy of its bytes that it is a view of.

    Raises:
        ValueError: the data do not fit the layout.
    """
    end = ">" if msg.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": [f.name for f in msg.fields],
            "formats": [end + _DATATYPES[f.datatype] for f in msg.fields],
            "offsets": [int(f.offset) for f in msg.fields],
            "itemsize": int(msg.point_step),
        }
    )
    table = _bytes_of(msg.data).copy()
    return table[: len(table) // layout.itemsize * layout.itemsize].view(layout), table
