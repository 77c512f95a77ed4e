# SPDX-License-Identifier: Apache-2.0
"""``anyseg inspect``: a recording or single files in; a page, pictures, figures and plain sentences out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.bags.writer import looks_like_bag
from anyseg_ros.inspection.bag_source import read_bag
from anyseg_ros.inspection.file_source import read_files
from anyseg_ros.inspection.files import LAYOUTS
from anyseg_ros.inspection.findings import Survey, corrected_rpy_deg, findings
from anyseg_ros.inspection.fit import Fit, fits
from anyseg_ros.inspection.geometry import lens, project_cloud
from anyseg_ros.inspection.page import clock_sentence, fit_sentence, headline, write_page
from anyseg_ros.inspection.pictures import Picture, draw_edges, show
from anyseg_ros.inspection.recording import Finding, Recording
from anyseg_ros.inspection.survey import skews, topic_figures
from anyseg_ros.panels import save_png
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.alignment import OFF
from anyseg_ros.sensors.rig import load_rig
from anyseg_ros.types import Points

BAG_SUFFIXES = (".mcap", ".db3")


def add_parser(subparsers: Any) -> None:
    """Registers ``anyseg inspect``."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what a recording holds, and whether calibration and clocks fit",
        description="Reads a rosbag2, or pictures, clouds and event files with their calibration; writes a page that "
        "shows rates, stamps, projections and what the network sees, and says in plain sentences what looks wrong.",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        help="a rosbag2, or files: .png .jpg .pcd .bin .h5 .raw .json, or a folder of them",
    )
    parser.add_argument("--rig", type=Path, help="rig file (bags: default the simulated rig; files: theirs)")
    parser.add_argument("--out", type=Path, default=Path("out/inspect"), help="folder to write to")
    parser.add_argument("--moments", type=int, default=6, help="how many moments are looked at closely (default 6)")
    parser.add_argument(
        "--layout", choices=sorted(LAYOUTS), help="layout of .bin clouds, where their size leaves it open"
    )
    parser.add_argument("--checkpoint", type=Path, help="network whose input is shown (default: the shipped student)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    if args.moments < 1:
        raise ValueError(f"--moments {args.moments} leaves nothing to look at; give at least 1")
    recording = read(args.paths, args.rig, args.moments, args.layout)
    survey, edges = examine(recording, args.checkpoint)
    found = findings(recording, survey)
    args.out.mkdir(parents=True, exist_ok=True)
    pictures = [picture for shown in survey.shown for picture in shown.pictures]
    for picture in [*pictures, *(p for each in edges.values() for p in each)]:
        save_png(args.out / f"{picture.name}.png", picture.pixels)
    write_page(args.out / "index.html", recording, survey, found, edges)
    figures = json.dumps(summary(recording, survey, found), indent=2, default=_plain)
    (args.out / "inspect.json").write_text(figures + "\n", encoding="utf-8")
    say(recording, survey, found)
    print(f"page, pictures and inspect.json are in {args.out}")
    return 0


def read(paths: Sequence[Path], rig_path: Path | None, count: int, layout: str | None = None) -> Recording:
    """The recording at hand, whatever it is.

    Raises:
        ValueError: nothing can be used; the message says why.
    """
    first = paths[0]
    if looks_like_bag(first) or first.suffix in BAG_SUFFIXES:
        if len(paths) > 1:
            raise ValueError(f"{first} is a bag, and {len(paths) - 1} more paths came with it; inspect one at a time")
        return read_bag(first, load_rig(rig_path or share_path("config/rigs/sim.yaml")), count)
    return read_files(paths, rig_path, layout, count)


def examine(recording: Recording, checkpoint: Path | None = None) -> tuple[Survey, dict[str, list[Picture]]]:
    """All figures and pictures of a recording; and by sensor name the pictures of its edges."""
    rig, sensor_of = recording.rig, {topic: name for name, topic in recording.matched.items()}
    topics = tuple(
        topic_figures(headers, rig.sensor(sensor_of[topic]) if topic in sensor_of else None, recording.start_ns)
        for topic, headers in sorted(recording.headers.items())
    )
    stamps = {
        name: np.frombuffer(recording.headers[topic].stamp_ns, np.int64) for name, topic in recording.matched.items()
    }
    clouds = tuple(
        project_cloud(rig, rig.sensor(name), measurement.payload)[2]
        for moment in recording.moments
        for name, measurement in moment.frame_set.present.items()
        if isinstance(measurement.payload, Points)
    )
    pipeline = Pipeline(rig, checkpoint, device="cpu")
    survey = Survey(
        topics,
        tuple(skews(rig, stamps)),
        tuple(lens(sensor) for sensor in rig.sensors if sensor.model is not None),
        clouds,
        tuple(fits(recording)),
        tuple(show(recording, moment, pipeline, k) for k, moment in enumerate(recording.moments)),
    )
    return survey, {fit.sensor: edge_pictures(recording, fit) for fit in survey.fits}


def edge_pictures(recording: Recording, fit: Fit) -> list[Picture]:
    """The edges of the view with most of them, as calibrated and, where that is off, turned to where they fit."""
    if not fit.views:
        return []
    camera = recording.rig.sensor(fit.camera)
    images = [m.frame_set.present[fit.camera].payload for m in recording.moments if fit.camera in m.frame_set.present]
    best = max(range(len(fit.views)), key=lambda k: len(fit.views[k].edges))
    view = fit.views[best]
    image = images[fit.pictures[best]]
    colours = "red: upright, green: level" if fit.sensor != "event" else "orange: events"
    drawn = draw_edges(image, camera.model, view, np.zeros(3))
    found = [Picture(f"edges_{fit.sensor}", f"edges as calibrated ({colours})", drawn)]
    if fit.alignment.verdict == OFF:
        drawn = draw_edges(image, camera.model, view, fit.alignment.turn_deg)
        found.append(Picture(f"edges_{fit.sensor}_turned", "edges turned to where they fit best", drawn))
    return found


def summary(recording: Recording, survey: Survey, found: Sequence[Finding]) -> dict[str, Any]:
    """The contents of inspect.json."""
    return {
        "recording": recording.name,
        "rig": recording.rig.name,
        "seconds": recording.seconds,
        "notes": list(recording.notes),
        "findings": [asdict(finding) for finding in found],
        "topics": [asdict(each) for each in survey.topics],
        "skews": [asdict(each) for each in survey.skews],
        "lenses": [asdict(each) for each in survey.lenses],
        "clouds": [asdict(each) for each in survey.clouds],
        "fits": {fit.sensor: _fit_figures(recording, fit) for fit in survey.fits},
        "moments": [
            {"at_s": s.at_s, "turned_down": s.turned_down, "pictures": [f"{p.name}.png" for p in s.pictures]}
            for s in survey.shown
        ],
    }


def _fit_figures(recording: Recording, fit: Fit) -> dict[str, Any]:
    clock = None if fit.clock is None else asdict(replace(fit.clock, points=None))
    return {
        "camera": fit.camera,
        "alignment": asdict(fit.alignment),
        "rpy_deg_that_fits_best": corrected_rpy_deg(recording.rig, fit),
        "clock": clock,
    }


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as JSON knows them."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def say(recording: Recording, survey: Survey, found: Sequence[Finding]) -> None:
    """A short text on the console."""
    messages = sum(each.count for each in survey.topics)
    length = f"{recording.seconds:.2f} s, {messages} messages, " if survey.topics else ""
    print(f"{recording.name}: {length}{len(recording.moments)} moments, rig '{recording.rig.name}'")
    for each in survey.topics:
        rate = "" if each.rate_hz is None else f"{each.rate_hz:.1f} Hz"
        print(
            f"{each.count:>8}  {rate:>9}  {each.topic}  {each.msgtype}" + (f"  ({each.sensor})" if each.sensor else "")
        )
    for note in recording.notes:
        print(f"  {note}")
    for fit in survey.fits:
        print(f"{fit.sensor} on {fit.camera}: {fit.alignment.verdict}. {fit_sentence(fit)}")
        if fit.clock is not None:
            print(f"{fit.sensor}'s clock: {fit.clock.verdict}. {clock_sentence(fit)}")
    print(headline(found) + (":" if found else "."))
    for finding in found:
        print(f"  - {finding.what} {finding.do}".rstrip())
