# SPDX-License-Identifier: Apache-2.0
"""What a soak tells of memory, handles and latency, and the picture of it."""

import xml.etree.ElementTree as ET

import pytest
from live_graph import small_rig

from anyseg_ros.campaign.graph import place
from anyseg_ros.campaign.rows import Inject, Row
from anyseg_ros.campaign.soak import KINDS, leaps, random_rows
from anyseg_ros.campaign.soak_figures import MAX_GROWTH_MIB, Frame, Sample, continuity, figures, reconciled
from anyseg_ros.campaign.soak_plot import plot
from anyseg_ros.faults.schedule import fault


def samples(rss, handles=lambda second: 20, seconds=600):
    return [Sample(float(s), rss(s), handles(s), 9) for s in range(seconds)]


FRAMES = [Frame(number / 10, 50.0 + number / 100) for number in range(6000)]


def test_a_slope_is_found_under_noise_and_the_warm_up_does_not_count():
    found = figures(samples(lambda s: (500 if s < 100 else 300) + s / 60 + (s % 7)), FRAMES)
    assert found["slope_mib_per_hour"] == pytest.approx(60, rel=0.02)
    assert found["growth_mib"] == pytest.approx(8, rel=0.03) and not found["broken"]


def test_growth_and_handles_that_leak_break_the_promise():
    found = figures(samples(lambda s: 300 + s / 20, lambda s: 20 + s // 60), FRAMES)
    assert found["growth_mib"] > MAX_GROWTH_MIB and len(found["broken"]) == 2
    assert "memory grew by 23.9 MiB" in found["broken"][0] and "7 handles more" in found["broken"][1]


def test_a_peak_is_no_leak():
    assert not figures(samples(lambda s: 300 + (60 if s % 100 == 99 else 0)), FRAMES)["broken"]


def test_the_latency_of_the_first_and_the_last_quarter_stand_side_by_side():
    found = figures(samples(lambda s: 300), FRAMES)["latency_ms"]
    assert found["first_quarter"]["p50"] == pytest.approx(57.5, abs=0.1)
    assert found["last_quarter"]["p50"] == pytest.approx(102.5, abs=0.1)


@pytest.mark.parametrize("measured, frames", [([], FRAMES), (samples(lambda s: 1, seconds=1), FRAMES), ([], [])])
def test_nothing_measured_is_not_nothing_wrong(measured, frames):
    assert figures(measured, frames)["broken"] == ["nothing was measured"]


def test_the_picture_is_well_formed_and_keeps_the_highest_latency():
    frames = [*FRAMES[:3000], Frame(300.0, 900.0), *FRAMES[3000:]]
    found = {"minutes": 10, "faults": 7, **figures(samples(lambda s: 300 + s / 60), frames)}
    drawn = plot(samples(lambda s: 300 + s / 60), frames, found)
    lines = [e for e in ET.fromstring(drawn).iter() if e.tag.endswith("polyline")]
    assert len(lines) == 3 and all(len(line.get("points").split()) < 1300 for line in lines)
    assert ">985<" in drawn, "the axis reaches past the outlier"
    assert plot([], [], {"minutes": 1, "faults": 0, "growth_mib": 0.0}).startswith("<svg")


def test_random_faults_can_be_scheduled_and_come_again_with_their_seed():
    rows = random_rows(300, 4)
    assert rows == random_rows(300, 4) and rows != random_rows(300, 5)
    assert 20 < len(rows) < 150 and sum(row.fault_s + row.clean_s for row in rows) <= 300
    for row in rows:
        for inject in row.injects:
            fault(inject.route, inject.kind, 0.0, row.fault_s, **inject.arguments)
    assert {inject.route for row in rows for inject in row.injects} == set(KINDS)


def stamped(*changed):
    """Label images at 10 Hz for a minute, some of them under another stamp or not there (None)."""
    other = dict(changed)
    moments = [(n / 10, other.get(n, n * 100_000_000)) for n in range(600)]
    return [Frame(at_s, 50.0, stamp_ns) for at_s, stamp_ns in moments if stamp_ns is not None]


def test_a_stamp_that_goes_back_is_found_wherever_no_leading_sensor_leaps():
    assert not continuity(stamped(), [], 0.6)["broken"]
    back = stamped((300, 1_000_000_000))
    found = continuity(back, [(10.0, 20.0)], 0.6)
    assert found["backward_stamps"] == 1 and "1 stamps went back" in found["broken"][0]
    found = continuity(back, [(29.0, 31.0)], 0.6)
    assert (found["backward_stamps"], found["backward_stamps_in_leaps"]) == (1, 1) and not found["broken"]
    twice = continuity(stamped((300, 1_000_000_000), (305, 1_000_000_000)), [(29.0, 31.0)], 0.6)
    assert twice["broken"], "there and back is once"
    assert continuity(stamped((300, 29_900_000_000)), [], 0.6)["broken"], "the same stamp twice is none above the last"


def test_a_silence_is_found():
    found = continuity(stamped(*((n, None) for n in range(100, 106))), [], 0.6)
    assert found["longest_gap_s"] == 0.7 and found["broken"] == ["a gap of 0.700 s, expected less than 0.600 s"]
    assert continuity([], [], 0.6)["broken"]


def test_every_set_comes_out_or_is_counted():
    counts = {"sets.due": "18009", "worker.dropped": "0", "worker.failed": "0", "nothing_left": "7"}
    found = reconciled(counts, 18_002)
    assert not found["broken"] and found["nothing_left"] == 7 and found["sets_under_way"] == 0
    assert "18009 sets were due, but 17990 label images came and 7" in reconciled(counts, 17_990)["broken"][0]
    assert reconciled(counts, 18_020)["broken"], "more came out than were due"
    assert reconciled({}, 0)["broken"] == ["the segmentor never counted the sets that are due"]


def test_a_leap_counts_where_its_sensor_may_lead():
    def row(*injects):
        return Row("", "", tuple(Inject(*inject) for inject in injects), fault_s=1.0, clean_s=1.0)

    leap = ("lidar", "shift_stamp", {"by_s": 10.0})
    placed = place([row(leap), row(leap, ("camera", "cut")), row(("camera", "cut")), row(leap, ("event", "cut"))])
    assert leaps(placed, small_rig()) == [(placed[1].begin_s, placed[1].until_s)]
