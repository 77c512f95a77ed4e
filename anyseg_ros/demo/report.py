# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that holds everything it shows, so that it can be mailed or archived as it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from anyseg_ros.demo.judge import Verdict
from anyseg_ros.demo.pictures import Moment
from anyseg_ros.demo.plan import Cut, Walk
from anyseg_ros.demo.report_chart import timeline
from anyseg_ros.demo.report_style import STYLE
from anyseg_ros.html import data_uri
from anyseg_ros.labels import LabelSet

SUBSETS = ("CEL", "EL", "CL", "CE", "C", "E", "L")
KINDS = (("C", "camera", "camera"), ("E", "event", "events"), ("L", "lidar", "lidar"))
PICTURES = (
    ("camera", "Camera"),
    ("events", "Events"),
    ("lidar", "Lidar"),
    ("prediction", "Network"),
    ("truth", "Ground truth"),
)
KIND_OF_PICTURE = {"camera": "camera", "events": "event", "lidar": "lidar"}


@dataclass(frozen=True)
class DriveReport:
    """What the report shows of one drive.

    Attributes:
        walk: its segments.
        cuts: its cut list.
        verdict: what the judge found.
        start_ns: when it started, in the clock of the stamps.
        samples: at most one moment per subset.
    """

    walk: Walk
    cuts: tuple[Cut, ...]
    verdict: Verdict
    start_ns: int
    samples: tuple[Moment, ...]


def write_report(
    path: Path,
    drives: Sequence[DriveReport],
    summary: dict[str, Any],
    sensors: dict[str, str],
    classes: LabelSet,
    animation: Path,
) -> Path:
    """Write the report.

    Args:
        path: the HTML file.
        drives: what was driven.
        summary: the figures as in summary.json.
        sensors: name of the sensor by kind (``camera``, ``event``, ``lidar``).
        classes: the classes that the network knows.
        animation: the animated WebP, which is put into the file.
    """
    film = "data:image/webp;base64," + base64.b64encode(animation.read_bytes()).decode("ascii")
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>anyseg_ros: {escape(_headline(summary))}</title><style>{STYLE}</style></head><body><main>",
        _top(summary),
        f"<figure><div class='film'><img src='{film}' alt='Camera, events, lidar and labels while sensors are cut'>"
        "</div><figcaption>What the sensors delivered and what the network answered. A sensor that the script cut "
        "keeps its last picture, greyed. The letters at the top left are what the network had at that moment."
        "</figcaption></figure>",
        _timelines(drives, sensors),
        _reference_cuts(summary),
        _table(summary),
        _samples(drives),
        _legend(summary, classes),
        _made(summary),
        "</main></body></html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _headline(summary: dict[str, Any]) -> str:
    cuts, due, out = summary["cuts"], summary["frames_due"], summary["frames_out"]
    if due == out:
        return f"{cuts} sensor cuts, and all {due} label images came out"
    return f"{cuts} sensor cuts: {out} of {due} label images came out"


def _top(summary: dict[str, Any]) -> str:
    """Headline, what this is, and four figures."""
    due, out = summary["frames_due"], summary["frames_out"]
    gaps = summary["reference_cuts"]
    worst = max(gaps, key=lambda gap: gap["gap_s"] / gap["limit_s"], default=None)
    ratio = max(summary["latency_ratio"].values(), default=None)
    facts = [
        (f"{out} / {due}", "label images that were due and came", out != due),
        (
            f"{worst['gap_s']:.2f} s" if worst else "none",
            f"longest silence after the leading sensor was cut; the limit is {worst['limit_s']:.1f} s"
            if worst
            else "no leading sensor was cut",
            bool(worst and worst["gap_s"] >= worst["limit_s"]),
        ),
        (_figure(summary["subsets"].get("CEL", {}).get("miou")), "mIoU, percent, with all three sensors", False),
        (
            f"{ratio:.2f} ×" if ratio is not None else "not measured",
            "median latency with one sensor dead, relative to all alive (the slowest case)",
            ratio is not None and ratio > 1.1,
        ),
    ]
    tiles = "".join(
        f"<div{' class=bad' if bad else ''}><b>{value}</b><span>{text}</span></div>" for value, text, bad in facts
    )
    return (
        "<p class='eyebrow'>anyseg_ros, demo report</p>"
        f"<h1>{escape(_headline(summary))}</h1>"
        "<p class='lead'>A camera, an event camera and a lidar drive through a simulated town, by day and by night. "
        "Their data crosses a real ROS&nbsp;2 graph into one network that gives every pixel a class. While it runs, a "
        "script silences the sensors one after another, until each of the seven combinations has had its turn.</p>"
        f"<div class='facts'>{tiles}</div>"
    )


