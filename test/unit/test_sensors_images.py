# SPDX-License-Identifier: Apache-2.0
"""Images as drivers publish them: encodings, padding, byte orders, codecs, and what is refused."""

import array
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anyseg_ros.sensors.messages import PayloadError, compressed_image_from, image_from

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
ALPHA = np.full((5, 7, 1), 9, np.uint8)
BGR = np.ascontiguousarray(RGB[..., ::-1])
RGBA, BGRA = np.concatenate([RGB, ALPHA], axis=2), np.concatenate([BGR, ALPHA], axis=2)
GREYS = np.repeat(GREY[..., None], 3, axis=2)


def image(pixels, encoding, padding=0, big=False, holder=bytes):
    """A sensor_msgs/Image of an array [H,W] or [H,W,C]."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).reshape(height, -1).view(np.uint8)
    rows = np.hstack([rows, np.full((height, padding), 77, np.uint8)])
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=rows.shape[1],
        data=holder(rows.tobytes()),
    )  # fmt: skip


def wide(pixels):
    """16-bit samples whose high byte is the 8-bit sample."""
    return (pixels.astype(np.uint16) << 8) + 0x7F


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    "encoding, pixels, expected",
    [
        ("rgb8", RGB, RGB),
        ("bgr8", BGR, RGB),
        ("rgba8", RGBA, RGB),
        ("bgra8", BGRA, RGB),
        ("mono8", GREY, GREYS),
        ("8UC1", GREY, GREYS),
        ("8UC3", BGR, RGB),
        ("8UC4", BGRA, RGB),
    ],
)
def test_eight_bit_images(encoding, pixels, expected, padding):
    found = image_from(image(pixels, encoding, padding))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    "encoding, pixels, expected",
    [
        ("rgb16", RGB, RGB),
        ("bgr16", BGR, RGB),
        ("rgba16", RGBA, RGB),
        ("bgra16", BGRA, RGB),
        ("mono16", GREY, GREYS),
    ],
)
def test_sixteen_bit_images_give_their_high_byte(encoding, pixels, expected, padding, big):
    assert np.array_equal(image_from(image(wide(pixels), encoding, padding, big)), expected)


@pytest.mark.parametrize("big", [False, True])
def test_depth_images_in_both_byte_orders(big):
    millimetres = np.array([[0, 1500], [65535, 1]], dtype=np.uint16)
    depth = image_from(image(millimetres, "16UC1", 4, big))
    assert depth.dtype == np.float32 and np.allclose(depth, [[0, 1.5], [65.535, 0.001]])
    metres = np.array([[np.nan, 2.5], [0, 80.0]], dtype=np.float32)
    assert np.array_equal(image_from(image(metres, "32FC1", 4, big)), metres, equal_nan=True)


def mosaic(pattern, colours):
    """What a sensor with this pattern (rggb: first row R G, second G B) reads of an image [H,W,3]."""
    channel = np.array(["rgb".index(letter) for letter in pattern]).reshape(2, 2)
    rows, columns = np.mgrid[: colours.shape[0], : colours.shape[1]]
    return np.take_along_axis(colours, channel[rows % 2, columns % 2][..., None], axis=2)[..., 0]


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("shape", [(6, 8), (7, 9)])
def test_bayer_patterns_give_the_colours_that_made_them(pattern, shape):
    colours = np.empty((*shape, 3), np.uint8)
    colours[:] = (200, 120, 30)
    for big, padding in [(False, 0), (True, 3)]:
        eight = image_from(image(mosaic(pattern, colours), f"bayer_{pattern}8", padding))
        sixteen = image_from(image(mosaic(pattern, wide(colours)), f"bayer_{pattern}16", 2 * padding, big))
        assert np.array_equal(eight, colours) and np.array_equal(sixteen, colours)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_interpolation_follows_a_gradient(pattern):
    """A linear picture comes back exactly inside: a pattern shifted by a pixel would be off by the slope."""
    rows, columns = np.mgrid[:10, :12]
    colours = np.stack([20 + 8 * columns, 40 + 10 * rows, 200 - 6 * columns], axis=2).astype(np.uint8)
    found = image_from(image(mosaic(pattern, colours), f"bayer_{pattern}8"))
    assert np.abs(found.astype(int) - colours)[1:-1, 1:-1].max() <= 1


def yuv(y, u, v):
    """BT.601, luma 16..235: uint8 [...,3] RGB before rounding, in float64."""
    y, u, v = (np.asarray(a, dtype=np.float64) for a in (y, u, v))
    y, u, v = 255 / 219 * (y - 16), 255 / 112 * (u - 128), 255 / 112 * (v - 128)
    red, blue = y + (1 - 0.299) * v, y + (1 - 0.114) * u
    return np.clip(np.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], axis=-1), 0, 255)


def chroma(height, width, seed=3):
    rng = np.random.default_rng(seed)
    # Inside the cube of colours: where RGB is cut to 0..255, the formula above has no inverse to compare with.
    return (
        rng.integers(90, 170, (4, 6)),
        rng.integers(110, 146, (height, width)),
        rng.integers(110, 146, (height, width)),
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding, order", [("yuv422", "uyvy"), ("uyvy",) * 2, ("yuyv",) * 2, ("yuv422_yuy2", "yuyv")])
def test_yuv_with_colour_shared_by_two_pixels(encoding, order, padding):
    y, u, v = chroma(4, 3)
    packed = np.zeros((4, 6, 2), np.uint8)
    packed[..., order.index("y")] = y
    packed[:, 0::2, 1 - order.index("y")], packed[:, 1::2, 1 - order.index("y")] = u, v
    expected = yuv(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    assert np.abs(image_from(image(packed, encoding, padding)) - expected).max() < 1.5


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv_with_colour_shared_by_four_pixels(encoding, padding):
    y, u, v = chroma(2, 3)
    pairs = np.stack([u, v] if encoding == "nv12" else [v, u], axis=2).reshape(2, 6)
    msg = image(np.vstack([y, pairs]).astype(np.uint8), encoding, padding)
    msg.height = 4
    expected = yuv(y, *(c.repeat(2, axis=0).repeat(2, axis=1) for c in (u, v)))
    assert np.abs(image_from(msg) - expected).max() < 1.5


def test_yuv_with_a_colour_for_every_pixel():
    y, u, v = chroma(4, 6)
    data = y.astype(np.uint8).tobytes() + np.stack([u, v], axis=2).astype(np.uint8).tobytes()
    msg = SimpleNamespace(height=4, width=6, encoding="nv24", is_bigendian=0, step=6, data=data)
    assert np.abs(image_from(msg) - yuv(y, u, v)).max() < 1.5


@pytest.mark.parametrize(
    "holder", [bytes, bytearray, memoryview, list, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8)]
)
def test_data_may_be_held_by_any_byte_type(holder):
    assert np.array_equal(image_from(image(RGB, "rgb8", 3, holder=holder)), RGB)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"encoding": "yuv9"}, "'yuv9' is not read, expected one of: rgb8"),
        ({"width": 0}, "0 x 5"),
        ({"height": 2**31}, "bytes, but step"),
        ({"step": 20}, "step is 20 bytes, but 7 pixels of rgb8 need 21"),
        ({"data": b"short"}, "has 5 bytes"),
        ({"data": "text"}, "no bytes"),
        ({"data": np.zeros(105, np.int16)}, "int16"),
        ({"encoding": "uyvy"}, "7 pixels wide, but two of uyvy share"),
        ({"encoding": "nv12"}, "7 x 5, but 2 x 2 pixels of nv12 share"),
        ({"encoding": "nv24"}, "step is 21 bytes, expected 7"),
        ({"encoding": "bayer_rggb8", "height": 1, "data": bytes(21)}, "7 x 1 pixels, expected at least 3 x 3"),
    ],
)
def test_images_that_cannot_be_read(changes, sentence):
    msg = image(RGB, "rgb8")
    with pytest.raises(PayloadError, match=sentence):
        image_from(SimpleNamespace(**{**vars(msg), **changes}))


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
