# SPDX-License-Identifier: Apache-2.0
"""The presets muses_sdk and release against a literal transcription of the steps, pixel by pixel and file by file."""

from __future__ import annotations

import io
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from anyseg_ros.bags.road_frame import load_road
from anyseg_ros.modality import Modality
from anyseg_ros.sensors import muses_sdk
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.checks import RejectedPayload
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.presets import PRESETS, EncodingError
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Absence, Events, Measurement, Points

DATA = os.environ.get("ANYSEG_TEST_DATA", "")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SIZE, EVENT_SIZE, GRID = (192, 108), (128, 72), (64, 64)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def muses_rig():
    camera = CameraModel(*SIZE, np.array([[120.6, 0, 95.9], [0, 121.1, 54.2], [0, 0, 1]]))
    event = CameraModel(*EVENT_SIZE, np.array([[102.4, 0, 63.4], [0, 102.9, 35.1], [0, 0, 1]]))
    sensors = (
        Sensor("camera", Modality.CAMERA, "c", pose_matrix((1.6, 0, 1.5), (0, 1, 0), True), model=camera),
        Sensor("lidar", Modality.LIDAR, "l", pose_matrix((1.5, 0.1, 1.9), (0, 0, 1)), intensity_scale=1 / 255),
        Sensor("event", Modality.EVENT, "e", pose_matrix((1.6, -0.1, 1.5), (0.5, 1, 2), True), model=event),
    )
    return Rig("muses", "base_link", sensors, "camera")


def cloud(rng, count=4000):
    """All around the sensor, so that a quarter lies behind the camera."""
    xyz = (rng.standard_normal((count, 3)) * (15, 15, 3)).astype(np.float32)
    return Points(xyz, rng.integers(0, 256, count).astype(np.float32))


