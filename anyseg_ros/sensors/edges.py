# SPDX-License-Identifier: Apache-2.0
"""Where a cloud and an image have edges: what the alignment score compares.

An edge of the cloud lies between two neighbouring beams of one scan line, or of two adjacent ones, where the range
jumps (Levinson and Thrun, "Automatic Online Calibration of Cameras and Lasers", RSS 2013) or the intensity steps on
one surface (lane markings, signs). It is placed half way between the two beams, at the range of the nearer one: placed
on the near beam itself, edges would shift by half the spacing of the beams, to one side, everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.types import Points

ACROSS, ALONG, EITHER = 0, 1, 2  # which gradient of the image an edge is compared with: along u, along v, the greater

MIN_RANGE_M, MAX_RANGE_M = 1.0, 120.0
LINE_STEP_DEG = 0.4  # where the cloud does not say which ring a point is of, lines are this far apart
MIN_LINE = 8  # a line of fewer points has no neighbours worth the name
JUMP_M, JUMP_RATIO = 0.4, 1.08
SLOPE_RATIO = 3.0  # a jump is this much steeper than the surface on the smoother side of it
STEP_OF_INTENSITY = 0.15  # of the span between the 2nd and 98th percentile
SAME_SURFACE = (0.05, 0.3)  # relative change of range within a line, and to the next line (grazing ground)
MAX_WEIGHTS = (2.5, 1.5)  # of jumps and of steps
PIXELS_PER_DEG = 18.0  # finer images are reduced to this
WIDEST_TAN = 1.75  # of a lens, 60 degrees to each side of the axis are looked at


@dataclass(frozen=True)
class EdgePoints:
    """Edges of one measurement.

    Attributes:
        xyz: float64 [N,3] in metres, in the sensor's frame.
        weight: float64 [N], more for a greater jump.
        channel: int64 [N], ACROSS, ALONG or EITHER.
    """

    xyz: np.ndarray
    weight: np.ndarray
    channel: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, which: np.ndarray) -> EdgePoints:
        """Some of the edges, by index or mask."""
        return EdgePoints(self.xyz[which], self.weight[which], self.channel[which])


@dataclass(frozen=True)
class EdgeImage:
    """Edges of one image, on an ideal pinhole camera at the same place.

    Attributes:
        maps: float32 [3,H,W]: strength of edges across u, across v, and the greater of both; mean 0 and standard
            deviation 1 over the image; NaN where the lens sees nothing.
        intrinsics: float64 [4]: fx, fy, cx, cy of the pinhole camera in pixels.
    """

    maps: np.ndarray
    intrinsics: np.ndarray


def cloud_edges(points: Points) -> EdgePoints:
    """Edges of a lidar sweep.

    Args:
        points: the sweep; without rings, lines are cut by elevation.

    Returns:
        Edges in the lidar's frame, of range and of intensity, within and between lines; may be none.
    """
    xyz = np.asarray(points.xyz, np.float64)
    range_m = np.linalg.norm(xyz, axis=1)
    with np.errstate(invalid="ignore"):
        good = np.flatnonzero((range_m > MIN_RANGE_M) & (range_m < MAX_RANGE_M))
    xyz, range_m = xyz[good], range_m[good]
    lines = _lines(xyz, range_m, None if points.ring is None else points.ring[good])
    beams = _Beams(xyz, range_m, _unit_intensity(np.asarray(points.intensity, np.float64)[good]))
    for line in lines:
        a, b, c, d = (line.index[k : len(line.index) - 3 + k] for k in range(4))
        gaps = np.diff(line.azimuth)
        joined = gaps[1:-1] < 2.5 * max(line.step, 1e-4)
        beams.add((a, b, c, d), (gaps[:-2], gaps[1:-1], gaps[2:]), joined, ACROSS)
    for k in range(1, len(lines) - 2):
        before, line, after, beyond = lines[k - 1 : k + 3]
        c, off = after.nearest(line.azimuth)
        indices = before.nearest(line.azimuth)[0], line.index, c, beyond.nearest(line.azimuth)[0]
        rise = np.diff([each.elevation for each in (before, line, after, beyond)])
        beams.add(indices, tuple(rise), off < 1.5 * max(line.step, 1e-3), ALONG)
    return beams.edges()


@dataclass(frozen=True)
class _Line:
    """One scan line: indices of its points by growing azimuth (radians), its median elevation and azimuth step."""

    index: np.ndarray
    azimuth: np.ndarray
    elevation: float
    step: float

    def nearest(self, azimuth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the points nearest in azimuth, and how far off they are."""
        after = np.clip(np.searchsorted(self.azimuth, azimuth), 1, len(self.azimuth) - 1)
        chosen = after - (azimuth - self.azimuth[after - 1] < self.azimuth[after] - azimuth)
        return self.index[chosen], np.abs(self.azimuth[chosen] - azimuth)


