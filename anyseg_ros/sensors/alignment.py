# SPDX-License-Identifier: Apache-2.0
"""Does a calibration fit? The edge alignment score over small rotations of a sensor against the camera.

The score of a rotation is the weighted mean, over the edges that fall into the picture, of the image's edge strength
where they fall (after Levinson and Thrun, "Automatic Online Calibration of Cameras and Lasers", RSS 2013; they ask
whether the given calibration is a local maximum). Here the whole neighbourhood is searched, and a bootstrap over parts
of the pictures says how far the maximum can be trusted. Translations are not searched: at 10 m, a centimetre is less
than a tenth of a degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numba import njit

from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.edges import EdgeImage, EdgePoints, edge_image

Z_MIN_M = 0.1
REACH_DEG, STEP_DEG = 2.5, 0.5  # of the whole search
FINE_REACH_DEG, FINE_STEP_DEG = (1.0, 0.5, 0.5), 0.1  # around its maximum
BLUR_DEG, FINE_BLUR_DEG = 0.25, 0.12
SECTORS = 8  # parts of a picture, from left to right, that the bootstrap draws from
DRAWS = 200
MAX_EDGES = 12_000  # of all views together, thinned where there are more
MIN_EDGES = 150  # of all views together
SUPPORT_DEG = np.array([1.25, 0.75, 0.75])  # a draw whose maximum lies this near agrees
MIN_SUPPORT = 0.8
SIGMAS = 3.0  # with 2.5, 2 of 54 simulated pictures gave a false alarm
# Roll turns the picture about its middle, where it moves nothing: it is known less well than the others.
TOLERANCE_DEG = np.array([0.5, 0.3, 0.3])
KNOWN_DEG = np.array([0.45, 0.3, 0.3])  # with a greater standard deviation nothing is said about an axis

GOOD, OFF, UNKNOWN = "good", "off", "cannot tell"
AXES = ("roll", "pitch", "yaw")


@dataclass(frozen=True)
class View:
    """One picture and the edges of one other measurement of the same moment.

    Attributes:
        edges: of the other sensor, in its frame.
        plane_from_sensor: float64 [4,4] from its frame into the camera's optical frame, as calibrated.
        image: edges of the picture, blurred for the whole search.
        fine: the same, blurred less.
    """

    edges: EdgePoints
    plane_from_sensor: np.ndarray
    image: EdgeImage
    fine: EdgeImage

    def with_edges(self, edges: EdgePoints) -> View:
        """The same picture and other edges: those of them that a search can bring into it."""
        near = edges.take(np.flatnonzero(_in_reach(self.in_camera(edges.xyz), self.image)))
        return View(near, self.plane_from_sensor, self.image, self.fine)

    def in_camera(self, xyz: np.ndarray) -> np.ndarray:
        """Points of the sensor's frame, [N,3], in the camera's optical frame."""
        return xyz @ self.plane_from_sensor[:3, :3].T + self.plane_from_sensor[:3, 3]


@dataclass(frozen=True)
class Alignment:
    """What a search found.

    Attributes:
        verdict: GOOD, OFF or UNKNOWN.
        why: the reason, in a few words, where the verdict is UNKNOWN.
        turn_deg: float64 [3], roll, pitch, yaw by which the sensor would have to be turned to fit best: about the
            camera's forward, left and up axes (REP-103), applied to what is calibrated.
        sigma_deg: float64 [3], their standard deviations by the bootstrap.
        support: share of the bootstrap's draws whose maximum agrees, 0..1.
        edges: how many edges fall into the pictures.
        score, best: the score as calibrated, and the greatest (0 is what random places would get).
        curves: float64 [3,K], the score along each axis through the maximum.
        angles_deg: float64 [K], of the curves.
    """

    verdict: str
    why: str = ""
    turn_deg: np.ndarray = field(default_factory=lambda: np.zeros(3))
    sigma_deg: np.ndarray = field(default_factory=lambda: np.full(3, np.inf))
    support: float = 0.0
    edges: int = 0
    score: float = 0.0
    best: float = 0.0
    curves: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))
    angles_deg: np.ndarray = field(default_factory=lambda: np.zeros(0))


def make_view(edges: EdgePoints, plane_from_sensor: np.ndarray, image: np.ndarray, model: CameraModel) -> View:
    """A view of a picture (uint8 [H,W,3] RGB) and edges, with only those edges that a search can bring into it."""
    coarse, fine = (edge_image(image, model, blur) for blur in (BLUR_DEG, FINE_BLUR_DEG))
    return View(edges, np.asarray(plane_from_sensor, np.float64), coarse, fine).with_edges(edges)


def rotation(turn_deg: np.ndarray) -> np.ndarray:
    """Float64 [3,3]: a small turn about the camera's forward, left and up axes, for points of its optical frame."""
    roll, pitch, yaw = np.radians(turn_deg)
    return cv2.Rodrigues(np.array([-pitch, -yaw, roll], np.float64))[0]


