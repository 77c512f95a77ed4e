# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image and CompressedImage to arrays: RGB for cameras, metres for depth."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from anyseg_ros.sensors.payload import PayloadError, byte_view

# Encoding (sensor_msgs/image_encodings.hpp): numpy type without byte order, channels, positions of R, G and B.
COLOUR = {
    "rgb8": ("u1", 3, (0, 1, 2)),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, (0, 0, 0)),
    "mono16": ("u2", 1, (0, 0, 0)),
}
DEPTH = {"16uc1": ("u2", 1e-3), "32fc1": ("f4", 1.0)}


def image_from(msg: Any) -> np.ndarray:
    """The pixels of a sensor_msgs/Image.

    Returns:
        uint8 [H,W,3] RGB for rgb8, bgr8, rgba8, bgra8, mono8 and mono16 (its high byte); float32 [H,W] in metres for
        16UC1 (millimetres) and 32FC1 (metres; REP-118). May be a read-only view of the message.

    Raises:
        PayloadError: the encoding is not one of these, or the sizes do not fit together.
    """
    encoding = str(msg.encoding).strip().lower()
    if encoding in DEPTH:
        kind, metres = DEPTH[encoding]
        pixels = _pixels(msg, kind, 1)[..., 0]
        with np.errstate(invalid="ignore"):  # torn bytes may hold signalling NaNs
            return pixels.astype(np.float32) * np.float32(metres)
    if encoding not in COLOUR:
        known = ", ".join([*COLOUR, "16UC1", "32FC1"])
        raise PayloadError(f"image encoding '{msg.encoding}' is not read, expected one of: {known}")
    kind, channels, order = COLOUR[encoding]
    pixels = _pixels(msg, kind, channels)
    if kind == "u2":
        pixels = (pixels >> 8).astype(np.uint8)
    if order == (0, 1, 2) and channels == 3:
        return np.ascontiguousarray(pixels)
    if channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(pixels[..., list(order)])


def _pixels(msg: Any, kind: str, channels: int) -> np.ndarray:
    """The [H,W,channels] array of an image, row padding left out, in the machine's byte order."""
    dtype = np.dtype(kind).newbyteorder(">" if msg.is_bigendian else "<")
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    row = width * channels * dtype.itemsize
    data = byte_view(msg.data)
    if height <= 0 or width <= 0:
        raise PayloadError(f"the image is {width} x {height} pixels, expected at least one")
    if step < row:
        raise PayloadError(f"the image's step is {step} bytes, but {width} pixels of {msg.encoding} need {row}")
    if len(data) != step * height:
        raise PayloadError(f"the image has {len(data)} bytes, but step {step} x height {height} needs {step * height}")
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray((height, width, channels), dtype, data, strides=strides)
    return pixels.astype(dtype.newbyteorder("="), copy=False)


def compressed_image_from(msg: Any) -> np.ndarray:
    """The pixels of a sensor_msgs/CompressedImage (JPEG, PNG).

    Returns:
        uint8 [H,W,3] RGB; float32 [H,W] in metres where the format says 16UC1.

    Raises:
        PayloadError: the bytes are no picture that OpenCV reads.
    """
    encoding = str(msg.format)
    if "compresseddepth" in encoding.lower():
        raise PayloadError(f"compressed format '{encoding}' is not read, expected jpeg or png; use the raw depth topic")
    data = byte_view(msg.data)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    except cv2.error as error:
        raise PayloadError(f"the compressed image cannot be decoded: {error.err}") from error
    if pixels is None:
        raise PayloadError(f"the compressed image ({len(data)} bytes, format '{encoding}') is no JPEG or PNG")
    return _decoded(pixels, encoding)


def _decoded(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """OpenCV's grey, BGR or BGRA as RGB or metres."""
    if pixels.dtype == np.uint16:
        if pixels.ndim == 2 and "16uc1" in encoding.lower():
            return pixels.astype(np.float32) * np.float32(1e-3)
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise PayloadError(f"the compressed image has pixels of {pixels.dtype}, expected 8 or 16 bit")
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, code)
