# SPDX-License-Identifier: Apache-2.0
"""The segmentor without its network, for the benchmark of the node's cost.

Run as ``python -m benchmarks.node_cost_segmentor hand_over|publish --ros-args ...``. With ``hand_over`` the worker
lets go of a frame set as soon as it has it; with ``publish`` it does all its work, but the network's answer is a
constant. Ended by SIGINT, it prints as a line of JSON what it received and how long sets took to reach the worker.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from anyseg_ros.nodes import runner
from anyseg_ros.nodes.frame_processor import Prepared
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.segmentor_node import SegmentorNode, make
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import FrameSet

MODES = ("hand_over", "publish")


class NoEngine:
    """Everything of an engine but the network: class 0 everywhere."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer_batch(self, stacks: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """As ``Engine.infer_batch``, of constants."""
        sizes = [stack.shape[-2:] for stack in stacks]
        return [(np.zeros(size, np.uint8), np.ones(size, np.float32)) for size in sizes]


class Stopwatch:
    """A frame processor that notes when each frame set reached the worker.

    Args:
        processor: what answers frame sets; everything but the beginning of it is its.
        works: whether sets are answered at all.
    """

    def __init__(self, processor: Any, works: bool) -> None:
        self._processor = processor
        self._works = works
        self.delays_ns: list[int] = []
        self.sizes: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def prepare(self, frame_set: FrameSet) -> Prepared | None:
        """Takes over from the executor's thread: ``closed_ns`` is when the completing message's callback began."""
        self.delays_ns.append(time.monotonic_ns() - frame_set.closed_ns)
        self.sizes[len(frame_set.present)] += 1
        return self._processor.prepare(frame_set) if self._works else None


class SegmentorWithoutNetwork(SegmentorNode):
    """Receives, decodes events, synchronises, hands over, reports to /diagnostics; no inference."""

    def __init__(self, works: bool) -> None:
        self._works = works
        self.stopwatch: Stopwatch | None = None
        super().__init__()

    def make_pipeline(self, rig: Rig, settings: SegmentorParameters) -> Pipeline:
        """The segmentor's own pipeline without the network."""
        pipeline = super().make_pipeline(rig, settings)
        pipeline.engine = NoEngine(pipeline.engine)  # type: ignore[assignment]
        return pipeline

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Puts the stopwatch before the worker."""
        result = super().on_configure(state)
        if self._configured is not None:
            (only,) = self._configured.rigs
            self.stopwatch = Stopwatch(only.processor, self._works)
            watched = replace(only, processor=self.stopwatch)  # type: ignore[arg-type]
            self._configured = replace(self._configured, rigs=(watched,))
        return result

    def destroy_node(self) -> None:
        """Says what was received before the session goes."""
        session, watch = self._session, self.stopwatch
        if session is not None and watch is not None:
            counts = session.rigs[0].loop.synchronizer.counts()
            told = {
                "received": {name: count["received"] for name, count in counts.items()},
                "sensors_per_set": dict(watch.sizes),
                "delays_us": [round(delay / 1000) for delay in watch.delays_ns],
            }
            print(json.dumps(told), flush=True)
        super().destroy_node()


def main() -> int:
    """Entry point."""
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode not in MODES:
        print(f"error: '{mode}' is no mode; expected one of {', '.join(MODES)}", file=sys.stderr)
        return 2
    return runner.run(lambda: make(partial(SegmentorWithoutNetwork, mode == "publish")))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