def _lines(xyz: np.ndarray, range_m: np.ndarray, ring: np.ndarray | None) -> list[_Line]:
    """Scan lines from the lowest to the highest."""
    elevation = np.arcsin(np.clip(xyz[:, 2] / range_m, -1.0, 1.0))
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    if ring is None:
        ring = np.round(np.degrees(elevation) / LINE_STEP_DEG)
    order = np.lexsort((azimuth, ring))
    cuts = np.flatnonzero(np.diff(ring[order])) + 1
    lines = []
    for index in np.split(order, cuts):
        if len(index) >= MIN_LINE:
            step = float(np.median(np.diff(azimuth[index])))
            lines.append(_Line(index, azimuth[index], float(np.median(elevation[index])), step))
    return sorted(lines, key=lambda line: line.elevation)


def _unit_intensity(intensity: np.ndarray) -> np.ndarray:
    """Intensity over the span of this sweep, 0 to about 1."""
    if not len(intensity):
        return intensity
    low, high = np.percentile(np.nan_to_num(intensity), (2, 98))
    return np.clip((np.nan_to_num(intensity) - low) / max(high - low, 1e-9), 0.0, 1.2)


class _Beams:
    """Collects the edges between beams b and c, whose neighbours on the far sides are a and d."""

    def __init__(self, xyz: np.ndarray, range_m: np.ndarray, intensity: np.ndarray):
        self.unit = xyz / range_m[:, None]
        self.range_m, self.intensity = range_m, intensity
        self.found: list[EdgePoints] = []

    def add(self, beams: tuple, gaps: tuple, joined: np.ndarray, channel: int) -> None:
        """Finds jumps and steps.

        Args:
            beams: indices of a, b, c, d, each [N].
            gaps: angles between them, each [N] or a number.
            joined: bool [N], b and c are neighbours.
            channel: ACROSS or ALONG.
        """
        _, b, c, _ = beams
        near, far = np.minimum(self.range_m[b], self.range_m[c]), np.maximum(self.range_m[b], self.range_m[c])
        # On a plane the inverse range is linear in the image, so that a road seen at a flat angle has no edge.
        slopes = self._slopes(1.0 / self.range_m, beams, gaps)
        smooth = np.minimum(slopes[0], slopes[2])
        jump = (far > JUMP_RATIO * near) & (far - near > JUMP_M) & (slopes[1] > SLOPE_RATIO * smooth)
        weight = np.minimum(np.sqrt(far - near), MAX_WEIGHTS[0])
        self._keep(b, c, joined & jump, weight, channel)
        values = [self.intensity[i] for i in beams]
        step = np.abs(values[0] + values[1] - values[2] - values[3]) / 2
        within = np.maximum(np.abs(values[0] - values[1]), np.abs(values[2] - values[3]))
        flat = far - near < SAME_SURFACE[channel] * near
        self._keep(
            b,
            c,
            joined & flat & (step > STEP_OF_INTENSITY) & (step > 2 * within),
            np.minimum(4 * step, MAX_WEIGHTS[1]),
            channel,
        )

    @staticmethod
    def _slopes(values: np.ndarray, beams: tuple, gaps: tuple) -> list[np.ndarray]:
        """Change per radian from each beam to the next."""
        return [
            np.abs(values[q] - values[p]) / np.maximum(gap, 1e-5)
            for p, q, gap in zip(beams[:-1], beams[1:], gaps, strict=True)
        ]

    def _keep(self, b: np.ndarray, c: np.ndarray, which: np.ndarray, weight: np.ndarray, channel: int) -> None:
        b, c = b[which], c[which]
        middle = self.unit[b] + self.unit[c]
        middle *= (np.minimum(self.range_m[b], self.range_m[c]) / np.linalg.norm(middle, axis=1))[:, None]
        self.found.append(EdgePoints(middle, weight[which], np.full(len(b), channel)))

    def edges(self) -> EdgePoints:
        """All that were found."""
        if not self.found:
            return EdgePoints(np.empty((0, 3)), np.empty(0), np.empty(0, np.int64))
        return EdgePoints(
            np.concatenate([each.xyz for each in self.found]),
            np.concatenate([each.weight for each in self.found]),
            np.concatenate([each.channel for each in self.found]),
        )


