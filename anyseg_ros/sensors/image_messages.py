# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image to arrays: RGB for cameras, metres for depth.

The encodings are those of sensor_msgs/image_encodings.hpp. YUV is taken as BT.601 with 16..235 for luma, as V4L2
drivers send it and cv_bridge reads it. OpenCV's generic 8UC3 and 8UC4 are BGR and BGRA, as in RViz.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from anyseg_ros.sensors.payload import PayloadError, byte_view

# Encoding: bytes per sample, samples per pixel, OpenCV's way from there to RGB (None: it is RGB).
# OpenCV names a Bayer pattern by the second and third pixel of the second row: rggb is its BG.
PACKED = {
    "rgb8": (1, 3, None),
    "bgr8": (1, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (1, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (1, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (2, 3, None),
    "bgr16": (2, 3, cv2.COLOR_BGR2RGB),
    "rgba16": (2, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": (2, 4, cv2.COLOR_BGRA2RGB),
    "mono16": (2, 1, cv2.COLOR_GRAY2RGB),
    "8uc1": (1, 1, cv2.COLOR_GRAY2RGB),
    "8uc3": (1, 3, cv2.COLOR_BGR2RGB),
    "8uc4": (1, 4, cv2.COLOR_BGRA2RGB),
    "uyvy": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (1, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": (1, 2, cv2.COLOR_YUV2RGB_YUY2),
}
BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
PACKED |= {f"{name}{8 * size}": (size, 1, code) for name, code in BAYER.items() for size in (1, 2)}
HALF_WIDTH = ("uyvy", "yuv422", "yuyv", "yuv422_yuy2")
PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
DEPTH = {"16uc1": ("u2", 1e-3), "32fc1": ("f4", 1.0)}
# BT.601: rows are R, G, B; columns Y, U, V and one.
_YUV_TO_RGB = np.array([[1.164, 0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0]])
_YUV_TO_RGB = np.column_stack([_YUV_TO_RGB, _YUV_TO_RGB @ [-16, -128, -128]])


def image_from(msg: Any) -> np.ndarray:
    """The pixels of a sensor_msgs/Image.

    Returns:
        uint8 [H,W,3] RGB for colour, grey, Bayer and YUV, of 16-bit samples the high byte; float32 [H,W] in metres
        for 16UC1 (millimetres) and 32FC1 (metres; REP-118). May be a read-only view of the message.

    Raises:
        PayloadError: the encoding is not one of these, or the sizes do not fit together.
    """
    encoding = str(msg.encoding).strip().lower()
    if msg.height <= 0 or msg.width <= 0:
        raise PayloadError(f"the image is {msg.width} x {msg.height} pixels, expected at least one")
    if encoding in DEPTH:
        return _depth(msg, *DEPTH[encoding])
    if encoding in PACKED:
        return _packed(msg, encoding)
    if encoding in PLANAR:
        return _planar(msg, PLANAR[encoding])
    if encoding == "nv24":
        return _nv24(msg)
    known = ", ".join([*PACKED, *PLANAR, "nv24", "16UC1", "32FC1"])
    raise PayloadError(f"image encoding '{msg.encoding}' is not read, expected one of: {known}")


def demosaiced(mosaic: np.ndarray, encoding: str) -> np.ndarray:
    """The colours of a Bayer mosaic, bilinear.

    Args:
        mosaic: uint8 [H,W] or [H,W,1].
        encoding: such as bayer_rggb8.

    Raises:
        PayloadError: the mosaic is too small to interpolate in.
    """
    if min(mosaic.shape[:2]) < 3:  # OpenCV would answer with black
        raise PayloadError(f"a Bayer image of {mosaic.shape[1]} x {mosaic.shape[0]} pixels, expected at least 3 x 3")
    return cv2.cvtColor(mosaic, BAYER[encoding.rstrip("0123456789")])


def _packed(msg: Any, encoding: str) -> np.ndarray:
    size, channels, code = PACKED[encoding]
    height, width = int(msg.height), int(msg.width)
    if encoding in HALF_WIDTH and width % 2:
        raise PayloadError(
            f"the image is {width} pixels wide, but two of {msg.encoding} share their colour: expected even"
        )
    rows = _rows(msg, width * channels * size, height)
    if size == 2:
        rows = np.ascontiguousarray(rows[:, (0 if msg.is_bigendian else 1) :: 2])
    pixels = _reshaped(rows, channels)
    if encoding.startswith("bayer"):
        return demosaiced(pixels, encoding)
    return np.ascontiguousarray(pixels) if code is None else cv2.cvtColor(pixels, code)


def _planar(msg: Any, code: int) -> np.ndarray:
    """NV12, NV21: all of luma, then half as many rows of interleaved chroma."""
    height, width = int(msg.height), int(msg.width)
    if height % 2 or width % 2:
        raise PayloadError(
            f"the image is {width} x {height}, but 2 x 2 pixels of {msg.encoding} share their colour: expected even"
        )
    return cv2.cvtColor(np.ascontiguousarray(_rows(msg, width, height * 3 // 2)), code)


def _nv24(msg: Any) -> np.ndarray:
    """All of luma, then interleaved chroma of the same resolution."""
    height, width = int(msg.height), int(msg.width)
    if int(msg.step) != width:  # what padding means to the chroma rows, which are twice as long, is not defined
        raise PayloadError(f"the image's step is {msg.step} bytes, expected {width} for nv24 of that width")
    planes = _rows(msg, width, 3 * height)
    yuv = np.dstack([planes[:height], planes[height:].reshape(height, width, 2)])
    return cv2.transform(yuv, _YUV_TO_RGB)


def _depth(msg: Any, kind: str, metres: float) -> np.ndarray:
    dtype = np.dtype(kind).newbyteorder(">" if msg.is_bigendian else "<")
    rows = np.ascontiguousarray(_rows(msg, int(msg.width) * dtype.itemsize, int(msg.height)))
    with np.errstate(invalid="ignore"):  # torn bytes may hold signalling NaNs
        return rows.view(dtype).astype(np.float32) * np.float32(metres)


def _rows(msg: Any, row: int, rows: int) -> np.ndarray:
    """uint8 [rows,row] view of the data, the padding of the rows left out."""
    step, data = int(msg.step), byte_view(msg.data)
    if step < row:
        raise PayloadError(f"the image's step is {step} bytes, but {msg.width} pixels of {msg.encoding} need {row}")
    if len(data) != step * rows:
        raise PayloadError(
            f"the image has {len(data)} bytes, but step {step} x {rows} rows of {msg.encoding} need {step * rows}"
        )
    return data.reshape(rows, step)[:, :row]


def _reshaped(rows: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [H,W,C] view of rows of bytes that may be padded."""
    height, row = rows.shape
    return np.lib.stride_tricks.as_strided(
        rows, (height, row // channels, channels), (rows.strides[0], channels, 1), writeable=False
    )
