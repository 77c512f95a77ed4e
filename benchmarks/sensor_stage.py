# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the messages of one frame set (a picture, a sweep, event packets) to what the network is fed.

Ours is what the node does: read each message, feed the packets to the stream, encode. The rivals read the messages
by ``np.frombuffer`` with the fields' types, as sensor_msgs_py does, and use OpenCV and NumPy for the rest. All of them
use the same lookup table for the events, made before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import Z_MIN_M, Grid
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.event_warp import event_lookup
from anyseg_ros.sensors.messages import EventStream, image_from, points_from
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sensors.rig import optical_model
from anyseg_ros.sync.windows import join_events
from anyseg_ros.types import Measurement
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.compare import both, same_images
from benchmarks.events import RUST, count_with_add_at, count_with_bincount
from benchmarks.evt3_numpy import NumpyEvt3Decoder
from benchmarks.evt3_plain import decode_stream
from benchmarks.stage_messages import POINT, STAMP_NS, FrameMessages, frame_messages

SHIPPED = (160, 288)
LARGE = (512, 512)
SENSORS = ("camera", "lidar", "event")
LAST_DIGITS_SHARE = 0.001
"""Of the pixels that clouds fill: cv2.projectPoints rounds the last digit otherwise than we do."""
Decode = Callable[[tuple[Any, ...]], list[np.ndarray]]
Count = Callable[[np.ndarray, int], np.ndarray]


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """The whole stage on two grids, then each sensor on the shipped one."""
    messages = frame_messages(6_400, 8_000) if settings.quick else frame_messages(120_000, 300_000)
    for grid in (SHIPPED, LARGE):
        yield lambda grid=grid: stage_case(f"stage_{grid[0]}x{grid[1]}", messages, grid, SENSORS)
    for sensor in SENSORS:
        yield lambda sensor=sensor: stage_case(f"stage_{sensor}", messages, SHIPPED, (sensor,))


def stage_case(name: str, messages: FrameMessages, grid: tuple[int, int], sensors: tuple[str, ...]) -> Case:
    """Some sensors of the frame set to a stack, our way and with NumPy and OpenCV."""
    encoder = Encoder(messages.rig, *grid)
    plain = PlainStage(messages, encoder.grid)
    skipped: dict[str, str] = {}
    rivals = []
    ways: list[tuple[str, Decode, Count]] = [
        ("plain NumPy + np.add.at", decode_plainly, count_with_add_at),
        ("NumPy forward fill + np.add.at", decode_with_numpy, count_with_add_at),
    ]
    if find_spec("evt3") is None:
        skipped[RUST] = "evt3 is not installed (pip install evt3)"
    else:
        ways.append((RUST, decode_with_evt3, count_with_bincount))
    for title, decode, count in ways if "event" in sensors else ways[:1]:
        parts = {"camera": "cv2.resize", "lidar": "cv2.projectPoints, nearest written last", "event": title}
        rivals.append(
            Rival(
                "; ".join(parts[sensor] for sensor in sensors),
                lambda decode=decode, count=count: [plain.draw(sensor, decode, count) for sensor in sensors],
                lambda ours, theirs: both(*map(same_sensor, sensors, ours, theirs)),
            )
        )
    work = {
        "camera": "a picture of 1920x1080",
        "lidar": f"a cloud of {messages.cloud.width} points",
        "event": f"{len(messages.packets)} packets of evt3 ({messages.events // 1000}k events)",
    }
    return Case(
        name,
        f"{', '.join(work[sensor] for sensor in sensors)}: from messages to {grid[0]}x{grid[1]}",
        1,
        "frame",
        lambda: [draw_ours(messages, encoder, sensor) for sensor in sensors],
        tuple(rivals),
        skipped if "event" in sensors else {},
    )


def draw_ours(messages: FrameMessages, encoder: Encoder, sensor: str) -> np.ndarray:
    """Read the message and encode it, as the node does."""
    if sensor == "camera":
        payload: Any = image_from(messages.image)
    elif sensor == "lidar":
        payload = points_from(messages.cloud)
    else:
        stream = EventStream(messages.packets[0].width, messages.packets[0].height)
        payload = join_events([stream.feed(packet) for packet in messages.packets])
    measurement = Measurement(sensor, Modality(sensor), messages.reference_ns, payload)
    return encoder(measurement, messages.reference_ns).image


