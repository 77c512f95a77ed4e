# SPDX-License-Identifier: Apache-2.0
"""``anyseg simulate --bag``: a simulated drive with ground truth, as a rosbag2."""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anyseg_ros.bags.messages import odometry
from anyseg_ros.bags.topics import GROUND_TRUTH_TOPIC, ODOMETRY_TOPIC
from anyseg_ros.bags.writer import BagWriter, prepare_bag_path
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.simulation import cli as dataset
from anyseg_ros.types import Measurement

MS = 1_000_000
TRUTH_PERIOD_NS = 50 * MS
ODOMETRY_PERIOD_NS = 20 * MS
# From true stamp to arrival: exposure and transfer; half a sweep (its stamp is its middle) and a packet; a chunk.
LATENCY_NS = {
    Modality.CAMERA: 15 * MS,
    Modality.DEPTH: 15 * MS,
    Modality.LIDAR: 55 * MS,
    Modality.EVENT: 3 * MS,
}
REORDER_NS = 200 * MS  # more than latencies and clock offsets differ by


def arrivals(measurements: Iterator[Measurement], rig: Rig) -> Iterator[tuple[int, Measurement]]:
    """Measurements in the order in which they would arrive: (arrival_ns, measurement).

    Args:
        measurements: in the order of their stamps.
        rig: gives each sensor's clock offset.
    """
    waiting: list[tuple[int, int, Measurement]] = []
    for serial, measurement in enumerate(measurements):
        true_ns = measurement.stamp_ns - rig.sensor(measurement.sensor).offset_ns
        heapq.heappush(waiting, (true_ns + LATENCY_NS[measurement.modality], serial, measurement))
        while waiting[0][0] <= true_ns - REORDER_NS:
            yield waiting[0][0], heapq.heappop(waiting)[2]
    while waiting:
        arrival_ns, _, measurement = heapq.heappop(waiting)
        yield arrival_ns, measurement


def write_drive(drive: Any, path: Path, overwrite: bool = False) -> dict[str, int]:
    """Writes a drive into a new mcap bag: sensors, camera_info, /tf_static, odometry and ground-truth labels.

    Args:
        drive: a ``simulation.drive.Drive`` (or anything with its ``rig``, ``start_ns``, ``end_ns``, ``measurements``,
            ``labels``, ``pose`` and ``twist``).
        path: the folder to create.
        overwrite: replace an existing bag.

    Returns:
        Number of messages by topic.

    Raises:
        BagError: something is at ``path``.
    """
    rig = drive.rig
    truths = _truths(drive)
    with BagWriter(path, overwrite=overwrite) as writer:
        poses = {s.frame_id: s.base_from_sensor for s in rig.sensors}
        writer.write_tf_static(drive.start_ns, rig.base_frame, poses.items())
        frames = drive.end_ns // TRUTH_PERIOD_NS + 1
        following = next(truths, None)
        with tqdm(total=frames, desc=path.name, unit="frame") as progress:
            for arrival_ns, measurement in arrivals(drive.measurements(), rig):
                while following is not None and drive.start_ns + following[0] <= arrival_ns:
                    _write_truth(writer, drive, *following)
                    progress.update(following[1] == GROUND_TRUTH_TOPIC)
                    following = next(truths, None)
                _write(writer, rig, arrival_ns, measurement)
        return dict(writer.counts)


def _truths(drive: Any) -> Iterator[tuple[int, str]]:
    """What the drive itself knows, in order: (time since the start, topic). It arrives at once."""
    return heapq.merge(
        ((t_ns, ODOMETRY_TOPIC) for t_ns in range(0, drive.end_ns + 1, ODOMETRY_PERIOD_NS)),
        ((t_ns, GROUND_TRUTH_TOPIC) for t_ns in range(0, drive.end_ns + 1, TRUTH_PERIOD_NS)),
    )


def _write_truth(writer: BagWriter, drive: Any, t_ns: int, topic: str) -> None:
    rig, stamp_ns = drive.rig, drive.start_ns + t_ns
    if topic == ODOMETRY_TOPIC:
        writer.write(topic, stamp_ns, odometry(drive.pose(t_ns), drive.twist(t_ns), rig.base_frame))
    else:
        frame_id = rig.sensor(rig.image_plane).frame_id
        writer.write_image(topic, stamp_ns, stamp_ns, frame_id, drive.labels(t_ns))


def _write(writer: BagWriter, rig: Rig, arrival_ns: int, measurement: Measurement) -> None:
    """Writes one measurement on its sensor's topic."""
    sensor = rig.sensor(measurement.sensor)
    stamp_ns, payload = measurement.stamp_ns, measurement.payload
    if sensor.modality is Modality.LIDAR:
        writer.write_points(sensor.topic, arrival_ns, stamp_ns, sensor.frame_id, payload)
    elif sensor.modality is Modality.EVENT:
        if len(payload):  # a driver sends nothing where nothing happened
            writer.write_events(sensor.topic, arrival_ns, stamp_ns, sensor.frame_id, payload)
    else:
        writer.write_image(sensor.topic, arrival_ns, stamp_ns, sensor.frame_id, payload)
        assert sensor.model is not None  # Sensor refuses a camera without a model
        info = sensor.topic.rsplit("/", 1)[0] + "/camera_info"
        writer.write_camera_info(info, arrival_ns, stamp_ns, sensor.frame_id, sensor.model)


def add_parser(subparsers: Any) -> None:
    """Registers ``anyseg simulate``: a bag, or the dataset that the simulation's room writes."""
    parser = subparsers.add_parser(
        "simulate",
        help="simulate a drive into a rosbag2, or many into a dataset, with ground truth",
        description="Simulates a drive through a street and writes a rosbag2 (mcap): camera, lidar, events, "
        "/tf_static, odometry and ground-truth labels. Or, with --dataset, writes single frames of many drives in the "
        "layout of MUSES. The same seed gives the same drive.",
    )
    dataset.add_arguments(parser)
    bag = parser.add_argument_group("a drive as a bag")
    bag.add_argument("--bag", type=Path, metavar="DIR", help="write a drive into this new rosbag2 folder")
    bag.add_argument("--duration", type=float, default=10.0, metavar="S", help="seconds of the drive (default 10)")
    bag.add_argument("--time-of-day", choices=("day", "night"), default="day")
    bag.add_argument("--weather", choices=("clear", "fog", "rain", "snow"), default="clear")
    bag.add_argument(
        "--corner",
        choices=("motion_blur", "overexposure", "underexposure", "lidar_jitter", "event_low_resolution"),
        help="a fault of one sensor, after DELIVER's corner cases",
    )
    bag.add_argument("--force", action="store_true", help="overwrite an existing bag")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see ``add_parser``.

    Raises:
        ValueError: neither a bag nor a dataset is asked for, or both are.
    """
    if (args.bag is None) == (args.dataset is None):
        raise ValueError("say what to write: --bag DIR for one drive or --dataset DIR for many, one of the two")
    if args.dataset is not None:
        return dataset.run(args)
    from anyseg_ros.simulation.drive import Drive, DriveConfig  # Open3D is optional, and slow to import

    prepare_bag_path(args.bag, args.force)
    config = DriveConfig(
        seed=args.seed,
        duration_s=args.duration,
        time_of_day=args.time_of_day,
        weather=args.weather,
        corner=args.corner,
    )
    counts = write_drive(Drive(config), args.bag)
    for topic, count in sorted(counts.items()):
        print(f"{count:>7}  {topic}")
    print(f"the bag is in {args.bag}")
    return 0
