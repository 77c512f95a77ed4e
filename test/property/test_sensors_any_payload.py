# SPDX-License-Identifier: Apache-2.0
"""Whatever a message holds, reading it gives a result or a PayloadError."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.image_messages import PACKED
from anyseg_ros.sensors.messages import (
    EventStream,
    PayloadError,
    compressed_image_from,
    events_from_points,
    image_from,
    points_from,
)

EXAMPLES = settings(max_examples=200, deadline=None)
small, size = st.integers(0, 8), st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1))
header = st.builds(
    lambda sec, nanosec: SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=""),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
)
message = st.builds(SimpleNamespace, header=header)
field = st.builds(
    SimpleNamespace,
    name=st.sampled_from(["x", "y", "z", "t", "p", "intensity", "ring", "time", "timestamp", "other"]),
    offset=st.one_of(small, size),
    datatype=st.integers(0, 9),
    count=st.integers(0, 3),
)
fitting_field = st.builds(  # of a point of 12 bytes or more
    SimpleNamespace,
    name=st.sampled_from(["intensity", "ring", "time", "timestamp", "x", "z"]),
    offset=st.integers(0, 4),
    datatype=st.integers(1, 8),
    count=st.just(1),
)
ENCODINGS = [*PACKED, "nv12", "nv21", "nv24", "16UC1", "32FC1", "x"]
EVENT_FIELDS = [
    SimpleNamespace(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in [("x", 0, 4), ("y", 1, 4), ("z", 2, 7), ("t", 3, 8), ("p", 4, 2)]
]


def read(reader, msg):
    try:
        return reader(msg)
    except PayloadError as error:
        assert len(str(error)) > 20
        return None


@EXAMPLES
@given(message, size, size, size, st.booleans(), st.binary(max_size=200), st.sampled_from(ENCODINGS))
def test_any_image(msg, height, width, step, big, data, encoding):
    vars(msg).update(height=height, width=width, step=step, is_bigendian=big, data=data, encoding=encoding)
    pixels = read(image_from, msg)
    assert pixels is None or pixels.shape[:2] == (height, width)


@EXAMPLES
@given(message, small, small, st.data(), st.sampled_from([("rgb8", 3), ("mono16", 2), ("32FC1", 4)]), small)
def test_any_image_of_fitting_size(msg, height, width, data, kind, padding):
    step = width * kind[1] + padding
    content = data.draw(st.binary(min_size=step * height, max_size=step * height))
    vars(msg).update(height=height, width=width, step=step, is_bigendian=0, data=content, encoding=kind[0])
    assert (read(image_from, msg) is None) == (height * width == 0)


@EXAMPLES
@given(message, st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]))
def test_any_compressed_image(msg, data, magic):
    vars(msg).update(format="jpeg", data=magic + data)
    pixels = read(compressed_image_from, msg)
    assert pixels is None or (pixels.ndim == 3 and pixels.dtype == np.uint8)


@EXAMPLES
@given(
    message, st.lists(field, max_size=6), st.booleans(), size, size, size, size, st.booleans(), st.binary(max_size=300)
)
def test_any_cloud(msg, fields, extra, height, width, point_step, row_step, big, data):
    fields = fields + EVENT_FIELDS if extra else fields
    vars(msg).update(
        fields=fields, height=height, width=width, point_step=point_step, row_step=row_step, is_bigendian=big, data=data
    )
    points, events = read(points_from, msg), read(events_from_points, msg)
    assert points is None or len(points) == height * width
    assert events is None or len(events) == height * width


@EXAMPLES
@given(message, st.lists(fitting_field, max_size=4), small, small, st.integers(12, 24), small, st.booleans(), st.data())
def test_any_cloud_of_fitting_size(msg, fields, height, width, point_step, padding, big, data):
    row_step = width * point_step + padding
    content = data.draw(st.binary(min_size=row_step * height, max_size=row_step * height))
    vars(msg).update(
        fields=EVENT_FIELDS + fields, height=height, width=width, point_step=point_step, row_step=row_step,
        is_bigendian=big, data=content,
    )  # fmt: skip
    assert len(points_from(msg)) == height * width
    events = events_from_points(msg)
    assert len(events) == height * width and np.all(events.t_ns[1:] >= events.t_ns[:-1])


packet = st.fixed_dictionaries(
    {
        "header": header, "seq": st.integers(0, 2**64 - 1), "time_base": st.integers(0, 2**64 - 1),
        "encoding": st.sampled_from(["evt3", "mono", "mono", "libcaer"]), "is_bigendian": st.booleans(),
        "events": st.binary(max_size=120), "width": st.sampled_from([64, 64, 64, 640]), "height": st.just(48),
    }
)  # fmt: skip


@EXAMPLES
@given(st.lists(packet, max_size=6))
def test_any_event_packets(packets):
    stream, last_ns, resets = EventStream(64, 48), None, 0
    for fields in packets:
        events = read(stream.feed, SimpleNamespace(**fields))
        if events is None or not len(events):
            continue
        assert events.x.max() < 64 and events.y.max() < 48 and events.p.max() <= 1
        if len(events) and stream.clock.offset_ns is not None:
            assert np.all(np.diff(events.t_ns) >= 0)
            assert last_ns is None or stream.clock.resets > resets or events.t_ns[0] >= last_ns
            last_ns, resets = int(events.t_ns[-1]), stream.clock.resets