def same_sensor(sensor: str, ours: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Pictures and events must be equal; clouds but for points on the border of two pixels."""
    if sensor == "lidar":
        return same_images(ours, theirs, atol=1e-4, allowed_share=LAST_DIGITS_SHARE)
    return same_images(ours, theirs, atol=1e-6)


@dataclass(frozen=True)
class PlainStage:
    """The stage in NumPy and OpenCV; what does not change from frame to frame is made before."""

    messages: FrameMessages
    grid: Grid

    @cached_property
    def lookup(self) -> np.ndarray:
        """The grid pixel of each event pixel."""
        rig = self.messages.rig
        return event_lookup(optical_model(rig.sensor("event")), self.grid, rig.plane_from("event"))

    def draw(self, sensor: str, decode: Decode, count: Count) -> np.ndarray:
        """float32 [3,H,W]."""
        if sensor == "camera":
            return self.draw_camera()
        return self.draw_lidar() if sensor == "lidar" else self.draw_events(decode, count)

    def draw_camera(self) -> np.ndarray:
        """Resize by area into the letterbox, scale to 0..1, channels first."""
        message = self.messages.image
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        top, left, height, width = self.grid.content
        image = np.zeros((3, self.grid.height, self.grid.width), dtype=np.float32)
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        image[:, top : top + height, left : left + width] = resized.transpose(2, 0, 1).astype(np.float32) / 255
        return image

    def draw_lidar(self) -> np.ndarray:
        """Read, gate, transform, cv2.projectPoints, far points first so that near ones overwrite them, densify."""
        rig, camera = self.messages.rig, self.grid.camera
        cloud = np.frombuffer(self.messages.cloud.data, POINT)
        xyz = np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1).astype(np.float64)
        intensity = cloud["intensity"]
        finite = np.isfinite(xyz).all(axis=1)
        xyz, intensity = xyz[finite], intensity[finite]
        range_m = np.linalg.norm(xyz, axis=1)
        pose = rig.plane_from("lidar")
        optical = xyz @ pose[:3, :3].T + pose[:3, 3]
        kept = (range_m >= DEFAULT.cloud.min_range_m) & (range_m <= DEFAULT.cloud.max_range_m)
        kept &= optical[:, 2] > Z_MIN_M
        # Beyond this angle the distortion polynomial folds points back into the image.
        kept &= np.hypot(optical[:, 0], optical[:, 1]) <= camera.lens[2] * optical[:, 2]
        xyz, intensity, range_m, optical = xyz[kept], intensity[kept], range_m[kept], optical[kept]
        uv = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), camera.K, np.array(camera.D))[0].reshape(-1, 2)
        column, row = np.floor(self.grid.camera_to_grid(uv) + 0.5).astype(np.int64).T
        top, left, height, width = self.grid.content
        inside = (column >= left) & (column < left + width) & (row >= top) & (row < top + height)
        far_first = np.flatnonzero(inside)[np.argsort(-optical[inside, 2], kind="stable")]
        base = rig.sensor("lidar").base_from_sensor
        height_m = xyz[far_first] @ base[2, :3] + base[2, 3]
        image = np.zeros((3, self.grid.height, self.grid.width), dtype=np.float32)
        values = range_m[far_first], np.clip(intensity[far_first], 0, 1), height_m
        image[:, row[far_first], column[far_first]] = values
        return self.densified(image)

    def densified(self, image: np.ndarray) -> np.ndarray:
        """Empty pixels take the channels of the nearest of their eight neighbours, in reading order."""
        top, left, height, width = self.grid.content
        inner = image[:, top : top + height, left : left + width]
        padded = np.pad(inner, ((0, 0), (1, 1), (1, 1)))
        dense, best = inner.copy(), np.where(inner[0] == 0, np.inf, 0).astype(np.float32)
        for dy in range(3):
            for dx in range(3):
                neighbour = padded[:, dy : dy + height, dx : dx + width]
                nearer = (neighbour[0] > 0) & (neighbour[0] < best)
                dense[:, nearer], best[nearer] = neighbour[:, nearer], neighbour[0, nearer]
        image[:, top : top + height, left : left + width] = dense
        return image

    def draw_events(self, decode: Decode, count: Count) -> np.ndarray:
        """Decode, cut the window, look the pixels up, count."""
        x, y, p, t_us = decode(self.messages.packets)
        window_ns = DEFAULT.event.window_ns
        age_ns = STAMP_NS + (t_us - t_us[0]) * 1000 - (self.messages.reference_ns - window_ns)
        pixel = self.lookup[y, x]
        seen = (age_ns > 0) & (age_ns <= window_ns) & (pixel >= 0)
        pixel, off, age_ns = pixel[seen], p[seen] == 0, age_ns[seen]
        size = self.grid.height * self.grid.width
        image = np.zeros((3, size), dtype=np.float32)
        counts = count(pixel + size * off, 2 * size).reshape(2, size)
        image[:2] = np.minimum(counts, DEFAULT.event.saturation) / DEFAULT.event.saturation
        image[2, pixel] = age_ns / window_ns  # in order of time: the last one stays
        return image.reshape(3, self.grid.height, self.grid.width)


def decode_plainly(packets: tuple[Any, ...]) -> list[np.ndarray]:
    """x, y, p, t_us of all packets by NumPy as one writes it first."""
    return list(decode_stream(b"".join(m.events for m in packets), packets[0].width, packets[0].height))


def decode_with_numpy(packets: tuple[Any, ...]) -> list[np.ndarray]:
    """The same by the careful NumPy decoder."""
    decoder = NumpyEvt3Decoder(packets[0].width, packets[0].height)
    return [np.concatenate(part) for part in zip(*(decoder.decode(m.events) for m in packets), strict=True)]


def decode_with_evt3(packets: tuple[Any, ...]) -> list[np.ndarray]:
    """The same by the decoder from PyPI, written in Rust."""
    import evt3

    decoder = evt3.Decoder(sensor_width=packets[0].width, sensor_height=packets[0].height)
    fed = [decoder.feed(message.events) for message in packets]
    x, y, p, t_us = (np.concatenate([getattr(events, name) for events in fed]) for name in "xypt")
    return [x, y, p, t_us.astype(np.int64)]
