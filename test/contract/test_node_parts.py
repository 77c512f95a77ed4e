# SPDX-License-Identifier: Apache-2.0
"""The parts of the nodes that need no graph: worker, frame processor, episodes, latencies."""

import sys
import threading
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from anyseg_ros.nodes.episodes import HOLD_NS, Episodes, Latencies  # noqa: E402
from anyseg_ros.nodes.frame_processor import FrameProcessor  # noqa: E402
from anyseg_ros.nodes.rig_session import RigSession  # noqa: E402
from anyseg_ros.nodes.rounds import answer  # noqa: E402
from anyseg_ros.nodes.worker import Worker  # noqa: E402
from anyseg_ros.stack import Stack  # noqa: E402
from anyseg_ros.types import FrameSet  # noqa: E402

MS = 1_000_000


class Gate:
    """Work on one item a round that the test lets go on item by item."""

    def __init__(self):
        self.seen, self.entered, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, items):
        (item,) = items
        self.seen.append(item)
        self.entered.release()
        assert self.go.acquire(timeout=10)
        if item == "bad":
            raise ValueError("this one fails")
        return [None]


def with_lane(work, on_error=pytest.fail, patience_ns=0):
    worker = Worker(work)
    return worker, worker.add_lane(on_error, patience_ns)


def run_to_end(worker, gate, count):
    for _ in range(count):
        gate.go.release()
    for _ in range(count - 1):
        assert gate.entered.acquire(timeout=10)
    assert worker.stop()


def test_without_patience_the_worker_takes_the_newest_and_counts_the_rest():
    gate = Gate()
    worker, lane = with_lane(gate)
    worker.start()
    lane.submit(1)
    assert gate.entered.acquire(timeout=10)
    for item in (2, 3, 4):
        lane.submit(item)
    run_to_end(worker, gate, 2)
    assert gate.seen == [1, 4] and (lane.done, lane.dropped) == (2, 2)


def test_with_patience_a_burst_is_answered_in_order():
    gate = Gate()
    worker, lane = with_lane(gate, patience_ns=60_000 * MS)
    worker.start()
    lane.submit(1)
    assert gate.entered.acquire(timeout=10)
    for item in (2, 3, 4):
        lane.submit(item)
    run_to_end(worker, gate, 4)
    assert gate.seen == [1, 2, 3, 4] and lane.dropped == 0


def test_an_overloaded_worker_drops_all_but_the_newest(monkeypatch):
    now = [0]
    monkeypatch.setattr("anyseg_ros.nodes.worker.time.monotonic_ns", lambda: now[0])
    _, lane = with_lane(pytest.fail, patience_ns=100)
    for now[0], item in ((0, "a"), (90, "b"), (100, "c")):
        lane.submit(item)
    assert lane.dropped == 0
    now[0] = 101
    lane.submit("d")
    assert lane.dropped == 3


def test_a_failing_item_does_not_end_the_worker():
    gate, errors = Gate(), []
    worker, lane = with_lane(gate, errors.append, 60_000 * MS)
    worker.start()
    for item in ("bad", "good"):
        lane.submit(item)
    assert gate.entered.acquire(timeout=10)
    run_to_end(worker, gate, 2)
    assert gate.seen == ["bad", "good"] and (lane.failed, lane.done) == (1, 1)
    assert str(errors[0]) == "this one fails"


def test_stopping_drops_what_waits():
    gate = Gate()
    worker, lane = with_lane(gate)
    worker.start()
    lane.submit(1)
    assert gate.entered.acquire(timeout=10)
    lane.submit(2)
    assert not worker.stop(timeout_s=0.0), "the first item is still being worked on"
    gate.go.release()
    assert worker.stop()
    assert gate.seen == [1] and (lane.done, lane.dropped) == (1, 1)


class MovedPipeline:
    """Counts what it is told; nothing of a frame set can be used."""

    def __init__(self):
        self.rigs, self.resets = [], []

    def recalibrate(self, rig):
        self.rigs.append(rig)

    def reset(self, sensor):
        self.resets.append(sensor)

    def encode(self, frame_set):
        return Stack(np.zeros((0, 3, 1, 1), np.float32), (), (), {})


