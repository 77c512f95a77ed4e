# SPDX-License-Identifier: Apache-2.0
"""Voxel grid and time surface against their formulas in float64, windows by count, and known answers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.event_warp import event_lookup, event_positions
from anyseg_ros.sensors.events import accumulate, time_surface, voxel_grid
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.types import Events

UNTIL_NS = 1_700_000_000_123_456_789
WINDOW_NS = 30_000_000
EVENT = CameraModel(64, 48, np.array([[50.0, 0, 31], [0, 50, 23], [0, 0, 1]]), "plumb_bob", (-0.2, 0.05, 0.0, 0.0))
GRID = Grid.fit(CameraModel.pinhole(100, 60, 60.0), 40, 72)
POSE = pose_matrix((0.05, 0.0, 0.0), (0.3, 1.0, -2.0))
POSITIONS, LOOKUP = event_positions(EVENT, GRID, POSE), event_lookup(EVENT, GRID, POSE)


def events_at(rows, width=64, height=48):
    """Events from (x, y, ns before the window's end, p)."""
    x, y, age_ns, p = np.array(sorted(rows, key=lambda row: -row[2]), dtype=np.int64).reshape(-1, 4).T
    return Events(x.astype(np.uint16), y.astype(np.uint16), UNTIL_NS - age_ns, p.astype(np.uint8), width, height)


def random_events(count, seed=0):
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 64, count), rng.integers(0, 48, count), rng.integers(-5_000_000, 45_000_000, count)
    return events_at(np.stack([*columns, rng.integers(0, 2, count)], axis=1).tolist())


def taken(events, max_events=0):
    """Places in the stream of the events that a window holds."""
    inside = [i for i, t in enumerate(events.t_ns) if UNTIL_NS - WINDOW_NS < t <= UNTIL_NS]
    return inside[-max_events:] if max_events else inside


def voxel_reference(events, bins, saturation, max_events=0):
    """The formula over whole bins and pixels, event by event."""
    top, left, height, width = GRID.content
    inside = taken(events, max_events)
    shortened = 0 < max_events < len(taken(events))
    start = int(events.t_ns[inside[0]]) if shortened else UNTIL_NS - WINDOW_NS
    voxels = np.zeros((bins, GRID.height, GRID.width))
    for i in inside:
        u, v = POSITIONS[events.y[i], events.x[i]].astype(np.float64)
        if math.isnan(u):
            continue
        t = (bins - 1) * (int(events.t_ns[i]) - start) / (UNTIL_NS - start) if start < UNTIL_NS else bins - 1
        weights = [
            np.maximum(0, 1 - np.abs(np.arange(n) - at)) for n, at in ((bins, t), (GRID.height, v), (GRID.width, u))
        ]
        weights[1][[row for row in range(GRID.height) if not top <= row < top + height]] = 0
        weights[2][[column for column in range(GRID.width) if not left <= column < left + width]] = 0
        voxels += (1 if events.p[i] else -1) * np.einsum("b,r,c->brc", *weights)
    return np.clip(voxels / saturation, -1, 1)


@pytest.mark.parametrize("bins, saturation, max_events", [(3, 10, 0), (3, 0.25, 0), (5, 10, 700), (2, 10, 100_000)])
def test_voxel_grid_is_the_formula(bins, saturation, max_events):
    events = random_events(3000)
    image, used, outside = voxel_grid(
        events, POSITIONS, GRID, UNTIL_NS, WINDOW_NS, saturation, max_events=max_events, bins=bins
    )
    assert image.dtype == np.float32 and image.shape == (bins, GRID.height, GRID.width)
    assert np.abs(image - voxel_reference(events, bins, saturation, max_events)).max() < 1e-6
    inside = taken(events, max_events)
    assert used == np.count_nonzero(LOOKUP[events.y[inside], events.x[inside]] >= 0) > 300 and outside == 0
    if saturation < 1:
        assert image.max() == 1 and image.min() == -1, "sums are cut"


def whole_pixels(height=4, width=4):
    v, u = np.mgrid[:height, :width]
    return np.stack([u, v], -1).astype(np.float32)


def small_voxels(rows, positions=None, max_events=0):
    camera = CameraModel.pinhole(4, 4, 60.0)
    positions = whole_pixels() if positions is None else positions
    grid = Grid.fit(camera, 4, 4)
    return voxel_grid(events_at(rows, 4, 4), positions, grid, UNTIL_NS, WINDOW_NS, 1, max_events)


