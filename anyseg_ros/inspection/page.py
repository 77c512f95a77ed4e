# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file that holds everything it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from anyseg_ros.html import data_uri
from anyseg_ros.inspection.charts import clock_chart, histogram, score_curves, timeline
from anyseg_ros.inspection.findings import Survey, turn_sentence
from anyseg_ros.inspection.fit import Fit
from anyseg_ros.inspection.page_style import STYLE
from anyseg_ros.inspection.pictures import Picture, Shown
from anyseg_ros.inspection.recording import Finding, Recording
from anyseg_ros.inspection.survey import TopicFigures
from anyseg_ros.sensors.alignment import OFF

DASH = "&ndash;"


def write_page(
    path: Path,
    recording: Recording,
    survey: Survey,
    found: Sequence[Finding],
    edges: Mapping[str, Sequence[Picture]],
) -> None:
    """Writes the page.

    Args:
        path: the HTML file.
        recording: what was inspected.
        survey: the figures.
        found: worst first.
        edges: by sensor name, pictures of the edges that its alignment compares.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>anyseg inspect: {escape(recording.name)}</title><style>{STYLE}</style></head><body><main>",
        _top(recording, survey, found),
        _findings(found),
        _fits(survey.fits, edges),
        _topics(recording, survey),
        _skews(survey),
        _calibration(recording, survey),
        _moments(survey.shown),
        _notes(recording),
        "</main></body></html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def headline(found: Sequence[Finding]) -> str:
    """How many things look wrong."""
    wrong = sum(finding.severity == 3 for finding in found)
    doubtful = sum(finding.severity == 2 for finding in found)
    if wrong:
        return f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong"
    if doubtful:
        return f"{doubtful} {'thing looks' if doubtful == 1 else 'things look'} doubtful"
    return "Nothing looks wrong"


def _top(recording: Recording, survey: Survey, found: Sequence[Finding]) -> str:
    sensors = ", ".join(s.name for s in recording.rig.sensors)
    count = f"{len(recording.moments)} {'moment' if len(recording.moments) == 1 else 'moments'}"
    tiles = (
        [("", f"{recording.seconds:.1f} s", f"{count} looked at closely")] if recording.headers else [("", count, "")]
    )
    for fit in survey.fits:
        css = {"good": "good", OFF: "bad"}.get(fit.alignment.verdict, "unknown")
        tiles.append((css, fit.alignment.verdict, f"calibration of {fit.sensor} against {fit.camera}"))
        if fit.clock is not None:
            css = {"good": "good", OFF: "bad"}.get(fit.clock.verdict, "unknown")
            shown = f"{fit.clock.late_ms:+.0f} ms" if fit.clock.verdict == OFF else fit.clock.verdict
            tiles.append((css, shown, f"clock of {fit.sensor} against {fit.camera}"))
    cells = "".join(
        f"<div class='{css}'><b>{escape(value)}</b><span>{escape(text)}</span></div>" for css, value, text in tiles
    )
    return (
        f"<p class='eyebrow'>anyseg inspect &middot; {escape(recording.name)} &middot; rig "
        f"{escape(recording.rig.name)} ({escape(sensors)})</p><h1>{headline(found)}</h1>"
        f"<div class='facts' style='grid-template-columns:repeat({len(tiles)},1fr)'>{cells}</div>"
    )


def _findings(found: Sequence[Finding]) -> str:
    if not found:
        return "<p class='lead'>Rates, stamps, sizes, calibration and payloads are as the rig says.</p>"
    items = "".join(
        f"<li class='s{f.severity}'><b>{escape(f.what)}</b>" + (f"<p>{escape(f.do)}</p>" if f.do else "") + "</li>"
        for f in found
    )
    return f"<ul class='findings'>{items}</ul>"


def _fits(fits: Sequence[Fit], edges: Mapping[str, Sequence[Picture]]) -> str:
    if not fits:
        return ""
    parts = [
        "<h2>Does the calibration fit?</h2><p>Where the cloud's range jumps or its intensity steps, and where events "
        "come from, the picture should have an edge. The score says how much edge lies under them, 0 being what "
        "random places get. It is searched over small turns of the sensor; a calibration that fits has its maximum "
        "at 0. Positions are not searched.</p>"
    ]
    for fit in fits:
        found = fit.alignment
        parts.append(f"<h3>{escape(fit.sensor)} on {escape(fit.camera)} {_chip(found.verdict)}</h3>")
        parts.append(f"<p class='note'>{escape(fit_sentence(fit))}</p>")
        if found.curves.size:
            parts.append(f"<div class='chart'>{score_curves(found)}</div>")
        side = [_figure(picture) for picture in edges.get(fit.sensor, ())]
        if fit.clock is not None and fit.clock.points is not None:
            side.append(
                f"<div class='chart'><b>Clock</b> {_chip(fit.clock.verdict)}{clock_chart(fit.clock)}"
                f"<p class='note'>{escape(clock_sentence(fit))}</p></div>"
            )
        parts.append(f"<div class='pair'>{''.join(side)}</div>")
    return "".join(parts)


def fit_sentence(fit: Fit) -> str:
    """What the search found, in words."""
    found = fit.alignment
    if not found.curves.size:
        return f"Nothing can be said: {found.why}."
    figures = (
        f"{found.edges} edges; score {found.score:.2f} as calibrated, {found.best:.2f} at best; "
        f"{100 * found.support:.0f} % of random parts of the pictures agree."
    )
    if found.verdict == OFF:
        return f"Off: {turn_sentence(fit)}. {figures}"
    if found.verdict == "good":
        return f"The maximum lies at the calibration, within what can be told. {figures}"
    return f"Nothing can be said: {found.why}. {figures}"


def clock_sentence(fit: Fit) -> str:
    """What the comparison of clocks found, in words."""
    clock = fit.clock
    if clock is None:
        return ""
    if clock.why:
        return f"Nothing can be said: {clock.why}."
    return (
        f"{fit.sensor} fits pictures best that were taken {clock.late_ms:+.0f} ms (+-{clock.sigma_ms:.0f}) from it, by "
        "the stamps less the rig's offsets. Each dot is one picture against one measurement."
    )


def _chip(verdict: str) -> str:
    return f"<span class='verdict {verdict.split()[0]}'>{escape(verdict)}</span>"


def _topics(recording: Recording, survey: Survey) -> str:
    if not survey.topics:
        return ""
    ours = [t for t in survey.topics if t.sensor]
    kinds = {s.name: s.modality.value for s in recording.rig.sensors}
    rows = "".join(_topic_row(t) for t in sorted(survey.topics, key=lambda t: not t.sensor))
    return (
        "<h2>What was recorded</h2><p>Bars show when messages came.</p>"
        f"<div class='chart'>{timeline(ours, kinds, recording.seconds)}</div><div class='scroll'><table><thead><tr>"
        "<th>Topic</th><th>messages</th><th>Hz</th><th>Hz in<br>the rig</th><th>longest<br>gap, ms</th>"
        "<th>jitter<br>95 %, ms</th><th>stamps<br>back / twice / 0</th>"
        "<th>arrival &minus; stamp, ms<br>5 / 50 / 95 %</th>"
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _topic_row(t: TopicFigures) -> str:
    lag = DASH if t.lag_ms is None else " / ".join(f"{value:.0f}" for value in t.lag_ms)
    stamps = f"{t.back} / {t.duplicates} / {t.zero}"
    bad = " class='flag'" if t.sensor and (t.back or t.duplicates or t.zero) else ""
    name = f"<b>{escape(t.sensor)}</b> {escape(t.topic)}" if t.sensor else escape(t.topic)
    return (
        f"<tr{'' if t.sensor else ' class=quiet'}><td>{name}<br><span class='note'>{escape(t.msgtype)}</span></td>"
        f"<td>{t.count}</td><td>{_number(t.rate_hz, 1)}</td><td>{_number(t.expected_hz, 1)}</td>"
        f"<td>{_number(t.longest_gap_ms, 0)}</td><td>{_number(t.jitter_ms, 1)}</td><td{bad}>{stamps}</td>"
        f"<td>{lag}</td></tr>"
    )


def _skews(survey: Survey) -> str:
    if not survey.skews:
        return ""
    charts = "".join(
        f"<div class='chart'><b>{escape(s.sensor)} &minus; {escape(s.reference)}</b>{histogram(s)}<p class='note'>"
        f"median {s.median_ms:+.1f} ms, 5 to 95 %: {s.low_ms:+.1f} to {s.high_ms:+.1f}; {100 * s.within:.0f} % within "
        f"the tolerance of {s.tolerance_ms:g} ms</p></div>"
        for s in survey.skews
    )
    return (
        "<h2>Skew between sensors</h2><p>The nearest partner of each measurement of the reference, after the rig's "
        "offsets. A constant skew is no fault by itself: sensors that are not triggered together have one. Events "
        f"have none, as their window is cut to the reference.</p><div class='pair'>{charts}</div>"
    )


def _calibration(recording: Recording, survey: Survey) -> str:
    lenses = "".join(
        f"<tr><td class='name'>{escape(x.sensor)}</td><td>{x.width} x {x.height}</td><td>{_number(x.hfov_deg, 1)} x "
        f"{_number(x.vfov_deg, 1)}</td><td>{100 * x.centre_off[0]:+.1f}, {100 * x.centre_off[1]:+.1f}</td>"
        f"<td>{x.aspect:.3f}</td><td>{escape(x.distortion)}</td><td>{_number(x.valid_deg, 0)}</td>"
        f"<td>{_number(x.corner_deg, 0)}</td></tr>"
        for x in survey.lenses
    )
    clouds = "".join(
        f"<tr><td class='name'>{escape(c.sensor)}</td><td>{at:.2f} s</td><td>{c.points}</td>"
        f"<td>{c.points - c.finite}</td><td>{c.behind}</td><td>{c.ahead}</td><td>{c.in_view}</td>"
        f"<td>{100 * c.in_view / max(1, c.ahead):.0f} %</td>"
        f"<td>{c.beyond}</td><td>{_number(c.ground_m, 2)}</td></tr>"
        for c, at in zip(survey.clouds, _cloud_times(recording), strict=False)
    )
    parts = ["<h2>Calibration</h2>"]
    if lenses:
        parts.append(
            "<div class='scroll'><table><thead><tr><th>Camera</th><th>size</th><th>field of view, °</th><th>principal "
            "point<br>from middle, %</th><th>fx / fy</th><th>distortion</th><th>holds up<br>to, °</th>"
            f"<th>corner<br>at, °</th></tr></thead><tbody>{lenses}</tbody></table></div>"
        )
    if clouds:
        parts.append(
            "<div class='scroll'><table><thead><tr><th>Cloud</th><th>at</th><th>points</th><th>not<br>finite</th><th>"
            "behind the<br>camera</th><th>within 45°<br>ahead</th><th>in the<br>picture</th><th>share</th><th>folded "
            "back<br>(not drawn)</th><th>ground over<br>base, m</th></tr></thead>"
            f"<tbody>{clouds}</tbody></table></div>"
        )
    return "".join(parts)


def _cloud_times(recording: Recording) -> list[float]:
    """When each cloud of the survey was taken, in its order."""
    lidars = {s.name for s in recording.rig.sensors if s.modality.value == "lidar"}
    return [m.at_s for m in recording.moments for name in m.frame_set.present if name in lidars]


def _moments(shown: Sequence[Shown]) -> str:
    parts = ["<h2>What the sensors saw, and what the network gets</h2>"]
    for each in shown:
        parts.append(f"<h3>{each.at_s:.2f} s</h3>")
        parts += [f"<p class='note'>{escape(why)}</p>" for why in each.turned_down.values()]
        for wide in (True, False):
            figures = [_figure(picture) for picture in each.pictures if picture.wide == wide]
            parts.append(f"<div class='shots n{min(len(figures), 3)}'>{''.join(figures)}</div>")
    return "".join(parts)


def _figure(picture: Picture) -> str:
    return (
        f"<figure><img src='{data_uri(picture.pixels)}' "
        f"alt='{escape(picture.caption, quote=True)}' loading='lazy'>"
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _notes(recording: Recording) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in recording.notes)
    return f"<h2>Where the calibration came from</h2><ul>{items}</ul>" if items else ""


def _number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
