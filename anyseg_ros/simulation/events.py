# SPDX-License-Identifier: Apache-2.0
"""An event camera: log-intensity changes between rendered sub-frames become timed ON and OFF events.

The model is the usual one (e.g. Rebecq et al., ESIM, CoRL 2018): a pixel remembers the log intensity of its last
event and fires when the present one is a threshold away; between two sub-frames intensity is taken as linear in
log space, which gives microsecond stamps; thresholds differ per pixel; a pixel is blind for a refractory time.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np

LOG_EPS = 1e-4  # radiance below which the photoreceptor sees nothing: far below the camera's floor at night
THRESHOLD = 0.3
THRESHOLD_SPREAD = 0.03
REFRACTORY_US = 500
LENS_BLUR_PX = 0.6
MAX_PER_PIXEL = 24  # per sub-frame interval


def log_intensity(radiance: np.ndarray) -> np.ndarray:
    """float32 [H,W]: log of the luminance behind the lens, of linear radiance float32 [H,W,3]."""
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    luminance = cv2.GaussianBlur(radiance @ weights, (3, 3), LENS_BLUR_PX)
    return np.log(luminance + np.float32(LOG_EPS))


@numba.njit(cache=True)
def _crossings(before, after, memory, last_us, on, off, t0_us, t1_us, refractory_us, limit, x, y, t, p):
    """Write the events of one interval into x, y, t, p; update memory and last_us; return how many."""
    count = 0
    height, width = before.shape
    for row in range(height):
        for col in range(width):
            a, b = before[row, col], after[row, col]
            slope = b - a
            if slope == 0.0:
                continue
            fired = 0
            while fired < limit:
                step = on[row, col] if slope > 0.0 else -off[row, col]
                level = memory[row, col] + step
                if (slope > 0.0 and level > b) or (slope < 0.0 and level < b):
                    break
                share = min(max((level - a) / slope, 0.0), 1.0)
                when = t0_us + max(int(share * (t1_us - t0_us) + 0.5), 1)
                memory[row, col] = level
                fired += 1
                if when - last_us[row, col] < refractory_us:
                    continue
                last_us[row, col] = when
                x[count], y[count], t[count], p[count] = col, row, when, 1 if slope > 0.0 else 0
                count += 1
    return count


def _blocks(coarse: np.ndarray) -> np.ndarray:
    """Repeat each value into a block of 2 x 2."""
    return np.repeat(np.repeat(coarse, 2, axis=-2), 2, axis=-1)


@dataclass(frozen=True)
class EventPixels:
    """The pixel array of one event camera on one drive.

    Attributes:
        on, off: float32 [H,W], thresholds in log intensity.
        noise_hz: background events per pixel and second.
        coarse: pixels are read out in blocks of 2 x 2 (the corner case of low event resolution).
    """

    on: np.ndarray
    off: np.ndarray
    noise_hz: float
    coarse: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, height: int, width: int, night: bool, coarse: bool) -> EventPixels:
        """Draw the array of a drive: thresholds with their mismatch, and how noisy it is.

        Raises:
            ValueError: blocks of 2 x 2 do not fill the array.
        """
        if coarse and (height % 2 or width % 2):
            raise ValueError(
                f"the corner case event_low_resolution reads pixels out in blocks of 2 x 2, but the event camera has "
                f"{width} x {height} pixels; give it an even width and height in the rig"
            )
        bias = THRESHOLD * float(rng.uniform(0.85, 1.2))
        spread = rng.normal(0.0, THRESHOLD_SPREAD, (2, height, width))
        if coarse:
            spread = _blocks(spread[:, ::2, ::2])
        on, off = np.maximum(bias + spread, 0.08).astype(np.float32)
        return cls(on, off, float(rng.uniform(1.0, 3.0) if night else rng.uniform(0.1, 0.6)), coarse)


class EventSimulator:
    """Feeds sub-frames through an ``EventPixels`` array.

    Args:
        pixels: the array.
        first: float32 [H,W], log intensity at ``t_us``.
        t_us: time of the first sub-frame, microseconds.
        rng: where each pixel stands between its thresholds at the start.
    """

    def __init__(self, pixels: EventPixels, first: np.ndarray, t_us: int, rng: np.random.Generator) -> None:
        self._pixels = pixels
        self._before = self._readout(first)
        self._t_us = t_us
        phase = rng.uniform(-1.0, 1.0, first.shape).astype(np.float32)
        if pixels.coarse:
            phase = _blocks(phase[::2, ::2])
        self._memory = self._before + phase * np.where(phase > 0, pixels.off, pixels.on)
        self._last_us = np.full(first.shape, t_us - 10 * REFRACTORY_US, np.int64)

    def _readout(self, log: np.ndarray) -> np.ndarray:
        if not self._pixels.coarse:
            return log
        height, width = log.shape
        blocks = log.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
        return _blocks(blocks)

    def step(self, log: np.ndarray, t_us: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Advance to the next sub-frame.

        Args:
            log: float32 [H,W], log intensity at ``t_us``.
            t_us: microseconds, later than the sub-frame before.
            rng: the background noise of this interval.

        Returns:
            x uint16 [N], y uint16 [N], t int64 [N] (microseconds in (previous, t_us], sorted), p uint8 [N].
        """
        after = self._readout(log)
        room = int(np.minimum(np.abs(after - self._memory) / 0.08 + 1.0, MAX_PER_PIXEL).sum())
        x, y = np.empty(room, np.uint16), np.empty(room, np.uint16)
        t, p = np.empty(room, np.int64), np.empty(room, np.uint8)
        count = _crossings(
            self._before, after, self._memory, self._last_us, self._pixels.on, self._pixels.off,
            self._t_us, t_us, REFRACTORY_US, MAX_PER_PIXEL, x, y, t, p,
        )  # fmt: skip
        events = self._with_noise((x[:count], y[:count], t[:count], p[:count]), t_us, rng)
        self._before, self._t_us = after, t_us
        order = np.argsort(events[2], kind="stable")
        return tuple(column[order] for column in events)

    def _with_noise(self, events: tuple[np.ndarray, ...], t_us: int, rng: np.random.Generator):
        height, width = self._before.shape
        count = rng.poisson(self._pixels.noise_hz * height * width * (t_us - self._t_us) * 1e-6)
        noise = (
            rng.integers(0, width, count).astype(np.uint16),
            rng.integers(0, height, count).astype(np.uint16),
            rng.integers(self._t_us + 1, t_us + 1, count),
            (rng.random(count) < 0.6).astype(np.uint8),
        )
        return tuple(np.concatenate(pair) for pair in zip(events, noise, strict=True))