def search(views: Sequence[View]) -> Alignment:
    """Searches the rotation that fits best, over all views together.

    Args:
        views: of one sensor and one camera.
    """
    edges = sum(_visible(view) for view in views)
    if edges < MIN_EDGES:
        return Alignment(UNKNOWN, f"only {edges} edges fall into the pictures, {MIN_EDGES} are needed", edges=edges)
    views = _thinned(views)
    axis = np.arange(-REACH_DEG, REACH_DEG + 1e-9, STEP_DEG)
    turns = _grid(axis, axis, axis)
    sums, weights = _volumes(views, turns, fine=False)
    score = _score(sums.sum(axis=0), weights.sum(axis=0))
    start = turns[np.argmax(score)]
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS).astype(np.float64)
    drawn = turns[np.argmax(_score(draws @ sums, draws @ weights), axis=1)]
    support = float(np.mean(np.all(np.abs(drawn - start) <= SUPPORT_DEG, axis=1)))
    turn, sigma = _refine(views, start, draws)
    verdict, why = _judge(turn, sigma, support)
    angles = np.arange(-REACH_DEG, REACH_DEG + 1e-9, FINE_STEP_DEG)
    places = np.concatenate([np.zeros((1, 3)), turn[None], *(_along(turn, k, angles) for k in range(3))])
    sums, weights = _volumes(views, places, fine=True)
    score = _score(sums.sum(axis=0), weights.sum(axis=0))
    curves = score[2:].reshape(3, -1)
    return Alignment(verdict, why, turn, sigma, support, edges, float(score[0]), float(score[1]), curves, angles)


def _thinned(views: Sequence[View]) -> list[View]:
    """The views with at most ``MAX_EDGES`` edges, taken evenly."""
    share = min(1.0, MAX_EDGES / sum(len(view.edges) for view in views))
    return [
        replace(v, edges=v.edges.take(np.linspace(0, len(v.edges) - 1, round(share * len(v.edges))).astype(int)))
        for v in views
    ]


def _along(turn: np.ndarray, axis: int, angles: np.ndarray) -> np.ndarray:
    """Float64 [K,3]: a turn with one of its angles replaced."""
    turns = np.repeat(turn[None], len(angles), axis=0)
    turns[:, axis] = angles
    return turns


def alignment_score(view: View) -> float:
    """The score of one view as calibrated; NaN when no edge falls into the picture."""
    sums, weights = _volumes([view], np.zeros((1, 3)), fine=False)
    total = weights.sum()
    return float(sums.sum() / total) if total > 0 else float("nan")


def _judge(turn: np.ndarray, sigma: np.ndarray, support: float) -> tuple[str, str]:
    """Verdict, and why nothing can be said."""
    if support < MIN_SUPPORT:
        return UNKNOWN, f"parts of the pictures disagree ({100 * support:.0f} % agree with the whole)"
    known = sigma <= KNOWN_DEG
    off = known & (np.abs(turn) > np.maximum(TOLERANCE_DEG, SIGMAS * sigma))
    if off.any():
        return OFF, ""
    if not known.all():
        vague = ", ".join(f"{name} +-{s:.1f}" for name, s, k in zip(AXES, sigma, known, strict=True) if not k)
        return UNKNOWN, f"the maximum is too broad ({vague} degrees)"
    if (np.abs(turn) > TOLERANCE_DEG).any():
        return UNKNOWN, "the maximum lies beside the calibration, but within what chance allows"
    return GOOD, ""


