# SPDX-License-Identifier: Apache-2.0
"""Encodings are settled: networks were trained on these numbers.

Whoever changes one of them on purpose raises ``presets.VERSION``, trains again, and puts the new numbers here. A change
that moves the numbers and not the version would feed every checkpoint with what it was not trained on, silently.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.presets import DEFAULT, PRESETS, EventEncoding
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Events, Measurement, Points

NOW_NS = 1_700_000_000_000_000_000
FINGERPRINTS = {
    "default": "814715183718ca1c8a567d16aa6e6917a68d64a1bd5d16907c531453aa642249",
    "muses_sdk": "c1fb8e530cc675d5cf14e088133ac9d74d7f1d0ebb8e2f87ed3b809f0d017fd5",
    "release": "e09ce935f359cd07c1ad28ac6e0529aeaf90b0d9f24c6e8b7f992e4027303a6b",
}
# Sum of each channel, and its sum weighted by a wave over the grid, so that what moves to other pixels is seen, too.
SETTLED = {
    ("default", "camera"): [780.549036, 749.427472, 717.55296, 381.352383, 367.809632, 350.483251],
    ("default", "lidar"): [10752.9229, 385.1804, 1346.9375, 5100.3133, 187.276009, 636.842139],
    ("default", "event"): [200.000004, 100.000002, 930.746333, 96.1618576, 47.824743, 448.685543],
    ("muses_sdk", "camera"): [1040.75296, 1001.37258, 956.980418, 511.024228, 498.632114, 470.897365],
    ("muses_sdk", "lidar"): [13261.5861, 49893.0, 11820.75, 6525.77827, 23945.7732, 5843.5116],
    ("muses_sdk", "event"): [2000.0, 1001.0, 0.0, 983.989691, 493.43299, 0.0],
    ("release", "camera"): [266111.0, 256004.0, 244860.0, 130655.515, 127498.784, 120465.103],
    ("release", "lidar"): [123636.0, 136454.0, 124107.0, 60857.3299, 67323.3196, 61078.2371],
    ("release", "event"): [0.0, 488.0, 511.0, 0.0, 240.43299, 258.216495],
    ("voxel_grid", "event"): [25.02565, 50.0014833, 24.9228667, 12.225982, 23.8970846, 11.9976807],
    ("time_surface", "event"): [500.651741, 282.178004, 300.000008, 239.95962, 134.633933, 143.986602],
}


def rig():
    """Axes of all sensors are parallel, so that the numbers hang on no rounding of rotations."""
    lidar = np.array([[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 2.0], [0, 0, 0, 1]])  # x right, y down, z ahead
    camera, event = lidar.copy(), lidar.copy()
    camera[:3, 3], event[:3, 3] = (1.5, 0.25, 1.5), (1.5, -0.25, 1.5)
    K = np.array([[40.0, 0, 47.5], [0, 40, 31.5], [0, 0, 1]])
    return Rig(
        "settled",
        "base_link",
        (
            Sensor("camera", Modality.CAMERA, "c", camera, model=CameraModel(96, 64, K)),
            Sensor("lidar", Modality.LIDAR, "l", lidar, intensity_scale=1 / 255),
            Sensor("event", Modality.EVENT, "e", event, model=CameraModel(96, 64, K)),
        ),
        "camera",
    )


def payloads():
    """Made by arithmetic alone: no generator of random numbers is the same for ever."""
    v, u = np.mgrid[:64, :96]
    picture = np.stack([(7 * u + 3 * v) % 256, (5 * u * v) % 256, (u * u + v) % 256], axis=2).astype(np.uint8)
    k = np.arange(4000)
    xyz = np.stack([(k * 37 % 401 - 200) / 8, (k * 53 % 101 - 50) / 16, 0.5 + (k * 17 % 997) / 8], axis=1)
    events = Events(
        (k * 29 % 96).astype(np.uint16), (k * 7 % 23 + k % 41).astype(np.uint16), NOW_NS - (3999 - k) * 10_000,
        (k % 3 > 0).astype(np.uint8), 96, 64,
    )  # fmt: skip
    return {"camera": picture, "lidar": Points(xyz.astype(np.float32), (k % 256).astype(np.float32)), "event": events}


def numbers(encoding, name):
    modality = Modality(name)
    image = Encoder(rig(), 32, 64, encoding)(Measurement(name, modality, NOW_NS, payloads()[name]), NOW_NS).image
    wave = np.arange(32 * 64).reshape(32, 64) % 97 / 97
    planes = image.astype(np.float64)
    return [*planes.sum((1, 2)), *(planes * wave).sum((1, 2))]


@pytest.mark.parametrize("name", PRESETS)
def test_the_fingerprints_of_the_presets_stay(name):
    assert PRESETS[name].fingerprint == FINGERPRINTS[name]


ENCODINGS = {
    **PRESETS,
    "voxel_grid": replace(DEFAULT, event=EventEncoding("voxel_grid")),
    "time_surface": replace(DEFAULT, event=EventEncoding("time_surface")),
}


@pytest.mark.parametrize(("encoding", "name"), SETTLED)
def test_the_tensors_stay(encoding, name):
    tolerance = 1e-2 if name == "camera" else 1e-6  # resizing differs a little between versions of OpenCV
    assert numbers(ENCODINGS[encoding], name) == pytest.approx(SETTLED[encoding, name], rel=tolerance, abs=tolerance)
