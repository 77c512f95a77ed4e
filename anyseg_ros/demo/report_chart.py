# SPDX-License-Identifier: Apache-2.0
"""The timeline of one drive as inline SVG: which sensors lived, how good the labels were, how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from anyseg_ros.demo.judge import Verdict
from anyseg_ros.demo.plan import SECOND, Cut, Walk

WIDTH, LEFT, RIGHT = 1040, 104, 12
BAR, BAR_STEP, TOP = 17, 25, 30
PLOT = 96
ROWS = (("camera", "Camera"), ("event", "Events"), ("lidar", "Lidar"))


def timeline(walk: Walk, cuts: Sequence[Cut], sensors: dict[str, str], verdict: Verdict, start_ns: int) -> str:
    """The timeline of a drive.

    Args:
        walk: its segments.
        cuts: what was silenced.
        sensors: name of the sensor by kind (``camera``, ``event``, ``lidar``).
        verdict: what the judge found.
        start_ns: when the drive started, in the clock of the stamps.

    Returns:
        One ``<svg>`` element; colours come from the style sheet of the report.
    """
    axis = _Axis(walk.duration_ns)
    rows_end = TOP + len(ROWS) * BAR_STEP
    accuracy_top, latency_top = rows_end + 22, rows_end + 22 + PLOT + 30
    height = latency_top + PLOT + 26
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of the {escape(walk.name)} drive">']
    parts += _segments(walk, axis, latency_top + PLOT)
    parts += _bars(walk, cuts, sensors, axis)
    points = [(item["stamp_ns"] - start_ns, item) for item in verdict.trace]
    parts += _plot(
        axis,
        accuracy_top,
        ("mIoU", "percent"),
        _accuracy_top(verdict),
        "curve",
        [(at, item["miou"], item["subset"]) for at, item in points],
    )
    parts += _plot(
        axis,
        latency_top,
        ("Latency", "ms"),
        _latency_top(verdict),
        "dots",
        [(at, item["latency_ms"], item["subset"]) for at, item in points],
    )
    for item in verdict.missing:
        x = axis.x(item.stamp_ns - start_ns)
        parts.append(f'<path class="miss" d="M{x:.1f} {accuracy_top}v{PLOT}"><title>not answered</title></path>')
    parts += axis.ticks(latency_top + PLOT)
    return "".join([*parts, "</svg>"])


class _Axis:
    """Where a time lies across the picture."""

    def __init__(self, duration_ns: int) -> None:
        self.duration_ns = duration_ns

    def x(self, at_ns: int) -> float:
        """Horizontal position of a time since the start; held inside the plot."""
        share = min(max(at_ns / self.duration_ns, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self, y: float) -> list[str]:
        """Labels every five seconds."""
        seconds = range(0, int(self.duration_ns / SECOND) + 1, 5)
        return [
            f'<text class="soft" x="{self.x(s * SECOND):.1f}" y="{y + 19}" text-anchor="middle">{s} s</text>'
            for s in seconds
        ]


def _segments(walk: Walk, axis: _Axis, bottom: float) -> list[str]:
    """Subset names on top and a dashed line wherever the subset changes."""
    parts = []
    for segment in walk.segments:
        middle = axis.x((segment.start_ns + segment.end_ns) // 2)
        parts.append(f'<text class="name" x="{middle:.1f}" y="17" text-anchor="middle">{segment.subset}</text>')
        if segment.start_ns:
            parts.append(f'<path class="edge" d="M{axis.x(segment.start_ns):.1f} 6V{bottom}"/>')
    return parts


def _bars(walk: Walk, cuts: Sequence[Cut], sensors: dict[str, str], axis: _Axis) -> list[str]:
    """One row per sensor: solid where it delivers, a dashed red box where it is cut."""
    parts = []
    for row, (kind, title) in enumerate(ROWS):
        y = TOP + row * BAR_STEP
        parts.append(f'<text class="lab" x="0" y="{y + 13}">{title}</text>')
        live_from = 0
        for cut in [cut for cut in cuts if cut.sensor == sensors[kind]]:
            parts.append(_bar(axis, kind, live_from, cut.start_ns, y))
            x, end = axis.x(cut.start_ns), axis.x(cut.end_ns)
            parts.append(
                f'<rect class="gone" x="{x + 1:.1f}" y="{y + 0.5}" width="{end - x - 2:.1f}" '
                f'height="{BAR - 1}" rx="3"/>'
            )
            parts.append(
                f'<text class="gonetext" x="{(x + end) / 2:.1f}" y="{y + 12.5}" text-anchor="middle">CUT</text>'
            )
            live_from = cut.end_ns
        parts.append(_bar(axis, kind, live_from, walk.duration_ns, y))
    return parts


def _bar(axis: _Axis, kind: str, start_ns: int, end_ns: int, y: float) -> str:
    if end_ns <= start_ns:
        return ""
    x, end = axis.x(start_ns), axis.x(end_ns)
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{end - x:.1f}" height="{BAR}" rx="3"/>'


def _plot(
    axis: _Axis,
    top: float,
    title: tuple[str, str],
    limit: float,
    style: str,
    points: list[tuple[int, float | None, str]],
) -> list[str]:
    """A small plot: gridlines, and a curve that breaks where the subset changes, or dots."""
    name, unit = title
    parts = [f'<text class="lab" x="0" y="{top + 4}">{name}</text>']
    parts.append(f'<text class="soft" x="0" y="{top + 20}">{unit}</text>')
    for share in (0.0, 0.5, 1.0):
        y = top + PLOT * (1 - share)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="soft" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{limit * share:g}</text>')
    placed = [
        (axis.x(at), top + PLOT * (1 - min(value / limit, 1.0)), subset)
        for at, value, subset in points
        if value is not None
    ]
    if style == "dots":
        return parts + [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y, _ in placed]
    path, before = [], None
    for x, y, subset in placed:
        path.append(f"{'L' if subset == before else 'M'}{x:.1f} {y:.1f}")
        before = subset
    return [*parts, f'<path class="curve" d="{"".join(path)}"/>']


def _accuracy_top(verdict: Verdict) -> float:
    """A round upper end for accuracy: 50 or 100."""
    best = max((item["miou"] for item in verdict.trace if item["miou"] is not None), default=0.0)
    return 50.0 if best <= 48 else 100.0


def _latency_top(verdict: Verdict) -> float:
    """A round upper end that most latencies stay well under; the others lie on the upper edge."""
    values = sorted(item["latency_ms"] for item in verdict.trace if item["latency_ms"] is not None)
    if not values:
        return 100.0
    wanted = 1.3 * values[int(0.96 * (len(values) - 1))]
    return next(
        (float(step) for step in (50, 100, 200, 300, 400, 600, 800, 1000, 1500, 2000) if step >= wanted), 4000.0
    )
