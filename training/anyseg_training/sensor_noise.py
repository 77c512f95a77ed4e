# SPDX-License-Identifier: Apache-2.0
"""What weather, wear and other makes do to a lidar and an event camera, drawn on images of the default encoding.

It works before anything moves (see ``augment``), so that it keeps every pixel where it is. A point of a cloud knows its
range and its height; with the height of the lidar, which the pack's index holds, that gives the beam it came from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

# A lidar with fewer or dirty beams: bands of this elevation fall silent, each with a chance of up to this.
BEAM_DEG = (0.2, 2.0)
BEAM_DROP_MAX = 0.5
# Noise of a range in m (standard deviation at most), and how far scales may be off.
RANGE_NOISE_MAX_M = 0.05
RANGE_SCALE = 0.005
INTENSITY_GAIN = (0.5, 2.0)
# Share of the pixels at most that an event camera's background activity reaches within the window.
STRAY_SHARE_MAX = 0.02


@dataclass(frozen=True)
class SensorNoise:
    """Noise for the samples of one pack.

    Attributes:
        content: (top, left, height, width) of the camera image on the grid; no event lies beside it.
        lidar_height_m: above the base frame.
        saturation: count of events that is 1 on the image.
        varied: modalities whose values may change.
    """

    content: tuple[int, int, int, int]
    lidar_height_m: float | None
    saturation: int
    varied: frozenset[str]

    @classmethod
    def of(cls, geometry: dict[str, Any], saturation: int, varied: Collection[str]) -> SensorNoise | None:
        """For a pack whose index has this geometry; None where it has none, or nothing may vary."""
        noisy = frozenset(varied) & {"event", "lidar"}
        if not noisy or "content" not in geometry:
            return None
        top, left, height, width = geometry["content"]
        return cls((top, left, height, width), geometry["lidar_height_m"], saturation, noisy)

    def __call__(self, images: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Modality name -> raw float32 [3,H,W], with new arrays for what changed."""
        out = dict(images)
        if "lidar" in self.varied & images.keys() and self.lidar_height_m is not None:
            out["lidar"] = vary_returns(drop_beams(images["lidar"], self.lidar_height_m, rng), self.lidar_height_m, rng)
        if "event" in self.varied & images.keys():
            out["event"] = stray_events(images["event"], self.content, self.saturation, rng)
        return out


def beams(cloud: np.ndarray, lidar_height_m: float, step_deg: float) -> np.ndarray:
    """Int [H,W]: number of the band of elevations that each return came from; 0 for the lowest, -1 for no return.

    Args:
        cloud: float32 [3,H,W]: range in m, intensity, height in m above the base frame.
        lidar_height_m: in the same frame; the lidar is taken to stand upright.
        step_deg: width of a band.
    """
    there = cloud[0] > 0
    sine = (cloud[2] - np.float32(lidar_height_m)) / np.where(there, cloud[0], np.float32(1))
    band = np.floor(np.degrees(np.arcsin(np.clip(sine, -1, 1))) / step_deg).astype(np.intp)
    if there.any():
        band -= band[there].min()
    return np.where(there, band, -1)


def drop_beams(cloud: np.ndarray, lidar_height_m: float, rng: np.random.Generator) -> np.ndarray:
    """Whole bands of elevation fall silent, as with fewer beams or dirt on the window."""
    band = beams(cloud, lidar_height_m, float(np.exp(rng.uniform(*np.log(BEAM_DEG)))))
    silent = rng.random(band.max() + 2) < rng.uniform(0.0, BEAM_DROP_MAX)
    silent[-1] = False  # where the number -1 of no return points to
    return cloud * ~silent[band]


def vary_returns(cloud: np.ndarray, lidar_height_m: float, rng: np.random.Generator) -> np.ndarray:
    """Ranges err, and with them the heights along the same ray; intensities have another scale."""
    scale = 1.0 + rng.uniform(-RANGE_SCALE, RANGE_SCALE)
    sigma_m = rng.uniform(0.0, RANGE_NOISE_MAX_M)
    gain = np.exp(rng.uniform(*np.log(INTENSITY_GAIN)))
    there = cloud[0] > 0
    range_m = cloud[0] * np.float32(scale)
    range_m += np.float32(sigma_m) * rng.standard_normal(range_m.shape, dtype=np.float32)
    range_m = np.maximum(range_m, np.float32(0.1))
    stretched = range_m / np.where(there, cloud[0], np.float32(1))
    height_m = lidar_height_m + (cloud[2] - np.float32(lidar_height_m)) * stretched
    out = np.stack([range_m, np.minimum(cloud[1] * np.float32(gain), 1.0), height_m]).astype(np.float32)
    return out * there


def stray_events(
    image: np.ndarray, content: tuple[int, int, int, int], saturation: int, rng: np.random.Generator
) -> np.ndarray:
    """Background activity: single events at random pixels, of either sign and any time in the window.

    Args:
        image: float32 [3,H,W]: count of ON and of OFF over the saturation, recency of the last event.
        content: where events can lie.
        saturation: of the counts.
        rng: source of randomness.
    """
    top, left, height, width = content
    out = image.copy()
    inner = out[:, top : top + height, left : left + width]
    struck = rng.random((height, width)) < rng.uniform(0.0, STRAY_SHARE_MAX)
    sign = rng.integers(0, 2, (height, width))
    when = rng.random((height, width), dtype=np.float32)
    for channel in (0, 1):
        inner[channel] += (struck & (sign == channel)) * np.float32(1.0 / saturation)
    np.minimum(inner[:2], 1.0, out=inner[:2])
    inner[2] = np.maximum(inner[2], when * struck)
    return out
