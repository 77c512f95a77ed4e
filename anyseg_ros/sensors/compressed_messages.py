# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CompressedImage to arrays: what compressed_image_transport and compressed_depth_image_transport send.

``format`` is ``jpeg`` or ``png``, or as image_transport writes it ``<encoding>; <codec> compressed <encoding>``. The
colours are those that the JPEG or PNG itself has, whatever order the format string names.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np

from anyseg_ros.sensors.image_messages import demosaiced
from anyseg_ros.sensors.payload import PayloadError, byte_view
from anyseg_ros.sensors.rvl import decode_rvl

MAX_PIXELS = 1 << 25  # 8192 x 4096: a torn header must not take gigabytes
DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: enum, then the two quantisation parameters
RVL_HEADER = struct.Struct("<II")  # width, height
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_JPEG_SIZES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # SOF markers
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"


def compressed_image_from(msg: Any) -> np.ndarray:
    """The pixels of a sensor_msgs/CompressedImage: JPEG, PNG, and depth as PNG or RVL.

    Returns:
        uint8 [H,W,3] RGB, of 16-bit samples the high byte; float32 [H,W] in metres for 16UC1 and compressedDepth.

    Raises:
        PayloadError: the bytes are of no such format, torn, or larger than 8192 x 4096 pixels.
    """
    encoding, _, codec = (part.strip() for part in str(msg.format).lower().partition(";"))
    data = byte_view(msg.data)
    if "compresseddepth" in codec or "compresseddepth" in encoding:
        return _depth(data, encoding, codec)
    pixels = _decoded(data)
    if pixels.ndim == 2 and pixels.dtype == np.uint16 and encoding == "16uc1":
        return pixels.astype(np.float32) * np.float32(1e-3)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    # A JPEG of a Bayer image is grey already: compressed_image_transport makes it so, and mosaics do not survive.
    if pixels.ndim == 2 and encoding.startswith("bayer_") and codec.startswith("png"):
        return _mosaic(pixels, encoding)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _mosaic(pixels: np.ndarray, encoding: str) -> np.ndarray:
    try:
        return demosaiced(pixels, encoding)
    except KeyError as error:
        raise PayloadError(
            f"the compressed image is of encoding '{encoding}', no Bayer pattern that is known"
        ) from error


def _depth(data: np.ndarray, encoding: str, codec: str) -> np.ndarray:
    """Metres of a compressedDepth image: millimetres as they are, or floats as quantised inverse depth."""
    if encoding not in ("16uc1", "mono16", "32fc1"):
        raise PayloadError(f"compressedDepth of encoding '{encoding}' is not read, expected 16UC1 or 32FC1")
    if len(data) <= DEPTH_HEADER.size:
        raise PayloadError(f"the compressedDepth image has {len(data)} bytes, expected a header of 12 and a picture")
    _, quant_a, quant_b = DEPTH_HEADER.unpack(data[: DEPTH_HEADER.size].tobytes())
    body = data[DEPTH_HEADER.size :]
    pixels = _rvl(body) if codec.endswith("rvl") else _decoded(body)
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise PayloadError(f"the compressedDepth image is {pixels.dtype} {list(pixels.shape)}, expected uint16 [H,W]")
    if encoding != "32fc1":
        return pixels.astype(np.float32) * np.float32(1e-3)
    with np.errstate(all="ignore"):  # torn parameters give infinite or absurd depths, which no later step uses
        metres = np.float32(quant_a) / (pixels.astype(np.float32) - np.float32(quant_b))
    metres[pixels == 0] = np.nan
    return metres


def _rvl(data: np.ndarray) -> np.ndarray:
    if len(data) < RVL_HEADER.size:
        raise PayloadError(f"the RVL depth image has {len(data)} bytes, expected a header of 8 at least")
    width, height = RVL_HEADER.unpack(data[: RVL_HEADER.size].tobytes())
    _check_size(width, height)
    pixels = decode_rvl(data[RVL_HEADER.size :], width * height)
    if pixels is None:
        raise PayloadError(
            f"the RVL depth image of {width} x {height} pixels is torn: its {len(data)} bytes do not fit"
        )
    return pixels.reshape(height, width)


def _decoded(data: np.ndarray) -> np.ndarray:
    """OpenCV's grey, BGR or BGRA of a whole JPEG or PNG."""
    head = data[: len(_PNG)].tobytes()
    if head == _PNG:
        _check_png(data.tobytes())
    elif head.startswith(_JPEG):
        _check_jpeg(data.tobytes())
    else:
        raise PayloadError(f"the compressed image ({len(data)} bytes) is no JPEG or PNG")
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise PayloadError(f"the compressed image cannot be decoded: {error.err}") from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise PayloadError(f"the compressed image ({len(data)} bytes) is broken: OpenCV decodes no picture from it")
    return pixels


def _check_png(data: bytes) -> None:
    """Walks the chunks to the end: a length that is torn makes OpenCV take gigabytes and seconds to find out."""
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[place : place + 8].ljust(8, b"\0"))
        end = place + 8 + length
        if end + 4 > len(data):
            raise PayloadError(f"the PNG is torn: its {len(data)} bytes end before IEND")
        if (place == len(_PNG)) != (kind == b"IHDR"):
            raise PayloadError(f"the PNG is broken: its header is not the one and first chunk (byte {place})")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise PayloadError(f"the PNG is broken: the checksum of the chunk at byte {place} is wrong")
        if kind == b"IHDR" and length >= 8:
            _check_size(*struct.unpack(">II", data[place + 8 : place + 16]))
        place = end + 4


def _check_jpeg(data: bytes) -> None:
    """Walks the segments up to the scan: the size must be sane, and the end there."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise PayloadError(f"the JPEG is broken: no marker at byte {place} of {len(data)}")
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in (0xFF, 0x01):  # filling, or a marker that stands alone
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_SIZES and place + 9 <= len(data):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            _check_size(width, height)
        if marker == _JPEG_SCAN:
            if data.rfind(_JPEG_END, place) < 0:  # some decoders would paint the missing part grey
                raise PayloadError(f"the JPEG is torn: its {len(data)} bytes have no end marker")
            return
        place += 2 + length
    raise PayloadError(f"the JPEG is torn: its {len(data)} bytes hold no picture")


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise PayloadError(f"the picture says that it is {width} x {height} pixels, expected 1 to {MAX_PIXELS}: torn?")
