# SPDX-License-Identifier: Apache-2.0
"""Alive but blind: what the payload checks turn down, and what they must let through."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_kit import MS, START_NS, full_set, measurement, random_image, small_rig, tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.bags.road_frame import load_road
from anyseg_ros.modality import Modality
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.checks import LIMITS, CheckLimits, FrozenDetector, RejectedPayload, check_cloud, check_image
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import DEFAULT, PRESETS
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.types import Absence

DATA = os.environ.get("ANYSEG_TEST_DATA", "")
WHOLE = (0, 0, 40, 50)


def planes_with(share, level, rng, rest=(30, 200)):
    """Levels [3,40,50] 0..255 of which a share has the same level in all channels."""
    planes = rng.integers(*rest, (3, 2000)).astype(np.float32)
    planes[:, : round(share * 2000)] = level
    return planes[:, rng.permutation(2000)].reshape(3, 40, 50)


def verdict(planes, full_scale=255.0, content=WHOLE, limits=LIMITS):
    try:
        check_image("front", planes, content, full_scale, limits)
    except RejectedPayload as error:
        assert error.absence is Absence.BLIND and "'front'" in str(error)
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("share", "level", "sentence"),
    [
        (0.96, 0, "96.0 percent of the image of 'front' are black, expected less than 95: covered or dark"),
        (0.95, 5, "95.0 percent"),
        (0.94, 0, ""),
        (0.96, 6, ""),
        (0.96, 255, "96.0 percent of the image of 'front' are saturated"),
        (0.95, 250, "95.0 percent"),
        (0.94, 255, ""),
        (0.96, 249, ""),
        (1.0, 128, "of one colour (standard deviation 0.00 grey levels, mean 128)"),
        (1.0, 0, "of one colour"),
    ],
)
def test_black_saturated_and_one_colour(share, level, sentence):
    rng = np.random.default_rng(2)
    planes = planes_with(share, level, rng)
    said = verdict(planes)
    assert sentence in said and bool(sentence) == bool(said)
    assert bool(verdict(planes / np.float32(255), 1.0)) == bool(sentence), "whatever full scale is"


def test_a_coloured_light_is_not_black_and_a_red_sky_not_saturated():
    planes = planes_with(1.0, 0, np.random.default_rng(0))
    planes[0, :, ::2] = 60
    assert verdict(planes) == ""
    planes[:] = 255
    planes[2, :, ::2] = 100
    assert verdict(planes) == ""


def test_a_night_with_a_few_lamps_is_seen():
    """A road at night: read-out noise over darkness, the beam of the headlights, some lamps."""
    rng = np.random.default_rng(3)
    planes = np.abs(rng.normal(2, 1.2, (3, 40, 50))).astype(np.float32)
    planes[:, 28:36, 15:35] += rng.uniform(20, 60, (1, 8, 20)).astype(np.float32)
    planes[:, 10, ::9] = 240
    assert verdict(planes) == ""
    planes[:, 28:36] = planes[:, :8] * 1.2
    planes[:, 10, ::9] = 3
    assert "black" in verdict(planes)


def test_only_the_camera_image_counts():
    planes = np.zeros((3, 40, 50), np.float32)
    content = (18, 20, 4, 6)
    planes[:, 18:22, 20:26] = np.random.default_rng(0).integers(30, 200, (3, 4, 6))
    assert verdict(planes, content=content) == "" and "black" in verdict(planes)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_shares_are_counted_as_numpy_counts_them(count, level):
    planes = planes_with(count / 2000, level, np.random.default_rng(count))
    dark = (planes.max(0) <= 5).mean()
    bright = (planes.min(0) >= 250).mean()
    one_colour = planes.reshape(3, -1).astype(np.float64).std(1).max() < 1.0
    assert bool(verdict(planes)) == (dark >= 0.95 or bright >= 0.95 or one_colour)


def test_a_large_picture_is_judged_by_a_sample_of_its_pixels():
    rng = np.random.default_rng(7)
    planes = rng.integers(30, 200, (3, 600, 800)).astype(np.float32)
    assert verdict(planes, content=(0, 0, 600, 800)) == ""
    planes[:, :, 30:] = 0
    assert "black" in verdict(planes, content=(0, 0, 600, 800))


def test_clouds_need_points_in_view():
    check_cloud("roof", 20, 9000)
    with pytest.raises(RejectedPayload, match="19 of 9000 points of 'roof' are in view, expected at least 20") as error:
        check_cloud("roof", 19, 9000)
    assert error.value.absence is Absence.BLIND
    check_cloud("roof", 3, 9000, CheckLimits(min_points_in_view=3))


def test_a_frozen_depth_image_is_noticed_in_spite_of_its_holes():
    depth = np.full((40, 50), 7.0, np.float32)
    depth[3] = np.nan
    detector = FrozenDetector()
    detector("depth", 0, depth)
    detector("depth", 1, depth.copy())
    with pytest.raises(RejectedPayload, match="'depth' sent the same image 3 times") as error:
        detector("depth", 2, depth.copy())
    assert error.value.absence is Absence.FROZEN
    depth[0, 0] = np.nan
    detector("depth", 3, depth.copy())


def test_the_pipeline_drops_a_frozen_depth_camera(tmp_path):
    rig = small_rig()
    own = Sensor("depth", Modality.DEPTH, "d", rig.sensors[0].base_from_sensor, model=rig.sensors[0].model)
    rig = replace(rig, sensors=(*rig.sensors, own))
    pipeline = Pipeline(rig, tiny_checkpoint(tmp_path / "t.safetensors"), device="cpu", threads=1)
    rng = np.random.default_rng(0)
    depth = rng.uniform(3, 30, (36, 64)).astype(np.float32)
    depth[0] = np.nan
    subsets = []
    for k in range(4):
        others = full_set(rig, rng, START_NS + k * 100 * MS)
        own_measurement = measurement(rig, "depth", others.stamp_ns, depth.copy())
        subsets.append(pipeline(replace(others, present=others.present | {"depth": own_measurement})).subset)
    assert subsets == ["CDEL", "CDEL", "CEL", "CEL"]


def test_a_mostly_black_picture_costs_the_camera_only(tmp_path):
    pipeline = Pipeline(small_rig(), tiny_checkpoint(tmp_path / "t.safetensors"), device="cpu", threads=1)
    rng = np.random.default_rng(0)
    image = random_image(rng)
    image[:, 2:] = 0
    segmentation = pipeline(full_set(pipeline.rig, rng, camera=image))
    assert segmentation.subset == "EL" and segmentation.absent == {"camera": Absence.BLIND}


@pytest.mark.skipif(not DATA, reason="ANYSEG_TEST_DATA is not set: no real road frame")
@pytest.mark.parametrize("encoding", [DEFAULT, PRESETS["release"]], ids=lambda encoding: encoding.name)
def test_a_real_picture_passes_until_it_is_dark(encoding):
    rig, image, _ = load_road(Path(DATA) / "road_frame")
    encoder = Encoder(rig, 160, 288, encoding)

    def passes(picture):
        try:
            check_image("camera", encoder._images.camera(rig.sensor("camera"), picture), encoder.grid.content,
                        encoding.camera.full_scale)  # fmt: skip
        except RejectedPayload:
            return False
        return True

    assert passes(image) and passes(image // 8)
    assert not passes(image // 64) and not passes(np.maximum(image, 252))
