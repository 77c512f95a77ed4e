# SPDX-License-Identifier: Apache-2.0
"""Events that travel as point clouds become measurements whose spans join."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import live_graph  # noqa: E402

from anyseg_ros.nodes import conversions  # noqa: E402
from anyseg_ros.nodes.event_clouds import EventReader  # noqa: E402

MS = live_graph.MS


def message(begin_ns, end_ns):
    return conversions.event_cloud(live_graph.events(np.random.default_rng(0), begin_ns, end_ns), "ev")


def test_spans_join_and_the_rig_gives_the_geometry():
    reader = EventReader(live_graph.small_rig().sensor("event"))
    start = live_graph.START_NS
    first, second = reader(message(start, start + 10 * MS)), reader(message(start + 10 * MS, start + 20 * MS))
    assert first.start_ns == start - 1 and second.start_ns == first.stamp_ns
    assert first.stamp_ns == int(first.payload.t_ns[-1]) == start + 10 * MS - 1000
    assert (first.payload.width, first.payload.height, len(first.payload)) == (80, 45, 150)


def test_a_clock_that_goes_back_starts_a_new_span():
    reader = EventReader(live_graph.small_rig().sensor("event"))
    start = live_graph.START_NS
    reader(message(start + 50 * MS, start + 60 * MS))
    assert reader(message(start, start + 10 * MS)).start_ns == start - 1


def test_an_empty_cloud_brings_nothing():
    reader = EventReader(live_graph.small_rig().sensor("event"))
    empty = conversions.cloud(np.zeros(0, conversions.EVENT_POINT), conversions.header(1, "ev"))
    assert reader(empty) is None


def test_a_cloud_without_times_is_refused():
    reader = EventReader(live_graph.small_rig().sensor("event"))
    table = np.zeros(3, np.dtype([("x", "u2"), ("y", "u2")]))
    with pytest.raises(ValueError, match="t"):
        reader(conversions.cloud(table, conversions.header(1, "ev")))