def test_a_sensor_that_moves_costs_the_newest_calibration_per_frame_and_no_network():
    pipeline = MovedPipeline()
    processor = FrameProcessor(pipeline, None, lambda: 0, Episodes(lambda s: None, lambda s: None))
    for number in range(1, 4):
        processor.recalibrate(number)
        processor.recalibrate(number * 10)
        processor.reset()
        assert answer([(processor, FrameSet(1, "camera", {}))]) == [None]
    assert answer([(processor, FrameSet(2, "camera", {}))]) == [None]
    assert processor.pipeline is pipeline and pipeline.rigs == [10, 20, 30] and pipeline.resets == [None] * 3
    assert processor.counters["nothing_left"] == 4


def test_the_pipeline_is_told_which_sensors_start_over():
    pipeline = MovedPipeline()
    processor = FrameProcessor(pipeline, None, lambda: 0, Episodes(lambda s: None, lambda s: None))
    for sensor in ("lidar", "camera", "lidar"):
        processor.reset(sensor)
    assert answer([(processor, FrameSet(1, "camera", {}))]) == [None]
    assert sorted(pipeline.resets) == ["camera", "lidar"]


def test_a_trouble_is_told_once_and_so_is_its_end():
    said, well, now = [], [], [0]
    episodes = Episodes(said.append, well.append, lambda: now[0])
    for _ in range(3):
        episodes.report("lidar", "it is broken")
    episodes.clear("lidar")
    now[0] += HOLD_NS
    episodes.settle()
    episodes.settle()
    episodes.report("lidar", "it is broken again")
    assert said == ["it is broken", "it is broken again"]
    assert len(well) == 1 and "3 occurrence" in well[0]
    assert episodes.counts == {"lidar": 4}


def test_a_trouble_that_comes_and_goes_is_one_episode():
    said, well, now = [], [], [0]
    episodes = Episodes(said.append, well.append, lambda: now[0])
    for _ in range(20):
        episodes.report("payload of lidar", "it is broken", "lidar", unused=True)
        episodes.clear("payload of lidar")
        now[0] += HOLD_NS // 2
        episodes.settle()
    assert len(said) == 1 and not well
    (trouble,) = episodes.about("lidar")
    assert (trouble.times, trouble.since_ns, trouble.unused) == (20, 0, True) and not episodes.about("output")
    now[0] += HOLD_NS
    episodes.settle()
    assert len(well) == 1 and not episodes.about("lidar")


def test_a_trouble_that_nobody_clears_stays():
    now = [0]
    episodes = Episodes(lambda sentence: None, lambda sentence: None, lambda: now[0])
    episodes.report("overload", "the network is behind")
    now[0] += 100 * HOLD_NS
    episodes.settle()
    assert [trouble.sentence for trouble in episodes.about("output")] == ["the network is behind"]


def test_troubles_can_be_read_while_another_thread_reports_new_ones():
    episodes = Episodes(lambda sentence: None, lambda sentence: None)
    over = threading.Event()

    def report():
        for number in range(5000):
            episodes.report(f"trouble {number}", "again")
        over.set()

    reporter = threading.Thread(target=report)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reporter.start()
        while not over.is_set():
            assert all(times == 1 for what, times in episodes.counts.items())
    finally:
        sys.setswitchinterval(switch)
        reporter.join()


def test_percentiles_are_those_of_the_last_frames():
    latencies = Latencies(frames=100)
    for value in range(1, 301):
        latencies.add({"infer": value * MS})
    found = latencies.percentiles_ms()
    assert found == {
        "infer_p50_ms": float(np.percentile(range(201, 301), 50)),
        "infer_p95_ms": float(np.percentile(range(201, 301), 95)),
        "infer_p99_ms": float(np.percentile(range(201, 301), 99)),
    }


def test_what_a_set_led_to_reaches_the_synchroniser_in_the_executors_thread():
    told, given = [], FrameSet(1, "camera", {})
    loop = SimpleNamespace(answered=lambda *found: told.append(found), tick=lambda *times: None, take_resets=lambda: [])
    clock = SimpleNamespace(now_ns=lambda: 7)
    session = SimpleNamespace(_looked_at=deque(), loop=loop, _clock=clock)
    pipeline = SimpleNamespace(encode=lambda frame_set: SimpleNamespace(sensors=(), problems={}, absent={}))
    processor = FrameProcessor(pipeline, None, lambda: 0, Episodes(lambda s: None, lambda s: None))
    processor.looked_at = session._looked_at.append
    processor.prepare(given)
    assert not told, "the worker's thread hands it over"
    RigSession.tick(session)
    assert told == [(given, (), 7)]
