# SPDX-License-Identifier: Apache-2.0
"""The cut list visits every subset and comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.demo.plan import MS, PHASE_NS, Cut, Walk, walks
from anyseg_ros.modality import Modality, all_subsets, parse_subset, subset_name

SENSORS = {Modality.CAMERA: "camera", Modality.LIDAR: "lidar", Modality.EVENT: "event"}
ALL = {subset_name(subset) for subset in all_subsets(SENSORS)}


@pytest.mark.parametrize("walk", walks(), ids=lambda walk: walk.name)
def test_a_walk_visits_all_seven_subsets_and_returns_to_the_full_rig(walk):
    names = [segment.subset for segment in walk.segments]
    assert set(names) == ALL and len(ALL) == 7
    assert names[0] == names[-1] == "CEL"


@pytest.mark.parametrize("walk", walks(), ids=lambda walk: walk.name)
def test_each_step_cuts_or_returns_exactly_one_sensor(walk):
    subsets = [set(parse_subset(segment.subset)) for segment in walk.segments]
    assert all(len(one ^ other) == 1 for one, other in zip(subsets, subsets[1:], strict=False))


@pytest.mark.parametrize("walk", walks(), ids=lambda walk: walk.name)
def test_segments_join_and_their_borders_keep_away_from_every_arrival(walk):
    assert walk.segments[0].start_ns == 0
    for one, other in zip(walk.segments, walk.segments[1:], strict=False):
        assert one.end_ns == other.start_ns
        assert one.end_ns % (100 * MS) == PHASE_NS


def test_the_two_walks_together_give_each_compared_subset_more_than_fifty_frames():
    periods = dict.fromkeys(ALL, 0)
    for walk in walks():
        for segment in walk.segments:
            periods[segment.subset] += (segment.end_ns - segment.start_ns) // (100 * MS)
    assert all(periods[name] > 55 for name in ("CEL", "CE", "CL", "EL"))
    assert all(periods[name] >= 25 for name in ("C", "E", "L"))


@given(st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=12), st.integers(0, 200))
def test_cuts_say_the_same_as_the_segments(names, tenths):
    walk = Walk.of("any", tuple((name, 5) for name in names))
    cuts = walk.cuts(SENSORS)
    at = min(tenths * 25 * MS, walk.duration_ns - 1)
    live = {
        m for m, sensor in SENSORS.items() if not any(c.sensor == sensor and c.start_ns <= at < c.end_ns for c in cuts)
    }
    assert subset_name(live) == walk.subset_at(at)


def test_a_cut_reads_as_the_player_takes_it():
    assert str(Cut("lidar", 4_055 * MS, 8_000 * MS)) == "lidar@4.055-8.000"


def test_a_segment_without_sensors_is_refused():
    with pytest.raises(ValueError, match="name at least one"):
        Walk.of("empty", (("CEL", 5), ("", 5)))
