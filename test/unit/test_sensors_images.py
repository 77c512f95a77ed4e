# SPDX-License-Identifier: Apache-2.0
"""Images as drivers publish them: encodings, padding, byte orders, codecs, and what is refused."""

import array
from types import SimpleNamespace

import numpy as np
import pytest
from pixels import BGR, BGRA, GREY, GREYS, RGB, RGBA, mosaic, wide

from anyseg_ros.sensors.messages import PayloadError, image_from


def image(pixels, encoding, padding=0, big=False, holder=bytes):
    """A sensor_msgs/Image of an array [H,W] or [H,W,C]."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).reshape(height, -1).view(np.uint8)
    rows = np.hstack([rows, np.full((height, padding), 77, np.uint8)])
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=rows.shape[1],
        data=holder(rows.tobytes()),
    )  # fmt: skip


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
