# SPDX-License-Identifier: Apache-2.0
"""A camera: exposure, lens, noise and tone curve, from radiance to 8-bit RGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anyseg_ros.simulation.render import Rendering

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
FULL_WELL_E = 9000.0  # electrons of a white pixel at gain 1
READ_NOISE_E = 7.0
TARGET_LEVEL = 0.2  # where auto-exposure wants the mean picture
UNIT_GAIN_EXPOSURE = 2.0  # beyond this exposure, brightness comes from gain, and noise with it
MAX_EXPOSURE = 24.0  # the shutter must not smear, and gain ends: at night the picture stays dark
SHUTTER_S = 0.012
BLURRED_SHUTTER_S = 0.09
BLUR_STEPS = 6


@dataclass(frozen=True)
class CameraLook:
    """How one camera on one drive pictures the world.

    Attributes:
        exposure_error: factor on what auto-exposure would choose.
        white_balance: float32 [3], factors on R, G, B.
        vignetting: share of light lost in the corners.
        blur_px: standard deviation of the lens's point spread.
        contrast: exponent on the tone curve; 1 is sRGB's own.
    """

    exposure_error: float
    white_balance: np.ndarray
    vignetting: float
    blur_px: float
    contrast: float


def sample_look(rng: np.random.Generator, corner: str | None) -> CameraLook:
    """Draw the camera's look for a drive, with the corner case's fault where it is the camera's."""
    error = 2.0 ** float(rng.normal(0.0, 0.3))
    balance = np.array([rng.normal(1.0, 0.06), 1.0, rng.normal(1.0, 0.06)], np.float32)
    look = CameraLook(error, balance, float(rng.uniform(0.1, 0.35)), float(rng.uniform(0.35, 0.7)),
                      float(rng.uniform(0.9, 1.1)))  # fmt: skip
    fault = {"overexposure": rng.uniform(5.0, 12.0), "underexposure": 1.0 / rng.uniform(8.0, 20.0)}.get(corner or "", 1)
    return CameraLook(error * float(fault), look.white_balance, look.vignetting, look.blur_px, look.contrast)


def blur_times(t_ns: int, corner: str | None) -> list[int]:
    """The instants that one exposure averages over, in ns; the stamp is the middle of the exposure."""
    if corner != "motion_blur":
        return [t_ns]
    span = int(BLURRED_SHUTTER_S * 1e9)
    return [t_ns + span * (2 * i + 1 - BLUR_STEPS) // (2 * BLUR_STEPS) for i in range(BLUR_STEPS)]


def auto_exposure(radiance: np.ndarray) -> float:
    """The exposure that brings a picture's mean to the target, within what shutter and gain can do."""
    level = radiance[::4, ::4] @ LUMINANCE
    # Very bright spots count at most as white, so that a lamp or the sun does not blacken the street.
    typical = float(np.exp(np.mean(np.log(level + 1e-5))))
    mean = 0.5 * typical + 0.5 * float(np.minimum(level, 6.0 * typical + 1e-4).mean())
    return float(np.clip(TARGET_LEVEL / mean, 0.02, MAX_EXPOSURE))


def expose(radiance: np.ndarray, look: CameraLook, rng: np.random.Generator) -> np.ndarray:
    """Picture a radiance field.

    Args:
        radiance: float32 [H,W,3], linear.
        look: the camera on this drive.
        rng: the noise of this picture.

    Returns:
        uint8 [H,W,3] RGB.
    """
    exposure = float(np.clip(auto_exposure(radiance) * look.exposure_error, 0.005, MAX_EXPOSURE))
    light = cv2.GaussianBlur(radiance, (0, 0), look.blur_px) * (exposure * look.white_balance)
    light *= (1.0 - look.vignetting * _corner_distance(*radiance.shape[:2]))[..., None]
    gain = max(exposure / UNIT_GAIN_EXPOSURE, 1.0)
    electrons = np.clip(light, 0.0, 4.0) * (FULL_WELL_E / gain)
    electrons += rng.standard_normal(light.shape, np.float32) * np.sqrt(electrons + READ_NOISE_E**2)
    signal = np.clip(electrons * (gain / FULL_WELL_E), 0.0, 1.0)
    return tone_curve(signal, look.contrast)


def tone_curve(signal: np.ndarray, contrast: float = 1.0) -> np.ndarray:
    """Linear 0..1 to uint8 by the sRGB transfer function (IEC 61966-2-1), after an exponent for contrast."""
    table = np.linspace(0.0, 1.0, 4096) ** contrast
    table = np.where(table <= 0.0031308, 12.92 * table, 1.055 * np.maximum(table, 1e-9) ** (1 / 2.4) - 0.055)
    lookup = np.round(table * 255.0).astype(np.uint8)
    return lookup[(np.asarray(signal) * 4095.0 + 0.5).astype(np.int32)]


def _corner_distance(height: int, width: int) -> np.ndarray:
    """float32 [H,W]: 0 in the middle, 1 in the corners, rising with the square."""
    v = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    u = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    return (u * u + v * v) / 2.0


def depth_picture(rendering: Rendering, rays: np.ndarray, max_range_m: float, rng: np.random.Generator) -> np.ndarray:
    """What a depth camera at the same place measures.

    The error grows with the square of the distance, as triangulation's does; beyond the range and at the sky
    there is no value.

    Args:
        rendering: the scene.
        rays: float32 [H*W,3], unit, optical frame.
        max_range_m: where the sensor ends.
        rng: the noise of this picture.

    Returns:
        float32 [H,W] metres along the optical axis, NaN where nothing returned.
    """
    shape = rendering.range_m.shape
    depth = rendering.range_m * rays[:, 2].reshape(shape)
    noise = rng.standard_normal(shape, np.float32) * (0.01 + 0.0008 * np.where(np.isfinite(depth), depth, 0.0) ** 2)
    measured = (depth + noise).astype(np.float32)
    lost = ~np.isfinite(depth) | (depth > max_range_m) | (rng.random(shape) < 0.01)
    measured[lost] = np.nan
    return measured