def edge_image(image: np.ndarray, model: CameraModel, blur_deg: float) -> EdgeImage:
    """Edges of an image.

    The lens is undone first, so that the search projects with a pinhole camera whatever the lens is. The gradient is
    divided by its mean around (about 4 degrees), or a tree would outweigh every kerb, and then blurred.

    Args:
        image: uint8 [H,W,3] RGB or [H,W].
        model: the camera.
        blur_deg: standard deviation of the blur: how far off an edge is still felt.
    """
    focal = min(float(model.K[0, 0]), PIXELS_PER_DEG * 180.0 / np.pi)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    grey, seen, centre = _pinhole(grey, model, focal)
    per_deg = focal * np.pi / 180.0
    smooth = cv2.GaussianBlur(grey, (0, 0), max(0.8, 0.04 * per_deg))
    inside = cv2.erode(seen.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    window = (int(4.0 * per_deg) | 1,) * 2
    strengths = []
    for order in ((1, 0), (0, 1)):
        gradient = np.abs(cv2.Scharr(smooth, cv2.CV_32F, *order)) / 32.0 * inside
        around = cv2.blur(gradient, window) / np.maximum(cv2.blur(inside, window), 1e-3)
        strengths.append(np.minimum(gradient / (2.5 * around + 2.0), 1.0))
    strengths.append(np.maximum(*strengths))
    blurred = [cv2.GaussianBlur(each, (0, 0), max(0.5, blur_deg * per_deg)) for each in strengths]
    maps = np.stack([(each - each[seen].mean()) / max(float(each[seen].std()), 1e-6) for each in blurred])
    maps[:, ~seen] = np.nan
    return EdgeImage(maps.astype(np.float32), np.array([focal, focal, *centre]))


def _pinhole(grey: np.ndarray, model: CameraModel, focal: float) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The image as a pinhole camera of that focal length sees it, where it is seen, and the principal point."""
    across = np.linspace(-0.5, model.width - 0.5, 33)
    down = np.linspace(-0.5, model.height - 0.5, 33)
    border = [(u, v) for u in across for v in (down[0], down[-1])] + [
        (u, v) for v in down for u in (across[0], across[-1])
    ]
    rays = model.rays(np.array(border))[:, :2]
    rays = rays[np.isfinite(rays).all(axis=1)]
    if not len(rays):  # a lens whose model ends before the border of the image
        rays = np.array([[-WIDEST_TAN, -WIDEST_TAN], [WIDEST_TAN, WIDEST_TAN]])
    low, high = np.clip([rays.min(axis=0), rays.max(axis=0)], -WIDEST_TAN, WIDEST_TAN)
    width, height = np.maximum(np.ceil((high - low) * focal).astype(int), 8)
    v, u = np.mgrid[:height, :width]
    z1 = np.stack([u.ravel() / focal + low[0], v.ravel() / focal + low[1], np.ones(u.size)], axis=1)
    uv, valid = model.project(z1)
    uv[~valid] = -1e4
    maps = uv.reshape(height, width, 2).astype(np.float32)
    seen = (maps > -0.5).all(axis=2) & (maps[..., 0] < model.width - 0.5) & (maps[..., 1] < model.height - 0.5)
    shrink = focal / float(model.K[0, 0])
    source: Any = grey.astype(np.float32)
    if shrink < 0.9:
        source = cv2.GaussianBlur(source, (0, 0), 0.45 / shrink)
    picture = cv2.remap(source, maps, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return picture, seen, (-low[0] * focal, -low[1] * focal)
