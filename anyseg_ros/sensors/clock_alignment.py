# SPDX-License-Identifier: Apache-2.0
"""Do two sensors' clocks agree? Where things move, a sensor fits a picture best that was taken at the same time.

Each moment gives the alignment score of one picture against another sensor at several times around it. A parabola with
one height per moment goes through all of them; its top is where the clocks agree. A vehicle that stands gives a flat
parabola, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anyseg_ros.sensors.alignment import GOOD, OFF, UNKNOWN

DRAWS = 300
SIGMAS = 2.5
MIN_MOMENTS = 3


@dataclass(frozen=True)
class ClockAlignment:
    """What the comparison of two clocks found.

    Attributes:
        verdict: GOOD, OFF or UNKNOWN.
        why: the reason where it is UNKNOWN.
        late_ms: by how much the sensor's corrected stamps are too late against the camera's.
        sigma_ms: standard deviation by a bootstrap over the moments.
        drop: how much the score falls from its top over ``reach_ms``, in scores.
        points: float64 [N,2]: time of the sensor minus time of the picture in ms, and score less its moment's mean.
    """

    verdict: str
    why: str = ""
    late_ms: float = 0.0
    sigma_ms: float = float("inf")
    drop: float = 0.0
    points: np.ndarray | None = None


def clock_alignment(
    moments: Sequence[tuple[np.ndarray, np.ndarray]], reach_ms: float, tolerance_ms: float
) -> ClockAlignment:
    """Fits the parabola.

    Args:
        moments: of each, the sensor's time minus the picture's in ms (by corrected stamps), and the scores, [N] both.
        reach_ms: a top farther off than this is not believed.
        tolerance_ms: clocks that agree this well are good.
    """
    usable = [(np.asarray(t, float), np.asarray(s, float)) for t, s in moments]
    usable = [(t[np.isfinite(s)], s[np.isfinite(s)]) for t, s in usable]
    usable = [(t, s) for t, s in usable if len(np.unique(np.round(t))) >= 3]
    if len(usable) < MIN_MOMENTS:
        return ClockAlignment(
            UNKNOWN, f"{len(usable)} moments with three measurements around them, {MIN_MOMENTS} needed"
        )
    rows = [_centred(t, s) for t, s in usable]
    points = np.concatenate([np.stack([t, s - s.mean()], axis=1) for t, s in usable])
    slope, bend = _fit(rows)
    draws = np.random.default_rng(0).integers(0, len(rows), (DRAWS, len(rows)))
    fits = np.array([_fit([rows[i] for i in draw]) for draw in draws])
    bend_sigma = float(fits[:, 1].std())
    if not bend < -2.0 * bend_sigma or bend >= 0:
        return ClockAlignment(UNKNOWN, "the score hardly changes with time: too little moves", points=points)
    tops = np.clip(-fits[:, 0] / (2 * np.minimum(fits[:, 1], -1e-12)), -4 * reach_ms, 4 * reach_ms)
    top, sigma = float(-slope / (2 * bend)), float(tops.std())
    drop = float(-bend * reach_ms**2)
    found = ClockAlignment(UNKNOWN, "", top, sigma, drop, points)
    if sigma > tolerance_ms or abs(top) > reach_ms:
        return _with(found, UNKNOWN, f"the best time is known to +-{sigma:.0f} ms only")
    if abs(top) > max(tolerance_ms, SIGMAS * sigma):
        return _with(found, OFF, "")
    return _with(found, GOOD, "")


def _with(found: ClockAlignment, verdict: str, why: str) -> ClockAlignment:
    return ClockAlignment(verdict, why, found.late_ms, found.sigma_ms, found.drop, found.points)


def _centred(t: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of one moment's least squares without its height: [N,2] of t and t squared, and the scores."""
    design = np.stack([t, t * t], axis=1)
    return design - design.mean(axis=0), s - s.mean()


def _fit(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Slope and bend of the common parabola."""
    design, scores = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    scale = np.array([100.0, 1e4])
    return np.linalg.lstsq(design / scale, scores, rcond=None)[0] / scale
