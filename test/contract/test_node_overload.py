# SPDX-License-Identifier: Apache-2.0
"""What the node does when the network is too slow for its latency budget, or fails."""

import time
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
from anyseg_ros.nodes.segmentor_under_fault import SLOW_S, MoodyEngine  # noqa: E402
from anyseg_ros.pipeline import Pipeline  # noqa: E402
from anyseg_ros.types import FrameSet, Measurement  # noqa: E402


def test_a_latency_budget_makes_the_grid_smaller_and_says_so(tmp_path):
    write_checkpoint(tmp_path / "net.safetensors")
    rig, clock, camera = small_rig(), [0], np.random.default_rng(0)
    pipeline = Pipeline(rig, tmp_path / "net.safetensors", "cpu", threads=1)
    episodes = Episodes(lambda s: None, lambda s: None)
    sizes = []

    class Slow:
        """Publishes late, as long as the grid is large."""

        def publish_labels(self, pipeline, segmentation):
            sizes.append(segmentation.labels.shape)
            clock[0] += 200 * MS if segmentation.labels.shape == GRID else 20 * MS
            return segmentation

        def publish_on_demand(self, *args):
            pass

        def publish_status(self, *args):
            pass

    budget = LatencyBudget(100 * MS, grid_steps(*GRID))
    processor = FrameProcessor(pipeline, Slow(), lambda: clock[0], episodes, budget)
    for number in range(1, 12):
        picture = Measurement("camera", Modality.CAMERA, number * MS, image(camera), "cam")
        assert answer([(processor, FrameSet(number * MS, "camera", {"camera": picture}, closed_ns=clock[0]))]) == [None]
    assert sizes[0] == GRID and sizes[-1] == (64, 96) and not pipeline.full_size
    (trouble,) = episodes.about("output")
    assert "96 x 64" in trouble.sentence and "100 ms" in trouble.sentence
    assert processor.counters["frames_out"] == 11


def test_an_engine_fails_as_it_is_told_and_is_well_again():
    engine = SimpleNamespace(infer_batch=lambda stacks: [("labels", "confidence")], device="cpu")
    moody = MoodyEngine(engine)
    assert moody.infer_batch([None]) == [("labels", "confidence")] and moody.device == "cpu"
    for mood, error in (("raise", RuntimeError), ("memory", MemoryError)):
        moody.mood = mood
        with pytest.raises(error, match="was told to"):
            moody.infer_batch([None])
    moody.mood = "slow"
    began = time.monotonic()
    assert moody.infer_batch([None]) == [("labels", "confidence")] and time.monotonic() - began >= SLOW_S
    moody.mood = "well"
    assert moody.infer_batch([None]) == [("labels", "confidence")]
