# SPDX-License-Identifier: Apache-2.0
"""Compressed images as image_transport sends them: JPEG, PNG, depth as PNG and RVL, and what is refused."""

import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pixels import BGR, BGRA, GREY, GREYS, RGB, mosaic, wide

from anyseg_ros.sensors.messages import PayloadError, compressed_image_from


def encoded(pixels, kind):
    return cv2.imencode(f".{kind}", pixels)[1].tobytes()


def compressed(data, encoding):
    return compressed_image_from(SimpleNamespace(format=encoding, data=data))


@pytest.mark.parametrize("encoding", ["png", "rgb8; png compressed bgr8", "bgr8; png compressed bgr8", ""])
@pytest.mark.parametrize(
    "pixels, expected",
    [(BGR, RGB), (GREY, GREYS), (BGRA, RGB), (wide(BGR), RGB), (wide(GREY), GREYS), (wide(BGRA), RGB)],
)
def test_png_of_eight_and_sixteen_bits(pixels, expected, encoding):
    assert np.array_equal(compressed(encoded(pixels, "png"), encoding), expected)


@pytest.mark.parametrize("encoding", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr16; jpeg compressed bgr8"])
def test_jpeg(encoding):
    smooth = np.full((16, 16, 3), (200, 120, 30), np.uint8)
    assert np.abs(compressed(encoded(smooth[..., ::-1], "jpeg"), encoding).astype(int) - smooth).max() < 4
    grey = compressed(encoded(smooth[..., 0], "jpeg"), "bayer_rggb8; jpeg compressed mono8")
    assert grey.shape == (16, 16, 3) and np.abs(grey.astype(int) - 200).max() < 4


def test_a_bayer_mosaic_in_a_png_is_interpolated():
    colours = np.empty((6, 8, 3), np.uint8)
    colours[:] = (200, 120, 30)
    data = encoded(mosaic("gbrg", colours), "png")
    assert np.array_equal(compressed(data, "bayer_gbrg8; png compressed "), colours)
    with pytest.raises(PayloadError, match="'bayer_xyzw8', no Bayer pattern"):
        compressed(data, "bayer_xyzw8; png compressed ")


def test_depth_in_a_png():
    depth = np.array([[0, 1500]], dtype=np.uint16)
    assert np.allclose(compressed(encoded(depth, "png"), "16UC1; png compressed "), [[0, 1.5]])
    assert compressed(encoded(depth, "png"), "mono16; png compressed ")[0, 1].tolist() == [5, 5, 5]


def nibbles(value):
    """A number in RVL's groups of three bits, the low ones first."""
    groups = [value & 7]
    while value := value >> 3:
        groups.append(value & 7)
    return [group | 8 for group in groups[:-1]] + groups[-1:]


def rvl(pixels):
    """The plain reference encoder, after the paper."""
    flat, out, before, place = [int(v) for v in pixels.ravel()], [], 0, 0
    while place < len(flat):
        for wanted in (True, False):
            begin = place
            while place < len(flat) and (flat[place] == 0) == wanted:
                place += 1
            out += nibbles(place - begin)
        for value in flat[begin:place]:
            delta, before = value - before, value
            out += nibbles(2 * delta if delta >= 0 else -2 * delta - 1)
    out += [0] * (-len(out) % 8)
    words = [int("".join(f"{n:x}" for n in out[i : i + 8]), 16) for i in range(0, len(out), 8)]
    return struct.pack(f"<II{len(words)}I", *pixels.shape[::-1], *words)


def depths(seed, kind):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 65536, (9, 14)).astype(np.uint16)
    if kind == "holes":
        pixels[rng.random(pixels.shape) < 0.5] = 0
    return np.zeros_like(pixels) if kind == "empty" else pixels