def some_events(rng, count=20_000, size=EVENT_SIZE):
    x, y = np.clip(rng.normal(size[0] / 2, 20, count), 0, size[0] - 1), rng.integers(0, size[1], count)
    x[-count // 4 :] = 60  # a lamp that flickers: more than 255 events in some pixels
    y[-count // 4 :] = 30 + np.arange(count // 4) % 4
    t_ns = np.sort(rng.integers(0, 60_000_000, count))
    return Events(x.astype(np.uint16), y.astype(np.uint16), t_ns, rng.integers(0, 2, count).astype(np.uint8), *size)


def points_by_hand(xyz, intensity, rgb_from_lidar, K, camera_size, size):
    """SENSORS: filter, scale K, project, keep inside, cut to whole pixels, write in order."""
    width, height = size
    fx, cx = K[0, 0] * width / camera_size[0], K[0, 2] * width / camera_size[0]
    fy, cy = K[1, 1] * height / camera_size[1], K[1, 2] * height / camera_size[1]
    image = np.zeros((height, width, 3), np.float32)
    for (x, y, z), value in zip(np.asarray(xyz, np.float64), intensity, strict=True):
        distance = math.sqrt(x * x + y * y + z * z)
        if distance < 1.0:
            continue
        a, b, c, _ = rgb_from_lidar @ (x, y, z, 1.0)
        u, v = (fx * a + cx * c) / c, (fy * b + cy * c) / c
        if 0 < u < width - 1 and 0 < v < height - 1:
            image[int(v), int(u)] = (distance, value, z)
    return image


def events_by_hand(events, rgb_from_event, K_event, K, camera_size, size):
    """Undistort into the plane at infinity by OpenCV, round, count in uint8."""
    recent = events.t_ns >= events.t_ns.max() - 30_000_000
    scaled = K * np.array([[size[0] / camera_size[0]], [size[1] / camera_size[1]], [1]])
    places = np.stack([events.x[recent], events.y[recent]], 1).astype(np.float64)[:, None]
    uv = cv2.undistortPoints(places, K_event, None, R=rgb_from_event[:3, :3], P=scaled)[:, 0]
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for (u, v), on in zip(np.rint(uv).astype(int), events.p[recent], strict=True):
        if 0 <= u < size[0] and 0 <= v < size[1]:
            channel = 0 if on else 1
            image[v, u, channel] = (int(image[v, u, channel]) + 1) % 256
    return image


def encode(rig, name, payload, encoding, grid=(SIZE[1], SIZE[0])):
    return Encoder(rig, *grid, encoding)(Measurement(name, rig.sensor(name).modality, 0, payload), 0)


def as_image(planes):
    return planes.transpose(1, 2, 0)


@pytest.mark.parametrize("size", [SIZE, (96, 54), (64, 64)])
def test_points_as_the_sdk_draws_them(rng, size):
    rig, points = muses_rig(), cloud(rng)
    K = rig.sensor("camera").model.K
    expected = points_by_hand(points.xyz, points.intensity, rig.plane_from("lidar"), K, SIZE, size)
    drawn = encode(rig, "lidar", points, PRESETS["muses_sdk"], (size[1], size[0]))
    assert np.array_equal(as_image(drawn.image), expected) and np.count_nonzero(expected[..., 0]) > 150
    seen = np.flatnonzero(drawn.pixel_index >= 0)
    behind = (points.xyz @ rig.plane_from("lidar")[2, :3] + rig.plane_from("lidar")[2, 3]) < 0
    assert behind[seen].any(), "points behind the camera are drawn"
    last = {pixel: i for i, pixel in zip(seen, drawn.pixel_index[seen], strict=True)}
    written = drawn.image[0].ravel()[list(last)]
    assert np.allclose(written, np.linalg.norm(points.xyz[list(last.values())], axis=1))
    assert len(last) < len(seen), "some pixels are written twice"


@pytest.mark.skipif(not DATA, reason="ANYSEG_TEST_DATA is not set: no real road frame")
def test_real_points_as_the_sdk_draws_them():
    rig, _, points = load_road(Path(DATA) / "road_frame")
    model = rig.sensor("camera").model
    rig = rig.replace_calibration("camera", model=replace(model, distortion="none", D=()))
    size = (model.width, model.height)
    expected = points_by_hand(points.xyz, points.intensity, rig.plane_from("lidar"), model.K, size, size)
    drawn = encode(rig, "lidar", points, PRESETS["muses_sdk"], (model.height, model.width))
    assert np.array_equal(as_image(drawn.image), expected) and np.count_nonzero(expected[..., 0]) > 10_000


@pytest.mark.parametrize("size", [SIZE, (96, 54)])
def test_events_as_the_sdk_draws_them(rng, size):
    rig, events = muses_rig(), some_events(rng)
    models = rig.sensor("event").model.K, rig.sensor("camera").model.K
    expected = events_by_hand(events, rig.plane_from("event"), *models, SIZE, size)
    drawn = encode(rig, "event", events, PRESETS["muses_sdk"], (size[1], size[0]))
    assert np.array_equal(as_image(drawn.image), expected) and not drawn.image[2].any()
    drawn_events = Encoder(rig, size[1], size[0], PRESETS["muses_sdk"])._images.events(rig.sensor("event"), events, 0)
    lost = drawn_events.used - int(expected.sum(dtype=np.int64))
    assert lost > 0 and lost % 256 == 0, "some counts wrapped"


def test_counts_of_events_wrap():
    events = Events(*(np.full(300, n, t) for n, t in ((9, "u2"), (8, "u2"), (5, "i8"), (1, "u1"))), *EVENT_SIZE)
    pixels = np.arange(EVENT_SIZE[0] * EVENT_SIZE[1], dtype=np.int32).reshape(EVENT_SIZE[::-1])
    image, used, outside = muses_sdk.draw_events(events, pixels, EVENT_SIZE)
    assert image[8, 9].tolist() == [44, 0, 0] and image.sum() == 44 and (used, outside) == (300, 0)
    nothing = Events(*(np.zeros(0, t) for t in ("u2", "u2", "i8", "u1")), *EVENT_SIZE)
    assert not muses_sdk.draw_events(nothing, pixels, EVENT_SIZE)[0].any()


def test_dilation_takes_the_maximum_of_each_channel():
    image = np.zeros((4, 5, 3), np.float32)
    image[1, 1], image[2, 2] = (8.0, 3.0, -1.5), (20.0, 1.0, -9.0)
    spread = muses_sdk.dilate_points(image)
    assert spread[1, 2].tolist() == [8.0, 3.0, -1.5] and spread[3, 3].tolist() == [20.0, 1.0, -9.0]
    assert spread[2, 2].tolist() == [20.0, 3.0, -1.5], "the farther range, the other point's intensity and height"
    assert np.count_nonzero(spread[..., 0]) == 7
    counts = np.zeros((3, 3, 3), np.uint8)
    counts[1, 1, 0] = 7
    assert muses_sdk.dilate_events(counts)[1:, 1:, 0].tolist() == [[7, 7], [7, 7]]


def test_dilation_is_an_option_of_the_encoding(rng):
    rig, preset = muses_rig(), PRESETS["muses_sdk"]
    wide = replace(preset, cloud=replace(preset.cloud, fill="dilate_2x2"), event=replace(preset.event, dilate=True))
    for name, payload, spread in (
        ("lidar", cloud(rng), muses_sdk.dilate_points),
        ("event", some_events(rng), lambda image: muses_sdk.dilate_events(image.astype(np.uint8))),
    ):
        plain, dilated = (as_image(encode(rig, name, payload, e).image) for e in (preset, wide))
        assert np.array_equal(dilated, spread(plain)) and np.count_nonzero(dilated) > np.count_nonzero(plain)


def test_numbers_of_the_png(rng):
    image = np.zeros((1, 4, 3), np.float32)
    image[0, 1:] = [(1.0, 255.0, -2.5), (200.0, 0.0, 12.34), (336.9, 7.0, -99.0)]
    numbers = muses_sdk.to_png16(image)
    assert numbers[0, 0].tolist() == [15000] * 3 and numbers[0, 1].tolist() == [15150, 53250, 14625]
    assert np.abs(muses_sdk.from_png16(numbers) - image).max() <= 1 / 150 + 1e-4
    assert muses_sdk.to_png16(np.full((1, 1, 3), 400.0, np.float32))[0, 0, 0] == 75000 - 65536


def read_as_the_release_does(image, grid):
    """Written by OpenCV as PNG, opened and squashed by Pillow: through the files themselves."""
    ok, encoded = cv2.imencode(".png", image)
    assert ok
    opened = Image.open(io.BytesIO(encoded.tobytes())).convert("RGB")
    return np.asarray(opened.resize((grid[1], grid[0]))).astype(np.float32)


@pytest.mark.parametrize("grid", [GRID, (108, 192), (40, 90)])
def test_the_release_is_what_pillow_makes_of_the_files(rng, grid):
    rig = muses_rig()
    payloads = {
        "camera": rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8),
        "lidar": cloud(rng),
        "event": some_events(rng),
    }
    models = rig.sensor("event").model.K, rig.sensor("camera").model.K
    points = points_by_hand(*vars_of(payloads["lidar"]), rig.plane_from("lidar"), models[1], SIZE, SIZE)
    files = {
        "camera": payloads["camera"][..., ::-1],
        "lidar": ((points + 100) * 150).astype(np.uint16),
        "event": events_by_hand(payloads["event"], rig.plane_from("event"), *models, SIZE, SIZE),
    }
    for name, payload in payloads.items():
        found = encode(rig, name, payload, PRESETS["release"], grid)
        assert np.array_equal(as_image(found.image), read_as_the_release_does(files[name], grid)), name
    if grid == (108, 192):
        lidar = as_image(encode(rig, "lidar", payloads["lidar"], PRESETS["release"], grid).image)
        assert (lidar[points[..., 0] == 0] == 58).all(), "an empty pixel"


def vars_of(points):
    return points.xyz, points.intensity


def test_points_keep_their_pixels_through_the_squash(rng):
    rig, points = muses_rig(), cloud(rng)
    native = encode(rig, "lidar", points, PRESETS["muses_sdk"]).pixel_index
    squashed = encode(rig, "lidar", points, PRESETS["release"], GRID).pixel_index
    seen = native >= 0
    assert np.array_equal(squashed >= 0, seen)
    assert np.array_equal(squashed[seen] // 64, ((native[seen] // 192 + 0.5) * 64 / 108).astype(int))
    assert np.array_equal(squashed[seen] % 64, ((native[seen] % 192 + 0.5) * 64 / 192).astype(int))


def test_without_pillow_the_release_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EncodingError, match="install it"):
        Encoder(muses_rig(), *GRID, PRESETS["release"])
    Encoder(muses_rig(), *GRID, PRESETS["muses_sdk"])


def test_rectified_images_are_turned(rng):
    """A turned camera whose image is rectified into an unturned frame sees what an unturned camera sees."""
    rig = muses_rig()
    payloads = {"lidar": cloud(rng), "event": some_events(rng)}
    turn = pose_matrix((0, 0, 0), (2, -3, 4))
    turned = rig
    for name in ("camera", "event"):
        sensor = rig.sensor(name)
        model = replace(sensor.model, rectified=True, R=turn[:3, :3])
        turned = turned.replace_calibration(name, model=model, base_from_sensor=sensor.base_from_sensor @ turn)
    for name, payload in payloads.items():
        straight, other = (encode(r, name, payload, PRESETS["muses_sdk"]).image for r in (rig, turned))
        assert np.mean(straight != other) < 1e-3, name  # of equal real numbers, a rounding may differ


def test_what_the_sdk_does_not_know_is_turned_down(rng):
    rig = muses_rig()
    model = rig.sensor("camera").model
    bent = rig.replace_calibration("camera", model=replace(model, distortion="plumb_bob", D=(0.1, 0, 0, 0)))
    depth = Sensor("depth", Modality.DEPTH, "d", rig.sensors[0].base_from_sensor, model=model)
    side = replace(rig.sensors[0], name="side")
    more = replace(rig, sensors=(*rig.sensors, depth, side))
    picture = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    for at, name, payload, sentence in [
        (bent, "lidar", cloud(rng), "knows no lens, but there is plumb_bob: rectify the images"),
        (bent, "event", some_events(rng), "knows no lens"),
        (more, "depth", np.full((SIZE[1], SIZE[0]), 9, np.float32), "knows no depth images"),
        (more, "side", picture, "knows one camera, which is 'camera'"),
    ]:
        with pytest.raises(RejectedPayload, match=f"'{name}' cannot be used: the encoding 'release' {sentence}") as e:
            encode(at, name, payload, PRESETS["release"])
        assert e.value.absence is Absence.REJECTED
