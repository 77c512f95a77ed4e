# SPDX-License-Identifier: Apache-2.0
"""What is due is worked out from the recording and the cut list alone."""

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.demo.due import Delivery, SensorRule, after_cuts, frames_due
from anyseg_ros.demo.plan import MS, Cut, walks
from anyseg_ros.modality import Modality
from anyseg_ros.types import Events, Measurement

START = 1_700_000_000_000_000_000
SENSORS = {Modality.CAMERA: "camera", Modality.LIDAR: "lidar", Modality.EVENT: "event"}
STALE = 225 * MS
RULES = [
    SensorRule("camera", Modality.CAMERA, 100 * MS, 0, 100 * MS, STALE),
    SensorRule("lidar", Modality.LIDAR, 100 * MS, -4 * MS, 100 * MS, STALE),
    SensorRule("event", Modality.EVENT, 100 * MS, 3 * MS, 100 * MS, STALE, 30 * MS),
]


def recording(seconds: float) -> list[Delivery]:
    """A bag like the simulator's: camera at k*100 ms, lidar half-way, an event packet every 10 ms; as they arrive."""
    end = round(seconds * 1000)
    found = [Delivery("camera", START + t * MS, START + (t + 15) * MS) for t in range(0, end, 100)]
    found += [Delivery("lidar", START + (t - 4) * MS, START + (t + 55) * MS) for t in range(50, end, 100)]
    # The watermark is the last event, a little before the end of its packet.
    found += [Delivery("event", START + (t + 3) * MS - 7000, START + (t + 3) * MS) for t in range(10, end, 10)]
    return sorted(found, key=lambda delivery: delivery.arrival_ns)


def due(seconds: float, *cuts: Cut):
    return frames_due(after_cuts(recording(seconds), cuts, START), RULES)


def milliseconds(items) -> list[int]:
    return [(item.stamp_ns - START) // MS for item in items]


def test_with_everything_alive_each_camera_image_is_due():
    items = due(1.0)
    assert milliseconds(items) == list(range(0, 1000, 100))
    assert {item.reference for item in items} == {"camera"}
    # At the very first image the lidar has not spoken, and no event is older than the image.
    assert [item.subset for item in items][2:] == ["CEL"] * 8


def test_a_dead_partner_changes_the_subset_and_nothing_else():
    items = due(2.0, Cut("lidar", 955 * MS, 2000 * MS))
    assert milliseconds(items) == list(range(0, 2000, 100))
    assert [item.subset for item in items][12:] == ["CE"] * 8


def test_a_dead_reference_is_replaced_and_what_its_successor_said_meanwhile_is_due():
    items = due(2.0, Cut("camera", 955 * MS, 2000 * MS))
    camera = [item for item in items if item.reference == "camera"]
    lidar = [item for item in items if item.reference == "lidar"]
    assert milliseconds(camera) == list(range(0, 1000, 100))
    # Stamps of the lidar are 4 ms behind; the sweep at 950 arrived after the last image and was not answered.
    assert milliseconds(lidar) == [946, *range(1046, 2000, 100)]
    assert [item.subset for item in lidar][2:] == ["EL"] * 9


def test_what_a_sensor_said_before_it_led_is_owed_when_it_comes_to_lead():
    items = due(2.0, Cut("camera", 955 * MS, 2000 * MS))
    first, second = [item for item in items if item.reference == "lidar"][:2]
    assert first.arrival_ns < first.owed_ns and second.owed_ns == max(second.arrival_ns, first.owed_ns)
    assert all(item.owed_ns == item.arrival_ns for item in items if item.reference == "camera")
    last = [item.arrival_ns for item in items if item.reference == "camera"][-1]
    stale_ns = next(rule.stale_ns for rule in RULES if rule.name == "camera")
    assert first.owed_ns == last + stale_ns


def test_events_alone_are_answered_at_multiples_of_their_period():
    items = due(2.0, Cut("camera", 0, 2000 * MS), Cut("lidar", 0, 2000 * MS))
    assert milliseconds(items) == list(range(100, 2000, 100))
    assert {item.subset for item in items} == {"E"}


def test_a_better_sensor_leads_again_after_three_measurements():
    items = due(3.0, Cut("camera", 955 * MS, 1955 * MS))
    back = [item for item in items if item.reference == "camera" and item.stamp_ns > START + 1500 * MS]
    assert milliseconds(back)[0] == 2200  # images arrive again from 2000 on
    assert milliseconds(items) == sorted(milliseconds(items))


def test_with_no_sensor_nothing_is_due_and_the_first_that_returns_is_answered():
    silence = [Cut(name, 955 * MS, 1955 * MS) for name in SENSORS.values()]
    items = due(3.0, *silence)
    assert not [item for item in items if START + 1000 * MS <= item.stamp_ns < START + 1940 * MS]
    assert [item for item in items if item.stamp_ns > START + 1950 * MS]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(SENSORS.values())), st.integers(0, 60), st.integers(1, 60)), max_size=6)
)
def test_stamps_rise_and_each_belongs_to_something_that_was_delivered(spans):
    cuts = [Cut(name, start * 50 * MS, (start + length) * 50 * MS) for name, start, length in spans]
    left = after_cuts(recording(4.0), cuts, START)
    items = frames_due(left, RULES)
    stamps = [item.stamp_ns for item in items]
    assert all(one < other for one, other in zip(stamps, stamps[1:], strict=False))
    delivered = {(d.sensor, d.stamp_ns) for d in left}
    for item in items:
        assert (item.reference, item.stamp_ns) in delivered or item.reference == "event"
        assert item.stamp_ns % (100 * MS) == 0 or item.reference != "event"