@pytest.mark.parametrize("codec", ["png", "rvl"])
@pytest.mark.parametrize("kind", ["dense", "holes", "empty"])
def test_compressed_depth_in_millimetres(kind, codec):
    pixels = depths(5, kind)
    body = encoded(pixels, "png") if codec == "png" else rvl(pixels)
    for encoding in [f"16UC1; compressedDepth {codec}", *(["16UC1; compressedDepth"] if codec == "png" else [])]:
        found = compressed(struct.pack("<iff", 0, 0.0, 0.0) + body, encoding)
        assert found.dtype == np.float32 and np.allclose(found, pixels / 1000.0)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_compressed_depth_as_quantised_inverse(codec):
    """compressed_depth_image_transport: q = A/z + B cut to whole numbers, A = z0 (z0 + 1), B = 1 - A / max."""
    metres = np.random.default_rng(2).uniform(0.5, 9.5, (9, 14)).astype(np.float32)
    quant_a = 100.0 * 101.0
    quant_b = 1.0 - quant_a / 10.0
    steps = (quant_a / metres + quant_b).astype(np.uint16)
    steps[0, 0] = 0
    body = encoded(steps, "png") if codec == "png" else rvl(steps)
    found = compressed(struct.pack("<iff", 0, quant_a, quant_b) + body, f"32FC1; compressedDepth {codec}")
    assert np.isnan(found[0, 0])
    assert np.allclose(found.ravel()[1:], metres.ravel()[1:], rtol=2e-2)
    assert np.allclose(found.ravel()[1:], quant_a / (steps.ravel()[1:] - quant_b))


PNG, JPEG = encoded(RGB, "png"), encoded(np.zeros((16, 16, 3), np.uint8), "jpeg")
HEADER = struct.pack("<iff", 0, 1.0, 1.0)
LARGE = b"IHDR" + struct.pack(">II", 100_000, 100_000) + PNG[24:29]
LARGE_PNG = PNG[:12] + LARGE + struct.pack(">I", zlib.crc32(LARGE)) + PNG[33:]
LONG_CHUNK = PNG[:33] + struct.pack(">I", 0x10000000) + PNG[37:]
SOF = JPEG.index(b"\xff\xc0")
LARGE_JPEG = JPEG[: SOF + 5] + struct.pack(">HH", 65535, 65535) + JPEG[SOF + 9 :]


@pytest.mark.parametrize(
    "data, encoding, sentence",
    [
        (b"", "jpeg", "0 bytes"),
        (b"no picture", "png", "no JPEG or PNG"),
        (PNG[: len(PNG) // 2], "png", "PNG is torn"),
        (PNG[:60] + b"\0\0\0\0" + PNG[64:], "png", "checksum of the chunk at byte 33 is wrong"),
        (LONG_CHUNK, "png", "PNG is torn"),
        (PNG[:8] + PNG[33:], "png", "not the one and first chunk"),
        (JPEG[: len(JPEG) // 2], "jpeg", "JPEG is torn"),
        (JPEG[:-2], "jpeg", "no end marker"),
        (b"\xff\xd8\x00\x00\x00\x00", "jpeg", "no marker at byte 2"),
        (LARGE_PNG, "png", "100000 x 100000 pixels, expected 1 to"),
        (LARGE_JPEG, "jpeg", "65535 x 65535 pixels, expected 1 to"),
        (b"x", "16UC1; compressedDepth", "1 bytes, expected a header of 12"),
        (HEADER + PNG, "16UC1; compressedDepth png", r"uint8 \[5, 7, 3\], expected uint16"),
        (HEADER + PNG, "rgb8; compressedDepth png", "'rgb8' is not read, expected 16UC1 or 32FC1"),
        (HEADER + b"\1\0\0", "16UC1; compressedDepth rvl", "3 bytes, expected a header of 8"),
        (HEADER + struct.pack("<II", 2**31, 2**31), "16UC1; compressedDepth rvl", "pixels, expected 1 to"),
        (HEADER + rvl(depths(1, "dense"))[:-8], "16UC1; compressedDepth rvl", "14 x 9 pixels is torn"),
        (HEADER + struct.pack("<III", 2, 2, 0x79999999), "16UC1; compressedDepth rvl", "2 x 2 pixels is torn"),
    ],
)
def test_compressed_images_that_cannot_be_read(data, encoding, sentence):
    with pytest.raises(PayloadError, match=sentence):
        compressed(data, encoding)


def test_filling_after_the_end_of_a_jpeg_is_no_tear():
    assert compressed(JPEG + bytes(500), "jpeg").shape == (16, 16, 3)
