# SPDX-License-Identifier: Apache-2.0
"""The worker of several rigs: rounds, turns, and failures that stay with their rig."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import GRID, MS, image, small_rig, write_checkpoint  # noqa: E402

from anyseg_ros.latency_budget import LatencyBudget, grid_steps  # noqa: E402
from anyseg_ros.modality import Modality  # noqa: E402
from anyseg_ros.nodes.episodes import Episodes  # noqa: E402
from anyseg_ros.nodes.frame_processor import FrameProcessor  # noqa: E402
from anyseg_ros.nodes.rounds import answer  # noqa: E402
from anyseg_ros.nodes.worker import Worker  # noqa: E402
from anyseg_ros.pipeline import Pipeline  # noqa: E402
from anyseg_ros.types import FrameSet, Measurement  # noqa: E402


class Rounds:
    """Work that notes its rounds and does each when the test says so."""

    def __init__(self):
        self.seen, self.entered, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, items):
        self.seen.append(list(items))
        self.entered.release()
        assert self.go.acquire(timeout=10)
        return [ValueError(item) if "bad" in item else None for item in items]


def rounds_of(at_once, given, patience_ns=60_000 * MS):
    """The rounds in which a worker does what is given, (lane, item) by item, while it is busy with ``a0``."""
    work, errors = Rounds(), []
    worker = Worker(work, at_once)
    lanes = {name: worker.add_lane(errors.append, patience_ns) for name in "abc"}
    worker.start()
    lanes["a"].submit("a0")
    assert work.entered.acquire(timeout=10)
    for name, item in given:
        lanes[name].submit(item)
    while any(lanes.values()):
        work.go.release()
        assert work.entered.acquire(timeout=10)
    work.go.release()
    assert worker.stop()
    return work.seen[1:], lanes, errors


def test_a_round_takes_one_of_each_rig_that_has_one_and_waits_for_none():
    seen, lanes, _ = rounds_of(8, [("a", "a1"), ("a", "a2"), ("c", "c1")])
    assert seen == [["c1", "a1"], ["a2"]] and [lanes[n].done for n in "abc"] == [3, 0, 1]


def test_rigs_take_turns_where_a_round_is_one_set():
    given = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")]
    seen, _, _ = rounds_of(1, given)
    assert [item for (item,) in seen] == ["b1", "c1", "a1", "b2", "a2", "a3"]


def test_the_newest_wins_in_each_rig_and_no_rig_loses_by_another():
    given = [("a", f"a{n}") for n in range(1, 6)] + [("b", "b1")]
    seen, lanes, _ = rounds_of(8, given, patience_ns=0)
    assert seen == [["b1", "a5"]] and [lanes[n].dropped for n in "abc"] == [4, 0, 0]


def test_what_fails_is_counted_where_it_failed():
    _, lanes, errors = rounds_of(8, [("a", "bad a"), ("b", "b1")])
    assert [(lanes[n].done, lanes[n].failed) for n in "ab"] == [(1, 1), (1, 0)]
    assert [str(error) for error in errors] == ["bad a"]


class Published:
    """Outputs that keep what went out; ``fail`` makes them raise."""

    def __init__(self, clock, late_ns=0, fail=False):
        self.labels, self._clock, self._late_ns, self._fail = [], clock, late_ns, fail

    def publish_labels(self, pipeline, segmentation):
        if self._fail:
            raise OSError("the publisher is gone")
        self.labels.append(segmentation)
        self._clock[0] += self._late_ns
        return segmentation

    def publish_on_demand(self, *args):
        pass

    def publish_status(self, *args):
        pass


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    path = tmp_path_factory.mktemp("rounds") / "net.safetensors"
    write_checkpoint(path)
    return Pipeline(small_rig(), path, "cpu", threads=1)


def two_processors(first, clock, budget=None, **of_second):
    pipelines = first.for_rig(small_rig()), first.for_rig(small_rig())
    outputs = Published(clock, of_second.pop("late_ns", 0)), Published(clock, **of_second)
    quiet = [Episodes(lambda s: None, lambda s: None) for _ in range(2)]
    made = [
        FrameProcessor(p, o, lambda: clock[0], e, budget) for p, o, e in zip(pipelines, outputs, quiet, strict=True)
    ]
    return made, outputs, quiet


def frame(number, payload=None):
    payload = image(np.random.default_rng(number)) if payload is None else payload
    return FrameSet(
        number * MS, "camera", {"camera": Measurement("camera", Modality.CAMERA, number * MS, payload, "cam")}
    )


def test_each_rig_gets_the_labels_that_it_would_have_got_alone(first):
    processors, outputs, _ = two_processors(first, [0])
    assert answer([(processors[0], frame(1)), (processors[1], frame(2))]) == [None, None]
    for output, number in zip(outputs, (1, 2), strict=True):
        (found,) = output.labels
        alone = first.for_rig(small_rig())(frame(number))
        assert found.stamp_ns == number * MS
        np.testing.assert_allclose(found.confidence, alone.confidence, atol=1e-5)
        assert (found.labels == alone.labels).mean() > 0.999


def test_a_rig_that_cannot_be_encoded_or_published_leaves_the_other_alone(first):
    processors, outputs, _ = two_processors(first, [0], fail=True)
    errors = answer([(processors[0], frame(1)), (processors[1], frame(2))])
    assert errors[0] is None and "publisher is gone" in str(errors[1]) and len(outputs[0].labels) == 1

    def broken(frame_set):
        raise MemoryError("no room for it")

    processors[1].prepare = broken
    errors = answer([(processors[1], frame(3)), (processors[0], frame(4))])
    assert isinstance(errors[0], MemoryError) and errors[1] is None and len(outputs[0].labels) == 2


def test_what_cannot_be_used_of_one_rig_costs_only_its_own_frame(first):
    processors, outputs, _ = two_processors(first, [0])
    black = np.zeros((90, 160, 3), np.uint8)
    assert answer([(processors[0], frame(1, black)), (processors[1], frame(2))]) == [None, None]
    assert processors[0].counters["nothing_left"] == 1 and not outputs[0].labels and len(outputs[1].labels) == 1


def test_a_network_that_fails_fails_all_sets_of_its_round(first):
    processors, outputs, _ = two_processors(first, [0])

    def fail(stacks):
        raise RuntimeError("the device is gone")

    for processor in processors:
        processor.pipeline.engine = SimpleNamespace(infer_batch=fail)
    errors = answer([(processors[0], frame(1)), (processors[1], frame(2))])
    assert [str(error) for error in errors] == ["the device is gone"] * 2


def test_one_latency_budget_moves_the_grid_of_every_rig(first):
    clock = [0]
    budget = LatencyBudget(100 * MS, grid_steps(*GRID))
    processors, outputs, episodes = two_processors(first, clock, budget, late_ns=200 * MS)
    for number in range(1, 8):
        sets = [frame(number), frame(100 + number)]
        due = [
            (p, FrameSet(s.stamp_ns, "camera", s.present, closed_ns=clock[0]))
            for p, s in zip(processors, sets, strict=True)
        ]
        assert answer(due) == [None, None]
    assert budget.level > 0
    for processor, output, told in zip(processors, outputs, episodes, strict=True):
        assert output.labels[0].labels.shape == GRID and output.labels[-1].labels.shape != GRID
        assert not processor.pipeline.full_size and "smaller grid" in told.about("output")[0].sentence