def _refine(views: Sequence[View], start: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum on a finer grid around ``start``, and the standard deviation of its place over the draws."""
    turns = start + _grid(*(np.arange(-reach, reach + 1e-9, FINE_STEP_DEG) for reach in FINE_REACH_DEG))
    sums, weights = _volumes(views, turns, fine=True)
    drawn = turns[np.argmax(_score(draws @ sums, draws @ weights), axis=1)]
    # The mean of the draws is less jagged than the maximum of the whole, which sits on one of the grid's points.
    return drawn.mean(axis=0), np.maximum(drawn.std(axis=0), FINE_STEP_DEG / 2)


def _grid(*axes: np.ndarray) -> np.ndarray:
    """Float64 [K,3]: all combinations of roll, pitch and yaw, roll slowest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _score(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.where(weights > 0, sums / np.maximum(weights, 1e-9), -np.inf)


def _volumes(views: Sequence[View], turns: np.ndarray, fine: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of edge strength, and weights, float64 [views * SECTORS, turns] each."""
    shape = (len(views), SECTORS, len(turns))
    sums, weights = np.zeros(shape), np.zeros(shape)
    rotations = np.stack([rotation(turn) for turn in turns])
    for k, view in enumerate(views):
        image, pose = view.fine if fine else view.image, view.plane_from_sensor
        turned = rotations @ pose[:3, :3]
        sector = _sectors(view)
        _add(
            np.ascontiguousarray(view.edges.xyz),
            view.edges.weight,
            view.edges.channel,
            sector,
            turned,
            pose[:3, 3].copy(),
            image.maps,
            image.intrinsics,
            sums[k],
            weights[k],
        )
    return sums.reshape(-1, len(turns)), weights.reshape(-1, len(turns))


def _place(xyz: np.ndarray, image: EdgeImage) -> np.ndarray:
    """Float64 [N,2], where points of the optical frame lie in the edge image; NaN behind the camera."""
    focal = image.intrinsics[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = xyz[:, :2] / xyz[:, 2:] * focal + image.intrinsics[2:]
    uv[~(xyz[:, 2] > Z_MIN_M)] = np.nan
    return uv


def _in_reach(xyz: np.ndarray, image: EdgeImage) -> np.ndarray:
    """Bool [N]: a turn of the search can bring the point into the picture."""
    uv = _place(xyz, image)
    margin = 1.5 * REACH_DEG * np.pi / 180.0 * image.intrinsics[0]
    height, width = image.maps.shape[1:]
    with np.errstate(invalid="ignore"):
        return np.all((uv > -margin) & (uv < np.array([width, height]) + margin), axis=1)


def _visible(view: View) -> int:
    """How many edges fall into the picture as calibrated."""
    uv = _place(view.in_camera(view.edges.xyz), view.image)
    height, width = view.image.maps.shape[1:]
    with np.errstate(invalid="ignore"):
        return int(np.all((uv >= 0) & (uv < (width - 1, height - 1)), axis=1).sum())


def _sectors(view: View) -> np.ndarray:
    """int64 [N]: which part of the picture an edge is in; all parts hold about as many."""
    u = _place(view.in_camera(view.edges.xyz), view.image)[:, 0]
    rank = np.argsort(np.argsort(u))
    return rank * SECTORS // max(1, len(u))


@njit(cache=True, nogil=True, error_model="numpy")
def _add(xyz, weight, channel, sector, rotations, t, maps, intrinsics, sums, weights):
    """Adds, for each rotation, the edge strength under each edge to the sum of its sector (bilinear)."""
    height, width = maps.shape[1], maps.shape[2]
    for q in range(rotations.shape[0]):
        R = rotations[q]
        for i in range(xyz.shape[0]):
            x, y, z = xyz[i, 0], xyz[i, 1], xyz[i, 2]
            zc = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
            if not zc > 0.1:
                continue
            u = intrinsics[0] * (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / zc + intrinsics[2]
            v = intrinsics[1] * (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / zc + intrinsics[3]
            if not (u >= 0 and v >= 0 and u < width - 1 and v < height - 1):
                continue
            column, row = int(u), int(v)
            a, b, plane = u - column, v - row, maps[channel[i]]
            value = (1 - b) * ((1 - a) * plane[row, column] + a * plane[row, column + 1]) + b * (
                (1 - a) * plane[row + 1, column] + a * plane[row + 1, column + 1]
            )
            if value == value:  # NaN: the lens sees nothing there
                sums[sector[i], q] += weight[i] * value
                weights[sector[i], q] += weight[i]
