# SPDX-License-Identifier: Apache-2.0
"""``anyseg real``: the same code on two real recordings, a road scene and a bag of events."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import answers
from anyseg_ros.bags.road_frame import load_road, points_in_picture
from anyseg_ros.modality import Modality, parse_subset
from anyseg_ros.painting import colour, overlay, show_encoded
from anyseg_ros.panels import Tile, panel, save_png
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import FrameSet, Measurement

DATA_VARIABLE = "ANYSEG_TEST_DATA"
CAVEATS = (
    "The road frame and the events are two different scenes, recorded by different vehicles.",
    "The student was trained on the simulator's world and knows no real road: its labels here show that real "
    "input runs through, not how well it would do.",
)
ROAD_SUBSETS = ("C", "L", "CL")
EVENT_PERIOD_NS = 100_000_000
EVENT_HFOV_DEG = 64.0  # the lens of the event recording is not known; nothing is projected across sensors there


def over(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The image with everything that is not black in a smaller drawing laid over it."""
    height, width = image.shape[:2]
    drawn = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.where(drawn.any(axis=2, keepdims=True), drawn, image)


def run_road(folder: Path, out: Path, checkpoint: Path | None) -> dict[str, Any]:
    """The student on camera, lidar and both; returns the figures."""
    rig, image, points = load_road(folder)
    figures: dict[str, Any] = {
        "points": len(points),
        "points_in_picture": int(points_in_picture(rig, points)[1].sum()),
        "points_in_picture_without_distortion": int(points_in_picture(rig, points, distorted=False)[1].sum()),
        "lidar_height_m": round(float(rig.sensor("lidar").base_from_sensor[2, 3]), 3),
        "subsets": {},
    }
    pipeline = Pipeline(rig, checkpoint)
    payloads = {"camera": image, "lidar": points}
    rows = []
    for stamp_ns, subset in enumerate(ROAD_SUBSETS, start=1):
        present = {
            s.name: Measurement(s.name, s.modality, stamp_ns, payloads[s.name], s.frame_id)
            for s in rig.sensors
            if s.modality in parse_subset(subset)
        }
        frame_set = FrameSet(stamp_ns, next(iter(present)), present)
        stack = pipeline.encode(frame_set)
        segmentation = pipeline.segment(stack, frame_set)
        seen = image if "camera" in stack.raw else np.zeros_like(image)
        if "lidar" in stack.raw:
            seen = over(seen, _crop(pipeline, show_encoded(Modality.LIDAR, stack.raw["lidar"])))
        rows.append(
            [
                Tile(f"in: {' + '.join(stack.sensors)}", seen),
                Tile(f"network, from {subset}", _crop(pipeline, colour(segmentation.labels, pipeline.labels))),
                Tile("over the picture", overlay(image, segmentation.labels[_content(pipeline)], pipeline.labels)),
            ]
        )
        figures["subsets"][subset] = {
            "confidence_mean": round(float(segmentation.confidence[segmentation.labels < 255].mean()), 3),
            "classes": _shares(segmentation.labels, pipeline),
        }
    aspect = image.shape[0] / image.shape[1]
    title = "Real road frame. The student knows only the simulator's world: real input runs through, no more."
    save_png(out / "road.png", panel(title, rows, pipeline.labels, aspect=aspect))
    return figures


def event_rig(width: int, height: int) -> Rig:
    """A rig of one event camera that is its own image plane."""
    model = CameraModel.pinhole(width, height, EVENT_HFOV_DEG)
    sensor = Sensor(
        "event", Modality.EVENT, "event_camera", np.eye(4), EVENT_PERIOD_NS, model, topic="/event_camera/events"
    )
    return Rig("event_recording", "base_link", (sensor,), "event")


def decode_counts(bag: Path) -> dict[str, Any]:
    """Decodes a bag of events: how many of each polarity, over what time, and the sensor's size."""
    with BagReader(bag) as reader:
        first = reader.first_message("/event_camera/events")
        if first is None:
            raise ValueError(f"{bag} holds no message on /event_camera/events")
        rig = event_rig(int(first.width), int(first.height))
        off, on, span_ns = 0, 0, [2**63 - 1, 0]
        for _, measurement in reader.measurements(rig):
            events = measurement.payload
            ones = int(np.count_nonzero(events.p))
            off, on = off + len(events) - ones, on + ones
            span_ns = [min(span_ns[0], int(events.t_ns[0])), max(span_ns[1], int(events.t_ns[-1]))]
    return {
        "width": int(first.width),
        "height": int(first.height),
        "off": off,
        "on": on,
        "seconds": round((span_ns[1] - span_ns[0]) / 1e9, 3),
    }