def synchroniser():
    from anyseg_ros.sync.synchronizer import Synchronizer
    from anyseg_ros.sync.timing import SensorTiming, SyncConfig

    return Synchronizer(
        SyncConfig(
            tuple(
                SensorTiming(
                    name=rule.name,
                    modality=rule.modality,
                    period_ns=rule.period_ns,
                    tolerance_ns=rule.tolerance_ns,
                    stale_ns=rule.stale_ns,
                    lost_ns=3000 * MS,
                    offset_ns=rule.offset_ns,
                    window_ns=rule.window_ns or MS,
                )
                for rule in RULES
            )
        )
    )


def played_through(synchronizer, left):
    """The sets that a synchroniser gives in virtual time."""
    given = []
    for arrival_ns, measurement in as_measurements(left):
        while (deadline := synchronizer.next_deadline_ns()) is not None and deadline <= arrival_ns:
            given += synchronizer.advance(deadline)
        given += synchronizer.add(measurement, arrival_ns)
    return given


def settled(items, seconds):
    """Without the last moments, in which the synchroniser may still wait for a partner when the recording ends."""
    return [item for item in items if item.stamp_ns < START + round(seconds * 1000 - 500) * MS]


def test_the_synchroniser_agrees_on_both_walks():
    for walk in walks():
        seconds = walk.duration_ns / 1e9
        left = after_cuts(recording(seconds), walk.cuts(SENSORS), START)
        given, items = settled(played_through(synchroniser(), left), seconds), settled(frames_due(left, RULES), seconds)
        assert [frame_set.stamp_ns for frame_set in given] == [item.stamp_ns for item in items]
        for frame_set, item in zip(given, items, strict=True):
            assert set(frame_set.present) == {SENSORS[m] for m in parse(item.subset)}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(SENSORS.values())), st.integers(0, 30), st.integers(1, 20)), max_size=5)
)
def test_the_synchroniser_agrees_on_any_cut_list(spans):
    cuts = [
        Cut(name, (10 * start + 5) * 10 * MS, (10 * (start + length) + 5) * 10 * MS) for name, start, length in spans
    ]
    left = after_cuts(recording(3.0), cuts, START)
    given, items = settled(played_through(synchroniser(), left), 3.0), settled(frames_due(left, RULES), 3.0)
    assert [frame_set.stamp_ns for frame_set in given] == [item.stamp_ns for item in items]


def parse(subset: str):
    return [Modality.from_letter(letter) for letter in subset]


def as_measurements(left):
    watermark = None
    for delivery in left:
        modality = next(m for m, name in SENSORS.items() if name == delivery.sensor)
        payload, start_ns = np.zeros(1), None
        if modality is Modality.EVENT:
            times = np.arange(delivery.stamp_ns - 9 * MS, delivery.stamp_ns + 1, MS)
            zeros = np.zeros(len(times), np.uint16)
            payload = Events(zeros, zeros, times, zeros.astype(np.uint8), 4, 4)
            near = watermark is not None and delivery.stamp_ns - watermark < 15 * MS
            start_ns = watermark if near else int(times[0]) - 1
            watermark = delivery.stamp_ns
        yield delivery.arrival_ns, Measurement(delivery.sensor, modality, delivery.stamp_ns, payload, "", start_ns)


def test_the_judge_does_not_import_what_it_judges():
    code = (
        "import sys; import anyseg_ros.demo.due, anyseg_ros.demo.judge, anyseg_ros.demo.summary; "
        "rooms = ('anyseg_ros.sync', 'anyseg_ros.pipeline', 'anyseg_ros.nodes'); "
        "print([m for m in sys.modules if m.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
