# SPDX-License-Identifier: Apache-2.0
"""The segmentor with an engine that fails on command, for tests: ``~/engine_mood`` takes slow, raise, memory and well.

Run it as the segmentor itself, with ``python -m anyseg_ros.nodes.segmentor_under_fault``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from std_msgs.msg import String

from anyseg_ros.engine.engine import Engine
from anyseg_ros.nodes import qos, runner
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.segmentor_node import SegmentorNode, make
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.rig import Rig

SLOW_S = 0.35  # three and a half periods of a 10 Hz camera


class MoodyEngine:
    """An engine that answers, dawdles or fails as its mood has it.

    Args:
        engine: what answers; everything but ``infer_batch`` is its.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.mood = "well"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer_batch(self, stacks: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """As ``Engine.infer_batch``.

        Raises:
            RuntimeError, MemoryError: it is in the mood.
        """
        mood = self.mood
        if mood == "raise":
            raise RuntimeError("the engine was told to fail")
        if mood == "memory":
            raise MemoryError("the engine was told to run out of memory")
        if mood == "slow":
            threading.Event().wait(SLOW_S)
        return self._engine.infer_batch(stacks)


class SegmentorUnderFault(SegmentorNode):
    """A segmentor whose engine can be told to fail."""

    def __init__(self, **options: Any) -> None:
        self._engine: MoodyEngine | None = None
        super().__init__(**options)
        self.create_subscription(String, "~/engine_mood", self._on_mood, qos.latched())

    def make_pipeline(self, rig: Rig, settings: SegmentorParameters) -> Pipeline:
        """The segmentor's own pipeline, with the moody engine."""
        pipeline = super().make_pipeline(rig, settings)
        self._engine = MoodyEngine(pipeline.engine)
        pipeline.engine = self._engine  # type: ignore[assignment]
        return pipeline

    def _on_mood(self, msg: String) -> None:
        if self._engine is not None:
            self._engine.mood = msg.data


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return runner.run(lambda: make(SegmentorUnderFault), args=args)


if __name__ == "__main__":
    sys.exit(main())
