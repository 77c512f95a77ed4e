# SPDX-License-Identifier: Apache-2.0
"""Clouds as lidar drivers publish them, field by field and byte by byte, and what is refused."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.drivers import INTENSITY_SCALES
from anyseg_ros.sensors.lidar import project_cloud
from anyseg_ros.sensors.messages import PayloadError, events_from_points, points_from, stamp_ns

START_S, STAMP_S = 1_700_000_000, 1_700_000_000.25
HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=START_S, nanosec=250_000_000), frame_id="sensor")
CODES = {"b": 1, "B": 2, "h": 3, "H": 4, "i": 5, "I": 6, "f": 7, "d": 8}  # struct's letter to PointField's datatype

XYZ = [("x", "f", 0), ("y", "f", 4), ("z", "f", 8)]
SWEEP_NS = np.array([0, 1_000, 50_000_000, 99_000_000])
FROM_START = {"I": SWEEP_NS, "f": SWEEP_NS / 1e9}
LAST_PACKET = SWEEP_NS - 99_500_000  # the stamp is that of the last packet, so that nearly all is before it
ABSOLUTE_S, ABSOLUTE_NS = STAMP_S + SWEEP_NS / 1e9, 1.70000000025e18 + SWEEP_NS

# By driver and point type: the fields as its source lays them out (offsets of PCL types include their padding), the
# bytes of a point, whether the driver's default is an organised cloud, what is in the time field and when that is.
LAYOUTS = {
    # velodyne_pointcloud/pointcloudXYZIRT.cpp, organized_cloudXYZIRT.cpp; velodyne_driver/driver.cpp (the stamp)
    "velodyne XYZIRT": (
        [*XYZ, ("intensity", "f", 12), ("ring", "H", 16), ("time", "f", 18)], 22, True, LAST_PACKET / 1e9, LAST_PACKET,
    ),
    # ouster_ros/os_point.h, sensor_point_types.h, common_point_types.h: PCL types, x y z take 16 bytes
    "ouster original": (
        [
            *XYZ, ("intensity", "f", 16), ("t", "I", 20), ("reflectivity", "H", 24), ("ring", "H", 26),
            ("ambient", "H", 28), ("range", "I", 32),
        ],
        48, True, SWEEP_NS, SWEEP_NS,
    ),
    "ouster LEGACY": (
        [
            *XYZ, ("t", "I", 16), ("ring", "H", 20), ("range", "I", 24), ("signal", "I", 28),
            ("reflectivity", "I", 32), ("near_ir", "I", 36),
        ],
        48, True, SWEEP_NS, SWEEP_NS,
    ),
    "ouster RNG19_RFL8_SIG16_NIR16_DUAL": (
        [
            *XYZ, ("t", "I", 16), ("ring", "H", 20), ("range", "I", 24), ("signal", "H", 28),
            ("reflectivity", "B", 30), ("near_ir", "H", 32),
        ],
        48, True, SWEEP_NS, SWEEP_NS,
    ),
    "ouster RNG19_RFL8_SIG16_NIR16": (
        [
            *XYZ, ("t", "I", 16), ("ring", "H", 20), ("range", "I", 24), ("signal", "H", 28),
            ("reflectivity", "H", 30), ("near_ir", "H", 32),
        ],
        48, True, SWEEP_NS, SWEEP_NS,
    ),
    "ouster RNG15_RFL8_NIR8": (
        [*XYZ, ("t", "I", 16), ("ring", "H", 20), ("range", "I", 24), ("reflectivity", "H", 28), ("near_ir", "H", 30)],
        32, True, SWEEP_NS, SWEEP_NS,
    ),
    "ouster xyzir": ([*XYZ, ("intensity", "f", 16), ("ring", "H", 20)], 32, True, None, None),
    "ouster xyzi": ([*XYZ, ("intensity", "f", 16)], 32, True, None, None),
    # HesaiLidar_ROS_2.0, source_driver_ros2.hpp
    "hesai": (
        [*XYZ, ("intensity", "f", 12), ("ring", "H", 16), ("timestamp", "d", 18)], 26, False, ABSOLUTE_S, SWEEP_NS,
    ),
    # rslidar_sdk, source_pointcloud_ros.hpp: since 1.5.9 field by field, before through PCL
    "robosense XYZIRT": (
        [*XYZ, ("intensity", "f", 12), ("ring", "H", 16), ("timestamp", "d", 18)], 26, True, ABSOLUTE_S, SWEEP_NS,
    ),
    "robosense XYZIRT through PCL": (
        [*XYZ, ("intensity", "B", 16), ("ring", "H", 18), ("timestamp", "d", 24)], 32, True, ABSOLUTE_S, SWEEP_NS,
    ),
    # nebula_common/point_types.hpp; autoware_point_types/types.hpp
    "nebula PointXYZIRCAEDT": (
        [
            *XYZ, ("intensity", "B", 12), ("return_type", "B", 13), ("channel", "H", 14), ("azimuth", "f", 16),
            ("elevation", "f", 20), ("distance", "f", 24), ("time_stamp", "I", 28),
        ],
        32, False, SWEEP_NS, SWEEP_NS,
    ),
    "nebula PointXYZIRC": (
        [*XYZ, ("intensity", "B", 12), ("return_type", "B", 13), ("channel", "H", 14)], 16, False, None, None,
    ),
    "nebula PointXYZICATR": (
        [
            *XYZ, ("intensity", "B", 16), ("channel", "H", 18), ("azimuth", "f", 20), ("time_stamp", "I", 24),
            ("return_type", "B", 28),
        ],
        32, False, SWEEP_NS, SWEEP_NS,
    ),
    "nebula PointXYZIRADT": (
        [
            *XYZ, ("intensity", "f", 16), ("ring", "H", 20), ("azimuth", "f", 24), ("distance", "f", 28),
            ("return_type", "B", 32), ("time_stamp", "d", 40),
        ],
        48, False, ABSOLUTE_S, SWEEP_NS,
    ),
    # livox_ros_driver2, lddc.cpp: a packed struct; the time came with version 1.1
    "livox": (
        [*XYZ, ("intensity", "f", 12), ("tag", "B", 16), ("line", "B", 17), ("timestamp", "d", 18)],
        26, False, ABSOLUTE_NS, SWEEP_NS,
    ),
    "livox before 1.1": ([*XYZ, ("intensity", "f", 12), ("tag", "B", 16), ("line", "B", 17)], 18, False, None, None),
    "float64 coordinates": ([("x", "d", 0), ("y", "d", 8), ("z", "d", 16)], 24, False, None, None),
}  # fmt: skip
DOUBLE = LAYOUTS["float64 coordinates"][:2]

POINTS = np.array([[1, 2, 3], [np.nan, np.nan, np.nan], [-4.5, 0, 1e-3], [70, 80, 90]], np.float32)
RINGS, BRIGHTNESS, PHOTONS = [0, 1, 2, 63], [7, 8, 9, 255], [700, 80, 9, 4000]
TIMES = ("t", "time", "timestamp", "time_stamp")


def cloud(layout, columns, height=1, padding=0, big=False, header=HEADER):
    """A PointCloud2, every value packed by itself at its offset; ``columns`` gives [N] values by field name."""
    fields, step = layout
    count = len(columns["x"])
    width = count // height
    data = bytearray(b"\xff" * (height * (width * step + padding)))
    for i in range(count):
        start = i // max(width, 1) * (width * step + padding) + i % max(width, 1) * step
        for name, letter, offset in fields:
            value = columns[name][i] if name in columns else 0
            value = float(value) if letter in "fd" else int(value)
            struct.pack_into((">" if big else "<") + letter, data, start + offset, value)
    return SimpleNamespace(
        header=header, height=height, width=width, point_step=step, row_step=width * step + padding,
        is_bigendian=big, is_dense=False, data=bytes(data),
        fields=[SimpleNamespace(name=n, offset=o, datatype=CODES[k], count=1) for n, k, o in fields],
    )  # fmt: skip


def columns_of(layout):
    """What the four points of ``POINTS`` have in the fields of a driver."""
    fields, _, _, times, _ = layout
    names = {name for name, _, _ in fields}
    columns = {"x": POINTS[:, 0], "y": POINTS[:, 1], "z": POINTS[:, 2], "signal": PHOTONS, "reflectivity": BRIGHTNESS}
    columns["intensity"] = PHOTONS if "reflectivity" in names else BRIGHTNESS
    columns |= dict.fromkeys(("ring", "channel", "line"), RINGS)
    return columns if times is None else columns | dict.fromkeys(TIMES, times)


def test_stamp_is_integer_nanoseconds():
    assert stamp_ns(HEADER) == 1_700_000_000_250_000_000


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("rows, padding", [("default", 0), ("other", 0), ("other", 7)])
@pytest.mark.parametrize("driver", LAYOUTS)
def test_driver_layouts(driver, rows, padding, big):
    fields, step, organised, _, expected_ns = LAYOUTS[driver]
    height = 2 if organised == (rows == "default") else 1
    points = points_from(cloud((fields, step), columns_of(LAYOUTS[driver]), height, padding, big))
    names = {name for name, _, _ in fields}
    assert np.array_equal(points.xyz, POINTS, equal_nan=True) and points.xyz.dtype == np.float32
    assert points.intensity.tolist() == (BRIGHTNESS if {"intensity", "reflectivity"} & names else [0] * 4)
    assert points.intensity.dtype == np.float32
    if {"ring", "channel", "line"} & names:
        assert points.ring.tolist() == RINGS and points.ring.dtype == np.uint16
    else:
        assert points.ring is None
    if expected_ns is None:
        assert points.t_ns is None
    else:
        assert points.t_ns.dtype == np.int64
        assert np.abs(points.t_ns - expected_ns).max() < 500, "as exact as the field holds: 238 ns for absolute times"


@pytest.mark.parametrize("driver", LAYOUTS)
def test_invalid_points_keep_their_place_and_are_never_drawn(driver):
    fields, step, *_ = LAYOUTS[driver]
    points = points_from(cloud((fields, step), columns_of(LAYOUTS[driver]), height=2))
    grid = Grid.fit(CameraModel.pinhole(64, 48, 120.0), 48, 64)
    drawn = project_cloud(points.xyz, points.intensity, grid, np.eye(4), np.eye(4), 1 / 255)
    assert len(drawn.pixel_index) == 4, "row by row, so that an organised cloud can be painted in its own shape"
    assert (drawn.pixel_index >= 0).tolist() == [True, False, False, False]
    assert np.isfinite(drawn.image).all()


def test_the_scale_of_every_make_brings_its_intensity_to_one():
    makes = {name.split()[0] for name in LAYOUTS} - {"float64"}
    assert makes == INTENSITY_SCALES.keys() - {"kitti"}
    assert all(255 * INTENSITY_SCALES[make] == pytest.approx(1.0) for make in makes)


@pytest.mark.parametrize(
    "kind, stamp, values, expected",
    [
        ("f", (START_S, 0), [-0.0995, -0.05, 0.0005], [-99_500_000, -50_000_000, 500_000]),
        ("f", (0, 40_000_000), [0.0, 0.05, 0.1], [0, 50_000_000, 100_000_000]),  # a simulation that just began
        ("d", (3600, 0), [3600.0, 3600.1], [0, 100_000_000]),  # seconds since power-on
        ("d", (3600, 0), [3.6e12, 3.6001e12], [0, 100_000_000]),  # nanoseconds since power-on
        ("d", (START_S, 0), [0.0, 1.5, 2.5], [0, 1_500_000_000, 2_500_000_000]),  # several sweeps in one cloud
        ("d", (START_S, 999_999_999), [START_S + 1.0, START_S + 1.05], [1, 50_000_001]),
        ("d", (START_S, 0), [START_S + 0.05, np.nan, 0.0], [50_000_000, None, None]),  # what was never measured
        ("i", (START_S, 0), [-5, 7], [-5, 7]),
        ("H", (START_S, 0), [5, 65535], [5, 65535]),
    ],
)
def test_what_a_time_counts_from(kind, stamp, values, expected):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp[0], nanosec=stamp[1]), frame_id="")
    columns = dict.fromkeys("xyz", np.ones(len(values))) | {"time": values}
    points = points_from(cloud(([*XYZ, ("time", kind, 12)], 20), columns, header=header))
    for found, wanted in zip(points.t_ns.tolist(), expected, strict=True):
        assert wanted is None or abs(found - wanted) < 500


def test_times_of_another_clock_lie_far_from_the_stamp():
    for value in (3600.0, 1.6e9, 1e300, -1e300, -3600.0):
        columns = dict.fromkeys("xyz", [1.0]) | {"timestamp": [value]}
        (t_ns,) = points_from(cloud(([*XYZ, ("timestamp", "d", 12)], 20), columns)).t_ns.tolist()
        assert abs(t_ns) > 1_000_000_000


def test_huge_tiny_and_infinite_values():
    values = [1e308, -1e308, 5e-324, 1e-40, np.inf, -np.inf, np.nan, 60.0]
    columns = dict.fromkeys("xyz", values) | {"intensity": values, "ring": values}
    layout = ([("x", "d", 0), ("y", "d", 8), ("z", "d", 16), ("intensity", "d", 24), ("ring", "d", 32)], 40)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        points = points_from(cloud(layout, columns))
    assert points.xyz[:, 0].tolist()[:3] == [np.inf, -np.inf, 0.0] and points.xyz[3, 0] == np.float32(1e-40)
    assert points.ring.tolist() == [65535, 0, 0, 0, 65535, 0, 0, 60]
    grid = Grid.fit(CameraModel.pinhole(64, 48, 120.0), 48, 64)
    drawn = project_cloud(points.xyz, points.intensity, grid, np.eye(4), np.eye(4), max_range_m=200.0)
    assert drawn.in_view == 1 and np.isfinite(drawn.image).all()


def test_an_empty_cloud_is_no_points():
    msg = cloud(DOUBLE, {"x": [], "y": [], "z": []})
    assert len(points_from(msg)) == 0


def test_a_single_row_may_leave_out_its_row_step():
    msg = cloud(DOUBLE, {"x": [1], "y": [2], "z": [3]})
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
    msg = cloud(DOUBLE, {"x": [1, 2], "y": [2, 3], "z": [3, 4]})
    with pytest.raises(PayloadError, match=sentence):
        points_from(SimpleNamespace(**{**vars(msg), **changes}))


EVENT_LAYOUT = ([("x", "H", 0), ("y", "H", 2), ("t", "I", 4), ("p", "B", 8)], 9)


@pytest.mark.parametrize("big", [False, True])
def test_events_in_a_cloud(big):
    msg = cloud(EVENT_LAYOUT, {"x": [3, 4, 5], "y": [6, 7, 8], "t": [20, 10, 4_000_000_000], "p": [1, 0, 1]}, big=big)
    events = events_from_points(msg)
    assert events.t_ns.tolist() == [stamp_ns(HEADER) + t for t in (10, 20, 4_000_000_000)]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([4, 3, 5], [7, 6, 8], [0, 1, 1])
    assert [a.dtype for a in (events.x, events.y, events.t_ns, events.p)] == [np.uint16, np.uint16, np.int64, np.uint8]


def test_event_clouds_that_cannot_be_read():
    with pytest.raises(PayloadError, match="no field t, p"):
        events_from_points(cloud(DOUBLE, {"x": [1], "y": [2], "z": [3]}))
    msg = cloud(EVENT_LAYOUT, {"x": [3, 320], "y": [6, 7], "t": [0, 0], "p": [1, 0]})
    assert (events_from_points(msg).width, events_from_points(msg, 321, 8).width) == (0, 321)
    with pytest.raises(PayloadError, match="1 of 2 events lie outside the 320 x 180"):
        events_from_points(msg, 320, 180)
    signed = ([("x", "h", 0), ("y", "h", 2), ("t", "I", 4), ("p", "B", 8)], 9)
    with pytest.raises(PayloadError, match="1 of 2 events"):
        events_from_points(cloud(signed, {"x": [-3, 4], "y": [6, 7], "t": [0, 0], "p": [1, 0]}))
