# SPDX-License-Identifier: Apache-2.0
"""Clouds as drivers publish them: layouts, padding, byte orders, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from anyseg_ros.sensors.messages import (
    PayloadError,
    events_from_points,
    points_from,
    stamp_ns,
)

STAMP = SimpleNamespace(sec=1_700_000_000, nanosec=250_000_000)
HEADER = SimpleNamespace(stamp=STAMP, frame_id="sensor")


def test_stamp_is_integer_nanoseconds():
    assert stamp_ns(HEADER) == 1_700_000_000_250_000_000


CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
FLOATS = [("x", "f4", 0), ("y", "f4", 4), ("z", "f4", 8)]
LAYOUTS = {
    "velodyne": ([*FLOATS, ("intensity", "f4", 12), ("ring", "u2", 16), ("time", "f4", 18)], 22),
    "ouster": ([*FLOATS, ("intensity", "f4", 16), ("t", "u4", 20), ("ring", "u2", 26)], 48),
    "hesai": ([*FLOATS, ("intensity", "f4", 12), ("ring", "u2", 16), ("timestamp", "f8", 18)], 26),
    "nebula": ([*FLOATS, ("intensity", "u1", 12), ("channel", "u2", 14), ("time_stamp", "u4", 28)], 32),
    "livox": ([*FLOATS, ("intensity", "f4", 12), ("timestamp", "f8", 18)], 26),
    "double": ([("x", "f8", 0), ("y", "f8", 8), ("z", "f8", 16)], 24),
}


def cloud(layout, columns, height=1, padding=0, big=False):
    """A PointCloud2 of a layout; ``columns`` gives [N] values by field name."""
    fields, step = layout
    order = ">" if big else "<"
    names, kinds, offsets = zip(*fields, strict=True)
    formats = [order + kind for kind in kinds]
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})
    points = np.zeros(len(columns["x"]), dtype=dtype)
    for name in names:
        points[name] = columns[name]
    rows = np.frombuffer(points.tobytes(), np.uint8).reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 255, np.uint8)])
    return SimpleNamespace(
        header=HEADER, height=height, width=len(points) // height, point_step=step, row_step=rows.shape[1],
        is_bigendian=big, is_dense=False, data=rows.tobytes(),
        fields=[SimpleNamespace(name=n, offset=o, datatype=CODES[k], count=1) for n, k, o in fields],
    )  # fmt: skip


XYZ = np.array([[1, 2, 3], [np.nan, np.nan, np.nan], [-4.5, 0, 1e-3], [70, 80, 90]], dtype=np.float32)
RELATIVE_NS = np.array([0, 1_000, 50_000_000, 99_000_000])
TIMES = {
    "time": RELATIVE_NS / 1e9,
    "t": RELATIVE_NS,
    "time_stamp": RELATIVE_NS,
    "timestamp": 1_700_000_000.25 + RELATIVE_NS / 1e9,
}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("height, padding", [(1, 0), (2, 0), (2, 7)])
@pytest.mark.parametrize("name", LAYOUTS)
def test_driver_layouts(name, height, padding, big):
    rows = {"x": XYZ[:, 0], "y": XYZ[:, 1], "z": XYZ[:, 2], "intensity": [7, 8, 9, 255], **TIMES}
    rows |= {"ring": [0, 1, 2, 63], "channel": [0, 1, 2, 63]}
    if name == "livox":  # absolute nanoseconds in a double
        rows["timestamp"] = 1.70000000025e18 + RELATIVE_NS
    points = points_from(cloud(LAYOUTS[name], rows, height, padding, big))
    assert np.array_equal(points.xyz, XYZ, equal_nan=True) and points.xyz.dtype == np.float32
    if name == "double":
        assert points.t_ns is None and points.ring is None and not points.intensity.any()
        return
    assert points.intensity.tolist() == [7, 8, 9, 255]
    assert np.abs(points.t_ns - RELATIVE_NS).max() < 500 and points.t_ns.dtype == np.int64
    assert (points.ring is None) == (name == "livox")
    if points.ring is not None:
        assert points.ring.tolist() == [0, 1, 2, 63] and points.ring.dtype == np.uint16


def test_an_empty_cloud_is_no_points():
    msg = cloud(LAYOUTS["double"], {"x": [], "y": [], "z": []})
    assert len(points_from(msg)) == 0


def test_a_single_row_may_leave_out_its_row_step():
    msg = cloud(LAYOUTS["double"], {"x": [1], "y": [2], "z": [3]})
    msg.row_step = 0
    assert points_from(msg).xyz.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"fields": []}, "fields none, expected x, y and z"),
        ({"data": b"123"}, "has 3 bytes"),
        ({"width": 9}, "do not fit 1 rows"),
        ({"height": 2**40}, "do not fit"),
        ({"point_step": 10}, "'y' at offset 8 does not fit in a point of 10 bytes"),
        ({"point_step": 0}, "'x' at offset 0 does not fit"),
        ({"fields": [SimpleNamespace(name=n, offset=0, datatype=11, count=1) for n in "xyz"]}, "datatype 11"),
    ],
)
def test_clouds_that_cannot_be_read(changes, sentence):
    msg = cloud(LAYOUTS["double"], {"x": [1, 2], "y": [2, 3], "z": [3, 4]})
    with pytest.raises(PayloadError, match=sentence):
        points_from(SimpleNamespace(**{**vars(msg), **changes}))


EVENT_LAYOUT = ([("x", "u2", 0), ("y", "u2", 2), ("t", "u4", 4), ("p", "u1", 8)], 9)


@pytest.mark.parametrize("big", [False, True])
def test_events_in_a_cloud(big):
    msg = cloud(EVENT_LAYOUT, {"x": [3, 4, 5], "y": [6, 7, 8], "t": [20, 10, 4_000_000_000], "p": [1, 0, 1]}, big=big)
    events = events_from_points(msg)
    assert events.t_ns.tolist() == [stamp_ns(HEADER) + t for t in (10, 20, 4_000_000_000)]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([4, 3, 5], [7, 6, 8], [0, 1, 1])
    assert [a.dtype for a in (events.x, events.y, events.t_ns, events.p)] == [np.uint16, np.uint16, np.int64, np.uint8]


def test_event_clouds_that_cannot_be_read():
    with pytest.raises(PayloadError, match="no field t, p"):
        events_from_points(cloud(LAYOUTS["double"], {"x": [1], "y": [2], "z": [3]}))
    msg = cloud(EVENT_LAYOUT, {"x": [3, 320], "y": [6, 7], "t": [0, 0], "p": [1, 0]})
    assert (events_from_points(msg).width, events_from_points(msg, 321, 8).width) == (0, 321)
    with pytest.raises(PayloadError, match="1 of 2 events lie outside the 320 x 180"):
        events_from_points(msg, 320, 180)
    signed = ([("x", "i2", 0), ("y", "i2", 2), ("t", "u4", 4), ("p", "u1", 8)], 9)
    with pytest.raises(PayloadError, match="1 of 2 events"):
        events_from_points(cloud(signed, {"x": [-3, 4], "y": [6, 7], "t": [0, 0], "p": [1, 0]}))
