# SPDX-License-Identifier: Apache-2.0
"""What a soak tells of memory, handles and latency, and the picture of it."""

import xml.etree.ElementTree as ET

import pytest

from anyseg_ros.campaign.soak import KINDS, random_rows
from anyseg_ros.campaign.soak_figures import MAX_GROWTH_MIB, Frame, Sample, figures
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
