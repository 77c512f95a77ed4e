# SPDX-License-Identifier: Apache-2.0
"""The edge alignment score: edges, search, and the comparison of clocks."""

from __future__ import annotations

import numpy as np
import pytest
from box_world import picture, street_rig, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.alignment import GOOD, OFF, UNKNOWN, View, _volumes, make_view, rotation, search
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.clock_alignment import clock_alignment
from anyseg_ros.sensors.edges import ACROSS, ALONG, EdgeImage, EdgePoints, cloud_edges, edge_image
from anyseg_ros.types import Points

RIG = street_rig()


@pytest.fixture(scope="module")
def street():
    """Two moments: pictures and the edges of their sweeps."""
    return [(picture(t), cloud_edges(sweep(t))) for t in (0.2, 1.3)]


def views(street, turn_deg=(0.0, 0.0, 0.0), images=None):
    pose = RIG.plane_from("lidar").copy()
    pose[:3, :3] = rotation(np.array(turn_deg)) @ pose[:3, :3]
    model = RIG.sensor("camera").model
    images = images or [image for image, _ in street]
    return [make_view(edges, pose, image, model) for image, (_, edges) in zip(images, street, strict=True)]


def test_an_exact_calibration_is_good(street):
    found = search(views(street))
    assert found.verdict == GOOD and found.support > 0.9
    assert np.abs(found.turn_deg).max() < 0.25
    assert found.best >= found.score > 0.5


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["roll", "pitch", "yaw"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_degree_is_found_with_its_axis_and_sign(street, axis, sign):
    turn = sign * np.eye(3)[axis]
    found = search(views(street, turn))
    assert found.verdict == OFF
    assert np.abs(found.turn_deg + turn).max() < 0.3


def test_another_street_is_not_called_good(street):
    rng = np.random.default_rng(1)
    strangers = [np.repeat(rng.integers(0, 255, (225, 400, 1), np.uint8), 3, axis=2) for _ in street]
    assert search(views(street, images=strangers)).verdict == UNKNOWN


def test_too_few_edges_are_said():
    few = EdgePoints(np.ones((3, 3)), np.ones(3), np.zeros(3, np.int64))
    found = search(views([(picture(0.2), few)]))
    assert found.verdict == UNKNOWN and "150 are needed" in found.why


def test_no_edges_at_all():
    assert len(cloud_edges(Points(np.empty((0, 3), np.float32), np.empty(0, np.float32)))) == 0
    nothing = Points(np.full((50, 3), np.nan, np.float32), np.zeros(50, np.float32))
    assert len(cloud_edges(nothing)) == 0


def fan(range_of, intensity_of=lambda a, e: np.zeros_like(a)):
    """A cloud of 21 lines, 1 degree apart both ways, of given range and intensity by azimuth and elevation."""
    e, a = (each.ravel() for each in np.meshgrid(np.arange(-10, 11), np.arange(-20, 21), indexing="ij"))
    ea, aa = np.radians(e), np.radians(a)
    rays = np.stack([np.cos(ea) * np.cos(aa), np.cos(ea) * np.sin(aa), np.sin(ea)], axis=1)
    reach = range_of(a.astype(float), e.astype(float))
    return Points(
        (rays * reach[:, None]).astype(np.float32),
        intensity_of(a, e).astype(np.float32),
        ring=(e + 10).astype(np.uint16),
    )


def test_an_edge_lies_between_the_beams_at_the_nearer_range():
    edges = cloud_edges(fan(lambda a, e: np.where(a < 3, 10.0, 20.0)))
    azimuth = np.degrees(np.arctan2(edges.xyz[:, 1], edges.xyz[:, 0]))
    assert len(edges) == 21 and (edges.channel == ACROSS).all()
    assert np.allclose(azimuth, 2.5, atol=1e-4) and np.allclose(np.linalg.norm(edges.xyz, axis=1), 10.0, atol=1e-4)
    edges = cloud_edges(fan(lambda a, e: np.where(e < 3, 10.0, 20.0)))
    elevation = np.degrees(np.arcsin(edges.xyz[:, 2] / np.linalg.norm(edges.xyz, axis=1)))
    assert len(edges) and (edges.channel == ALONG).all() and np.allclose(elevation, 2.5, atol=1e-3)


def test_a_road_seen_at_a_flat_angle_has_no_edge():
    with np.errstate(divide="ignore"):
        road = fan(lambda a, e: np.where(e < 0, 1.9 / np.sin(np.radians(-e)), 500.0))
    ranges = np.linalg.norm(road.xyz, axis=1)
    assert len(np.unique(np.round(ranges[ranges < 120], 1))) == 10
    assert len(cloud_edges(road)) == 0


def test_a_marking_is_an_edge_of_intensity():
    edges = cloud_edges(fan(lambda a, e: np.full_like(a, 15.0), lambda a, e: np.where(a < 5, 10, 200)))
    azimuth = np.degrees(np.arctan2(edges.xyz[:, 1], edges.xyz[:, 0]))
    assert len(edges) == 21 and np.allclose(azimuth, 4.5, atol=1e-4)


def test_edges_of_a_picture_lie_where_the_lens_bends_them():
    """A bright bar along a ray: its edge lies on that ray, whatever the distortion."""
    model = CameraModel(
        640, 480, np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), "plumb_bob", (-0.3, 0.1, 0, 0)
    )
    rays = model.pixel_rays()
    image = np.where(rays[:, 0] > 0.3, 220, 30).astype(np.uint8).reshape(480, 640)
    edges = edge_image(image, model, 0.1)
    row = edges.maps[ACROSS, edges.maps.shape[1] // 2]
    found = (int(np.nanargmax(row)) - edges.intrinsics[2]) / edges.intrinsics[0]
    assert found == pytest.approx(0.3, abs=1.5 / edges.intrinsics[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_sums_equal_a_plain_reference(seed):
    """The kernel against bilinear interpolation by the book; NaN where the lens sees nothing."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(3, 30, 40)).astype(np.float32)
    maps[:, :, 35:] = np.nan
    image = EdgeImage(maps, np.array([25.0, 25.0, 20.0, 15.0]))
    xyz = rng.uniform((-6, -5, -2), (6, 5, 12), (60, 3))
    edges = EdgePoints(xyz, rng.uniform(0.1, 2, 60), rng.integers(0, 3, 60))
    pose = np.eye(4)
    pose[:3, 3] = rng.normal(0, 0.3, 3)
    turns = rng.uniform(-20, 20, (4, 3))
    sums, weights = _volumes([View(edges, pose, image, image)], turns, fine=False)
    for k, turn in enumerate(turns):
        seen = xyz @ rotation(turn).T + pose[:3, 3]
        z = np.where(seen[:, 2] > 0.1, seen[:, 2], np.nan)
        u, v = 25 * seen[:, 0] / z + 20, 25 * seen[:, 1] / z + 15
        inside = (u >= 0) & (v >= 0) & (u < 39) & (v < 29)
        value = np.full(60, np.nan)
        for i in np.flatnonzero(inside):
            corner = maps[edges.channel[i], int(v[i]) : int(v[i]) + 2, int(u[i]) : int(u[i]) + 2].astype(float)
            value[i] = np.array([1 - v[i] % 1, v[i] % 1]) @ corner @ np.array([1 - u[i] % 1, u[i] % 1])
        used = np.isfinite(value)
        assert sums[:, k].sum() == pytest.approx(float((value * edges.weight)[used].sum()), abs=1e-4)
        assert weights[:, k].sum() == pytest.approx(float(edges.weight[used].sum()))


def scores(late_ms, moments=6, noise=0.02, bend=-1e-5):
    rng = np.random.default_rng(0)
    times = np.array([-150.0, -50.0, 50.0, 150.0])
    return [
        (times, 0.6 + rng.normal(0, 0.2) + bend * (times - late_ms) ** 2 + rng.normal(0, noise, 4))
        for _ in range(moments)
    ]


@pytest.mark.parametrize("late_ms", [-60, 0, 50])
def test_the_top_of_the_parabola_is_where_the_clocks_agree(late_ms):
    found = clock_alignment(scores(late_ms), 100.0, 25.0)
    assert found.late_ms == pytest.approx(late_ms, abs=15) and found.sigma_ms < 15
    assert found.verdict == (OFF if late_ms else GOOD)


def test_where_nothing_moves_nothing_is_said():
    found = clock_alignment(scores(0, bend=0.0), 100.0, 25.0)
    assert found.verdict == UNKNOWN and "too little moves" in found.why
    assert "3 needed" in clock_alignment(scores(0, moments=2), 100.0, 25.0).why
