# SPDX-License-Identifier: Apache-2.0
"""The judge on made-up recordings whose answers are known."""

import numpy as np
import pytest

from anyseg_ros.demo.due import Due, SensorRule
from anyseg_ros.demo.judge import Output, judge_drive, latency_ratios, longest_gap_ns, percentile, reference_gaps
from anyseg_ros.demo.plan import MS, Cut
from anyseg_ros.demo.summary import Judged, Machine, summarise
from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality

START = 10_000_000_000
TRUTH = np.array([[0, 0], [1, 255]], np.uint8)
CLASSES = LabelSet(("road", "car", "sky"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


def owed(count: int, subset: str = "CEL", first: int = 0) -> list[Due]:
    times = [START + (first + k) * 100 * MS for k in range(count)]
    return [Due(t, "camera", subset, t + 15 * MS, t + 15 * MS) for t in times]


def answer(item: Due, latency_ms: int | None = 50, labels: np.ndarray = TRUTH) -> Output:
    latency = None if latency_ms is None else latency_ms * MS
    return Output(item.stamp_ns, item.arrival_ns + (latency_ms or 0) * MS, latency, labels)


def judge(due, outputs, truth=TRUTH):
    return judge_drive(due, outputs, lambda item: truth, classes=len(CLASSES))


def test_a_full_recording_has_nothing_to_complain_about():
    due = owed(5)
    verdict = judge(due, [answer(item) for item in due])
    assert len(verdict.answered) == 5
    assert not verdict.missing and not verdict.extra and not verdict.duplicates and not verdict.backwards
    assert verdict.latency_ms == {"CEL": [50.0] * 5}
    assert [item["miou"] for item in verdict.trace] == [100.0] * 5


def test_a_dropped_frame_is_due_and_not_out():
    due = owed(5)
    verdict = judge(due, [answer(item) for item in due if item is not due[2]])
    assert verdict.missing == [due[2]]
    assert len(verdict.answered) == 4


def test_a_late_frame_is_answered_and_its_latency_counts():
    due = owed(4)
    outputs = [answer(item) for item in due]
    outputs[1] = answer(due[1], latency_ms=95)
    verdict = judge(due, outputs)
    assert not verdict.missing
    assert verdict.latency_ms["CEL"] == [50.0, 95.0, 50.0, 50.0]


def test_a_duplicate_is_counted_and_scored_once():
    due = owed(3)
    outputs = [answer(due[0]), answer(due[1]), answer(due[1], labels=1 - TRUTH), answer(due[2])]
    verdict = judge(due, outputs)
    assert (verdict.duplicates, verdict.backwards) == (1, 0)
    assert len(verdict.trace) == 3 and verdict.trace[1]["miou"] == 100.0


def test_a_stamp_that_goes_backwards_is_counted_and_answers_nothing():
    due = owed(4)
    verdict = judge(due, [answer(due[0]), answer(due[2]), answer(due[1]), answer(due[3])])
    assert (verdict.duplicates, verdict.backwards) == (0, 1)
    assert verdict.missing == [due[1]]


def test_what_nobody_asked_for_is_extra():
    due = owed(2)
    stray = Output(START + 50 * MS, START + 60 * MS, None, TRUTH)
    verdict = judge(due, [answer(due[0]), stray, answer(due[1])])
    assert verdict.extra == [stray.stamp_ns]
    assert len(verdict.answered) == 2


def test_accuracy_is_kept_by_subset_and_counts_unlabelled_pixels_as_missed():
    due = owed(1, "CEL") + owed(1, "L", first=1)
    half = np.array([[0, 255], [1, 0]], np.uint8)  # one road pixel left unlabelled; the last has no truth
    verdict = judge(due, [answer(due[0]), answer(due[1], labels=half)])
    assert verdict.trace[0]["miou"] == 100.0
    assert verdict.trace[1]["miou"] == pytest.approx((50.0 + 100.0) / 2)
    assert set(verdict.counts) == {"CEL", "L"}


def test_without_ground_truth_the_answers_still_count():
    due = owed(2)
    verdict = judge(due, [answer(item) for item in due], truth=None)
    assert len(verdict.answered) == 2 and verdict.trace[0]["miou"] is None


RULES = [
    SensorRule("camera", Modality.CAMERA, 100 * MS, stale_ns=225 * MS),
    SensorRule("lidar", Modality.LIDAR, 200 * MS, stale_ns=450 * MS),
]


def test_the_gap_after_a_reference_cut_is_measured_between_receipts():
    due = owed(10) + [
        Due(START + (1050 + 200 * k) * MS, "lidar", "L", *[START + (1100 + 200 * k) * MS] * 2) for k in range(5)
    ]
    received = [item.arrival_ns for item in due]
    cut = Cut("camera", 960 * MS, 3000 * MS)
    (gap,) = reference_gaps(due, received, [cut], RULES, START)
    assert (gap["sensor"], gap["successor"]) == ("camera", "lidar")
    assert gap["limit_s"] == 0.6  # three periods of the slower one
    assert gap["gap_s"] == 0.2


def test_a_silence_after_a_reference_cut_shows():
    due = owed(10) + [Due(START + 1850 * MS, "lidar", "L", START + 1900 * MS, START + 1900 * MS)]
    received = [item.arrival_ns for item in due]
    (gap,) = reference_gaps(due, received, [Cut("camera", 960 * MS, 3000 * MS)], RULES, START)
    assert gap["gap_s"] == pytest.approx(0.985) and gap["gap_s"] > gap["limit_s"]


def test_a_cut_of_another_sensor_is_no_reference_cut():
    due = owed(20)
    assert (
        reference_gaps(due, [item.arrival_ns for item in due], [Cut("lidar", 960 * MS, 1500 * MS)], RULES, START) == []
    )


def test_longest_gap():
    assert longest_gap_ns([]) == longest_gap_ns([5]) == 0
    assert longest_gap_ns([0, 10, 40, 50]) == 30


def test_latency_ratio_is_of_the_medians():
    assert latency_ratios({"CEL": [100.0, 100.0, 900.0], "EL": [90.0], "CE": []}) == {"EL": 0.9}
    assert latency_ratios({"EL": [90.0]}) == {}
    assert percentile([], 50) is None and percentile([1.0, 2.0, 3.0], 50) == 2.0


def test_the_summary_has_the_keys_of_the_design_and_adds_up():
    due = owed(6) + owed(4, "EL", first=6)
    verdict = judge(due, [answer(item, 60 if item.subset == "EL" else 50) for item in due if item is not due[3]])
    machine = Machine(8.0, 0.5, "cpu", "some.safetensors", {"CEL": 61.234}, CLASSES)
    summary = summarise([Judged("day", verdict, (Cut("camera", 600 * MS, 900 * MS),), START, 0, 0.5)], RULES, machine)
    assert summary["frames_due"] == 10 and summary["frames_out"] == 9
    assert summary["latency_ms"] == {"p50": 50.0, "p99": 60.0}
    assert summary["subsets"]["CEL"] == {
        "frames": 5,
        "due": 6,
        "miou": 100.0,
        "validated_miou": 61.23,
        "latency_ms": {"p50": 50.0, "p99": 50.0},
    }
    assert summary["latency_ratio"] == {"EL": 1.2}
    assert summary["drives"]["day"]["not_answered_at_s"] == [0.3]
    assert summary["iou_full_rig"] == {"road": 100.0, "car": 100.0}
    assert {"longest_gap_s", "device", "checkpoint", "stamps_backwards", "stamps_duplicate"} <= set(summary)
