# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: any bytes, made into a message, read, and drawn on a grid.

Each target takes a byte string and returns nothing; whatever it raises is a finding. A message that cannot be read must
raise PayloadError with a sentence; what was read must be drawn without any error.
"""

from types import SimpleNamespace

import numpy as np

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.event_array import event_array_from_cdr
from anyseg_ros.sensors.event_warp import event_lookup, event_positions
from anyseg_ros.sensors.events import accumulate, time_surface, voxel_grid
from anyseg_ros.sensors.evt2 import Evt2Decoder
from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.image_messages import PACKED
from anyseg_ros.sensors.lidar import densify, project_cloud
from anyseg_ros.sensors.messages import (
    EventStream,
    PayloadError,
    compressed_image_from,
    events_from_points,
    image_from,
    points_from,
)
from anyseg_ros.sensors.raw_files import read_header

WIDTH, HEIGHT = 64, 48
ENCODINGS = (*PACKED, "nv12", "nv21", "nv24", "16UC1", "32FC1", "other")
FORMATS = (
    "jpeg", "png", "rgb8; jpeg compressed bgr8", "bayer_rggb8; png compressed ", "bayer_; png",
    "16UC1; png compressed ",
    "16UC1; compressedDepth png", "32FC1; compressedDepth", "16UC1; compressedDepth rvl", "32FC1; compressedDepth rvl",
)  # fmt: skip
FIELDS = ("x", "y", "z", "intensity", "reflectivity", "i", "ring", "channel", "t", "time", "timestamp", "p", "other")
PACKETS = ("evt3", "evt2", "evt21", "evt21_legacy", "libcaer", "libcaer_cmp", "mono", "other")
CAMERA = CameraModel(32, 24, np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]), "plumb_bob", (-0.4, 0.1, 0.01, 0.01))
GRID = Grid.fit(CAMERA, 20, 31)
EVENT_CAMERA = CameraModel.pinhole(WIDTH, HEIGHT, 70.0)
LOOKUP = event_lookup(EVENT_CAMERA, GRID, np.eye(4))
POSITIONS = event_positions(EVENT_CAMERA, GRID, np.eye(4))


class Source:
    """Takes values from the front of a byte string; zeros when it is used up."""

    def __init__(self, data):
        self.data = bytes(data)

    def take(self, count):
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count=1):
        return int.from_bytes(self.take(count), "little")

    def size(self):
        """Small as a rule, any 32 bits now and then."""
        first = self.number()
        return first if first < 250 else self.number(4)

    def choice(self, options):
        return options[self.number() % len(options)]

    def header(self):
        return SimpleNamespace(stamp=SimpleNamespace(sec=self.number(4), nanosec=self.number(4)), frame_id="")


def read(reader, *args):
    """The result; None where the reader refuses with a sentence."""
    try:
        return reader(*args)
    except PayloadError as error:
        assert len(str(error)) > 20, f"no sentence: {error!r}"
        return None


def image(data):
    source = Source(data)
    encoding, big, fits = source.choice(ENCODINGS), source.number() % 2, source.number() % 4
    width, height, step = source.size(), source.size(), source.size()
    if fits:  # else the sizes stay as unlikely as they are
        size, channels, _ = PACKED.get(encoding, (4 if encoding == "32FC1" else 1, 1, None))
        rows = {"nv12": 1.5, "nv21": 1.5, "nv24": 3.0}.get(encoding, 1.0)
        step = width * size * channels * (2 if encoding == "16UC1" else 1) + (step % 8 if encoding != "nv24" else 0)
        height = int(len(source.data) / max(1, step) / rows) // 2 * 2
        source.data = source.data[: int(step * height * rows)]
    msg = SimpleNamespace(
        header=None, width=width, height=height, step=step, is_bigendian=big, encoding=encoding, data=source.data
    )
    _check_image(read(image_from, msg))


def compressed_image(data):
    source = Source(data)
    _check_image(read(compressed_image_from, SimpleNamespace(format=source.choice(FORMATS), data=source.data)))


def _check_image(pixels):
    if pixels is None:
        return
    colour = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert colour or (pixels.dtype == np.float32 and pixels.ndim == 2), f"{pixels.dtype} {pixels.shape}"
    assert pixels.size


def cloud(data):
    source = Source(data)
    msg = SimpleNamespace(header=source.header(), is_bigendian=source.number() % 2, fields=[])
    fits = source.number() % 4
    for _ in range(source.number() % 8):
        name, datatype, offset = source.choice(FIELDS), source.number() % 10, source.size()
        msg.fields.append(SimpleNamespace(name=name, datatype=datatype, offset=offset, count=source.number() % 3))
    msg.width, msg.height, msg.point_step, msg.row_step = (source.size() for _ in range(4))
    if fits:
        msg.point_step = max(1, msg.point_step % 64)
        msg.row_step = msg.width * msg.point_step + msg.row_step % 8
        msg.height = len(source.data) // max(1, msg.row_step)
        source.data = source.data[: msg.height * msg.row_step]
    msg.data = source.data
    points = read(points_from, msg)
    if points is not None:
        assert len(points) == len(points.intensity) == msg.width * msg.height
        drawn = project_cloud(points.xyz, points.intensity, GRID, np.eye(4), np.eye(4))
        assert drawn.pixel_index.max(initial=-1) < GRID.height * GRID.width
        assert np.isfinite(densify(drawn.image, GRID.content)).all()
    events = read(events_from_points, msg, WIDTH, HEIGHT)
    if events is not None:
        _draw_events(events)


def event_packets(data):
    source, stream = Source(data), EventStream(WIDTH, HEIGHT)
    encoding = source.choice(PACKETS)
    while source.data:
        packet = SimpleNamespace(
            header=source.header(), seq=source.number(2), time_base=source.number(8), encoding=encoding,
            is_bigendian=source.number() % 2, width=WIDTH, height=HEIGHT, events=source.take(source.size()),
        )  # fmt: skip
        events = read(stream.feed, packet)
        if events is not None:
            _draw_events(events)


def event_array(data):
    """A serialised EventArray, as a raw subscription gives it."""
    found = read(event_array_from_cdr, data, WIDTH, HEIGHT)
    if found is not None:
        _draw_events(found.events)


def event_words(data):
    """RAW files: the header, then the words in two pieces."""
    source = Source(data)
    kind, cut, start = source.choice(("evt2", "evt21", "evt21_legacy", "evt3")), source.size(), source.data
    read(read_header, start, "a file", None)
    decoder = Evt3Decoder(WIDTH, HEIGHT) if kind == "evt3" else Evt2Decoder(WIDTH, HEIGHT, kind)
    for piece in (start[:cut], start[cut:]):
        x, y, p, t_us = decoder.decode(piece)
        assert len(x) == len(y) == len(p) == len(t_us)
        assert x.max(initial=0) < WIDTH and y.max(initial=0) < HEIGHT and p.max(initial=0) <= 1


def _draw_events(events):
    assert events.x.max(initial=0) < WIDTH and events.y.max(initial=0) < HEIGHT and events.p.max(initial=0) <= 1
    assert np.all(events.t_ns[1:] >= events.t_ns[:-1])
    if not len(events):
        return
    until_ns, window_ns = int(events.t_ns[-1]), 30_000_000
    drawn = [accumulate(events, LOOKUP, GRID.height, GRID.width, until_ns, window_ns)]
    drawn.append(voxel_grid(events, POSITIONS, GRID, until_ns, window_ns))
    drawn.append(time_surface(events, LOOKUP, GRID.height, GRID.width, until_ns, window_ns))
    assert all(np.isfinite(picture).all() for picture, *_ in drawn)


TARGETS = {
    target.__name__: target for target in (image, compressed_image, cloud, event_packets, event_array, event_words)
}
