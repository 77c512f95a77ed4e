# SPDX-License-Identifier: Apache-2.0
"""The soak as a picture: memory, handles and latency over the drive, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyseg_ros.campaign.soak_figures import WARM_UP, Frame, Sample

WIDTH, PANEL, LEFT, TOP, GAP = 900, 170, 80, 60, 50
POINTS = 600  # more do not show
BLUE, GREY, BAND = "#2563eb", "#6b7280", "#f3f4f6"


def plot(samples: Sequence[Sample], frames: Sequence[Frame], data: dict[str, Any]) -> str:
    """The picture.

    Args:
        samples: of the segmentor's process.
        frames: label images.
        data: what soak.json holds, for the title.
    """
    end_s = max([s.at_s for s in samples] + [f.at_s for f in frames], default=1.0)
    panels = (
        ("resident memory, MiB", [(s.at_s, s.rss_mib) for s in samples]),
        ("open handles", [(s.at_s, float(s.handles)) for s in samples]),
        ("latency, ms (highest of each stretch)", _peaks([(f.at_s, f.latency_ms) for f in frames])),
    )
    height = TOP + len(panels) * (PANEL + GAP)
    title = f"{data['minutes']:g} minutes, {data['faults']} faults: memory grew by {data['growth_mib']:.1f} MiB"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="28" font-size="18">{title}</text>',
    ]
    for place, (name, values) in enumerate(panels):
        parts.append(_panel(name, _thinned(values), TOP + place * (PANEL + GAP), end_s))
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, values: Sequence[tuple[float, float]], top: int, end_s: float) -> str:
    low, high = _range([value for _, value in values])
    span = WIDTH - LEFT - 20

    def at(when_s: float, value: float) -> str:
        return f"{LEFT + span * max(when_s, 0.0) / end_s:.1f},{top + PANEL * (high - value) / (high - low):.1f}"

    line = " ".join(at(*point) for point in values)
    ticks = "".join(
        f'<text x="{LEFT - 8}" y="{top + PANEL * (high - value) / (high - low) + 4:.1f}" text-anchor="end" '
        f'fill="{GREY}">{value:.4g}</text>'
        for value in (low, (low + high) / 2, high)
    )
    return (
        f'<text x="{LEFT}" y="{top - 6}">{name}</text>'
        f'<rect x="{LEFT}" y="{top}" width="{span}" height="{PANEL}" fill="none" stroke="{GREY}"/>'
        f'<rect x="{LEFT}" y="{top}" width="{span * WARM_UP:.1f}" height="{PANEL}" fill="{BAND}"/>'
        f'<text x="{LEFT + 6}" y="{top + 16}" fill="{GREY}">warm-up</text>{ticks}'
        f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
        f'<text x="{WIDTH - 20}" y="{top + PANEL + 18}" text-anchor="end" fill="{GREY}">'
        f"{end_s:.0f} s of the drive</text>"
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(0.1 * (high - low), 1.0)
    return max(0.0, low - room), high + room


def _peaks(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The highest of each of so many stretches: an outlier must not fall between two points."""
    size = max(1, len(values) // POINTS)
    return [max(values[i : i + size], key=lambda point: point[1]) for i in range(0, len(values), size)]


def _thinned(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return list(values[:: max(1, len(values) // POINTS)])