def run_events(bag: Path, out: Path, checkpoint: Path | None) -> dict[str, Any]:
    """Decodes the bag, then replays it through synchroniser and student; returns the figures."""
    figures = decode_counts(bag)
    rig = event_rig(figures["width"], figures["height"])
    pipeline = Pipeline(rig, checkpoint)
    rows, answered = [], 0
    with BagReader(bag) as reader:
        for answer in answers(reader, pipeline, Synchronizer(timings_from_rig(rig, pipeline.encoding))):
            if answer.segmentation is None:
                continue
            answered += 1
            if answered in (5, 15):
                count = len(answer.frame_set.present["event"].payload)
                seen = show_encoded(Modality.EVENT, answer.stack.raw["event"])
                said = colour(answer.segmentation.labels, pipeline.labels)
                rows.append(
                    [
                        Tile(f"in: {count} events in 30 ms", _crop(pipeline, seen)),
                        Tile("network, from E", _crop(pipeline, said)),
                        Tile(
                            "over the events",
                            _crop(pipeline, overlay(seen, answer.segmentation.labels, pipeline.labels)),
                        ),
                    ]
                )
    title = "Real events, another scene than the road frame. The student knows only the simulator's world."
    if rows:
        save_png(out / "events.png", panel(title, rows, pipeline.labels, aspect=figures["height"] / figures["width"]))
    return figures | {"sets_answered": answered}


def _content(pipeline: Pipeline) -> tuple[slice, slice]:
    """The part of the grid that the camera's image fills."""
    top, left, height, width = pipeline.grid.content
    return np.s_[top : top + height, left : left + width]


def _crop(pipeline: Pipeline, on_grid: np.ndarray) -> np.ndarray:
    return on_grid[_content(pipeline)]


def _shares(labels: np.ndarray, pipeline: Pipeline) -> dict[str, float]:
    """Percent of the picture by class name, for classes above one percent."""
    counts = np.bincount(labels[labels < 255], minlength=len(pipeline.labels))
    shares = 100.0 * counts / max(1, counts.sum())
    return {pipeline.labels.names[k]: round(float(shares[k]), 1) for k in np.argsort(-shares) if shares[k] >= 1.0}


def add_parser(subparsers: Any) -> None:
    """Registers ``anyseg real``."""
    parser = subparsers.add_parser(
        "real",
        help="run two real recordings (road frame, events) through the same code",
        description="Runs the student on a real road scene from camera, lidar and both, decodes a real bag of events "
        "and runs the student on those. " + " ".join(CAVEATS),
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write pictures and summary.json to")
    parser.add_argument("--data", type=Path, help=f"folder with road_frame and events_evt3 (default: ${DATA_VARIABLE})")
    parser.add_argument("--checkpoint", type=Path, help="network (default: the student that comes with the package)")
    parser.set_defaults(run=run)


def data_folder(given: Path | None) -> Path:
    """The folder of the recordings.

    Raises:
        ValueError: none is given, or it does not hold them.
    """
    named = given or os.environ.get(DATA_VARIABLE)
    if not named:
        raise ValueError(f"where are the recordings? Give --data, or set {DATA_VARIABLE}; the docs say how to get them")
    folder = Path(named)
    missing = [name for name in ("road_frame", "events_evt3") if not (folder / name).is_dir()]
    if missing:
        raise ValueError(f"{folder} does not hold {' and '.join(missing)}; the docs say how to get the recordings")
    return folder


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    data = data_folder(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    road = run_road(data / "road_frame", args.out, args.checkpoint)
    print(
        f"road frame: {road['points_in_picture']} of {road['points']} lidar points are in the picture "
        f"({road['points_in_picture_without_distortion']} if the distortion were left out)"
    )
    events = run_events(data / "events_evt3", args.out, args.checkpoint)
    print(f"events: {events['off']} OFF and {events['on']} ON in {events['seconds']} s; {events['sets_answered']} sets")
    summary = {"caveats": list(CAVEATS), "road_frame": road, "events": events}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for caveat in CAVEATS:
        print(caveat)
    print(f"pictures and summary.json are in {args.out}")
    return 0
