# SPDX-License-Identifier: Apache-2.0
"""A camera that repeats its image under new stamps is not used, in the pipeline as in its detector."""

from __future__ import annotations

import numpy as np
import pytest
from bag_kit import MS, START_NS, full_set, random_image, small_rig, tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.checks import FrozenDetector, RejectedPayload
from anyseg_ros.types import Absence


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(small_rig(), tiny_checkpoint(tmp_path / "tiny.safetensors"), device="cpu", threads=1)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_frozen_camera(pipeline, rng):
    image, subsets = random_image(rng), []
    for k in range(5):
        t = START_NS + k * 100 * MS
        segmentation = pipeline(full_set(pipeline.rig, rng, t, camera=image if k < 4 else random_image(rng)))
        subsets.append(segmentation.subset)
        if k in (2, 3):
            assert segmentation.absent == {"camera": Absence.FROZEN}
    assert subsets == ["CEL", "CEL", "EL", "EL", "CEL"]


def frozen(detector, stamp_ns, image):
    try:
        detector("camera", stamp_ns, image)
    except RejectedPayload as error:
        assert error.absence is Absence.FROZEN
        return True
    return False


def test_one_image_used_in_several_sets_is_not_frozen():
    detector, image = FrozenDetector(), np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    assert not any(frozen(detector, 5, image) for _ in range(10))
    detector.reset()
    assert [frozen(detector, k, image.copy()) for k in range(4)] == [False, False, True, True]


def test_a_reset_of_one_sensor_lets_no_other_frozen_one_back_in(pipeline, rng):
    image = random_image(rng)

    def use(k):
        return pipeline(full_set(pipeline.rig, rng, START_NS + k * 100 * MS, camera=image)).subset

    assert [use(k) for k in range(3)] == ["CEL", "CEL", "EL"]
    pipeline.reset("lidar")
    assert use(3) == "EL"
    pipeline.reset("camera")
    assert [use(k) for k in range(4, 7)] == ["CEL", "CEL", "EL"]
    pipeline.reset()
    assert use(7) == "CEL"


@given(st.lists(st.integers(0, 1), min_size=1, max_size=20))
def test_frozen_is_the_third_in_a_row(kinds):
    detector = FrozenDetector()
    images = [np.full((40, 4, 3), kind, np.uint8) for kind in (0, 1)]
    images[1][:] = images[0]
    images[1][17] = 1  # differs only in a row that the quick look skips
    for k in range(len(kinds)):
        expected = k >= 2 and kinds[k] == kinds[k - 1] == kinds[k - 2]
        assert frozen(detector, k, images[kinds[k]].copy()) == expected
