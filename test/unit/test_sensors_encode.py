# SPDX-License-Identifier: Apache-2.0
"""What the network is fed, per modality; what is refused, and why; the fingerprint."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from anyseg_ros.modality import Modality
from anyseg_ros.resources import share_path
from anyseg_ros.sensors import camera, checks, depth, event_clock, events, lidar, projection
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.checks import RejectedPayload
from anyseg_ros.sensors.encode import Encoder, warm_up
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.rig import Rig, Sensor, load_rig
from anyseg_ros.types import Absence, Events, Measurement, Points

HEIGHT, WIDTH = 160, 288
NOW_NS = 1_700_000_000_000_000_000
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def rig():
    return load_rig(share_path("config/rigs/sim.yaml"))


@pytest.fixture(scope="module")
def encoder(rig):
    return Encoder(rig, HEIGHT, WIDTH)


def measurement(name, payload):
    return Measurement(name, Modality(name), NOW_NS, payload)


def wall(distance_m=20.0, count=2000):
    """Points of a wall across the road, in the lidar's frame."""
    y, z = RNG.uniform(-8, 8, count), RNG.uniform(-1.5, 3, count)
    return Points(
        np.column_stack([np.full(count, distance_m), y, z]).astype(np.float32), np.full(count, 0.5, np.float32)
    )


def some_events(t_ns, width=320, height=180):
    count = len(t_ns)
    x, y = RNG.integers(0, width, count).astype(np.uint16), RNG.integers(0, height, count).astype(np.uint16)
    return Events(x, y, np.asarray(t_ns), np.ones(count, np.uint8), width, height)


def test_camera_is_resized_into_the_content(encoder):
    image = RNG.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    encoded = encoder(measurement("camera", image), NOW_NS).image
    assert encoded.shape == (3, HEIGHT, WIDTH) and encoded.dtype == np.float32
    top, left, height, width = encoder.grid.content
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) / 255
    assert np.allclose(encoded[:, top : top + height, left : left + width], expected, atol=1e-7)
    assert not encoded[:, ~encoder.grid.mask()].any()


def test_read_only_images_are_taken(encoder):
    image = np.frombuffer(RNG.bytes(360 * 640 * 3), np.uint8).reshape(360, 640, 3)
    assert encoder(measurement("camera", image), NOW_NS).image.any()


def test_lidar_channels_and_pixel_index(encoder, rig):
    points = wall()
    encoded = encoder(measurement("lidar", points), NOW_NS)
    seen = np.flatnonzero(encoded.pixel_index >= 0)
    assert len(seen) > 1000
    range_m, intensity, height_m = encoded.image.reshape(3, -1)[:, encoded.pixel_index[seen]]
    own = np.linalg.norm(points.xyz[seen], axis=1)
    assert np.abs(range_m - own).max() < 0.1, "of the points in a pixel, one stands for all"
    assert np.allclose(intensity, 0.5)
    assert height_m.min() > 0.3 and height_m.max() < 5.0, "the lidar is 1.9 m above the base frame"
    model, plane = rig.sensor("camera").model, rig.plane_from("lidar")
    uv, _ = model.project(points.xyz @ plane[:3, :3].T + plane[:3, 3])
    column, row = np.floor(encoder.grid.camera_to_grid(uv[seen]) + 0.5).astype(int).T
    assert np.array_equal(encoded.pixel_index[seen], row * WIDTH + column)


def test_lidar_fills_gaps(encoder):
    points = wall(count=2000)
    raw = lidar.project_cloud(points.xyz, points.intensity, encoder.grid, encoder.rig.plane_from("lidar"), np.eye(4))
    filled = np.count_nonzero(encoder(measurement("lidar", points), NOW_NS).image[0])
    assert filled > 2 * np.count_nonzero(raw.image[0])


def test_event_window_ends_at_the_reference_in_the_sensors_own_clock(encoder):
    ahead_ns = 3_000_000  # the event clock of the rig is 3 ms ahead
    inside = NOW_NS + ahead_ns - np.array([29_999_999, 15_000_000, 0])
    outside = NOW_NS + ahead_ns + np.array([-30_000_000, 1])
    everything = some_events(np.sort(np.concatenate([inside, outside])))
    image = encoder(measurement("event", everything), NOW_NS).image
    assert image[:2].sum() == pytest.approx(0.3)
    assert sorted(image[2][image[2] > 0]) == pytest.approx([1 / 30e6, 0.5, 1.0])


def depth_rig(rig):
    model = CameraModel.pinhole(64, 48, 60.0)
    pose = pose_matrix((1.5, 0.0, 1.6), optical=True)
    return replace(rig, sensors=(*rig.sensors, Sensor("depth", Modality.DEPTH, "depth", pose, model=model)))


