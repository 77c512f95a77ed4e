# SPDX-License-Identifier: Apache-2.0
"""A forward-looking lidar: one sweep is 600 columns fired from left to right while the vehicle moves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anyseg_ros.simulation.weather import Weather
from anyseg_ros.types import Points

RINGS = 64
COLUMNS = 600
AZIMUTH_DEG = (60.0, -60.0)  # left to right
ELEVATION_DEG = (10.0, -20.0)  # ring 0 looks highest
CHUNKS = 3  # movers stand still within a third of a sweep, at a time on this grid (building them costs):
CHUNK_GRID_NS = 10_000_000
MIN_RANGE_M = 0.8
RANGE_NOISE_M = 0.02
# A wall that reflects 10 % at normal incidence is seen with probability one half at this range in clear air.
HALF_RANGE_M = 110.0
JITTER_DEG = 0.7
JITTER_RANGE_M = 0.15


@dataclass(frozen=True)
class Sweep:
    """Directions and times of one sweep, in the lidar's frame.

    Attributes:
        directions: float32 [COLUMNS, RINGS, 3], unit.
        t_ns: int64 [COLUMNS], relative to the stamp, which is the middle of the sweep.
        ring: uint16 [RINGS].
    """

    directions: np.ndarray
    t_ns: np.ndarray
    ring: np.ndarray


def sweep_pattern(period_ns: int) -> Sweep:
    """The pattern that every sweep of the given duration follows."""
    azimuth = np.deg2rad(np.linspace(*AZIMUTH_DEG, COLUMNS))[:, None]
    elevation = np.deg2rad(np.linspace(*ELEVATION_DEG, RINGS))[None, :]
    directions = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation) + 0 * azimuth],
        axis=-1,
    )
    t_ns = (2 * np.arange(COLUMNS, dtype=np.int64) + 1 - COLUMNS) * period_ns // (2 * COLUMNS)
    return Sweep(directions.astype(np.float32), t_ns, np.arange(RINGS, dtype=np.uint16))


@dataclass(frozen=True)
class Returns:
    """What came back from one sweep before noise, [COLUMNS * RINGS] each."""

    range_m: np.ndarray
    cosine: np.ndarray
    reflectivity: np.ndarray


def fire(world: Any, surfaces: Any, sweep: Sweep, base_from_lidar: np.ndarray, t_ns: int) -> Returns:
    """Cast one sweep, each column from where the vehicle is at that moment."""
    world_from_lidar = (world.pose(t_ns + sweep.t_ns) @ base_from_lidar).astype(np.float32)
    directions = np.einsum("tij,trj->tri", world_from_lidar[:, :3, :3], sweep.directions)
    origins = np.broadcast_to(world_from_lidar[:, None, :3, 3], directions.shape)
    parts = []
    for columns in np.array_split(np.arange(COLUMNS), CHUNKS):
        towards = np.ascontiguousarray(directions[columns].reshape(-1, 3))
        middle_ns = t_ns + round(float(sweep.t_ns[columns].mean()) / CHUNK_GRID_NS) * CHUNK_GRID_NS
        hits = world.cast(np.ascontiguousarray(origins[columns].reshape(-1, 3)), towards, middle_ns)
        cosine = np.abs(np.einsum("ij,ij->i", towards, np.asarray(hits.normal, np.float32)))
        parts.append((hits.range_m, cosine, surfaces.reflectivity(hits)))
    return Returns(*(np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True)))


def measure(
    returns: Returns,
    sweep: Sweep,
    weather: Weather,
    max_range_m: float,
    intensity_scale: float,
    jitter: bool,
    rng: np.random.Generator,
) -> Points:
    """Turn returns into a point cloud: power, dropout, clutter, noise.

    Args:
        returns: from ``fire``.
        sweep: the pattern they were fired in.
        weather: attenuates, and puts returns from the air near the sensor into the cloud.
        max_range_m: no point is farther.
        intensity_scale: the rig's; the written intensity times this is 0..1.
        jitter: the corner case: columns shake and ranges are rough.
        rng: the noise of this sweep.

    Returns:
        Points in the lidar's frame, column by column, with times relative to the stamp.
    """
    count = len(returns.range_m)
    range_m = np.where(np.isfinite(returns.range_m), returns.range_m, np.float32(1e6))
    power = returns.reflectivity * returns.cosine * np.exp(-2.0 * weather.lidar_extinction_per_m * range_m)
    margin = power * (HALF_RANGE_M / range_m) ** 2 / 0.1
    # Speckle makes a weak return come and go: the detection limit is log-normal around one.
    seen = margin * np.exp(0.5 * rng.standard_normal(count, np.float32)) > 1.0
    seen &= rng.random(count) > 0.004
    intensity = returns.reflectivity * (0.35 + 0.65 * returns.cosine) * np.exp(-range_m / 90.0)
    intensity *= np.exp(-weather.lidar_extinction_per_m * range_m) * (1.0 + 0.08 * rng.standard_normal(count))
    in_air, air_range = _clutter(weather, range_m, rng)
    range_m = np.where(in_air, air_range, range_m)
    intensity = np.where(in_air, rng.exponential(0.03, count), intensity)
    noise = RANGE_NOISE_M * rng.standard_normal(count)
    directions = sweep.directions
    if jitter:
        noise += JITTER_RANGE_M * rng.standard_normal(count)
        directions = _shaken(directions, rng)
    range_m = range_m + noise
    keep = (seen | in_air) & (range_m > MIN_RANGE_M) & (range_m < max_range_m)
    xyz = directions.reshape(-1, 3)[keep] * range_m[keep, None]
    return Points(
        xyz.astype(np.float32),
        (np.clip(intensity[keep], 0.0, 1.0) / intensity_scale).astype(np.float32),
        np.repeat(sweep.t_ns, RINGS)[keep],
        np.tile(sweep.ring, COLUMNS)[keep],
    )


def _clutter(weather: Weather, range_m: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which rays return from the air (bool [N]) and from how far (float [N]): near ones first."""
    distance = MIN_RANGE_M + rng.gamma(1.6, 2.2, len(range_m))
    return (rng.random(len(range_m)) < weather.backscatter) & (distance < range_m), distance


def _shaken(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same directions with every column turned by a small random angle in azimuth and elevation."""
    turn = np.deg2rad(JITTER_DEG) * rng.standard_normal((2, len(directions), 1))
    azimuth = np.arctan2(directions[..., 1], directions[..., 0]) + turn[0]
    elevation = np.arcsin(np.clip(directions[..., 2], -1.0, 1.0)) + turn[1]
    return np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    )
