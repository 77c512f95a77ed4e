# SPDX-License-Identifier: Apache-2.0
"""``anyseg replay``: a bag or a RAW file in; segmentation bag, pictures and summary out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anyseg_ros.bags.calibration import calibrated
from anyseg_ros.bags.drops import parse_drops
from anyseg_ros.bags.odometry import OdometryFeed, odometry_topic
from anyseg_ros.bags.raw_reader import RawReader, is_raw
from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import Answer, GroundTruth, answers
from anyseg_ros.bags.report import Tally, table
from anyseg_ros.bags.writer import BagError, BagWriter, prepare_bag_path
from anyseg_ros.engine.backends import BACKENDS
from anyseg_ros.engine.precision import CHOICES
from anyseg_ros.painting import colour, overlay, show_encoded
from anyseg_ros.panels import Tile, panel, save_png
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.resources import share_path
from anyseg_ros.rig_timing import corrected_ns, timings_from_rig
from anyseg_ros.sensors.rig import load_rig
from anyseg_ros.stack import Stack
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import Absence, Segmentation

OUTPUT = "/segmentor/output"
BAG_NAME = "segmentation"
# In every subset the answers of these ranks become pictures: one soon after the change, one settled.
PICTURED = (1, 8)


def replay(
    bag: Path,
    out: Path,
    drops: Sequence[str] = (),
    rig_path: Path | None = None,
    checkpoint: Path | None = None,
    force: bool = False,
    device: str = "auto",
    odometry: str | None = None,
    backend: str = "torch",
    precision: str = "fp32",
) -> dict[str, Any]:
    """Replays a bag, or a RAW file of an event camera; writes a segmentation bag, pictures and summary.json.

    Args:
        bag: a rosbag2 folder, or a file ``*.raw``.
        out: the folder to write to; an earlier replay in it is replaced only with ``force``.
        drops: texts as ``parse_drops`` reads them.
        rig_path: rig file; None takes the simulated rig.
        checkpoint: as for ``Pipeline``; None takes the shipped student.
        force: overwrite.
        device: as for ``Pipeline``.
        odometry: topic of the vehicle's motion, or ``auto`` (see ``odometry_topic``); None: no motion compensation.
        backend: as for ``Pipeline``.
        precision: likewise.

    Returns:
        The summary.

    Raises:
        ValueError: bag, rig, drops or checkpoint cannot be used; the message says why.
    """
    rig = load_rig(rig_path or share_path("config/rigs/sim.yaml"))
    with RawReader(bag, rig) if is_raw(bag) else BagReader(bag) as reader:
        rig, notes = calibrated(rig, reader)
        cuts = parse_drops(drops, rig)
        pipeline = Pipeline(rig, checkpoint, device=device, backend=backend, precision=precision)
        feed = None
        if odometry is not None:
            if isinstance(reader, RawReader):
                raise BagError(f"{bag} holds events alone, and no motion of the vehicle: leave --odometry out")
            feed = OdometryFeed(reader, odometry_topic(reader, odometry), rig.base_frame)
            pipeline.motion = feed.history
        prepare_bag_path(out / BAG_NAME, force)
        out.mkdir(parents=True, exist_ok=True)
        synchronizer = Synchronizer(timings_from_rig(rig, pipeline.encoding))
        begin = time.perf_counter()
        with BagWriter(out / BAG_NAME) as writer:
            recorder = Recorder(reader, pipeline, writer, out)
            for answer in tqdm(answers(reader, pipeline, synchronizer, cuts, feed), desc="replay", unit=" sets"):
                recorder.take(answer)
        summary = recorder.tally.summary() | {
            "bag": str(bag),
            "drops": list(drops),
            "notes": notes,
            "rejected": dict(reader.rejected),
            "damage": reader.damage,
            "pictures": recorder.pictures,
            "wall_s": round(time.perf_counter() - begin, 3),
            "bag_s": round((reader.end_ns - reader.start_ns) / 1e9, 3),
            "device": str(pipeline.engine.device),
            "backend": backend,
            "precision": precision,
            "checkpoint": str(checkpoint or "shipped student"),
            "motion": feed.summary() if feed else None,
        }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


class Recorder:
    """Writes what a replay answers: messages, figures, pictures."""

    def __init__(self, reader: BagReader | RawReader, pipeline: Pipeline, writer: BagWriter, out: Path):
        self.pipeline, self.writer, self.out = pipeline, writer, out
        self.truth = GroundTruth(reader)
        self.tally = Tally(len(pipeline.labels))
        self.pictures: list[str] = []
        self._start_ns = reader.start_ns
        self._ranks: Counter[str] = Counter()

    def take(self, answer: Answer) -> None:
        """Records one answer."""
        segmentation = answer.segmentation
        truth = None
        if self.truth.available:
            truth = self.truth.at(corrected_ns(self.pipeline.rig, answer.frame_set))
        at_camera = None if segmentation is None else self.pipeline.to_camera(segmentation)
        if at_camera is not None and truth is not None and at_camera.labels.shape != truth.shape:
            raise ValueError(
                f"ground truth is {list(truth.shape)} and the image plane {list(at_camera.labels.shape)}; "
                "expected the resolution of the rig's image-plane camera"
            )
        self.tally.add(answer, at_camera, truth)
        if segmentation is None:
            return
        self._write(answer, segmentation)
        rank = self._ranks[segmentation.subset]
        self._ranks[segmentation.subset] += 1
        if rank in PICTURED:
            self._picture(answer, segmentation, truth, rank)

    def _write(self, answer: Answer, segmentation: Segmentation) -> None:
        """Writes the output topics, which arrive when the set was closed: virtual time has no other."""
        arrival_ns, stamp_ns, frame_id = answer.frame_set.closed_ns, segmentation.stamp_ns, segmentation.frame_id
        self.writer.write_image(f"{OUTPUT}/labels", arrival_ns, stamp_ns, frame_id, segmentation.labels)
        self.writer.write_camera_info(f"{OUTPUT}/camera_info", arrival_ns, stamp_ns, frame_id, self.pipeline.grid.plane)
        self.writer.write_image(
            f"{OUTPUT}/overlay", arrival_ns, stamp_ns, frame_id, self._overlay(answer.stack, segmentation)
        )

    def _overlay(self, stack: Stack, segmentation: Segmentation) -> np.ndarray:
        """The labels over the picture of the best sensor that is there."""
        seen = show_encoded(stack.modalities[0], stack.raw[stack.sensors[0]])
        return overlay(seen, segmentation.labels, self.pipeline.labels)

    def _picture(self, answer: Answer, segmentation: Segmentation, truth: np.ndarray | None, rank: int) -> None:
        """A panel: what each sensor saw above, what was said and what is true below."""
        pipeline, stack = self.pipeline, answer.stack
        content = self._crop
        seen = []
        for sensor in pipeline.rig.sensors:
            caption = f"{sensor.name} (as the network sees it)"
            if sensor.name in stack.raw:
                pixels = content(show_encoded(sensor.modality, stack.raw[sensor.name]))
                seen.append(Tile(caption, pixels, marked=True))
            else:
                why = stack.absent.get(sensor.name, Absence.NEVER_SEEN).value.replace("_", " ")
                seen.append(Tile(sensor.name, None, f"absent: {why}"))
        said = [
            Tile(f"network, from {segmentation.subset}", content(colour(segmentation.labels, pipeline.labels))),
            Tile(f"over {stack.sensors[0]}", content(self._overlay(stack, segmentation))),
        ]
        if truth is not None:
            said.append(Tile("ground truth", colour(truth, pipeline.labels)))
        since_s = (answer.frame_set.closed_ns - self._start_ns) / 1e9
        title = f"{segmentation.subset}   {since_s:.2f} s into the bag, reference {answer.frame_set.reference}"
        _, _, height, width = pipeline.grid.source
        drawn = panel(title, (seen, said), pipeline.labels, aspect=height / width)
        path = self.out / "pictures" / f"{segmentation.subset}_{rank:02d}.png"
        save_png(path, drawn)
        self.pictures.append(str(path.relative_to(self.out)))

    def _crop(self, on_grid: np.ndarray) -> np.ndarray:
        """The part of a grid picture that the camera's image fills."""
        top, left, height, width = self.pipeline.grid.content
        return on_grid[top : top + height, left : left + width]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers ``anyseg replay``."""
    parser = subparsers.add_parser(
        "replay",
        help="run a rosbag2, or a RAW file of an event camera, through the network without ROS",
        description="Runs a rosbag2 (sqlite3 or mcap) or a RAW file (EVT2, EVT2.1, EVT3) through the same synchroniser "
        "and network as the ROS node, in virtual time and as fast as the machine can; writes a bag with the "
        "segmentation topics, pictures of every subset of sensors that occurred, and summary.json.",
    )
    parser.add_argument("bag", type=Path, help="folder of the rosbag2, or RAW file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--drop",
        action="extend",
        nargs="+",
        default=[],
        metavar="SENSOR[@FROM-TO]",
        help="leave a sensor out, for the whole bag or between two times in seconds from its start: "
        "lidar@4-8, camera, EL@2- (letters of modalities work, too)",
    )
    parser.add_argument(
        "--rig", type=Path, help="rig file (default: the simulated rig); CameraInfo and TF go before it"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="network: safetensors, or what 'anyseg export' wrote (default: the student that comes with the package)",
    )
    parser.add_argument(
        "--odometry",
        metavar="TOPIC",
        help="bring lidar points to the frame's time by the vehicle's motion, from this topic (Odometry, TwistStamped "
        "or TwistWithCovarianceStamped); auto: the bag's only Odometry topic (default: leave the points as they are)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help="what runs the network (default: torch)")
    parser.add_argument("--precision", choices=CHOICES, default="fp32", help="it computes in (default: fp32)")
    parser.add_argument("--force", action="store_true", help="overwrite an earlier replay in the same folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``."""
    network = args.backend, args.precision
    inputs = args.drop, args.rig, args.checkpoint
    summary = replay(args.bag, args.out, *inputs, args.force, args.device, args.odometry, *network)
    for note in summary["notes"]:
        print(note)
    motion = summary["motion"]
    if motion:
        print(f"{motion['topic']}: {motion['served']} clouds brought to their frame's time, {motion['missing']} not")
    print(f"{summary['frames_out']} of {summary['frames_due']} due sets answered in {summary['wall_s']:.1f} s")
    if not summary["frames_out"]:
        unread = ", ".join(f"{count} of {name} could not be read" for name, count in summary["rejected"].items())
        print(f"nothing was answered: {unread or 'no sensor was left'}", file=sys.stderr)
        return 1
    print(table(summary))
    print(f"bag, pictures and summary.json are in {args.out}")
    return 0