def test_an_event_lies_between_two_bins():
    image, used, _ = small_voxels([(1, 2, WINDOW_NS * 5 // 8, 1), (3, 0, WINDOW_NS // 2, 0)])
    assert used == 2
    assert image[:, 2, 1].tolist() == pytest.approx([0.25, 0.75, 0])
    assert image[:, 0, 3].tolist() == pytest.approx([0, -1, 0])
    assert np.count_nonzero(image) == 3


def test_an_event_lies_between_four_pixels():
    positions = whole_pixels() + np.float32([0.25, 0.5])
    image, _, _ = small_voxels([(1, 2, 0, 1)], positions)
    assert image[2, 2:, 1:3].ravel().tolist() == pytest.approx([0.375, 0.125, 0.375, 0.125])
    assert image.sum() == pytest.approx(1)


def test_what_falls_beside_the_camera_image_is_lost_and_nan_is_out_of_view():
    positions = whole_pixels() + np.float32(0.25)
    positions[0, 0] = np.nan
    image, used, _ = small_voxels([(3, 3, 0, 1), (0, 0, 0, 1)], positions)
    assert used == 1 and image.sum() == pytest.approx(0.75**2)


def test_a_window_of_one_moment_lies_in_the_last_bin():
    for rows, max_events in (([(1, 1, 0, 1), (2, 2, 0, 1)], 1), ([(1, 1, 9, 0), (2, 2, 0, 1)], 1)):
        image, used, _ = small_voxels(rows, max_events=max_events)
        assert used == 1 and image.sum() == image[2, 2, 2] == 1


def test_a_window_cut_by_count_starts_at_its_first_event():
    rows = [(0, 0, 20_000_000, 1), (1, 1, 10_000_000, 1), (2, 2, 5_000_000, 1), (3, 3, 0, 1)]
    image, used, _ = small_voxels(rows, max_events=3)
    assert used == 3
    assert [image[:, i, i].tolist() for i in range(4)] == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def surface_reference(events, saturation, decay_ns, max_events=0):
    counts, last = np.zeros(GRID.height * GRID.width), np.full((2, GRID.height * GRID.width), -np.inf)
    for i in taken(events, max_events):
        pixel = LOOKUP[events.y[i], events.x[i]]
        if pixel >= 0:
            counts[pixel] += 1
            last[0 if events.p[i] else 1, pixel] = int(events.t_ns[i]) - UNTIL_NS
    image = np.stack([*np.exp(last / decay_ns), np.minimum(counts, saturation) / saturation])
    return image.reshape(3, GRID.height, GRID.width)


@pytest.mark.parametrize("saturation, decay_ns, max_events", [(10, 10_000_000, 0), (1, 3_000_000, 0), (3, 10**9, 400)])
def test_time_surface_is_the_formula(saturation, decay_ns, max_events):
    events = random_events(6000, seed=1)
    image, used, outside = time_surface(
        events, LOOKUP, GRID.height, GRID.width, UNTIL_NS, WINDOW_NS, saturation, max_events, decay_ns
    )
    assert image.dtype == np.float32 and outside == 0
    assert np.abs(image - surface_reference(events, saturation, decay_ns, max_events)).max() < 1e-6
    assert used == np.count_nonzero(
        LOOKUP[events.y[taken(events, max_events)], events.x[taken(events, max_events)]] >= 0
    )


def test_a_surface_falls_to_a_third_within_its_decay_time():
    image, _, _ = time_surface(
        events_at([(0, 0, 0, 1), (0, 0, 20_000_000, 0)]), np.zeros((48, 64), np.int32), 1, 1, UNTIL_NS, WINDOW_NS,
        decay_ns=20_000_000,
    )  # fmt: skip
    assert image.ravel().tolist() == pytest.approx([1, math.exp(-1), 0.2])


@pytest.mark.parametrize("saturation", [1, 3, 10, 255])
def test_histogram_counts_exactly_up_to_the_saturation(saturation):
    for count in {1, 2, saturation - 1, saturation, saturation + 1, 3 * saturation} - {0}:
        events = events_at([(0, 0, 5, 1)] * count)
        image, used, _ = accumulate(
            events, np.zeros((48, 64), np.int32), 1, 1, UNTIL_NS, WINDOW_NS, saturation=saturation
        )
        assert used == count and image[0, 0, 0] == np.float32(min(count, saturation) / saturation)


def test_histogram_of_the_last_events_keeps_the_window_for_its_recency():
    rows = [(0, 0, 15_000_000, 1), (1, 1, 15_000_000, 0), (2, 2, 0, 1)]
    lookup = np.full((48, 64), -1, np.int32)
    lookup[range(3), range(3)] = range(3)
    image, used, _ = accumulate(events_at(rows), lookup, 1, 3, UNTIL_NS, WINDOW_NS, max_events=2)
    assert used == 2
    assert image[:, 0] == pytest.approx(np.array([[0, 0, 0.1], [0, 0.1, 0], [0, 0.5, 1]]))


DRAWINGS = {
    "histogram": lambda events, n: accumulate(
        events, LOOKUP, GRID.height, GRID.width, UNTIL_NS, WINDOW_NS, max_events=n
    ),
    "voxel grid": lambda events, n: voxel_grid(events, POSITIONS, GRID, UNTIL_NS, WINDOW_NS, max_events=n),
    "time surface": lambda events, n: time_surface(
        events, LOOKUP, GRID.height, GRID.width, UNTIL_NS, WINDOW_NS, max_events=n
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_events_are_an_empty_image_and_those_outside_are_counted(name):
    image, used, outside = DRAWINGS[name](events_at([]), 0)
    assert image.shape == (3, GRID.height, GRID.width) and not image.any() and (used, outside) == (0, 0)
    image, used, outside = DRAWINGS[name](events_at([(64, 0, 5, 1), (0, 48, 5, 1), (65535, 65535, 0, 0)]), 0)
    assert not image.any() and (used, outside) == (0, 3)


@pytest.mark.parametrize("name", DRAWINGS)
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 80), st.integers(0, 60), st.integers(-WINDOW_NS, 2 * WINDOW_NS), st.sampled_from([0, 1, 255])
        ),
        max_size=30,
    ),
    count=st.integers(0, 20),
)
def test_any_events_draw_finite_values_in_range_and_change_nothing(name, rows, count):
    events = events_at(rows)
    arrays = (events.x, events.y, events.t_ns, events.p)
    for array in arrays:
        array.flags.writeable = False
    image, used, outside = DRAWINGS[name](events, count)
    assert np.isfinite(image).all() and np.abs(image).max() <= 1
    assert used + outside <= min(len(taken(events)), count or len(rows))
    assert not image[:, ~GRID.mask()].any(), "nothing beside the camera image"
