# SPDX-License-Identifier: Apache-2.0
"""Training and run time apply the same rule: a scene gives the same tensors packed as replayed from a bag."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from anyseg_training.muses import read_measurements, read_rig, read_scenes
from anyseg_training.samples import MODALITIES, stored
from bag_kit import GRID, tiny_checkpoint
from tiny_muses import CAMERA_SIZE, pack_of, write_tiny_muses

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.presets import PRESETS
from anyseg_ros.types import FrameSet, Points

ABSENCES = {"camera": "blind", "lidar": "blind", "event": "empty"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five scenes, of which three have one payload each that must not be used."""
    root = write_tiny_muses(tmp_path_factory.mktemp("muses"), {"train": 5})
    scenes = read_scenes(root, "train")
    scenes[1].file(root, "lidar", "lidar.bin").write_bytes(b"")
    return root


def as_float32(points: Points) -> Points:
    """What a message carries of a cloud."""
    return replace(points, xyz=points.xyz.astype(np.float32), intensity=points.intensity.astype(np.float32))


def through_a_bag(path, rig, data):
    """The measurements of a scene as a bag's reader gives them."""
    payloads = {name: measurement.payload for name, measurement in data.measurements.items()}
    ns = data.reference_ns
    with BagWriter(path) as writer:
        writer.write_image("/camera", ns, ns, "camera_optical_frame", payloads["camera"])
        writer.write_points("/lidar", ns, ns, "lidar", as_float32(payloads["lidar"]))
        writer.write_events("/events", ns, ns, "event_camera_optical_frame", payloads["event"])
    with BagReader(path) as reader:
        return {measurement.sensor: measurement for _, measurement in reader.measurements(rig)}


@pytest.mark.parametrize("name", PRESETS)
def test_a_packed_scene_is_the_replayed_one_bit_for_bit(dataset, tmp_path, name):
    encoding = PRESETS[name]
    pack, _ = pack_of(dataset, tmp_path / "pack", GRID, encoding=encoding)
    checkpoint = tiny_checkpoint(tmp_path / "net.safetensors", encoding.fingerprint, parameters=encoding.parameters())
    scenes = read_scenes(dataset, "train")
    rig = read_rig(dataset, scenes[0])
    pipeline = Pipeline(rig, checkpoint, device="cpu", threads=1)
    for i, scene in enumerate(scenes):
        data = read_measurements(dataset, scene, rig)
        present = through_a_bag(tmp_path / f"bag{i}", rig, data)
        assert set(present) == set(MODALITIES)
        stack = pipeline.encode(FrameSet(data.reference_ns, "camera", present))
        for m, sensor in enumerate(pack.modalities):
            assert (sensor in stack.raw) == pack.present[i, m], stack.problems
            if sensor in stack.raw:
                again = stored(sensor, stack.raw[sensor], encoding)
                np.testing.assert_array_equal(again, pack.arrays[sensor][i])
        why = {entry["modality"]: entry["reason"] for entry in pack.index["absent"] if entry["scene"] == scene.name}
        assert {sensor: reason.value for sensor, reason in stack.absent.items()} == why
    assert len(pack.index["absent"]) == 1 and CAMERA_SIZE == (64, 48)
