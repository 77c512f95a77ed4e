# SPDX-License-Identifier: Apache-2.0
"""Whatever a message holds, reading it gives a result or a PayloadError; and the grid's maps undo each other."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.calibration import CameraModel, Grid
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
ENCODINGS = ["rgb8", "bgra8", "mono8", "mono16", "16UC1", "32FC1", "x"]
COUNTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
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


@EXAMPLES
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600), st.integers(1, 600))
def test_grid_and_camera_positions_undo_each_other(width, height, grid_height, grid_width):
    grid = Grid.fit(CameraModel.pinhole(width, height, 70.0), grid_height, grid_width)
    top, left, inner_height, inner_width = grid.content
    assert 0 <= top <= grid_height - inner_height and 0 <= left <= grid_width - inner_width
    assert inner_height == grid_height or inner_width == grid_width
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5], [width / 3, height / 5]])
    on_grid = grid.camera_to_grid(corners)
    assert on_grid[:2] == pytest.approx(np.array([[left, top], [left + inner_width, top + inner_height]]) - 0.5)
    assert grid.grid_to_camera(on_grid) == pytest.approx(corners)


def lens(distortion, values, tangential):
    """A camera with these coefficients, the tangential ones of Brown's model scaled."""
    brown = distortion != "equidistant"
    D = [tangential * v if brown and i in (2, 3) else v for i, v in enumerate(values[: COUNTS[distortion]])]
    return CameraModel(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), distortion, tuple(D))


def steep_up_to(radius, model):
    """Where the radial function has grown clearly all the way, so that its inverse is well conditioned."""
    r = np.linspace(0.0, 2.2, 221)
    uv, _ = model.project(np.column_stack([r, np.zeros_like(r), np.ones_like(r)]))
    slope = np.minimum.accumulate(np.nan_to_num(np.gradient((uv[:, 0] - model.K[0, 2]) / model.K[0, 0], r)))
    return np.interp(radius, r, slope) > 0.15


@EXAMPLES
@example([-0.25, 6e-18, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "equidistant")  # a coefficient next to nothing
@example([-0.3515625, 0.056640625, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0], "plumb_bob")  # nearly flat, and tangential
@example([0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.03125], "rational_polynomial")  # a steep bend
@example([-0.3, 0.1, 0.0, 0.0, 6e-18, 0.0, 0.0, 0.0], "plumb_bob")
@given(st.lists(st.floats(-0.4, 0.4), min_size=8, max_size=8), st.sampled_from(sorted(COUNTS)))
def test_projected_rays_come_back_for_any_lens(values, distortion):
    radial, bent = lens(distortion, values, 0.0), lens(distortion, values, 0.02)
    points = np.column_stack([np.random.default_rng(0).uniform(-1.5, 1.5, (60, 2)), np.ones(60)])
    radius = np.hypot(points[:, 0], points[:, 1])
    limit = np.tan(min(radial.lens[2], 1.5)) if distortion == "equidistant" else radial.lens[2]
    uv, valid = radial.project(points)
    assert np.array_equal(valid, radius <= limit)
    clear = valid & (radius < 0.9 * limit) & steep_up_to(radius, radial)
    assert radial.rays(uv[clear]) == pytest.approx(points[clear], abs=1e-5)
    # Tangential terms may bend a flat part so that several rays meet a pixel: the one found must be one of them.
    uv, valid = bent.project(points)
    assert np.array_equal(valid, radius <= limit)
    rays = bent.rays(uv[valid])
    found = np.isfinite(rays[:, 0])
    assert bent.project(rays[found])[0] == pytest.approx(uv[valid][found], abs=1e-5)
