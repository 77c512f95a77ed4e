# SPDX-License-Identifier: Apache-2.0
"""The page's charts as inline SVG; colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from anyseg_ros.inspection.survey import Skew, TopicFigures
from anyseg_ros.sensors.alignment import AXES, Alignment
from anyseg_ros.sensors.clock_alignment import ClockAlignment

WIDTH, LEFT = 1040, 150
BAR, STEP, TOP = 16, 24, 10


def timeline(topics: Sequence[TopicFigures], kinds: dict[str, str], seconds: float) -> str:
    """When each sensor's topic had messages.

    Args:
        topics: those to draw.
        kinds: style class by sensor name (camera, event, lidar, depth).
        seconds: length of the recording.
    """
    bottom = TOP + len(topics) * STEP
    scale = (WIDTH - LEFT - 10) / max(seconds, 1e-3)
    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + 24}" role="img" aria-label="When each sensor was alive">']
    for row, figures in enumerate(topics):
        y = TOP + row * STEP
        parts.append(f'<text class="lab" x="0" y="{y + 12.5}">{escape(figures.sensor or figures.topic)}</text>')
        parts.append(
            f'<rect class="gone" x="{LEFT}" y="{y + 0.5}" width="{seconds * scale:.1f}" height="{BAR - 1}" rx="3"/>'
        )
        for start, end in figures.alive:
            left, right = max(0.0, start) * scale, min(max(end, 0.0), seconds) * scale
            parts.append(
                f'<rect class="{kinds.get(figures.sensor, "other")}" x="{LEFT + left:.1f}" y="{y}" '
                f'width="{max(1.5, right - left):.1f}" height="{BAR}" rx="3"><title>{start:.2f} to {end:.2f} s</title>'
                "</rect>"
            )
    for second in _ticks(seconds):
        x = LEFT + second * scale
        parts.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{second:g} s</text>')
    return "".join([*parts, "</svg>"])


def _ticks(seconds: float) -> list[float]:
    """At most eight round numbers from 0 on."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)
    step = next((s for s in steps if seconds / s <= 8), steps[-1])
    return [round(k * step, 3) for k in range(int(seconds / step) + 1)]


def histogram(skew: Skew) -> str:
    """The distribution of one skew between minus and plus the tolerance."""
    width, height = 420, 96
    low, high = skew.edges_ms[0], skew.edges_ms[-1]
    most = max(skew.histogram) or 1
    step = width / len(skew.histogram)
    parts = [f'<svg viewBox="0 0 {width} {height + 22}" role="img" aria-label="Skew of {escape(skew.sensor)}">']
    parts.append(f'<path class="grid" d="M{width / 2} 0V{height}"/><path class="grid" d="M0 {height}H{width}"/>')
    for k, count in enumerate(skew.histogram):
        if count:
            tall = max(1.5, count / most * (height - 6))
            parts.append(
                f'<rect class="{escape(skew.sensor)} series" x="{k * step + 0.6:.1f}" y="{height - tall:.1f}" '
                f'width="{step - 1.2:.1f}" height="{tall:.1f}"><title>{skew.edges_ms[k]:.1f} to '
                f"{skew.edges_ms[k + 1]:.1f} ms: {count}</title></rect>"
            )
    for x, value, anchor in ((0, low, "start"), (width / 2, 0.0, "middle"), (width, high, "end")):
        parts.append(f'<text class="soft" x="{x}" y="{height + 16}" text-anchor="{anchor}">{value:+.0f} ms</text>')
    return "".join([*parts, "</svg>"])


def score_curves(found: Alignment) -> str:
    """The score over each angle through the maximum; the calibration at 0, the maximum marked."""
    width, height, gap = 330, 130, 25
    low, high = float(np.nanmin(found.curves)), float(np.nanmax(found.curves))
    reach = float(found.angles_deg[-1])
    parts = [f'<svg viewBox="0 0 {3 * width + 2 * gap} {height + 24}" role="img" aria-label="Score over angles">']
    for k, (name, curve) in enumerate(zip(AXES, found.curves, strict=True)):
        left = k * (width + gap)
        x = left + (found.angles_deg + reach) / (2 * reach) * width
        y = 22 + (high - curve) / max(high - low, 1e-9) * (height - 22)
        best = left + (found.turn_deg[k] + reach) / (2 * reach) * width
        spread = found.sigma_deg[k] / (2 * reach) * width
        parts.append(f'<text class="name" x="{left}" y="11">{name}</text>')
        parts.append(
            f'<text class="soft" x="{left + width}" y="11" text-anchor="end">best at {found.turn_deg[k]:+.2f}°</text>'
        )
        parts.append(
            f'<rect class="band" x="{best - 2 * spread:.1f}" y="22" width="{4 * spread:.1f}" height="{height - 22}"/>'
        )
        parts.append(
            f'<path class="edge" d="M{left + width / 2} 22V{height}"/><path class="grid" d="M{left} {height}h{width}"/>'
        )
        points = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<path class="curve" d="M{points}"/><path class="best" d="M{best:.1f} 22V{height}"/>')
        for share, angle, anchor in ((0, -reach, "start"), (0.5, 0.0, "middle"), (1, reach, "end")):
            words = "as calibrated" if not angle else f"{angle:+.1f}°"
            parts.append(
                f'<text class="soft" x="{left + share * width}" y="{height + 17}" text-anchor="{anchor}">{words}</text>'
            )
    return "".join([*parts, "</svg>"])


def clock_chart(found: ClockAlignment) -> str:
    """Score against the time between sensor and picture, with the parabola's top."""
    width, height = 420, 130
    if found.points is None or not len(found.points):
        return ""
    reach = float(np.abs(found.points[:, 0]).max()) * 1.05
    values = found.points[:, 1]
    low, high = float(values.min()), float(values.max())
    parts = [f'<svg viewBox="0 0 {width} {height + 22}" role="img" aria-label="Score over time">']
    parts.append(f'<path class="edge" d="M{width / 2} 4V{height}"/><path class="grid" d="M0 {height}H{width}"/>')
    if found.drop > 0:
        x = (found.late_ms + reach) / (2 * reach) * width
        parts.append(f'<path class="best" d="M{x:.1f} 4V{height}"/>')
    for t, value in found.points:
        x, y = (t + reach) / (2 * reach) * width, 8 + (high - value) / max(high - low, 1e-9) * (height - 16)
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        parts.append(
            f'<text class="soft" x="{share * width}" y="{height + 16}" text-anchor="{anchor}">'
            f"{(2 * share - 1) * reach:+.0f} ms</text>"
        )
    return "".join([*parts, "</svg>"])
