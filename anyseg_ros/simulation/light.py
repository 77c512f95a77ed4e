# SPDX-License-Identifier: Apache-2.0
"""Sun, sky, lamps and headlights of one drive, and the radiance that they give to what a ray hit.

Radiance is relative: a white wall in full sun is about 1. Night is four orders of magnitude darker away from
lamps, as outdoors; what a sensor makes of that is the sensor's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyseg_ros.simulation.shading import shade_kernel, sky_kernel
from anyseg_ros.simulation.weather import Weather

LAMP_REACH_M = 40.0
MAX_LAMPS = 24


@dataclass(frozen=True)
class Light:
    """What lights one drive.

    Attributes:
        night: whether lamps and headlights are on.
        sun_direction: float32 [3], from the ground towards the sun (or the moon).
        sun: float32 [3], irradiance; 0 under a closed sky.
        zenith, horizon: float32 [3], radiance of the sky straight up and along the horizon.
        ground: float32 [3], radiance that the ground sends back up, on average.
        clouds: 0 blue sky .. 1 overcast.
        cloud_seed: where the clouds are.
        headlight: radiant intensity of one headlight, 0 when off.
        lamp_gain: factor on the world's lamps, 0 by day.
    """

    night: bool
    sun_direction: np.ndarray
    sun: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    ground: np.ndarray
    clouds: float
    cloud_seed: float
    headlight: float
    lamp_gain: float

    @property
    def airlight(self) -> np.ndarray:
        """float32 [3]: what fog looks like from inside."""
        return (0.8 * self.horizon + 0.2 * self.zenith + 0.12 * self.sun).astype(np.float32)


def _rgb(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def sample_light(rng: np.random.Generator, time_of_day: str, weather: Weather) -> Light:
    """Draw the light of a drive.

    Raises:
        ValueError: the time of day is neither ``day`` nor ``night``.
    """
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.deg2rad(rng.uniform(12.0, 65.0))
    direction = _rgb(np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    cloud_seed = float(rng.uniform(0.0, 1000.0))
    if time_of_day == "night":
        return _night(rng, direction, cloud_seed)
    if time_of_day != "day":
        raise ValueError(f"time of day '{time_of_day}' is unknown; give day or night")
    overcast = weather.kind != "clear" or rng.random() < 0.35
    clouds = rng.uniform(0.8, 1.0) if overcast else rng.uniform(0.0, 0.6)
    warmth = float(np.clip(1.0 - elevation / 0.8, 0.0, 1.0)) * rng.uniform(0.3, 1.0)
    sun = np.pi * _rgb(1.0, 1.0 - 0.2 * warmth, 0.92 - 0.45 * warmth) * rng.uniform(0.75, 1.0)
    sun = sun * (rng.uniform(0.0, 0.08) if overcast else 1.0 - 0.35 * clouds)
    blue, grey = _rgb(0.08, 0.17, 0.42), _rgb(0.42, 0.45, 0.5)
    level = rng.uniform(0.6, 1.3)
    zenith = level * ((1 - clouds) * blue + clouds * grey)
    horizon = level * ((1 - clouds) * _rgb(0.27, 0.36, 0.5) + clouds * _rgb(0.55, 0.56, 0.58))
    ground = 0.15 * (zenith + sun * direction[2] / np.pi)
    return Light(
        False, direction, sun.astype(np.float32), zenith.astype(np.float32), horizon.astype(np.float32),
        ground.astype(np.float32), float(clouds), cloud_seed, 0.0, 0.0,
    )  # fmt: skip


def _night(rng: np.random.Generator, direction: np.ndarray, cloud_seed: float) -> Light:
    glow = float(np.exp(rng.uniform(np.log(4e-4), np.log(2.5e-3))))  # the city's light on the sky
    tint = _rgb(1.0, rng.uniform(0.75, 0.95), rng.uniform(0.6, 1.0))
    moon = _rgb(0.8, 0.9, 1.0) * float(rng.uniform(0.0, 1.0)) * 1e-3
    zenith, horizon = 0.4 * glow * tint, glow * tint
    return Light(
        True, direction, moon, zenith, horizon, (0.15 * glow * tint).astype(np.float32),
        float(rng.uniform(0.0, 1.0)), cloud_seed, float(rng.uniform(1.0, 2.5)), float(rng.uniform(2.0, 6.0)),
    )  # fmt: skip


def near_lamps(world, light: Light, world_from_base: np.ndarray, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """The world's lamps that matter around the vehicle: positions and colours, float32 [L,3] each."""
    if light.lamp_gain == 0.0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
    position, colour = world.lights(t_ns)
    position = np.asarray(position, np.float32).reshape(-1, 3)
    colour = np.asarray(colour, np.float32).reshape(-1, 3) * np.float32(light.lamp_gain)
    ahead = (world_from_base[:3, 3] + 20.0 * world_from_base[:3, 0]).astype(np.float32)
    # The beams of the vehicle itself are shaped by the shading kernel.
    others = np.linalg.norm(position[:, :2] - world_from_base[:2, 3], axis=1) > 4.0
    position, colour = position[others], colour[others]
    nearest = np.argsort(np.linalg.norm(position - ahead, axis=1), kind="stable")[:MAX_LAMPS]
    return np.ascontiguousarray(position[nearest]), np.ascontiguousarray(colour[nearest])


def shade(
    light: Light,
    weather: Weather,
    hits,
    directions: np.ndarray,
    albedo: np.ndarray,
    emission: np.ndarray,
    sun_visible: np.ndarray,
    lamps: tuple[np.ndarray, np.ndarray],
    world_from_base: np.ndarray,
) -> np.ndarray:
    """Radiance that arrives along each ray: surfaces, sky, and the air in between (Koschmieder's law).

    Args:
        light: the drive's light.
        weather: the drive's weather.
        hits: what the rays hit (``world.Hits`` of N rays).
        directions: float32 [N,3], unit, world frame.
        albedo: float32 [N,3], diffuse reflectance, linear RGB.
        emission: float32 [N,3], radiance that the surface gives out itself.
        sun_visible: float32 [N], 1 where the sun reaches the hit, 0 in shadow.
        lamps: positions and colours, float32 [L,3] each.
        world_from_base: float64 [4,4]; the headlights ride on the vehicle.

    Returns:
        float32 [N,3].
    """
    directions = np.ascontiguousarray(directions, np.float32)
    range_m = np.asarray(hits.range_m, np.float32)
    out = np.empty((len(range_m), 3), np.float32)
    sky_kernel(
        range_m, directions, light.zenith, light.horizon, light.sun, light.sun_direction,
        np.float32(light.clouds), np.float32(light.cloud_seed), out,
    )  # fmt: skip
    base_from_world = np.linalg.inv(world_from_base).astype(np.float32)
    shade_kernel(
        range_m, np.asarray(hits.class_id), np.asarray(hits.normal, np.float32),
        np.asarray(hits.position, np.float32), directions,
        np.asarray(albedo, np.float32), np.asarray(emission, np.float32), np.asarray(sun_visible, np.float32),
        light.sun_direction, light.sun, light.zenith, light.horizon, light.ground,
        lamps[0], lamps[1], np.float32(LAMP_REACH_M), base_from_world, np.float32(light.headlight),
        np.float32(weather.extinction_per_m), light.airlight, np.float32(weather.wetness),
        np.float32(weather.snow_cover), out,
    )  # fmt: skip
    return out