def test_depth_takes_the_lidars_way(rig):
    encoder = Encoder(depth_rig(rig), HEIGHT, WIDTH)
    encoded = encoder(measurement("depth", np.full((48, 64), 12.0, np.float32)), NOW_NS)
    centre = encoded.image[:, HEIGHT // 2, WIDTH // 2]
    assert centre.tolist() == pytest.approx([12.0, 0.0, 1.6], abs=0.2) and encoded.pixel_index is None


def test_a_second_camera_is_turned_into_the_image_plane(rig):
    """A far pattern seen by a camera 5 degrees to the left lands where the first camera sees it."""
    side = Sensor(
        "side", Modality.CAMERA, "side", pose_matrix((1.5, 0, 1.6), (0, 0, 5), True), model=rig.sensors[0].model
    )
    both = Rig("two", "base_link", (*rig.sensors, side), "camera")
    encoder = Encoder(both, HEIGHT, WIDTH)
    target = np.array([[1000.0, 120.0, 1.6, 1.0]])
    image = np.full((360, 640, 3), 100, np.uint8)
    at_side = side.model.project((target @ np.linalg.inv(side.base_from_sensor).T)[:, :3])[0][0]
    cv2.circle(image, tuple(int(round(c)) for c in at_side), 6, (255, 255, 255), -1)
    encoded = encoder(Measurement("side", Modality.CAMERA, 0, image), 0).image
    plane = target @ np.linalg.inv(rig.sensors[0].base_from_sensor).T
    expected = encoder.grid.camera_to_grid(rig.sensors[0].model.project(plane[:, :3])[0])[0]
    row, column = np.argwhere(encoded[0] > 0.9).mean(axis=0)
    assert abs(column - expected[0]) < 1 and abs(row - expected[1]) < 1


BLACK = np.zeros((360, 640, 3), np.uint8)
NOTHING = Points(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
BEHIND = Points(np.full((500, 3), -5, np.float32), np.zeros(500, np.float32))


@pytest.mark.parametrize(
    "name, payload, absence, sentence",
    [
        ("camera", BLACK, Absence.BLIND, "of one colour"),
        ("camera", BLACK + np.uint8(255), Absence.BLIND, "mean 255"),
        ("camera", np.zeros((180, 320, 3), np.uint8), Absence.REJECTED, "320 x 180 pixels.*for 640 x 360"),
        ("camera", np.zeros((360, 640)), Absence.REJECTED, r"float64 \[360, 640\], expected uint8"),
        ("camera", None, Absence.REJECTED, "a NoneType"),
        ("lidar", NOTHING, Absence.BLIND, "0 of 0 points"),
        ("lidar", BEHIND, Absence.BLIND, "0 of 500 points"),
        ("lidar", BLACK, Absence.REJECTED, "expected Points"),
        ("lidar", Points(np.zeros((9, 3), np.float32), np.zeros(8, np.float32)), Absence.REJECTED, "9 points but 8"),
        ("lidar", Points(np.zeros((9, 2), np.float32), np.zeros(9, np.float32)), Absence.REJECTED, r"shape \[9, 2\]"),
        (
            "event",
            replace(some_events(np.full(900, NOW_NS)), x=np.zeros(9, np.uint16)),
            Absence.REJECTED,
            r"\[9, 900, 900, 900\] entries",
        ),
        ("event", some_events(np.empty(0, np.int64)), Absence.EMPTY, "no event in view in the 30 ms window"),
        ("event", some_events(NOW_NS - np.array([90_000_000])), Absence.EMPTY, "no event"),
        ("event", some_events(np.array([NOW_NS]), 640, 480), Absence.REJECTED, "640 x 480"),
        (
            "event",
            replace(some_events(np.full(900, NOW_NS), 999, 999), width=0, height=0),
            Absence.REJECTED,
            "outside the",
        ),
        ("event", BLACK, Absence.REJECTED, "expected Events"),
    ],
)
def test_what_must_not_reach_the_network(encoder, name, payload, absence, sentence):
    with pytest.raises(RejectedPayload, match=sentence) as caught:
        encoder(measurement(name, payload), NOW_NS)
    assert caught.value.absence is absence and f"'{name}'" in str(caught.value)


def test_depth_is_checked_too(rig):
    encoder = Encoder(depth_rig(rig), HEIGHT, WIDTH)
    for payload, absence in [
        (np.full((48, 64), np.nan, np.float32), Absence.BLIND),
        (np.zeros((48, 65), np.float32), Absence.REJECTED),
        (np.zeros((48, 64), np.uint16), Absence.REJECTED),
    ]:
        with pytest.raises(RejectedPayload) as caught:
            encoder(measurement("depth", payload), NOW_NS)
        assert caught.value.absence is absence


def test_warm_up_leaves_nothing_to_compile(rig):
    """Kernels get no second signature from real payloads, read-only ones included."""
    warm_up()
    kernels = [
        projection.draw_points,
        lidar._densify,
        event_clock._move,
        events._count,
        events._finish_histogram,
        camera._to_planes,
        checks._levels,
        depth._unproject_depth,
    ]
    before = [len(kernel.signatures) for kernel in kernels]
    assert all(before)
    encoder, points, stamps = Encoder(depth_rig(rig), HEIGHT, WIDTH), wall(), NOW_NS + np.arange(50)
    moments = some_events(stamps)
    payloads = {"camera": RNG.integers(0, 256, (360, 640, 3), dtype=np.uint8), "lidar": points, "event": moments}
    payloads["depth"] = np.full((48, 64), 12.0, np.float32)
    for array in (payloads["camera"], payloads["depth"], points.xyz, points.intensity, moments.x, moments.t_ns):
        array.flags.writeable = False
    for name, payload in payloads.items():
        encoder(measurement(name, payload), NOW_NS)
    assert [len(kernel.signatures) for kernel in kernels] == before