def _timelines(drives: Sequence[DriveReport], sensors: dict[str, str]) -> str:
    parts = [
        "<h2>What was alive, and what it cost</h2>",
        "<p>Bars show which sensors delivered. Below them, accuracy against the ground truth over the last ten "
        "frames, and the time from the publication of the leading measurement to the receipt of its labels. "
        "A red line is a label image that was due and did not come.</p>",
    ]
    for drive in drives:
        chart = timeline(drive.walk, drive.cuts, sensors, drive.verdict, drive.start_ns)
        title = {"day": "By day", "night": "By night"}.get(drive.walk.name, drive.walk.name.capitalize())
        parts.append(f"<h3>{escape(title)}</h3><div class='chart scroll'>{chart}</div>")
    return "".join(parts)


def _reference_cuts(summary: dict[str, Any]) -> str:
    """What happened each time the sensor that set the pace was cut."""
    rows = "".join(
        f"<tr><td>{escape(gap['drive'])}, {gap['at_s']:.1f} s</td><td>{escape(gap['sensor'])}</td>"
        f"<td>{escape(gap['successor'])}</td><td>{gap['gap_s']:.2f} s</td><td>{gap['limit_s']:.1f} s</td></tr>"
        for gap in summary["reference_cuts"]
    )
    if not rows:
        return ""
    return (
        "<h3>When the sensor that sets the pace is cut</h3><p>One label image is due for each measurement of the best "
        "sensor alive. When that one falls silent, the next takes over. The longest silence of the output around each "
        "such cut, in the time of the drive, and its limit of three periods:</p><div class='scroll'>"
        "<table class='plain'><thead><tr><th>Cut</th><th>of the</th><th>taken over by</th><th>silence</th>"
        f"<th>limit</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _table(summary: dict[str, Any]) -> str:
    names = list(summary["drives"])
    accuracy = "".join(f"<th>mIoU, %<br>{escape(name)}</th>" for name in names)
    rows = []
    for subset in [name for name in SUBSETS if name in summary["subsets"]]:
        row = summary["subsets"][subset]
        per_drive = "".join(
            f"<td>{_figure(summary['drives'][name]['subsets'].get(subset, {}).get('miou'))}</td>" for name in names
        )
        bar = f"<i class='bar' style='width:{(row['miou'] or 0) * 0.8:.0f}px'></i>"
        rows.append(
            f"<tr><td>{_chips(subset)}</td><td>{row['frames']} / {row['due']}</td>{per_drive}"
            f"<td><b>{_figure(row['miou'])}</b>{bar}</td><td>{_figure(row.get('validated_miou'))}</td>"
            f"<td>{_figure(row['latency_ms']['p50'], 0)}</td><td>{_figure(row['latency_ms']['p99'], 0)}</td></tr>"
        )
    return (
        "<h2>Seven combinations</h2><p>A sensor that drops out costs accuracy. How much depends on what is left and on "
        "the light.</p><div class='scroll'><table><thead><tr><th>Sensors</th><th>answered<br>/ due</th>"
        f"{accuracy}<th>mIoU, %<br>together</th><th>validated<br>in training</th><th>latency, ms<br>median</th>"
        f"<th>latency, ms<br>99th pct.</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='note' style='margin-top:10px'>mIoU is the mean, over the classes that occur, of intersection over "
        "union in percent. &ldquo;Validated&rdquo; comes with the checkpoint: drives that the network never saw in "
        f"training. Latency is wall time at {summary['playback_rate']:g} times real speed; waiting for a partner "
        "measurement stretches with it.</p>"
    )


def _chips(subset: str) -> str:
    """Three letters, hollow where the sensor is missing."""
    return "".join(
        f"<span class='chip {kind if letter in subset else 'off'}'>{letter}</span>" for letter, kind, _ in KINDS
    )


def _samples(drives: Sequence[DriveReport]) -> str:
    parts = [
        "<h2>What the network sees, and says</h2><p>One frame of each combination. Pictures marked CUT are the last "
        "thing that the sensor delivered; the network does not get them.</p>"
    ]
    titles = "".join(f"<span>{title}</span>" for _, title in PICTURES)
    for drive in drives:
        parts.append(
            f"<h3>{escape(drive.walk.name.capitalize())}</h3><div class='strip titles'><span></span>{titles}</div>"
        )
        ordered = sorted(drive.samples, key=lambda moment: SUBSETS.index(moment.subset))
        parts += [_strip(moment) for moment in ordered]
    return "".join(parts)


def _strip(moment: Moment) -> str:
    shots = []
    for name, title in PICTURES:
        gone = name in KIND_OF_PICTURE and KIND_OF_PICTURE[name] not in moment.live
        uri = data_uri(getattr(moment, name), photo=name in KIND_OF_PICTURE)
        shots.append(f"<div class='shot{' gone' if gone else ''}'><img src='{uri}' alt='{title}' loading='lazy'></div>")
    score = "" if moment.miou is None else f"<br>mIoU {moment.miou:.0f}"
    who = f"<div class='who'>{_chips(moment.subset)}<br>{moment.since_start_ns / 1e9:.1f} s{score}</div>"
    return f"<div class='strip'>{who}{''.join(shots)}</div>"


def _legend(summary: dict[str, Any], classes: LabelSet) -> str:
    iou = summary.get("iou_full_rig", {})
    cells = "".join(
        f"<div><i style='background:rgb({r},{g},{b})'></i>{escape(name)}<em>{_figure(iou.get(name))}</em></div>"
        for name, (r, g, b) in zip(classes.names, classes.palette, strict=True)
    )
    return (
        "<h2>Classes</h2><p>Colours of the pictures above, with the intersection over union in percent that each class "
        f"reached with all three sensors. A dash: it did not come into view.</p><div class='classes'>{cells}</div>"
    )


def _made(summary: dict[str, Any]) -> str:
    """How it was made, and what it does not show."""
    steps = (
        "Two drives were simulated by ray casting, each into a rosbag2 (mcap) with camera images, event packets, "
        "point clouds, calibration and ground-truth labels.",
        "Three processes ran on a private ROS&nbsp;2 graph over Fast DDS: a player that published the bag and fell "
        "silent for the sensors of the cut list, the segmentor, and a recorder. Only the player knew about the cuts.",
        "Afterwards the judge worked out from the bag and the cut list which label images were due, and compared them "
        "with what had been recorded. It shares no code with the synchroniser.",
    )
    limits = (
        "The network that ships knows the simulator's world. It has not seen real roads, and its accuracy here says "
        "nothing about them.",
        f"The bags were played at {summary['playback_rate']:g} times real speed, to suit the machine. A faster machine "
        "plays them faster, at most in real time.",
        "The drives are short and there is one of each kind, so a class that is rare in them makes the mIoU noisy.",
        "A sensor is cut cleanly here: it falls silent. Frozen, blind and late sensors are tested elsewhere.",
    )
    facts = {
        "Device": summary["device"],
        "Checkpoint": summary["checkpoint"],
        "Playback rate": f"{summary['playback_rate']:g} times real speed",
        "Network alone": f"{summary['sustained_hz']:g} label images a second",
        "Stamps": f"{summary['stamps_backwards']} backwards, {summary['stamps_duplicate']} twice",
        "Version": f"anyseg_ros {summary['version']}",
        "Again": "make demo",
    }
    listed = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    return (
        "<div class='made'><div><h2>How it was made</h2><ol>"
        + "".join(f"<li>{step}</li>" for step in steps)
        + "</ol></div><div><h2>What it does not show</h2><ul>"
        + "".join(f"<li>{limit}</li>" for limit in limits)
        + f"</ul></div></div><dl>{listed}</dl>"
    )


def _figure(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
