# SPDX-License-Identifier: Apache-2.0
"""What the worker thread does with a rig's frame sets: encode them, and publish what the network made of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anyseg_ros.latency_budget import LatencyBudget
from anyseg_ros.nodes.episodes import Episodes, Latencies
from anyseg_ros.nodes.outputs import Outputs
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.stack import Stack
from anyseg_ros.types import FrameSet, Segmentation

RECENT = 32  # label images over which the rate is taken
OVERDUE_PERIODS = 3.0  # an image that is later than this lowers the rate


@dataclass(frozen=True)
class LastOutput:
    """The most recent output.

    Attributes:
        stamp_ns: its stamp.
        subset: modalities used, such as ``CEL``.
        reference: the reference sensor.
        published_ns: the node's clock when it went out.
        confidence: mean over labelled pixels.
    """

    stamp_ns: int
    subset: str
    reference: str
    published_ns: int
    confidence: float


@dataclass(frozen=True)
class Prepared:
    """A frame set that is ready for the network.

    Attributes:
        frame_set: the payloads.
        stack: what is left of them; at least one image.
        started_ns: the node's clock when the worker took it.
    """

    frame_set: FrameSet
    stack: Stack
    started_ns: int


class FrameProcessor:
    """Runs in the worker thread; other threads read ``last``, ``counters`` and ``latencies``.

    Args:
        pipeline: answers frame sets; follows the calibration.
        outputs: where results go.
        now_ns: the node's clock.
        episodes: troubles are told here.
        budget: picks the grid by the latency; None keeps the checkpoint's. Rigs that share a network share it.

    Attributes:
        looked_at: takes each frame set with the names of the sensors whose payloads were good, in the worker thread.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        outputs: Outputs,
        now_ns: Callable[[], int],
        episodes: Episodes,
        budget: LatencyBudget | None = None,
    ) -> None:
        self._budget = budget
        self._outputs = outputs
        self._now_ns = now_ns
        self._episodes = episodes
        self._lock = threading.Lock()
        self._next_rig: Rig | None = None
        self._forget: set[str | None] = set()
        self._step = None if budget is None else budget.step
        self.pipeline = pipeline
        self.latencies = Latencies()
        self.counters: Counter[str] = Counter()
        self.last: LastOutput | None = None
        self.looked_at: Callable[[tuple[FrameSet, Sequence[str]]], object] = lambda found: None
        self._published_ns: deque[int] = deque(maxlen=RECENT)

    def rate_hz(self, now_ns: int) -> float:
        """Label images a second over the last ones, by the node's clock; it sinks while none comes."""
        times = list(self._published_ns)
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        usual_ns = (times[-1] - times[0]) / (len(times) - 1)
        waiting_ns = now_ns - times[-1]
        return 1e9 / (usual_ns if waiting_ns <= OVERDUE_PERIODS * usual_ns else max(usual_ns, waiting_ns))

    def recalibrate(self, rig: Rig) -> None:
        """Uses another calibration from the next frame on."""
        with self._lock:
            self._next_rig = rig

    def reset(self, sensor: str | None = None) -> None:
        """Forgets what a sensor, or every one (None), sent in earlier frames, as after a jump of the clock."""
        with self._lock:
            self._forget.add(sensor)

    def prepare(self, frame_set: FrameSet) -> Prepared | None:
        """Encodes a frame set; None, and told, when no payload can be used."""
        self._take_over_changes()
        started_ns = self._now_ns()
        stack = self.pipeline.encode(frame_set)
        self._tell_problems(stack)
        self.looked_at((frame_set, stack.sensors))
        if not stack.sensors:
            self.counters["nothing_left"] += 1
            self._episodes.report("output", "no payload of the last frame set could be used; nothing is published")
            return None
        return Prepared(frame_set, stack, started_ns)

    def finish(self, prepared: Prepared, segmentation: Segmentation) -> None:
        """Publishes what the network made of a frame set."""
        frame_set = prepared.frame_set
        begin = time.perf_counter_ns()
        sized = self._outputs.publish_labels(self.pipeline, segmentation)
        published_ns = self._now_ns()
        stages = {
            "wait": frame_set.closed_ns - frame_set.due_ns,
            "queue": prepared.started_ns - frame_set.closed_ns,
            **segmentation.stage_ns,
            "publish": time.perf_counter_ns() - begin,
            "total": published_ns - frame_set.due_ns,
        }
        self._account(frame_set, segmentation, stages, published_ns)
        self._keep_budget(published_ns - frame_set.closed_ns, published_ns - prepared.started_ns)
        self._outputs.publish_on_demand(self.pipeline, frame_set, prepared.stack, segmentation, sized)

    def _take_over_changes(self) -> None:
        with self._lock:
            rig, self._next_rig = self._next_rig, None
            forget, self._forget = self._forget, set()
        if rig is not None:
            self.pipeline.recalibrate(rig)
        if self._budget is not None and self._step != self._budget.step:
            self._step = self._budget.step
            self.pipeline.resize(self._step.height, self._step.width)
        for sensor in forget:
            self.pipeline.reset(sensor)

    def _keep_budget(self, latency_ns: int, work_ns: int) -> None:
        """Takes a smaller grid from the next frame on, or a larger one, as the budget has it."""
        budget = self._budget
        if budget is None:
            return
        budget.record(latency_ns, work_ns)
        if budget.level == 0:
            self._episodes.clear("latency budget")
            return
        step = budget.step
        self._episodes.report(
            "latency budget",
            f"labels came later than latency_budget_ms ({budget.budget_ns / 1e6:.0f} ms): the network runs on a "
            f"smaller grid, {step.width} x {step.height}, for which its validated mIoU does not hold",
        )

    def _tell_problems(self, stack: Stack) -> None:
        for name, sentence in stack.problems.items():
            self.counters[f"turned_down.{name}"] += 1
            said = f"a payload of '{name}' is not used, {stack.absent[name].value}: {sentence}"
            self._episodes.report(f"payload of {name}", said, name, True)
        for name in stack.sensors:
            self._episodes.clear(f"payload of {name}")

    def _account(
        self, frame_set: FrameSet, segmentation: Segmentation, stages: dict[str, int], published_ns: int
    ) -> None:
        labelled = segmentation.confidence[segmentation.confidence > 0]
        confidence = float(labelled.mean()) if labelled.size else 0.0
        self.counters["frames_out"] += 1
        if self._published_ns and published_ns < self._published_ns[-1]:
            self._published_ns.clear()  # the clock has jumped
        self._published_ns.append(published_ns)
        self.latencies.add(stages)
        self.last = LastOutput(
            segmentation.stamp_ns, segmentation.subset, frame_set.reference, published_ns, confidence
        )
        self._episodes.clear("output")
        self._outputs.publish_status(segmentation, self._status(frame_set, segmentation, stages))

    def _status(self, frame_set: FrameSet, segmentation: Segmentation, stages: dict[str, int]) -> dict[str, Any]:
        last = self.last
        assert last is not None
        return {
            "stamp_ns": last.stamp_ns,
            "subset": last.subset,
            "reference": last.reference,
            "due_ns": frame_set.due_ns,
            "closed_ns": frame_set.closed_ns,
            "published_ns": last.published_ns,
            "confidence": last.confidence,
            **{f"absent.{name}": why.value for name, why in segmentation.absent.items()},
            **{f"skew_ms.{name}": skew / 1e6 for name, skew in frame_set.skew_ns.items()},
            **{f"stage_ms.{stage}": duration / 1e6 for stage, duration in stages.items()},
        }
