# SPDX-License-Identifier: Apache-2.0
"""Benchmark: what a measurement costs to synchronise, and what is left of the output when a sensor is cut.

The rival is the genuine ApproximateTimeSynchronizer of message_filters, which comes with a ROS installation; it is
skipped where that is not to be had, and nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import SensorTiming, SyncConfig
from anyseg_ros.types import FrameSet
from benchmarks.cases import Agreement, Case, Rival, Settings, Table
from benchmarks.drive import MS, PERIOD_NS, SENSORS, START_NS, Drive, make_drive

OURS = "ours"
GENUINE = "message_filters.ApproximateTimeSynchronizer"
QUEUE_SIZE = 30
"""300 ms of event packets: enough for the slowest partner."""
SLOP_S = 0.05
"""Half a period, so that a frame can have one partner only."""

SETTLING_NS = 1000 * MS
"""Ours waits for a sensor from its second measurement on, so that the first frames may go without the newest cloud."""
COLUMNS = (
    "cut",
    "by",
    "frames",
    "out",
    "with all sensors",
    "longest gap s",
    "latency p50 ms",
    "latency p99 ms",
    "out while cut",
    "latency p50 ms while cut",
)


@dataclass(frozen=True)
class Output:
    """A set that was given out: when, the stamp of its reference, and the stamp of each sensor in it."""

    at_ns: int
    stamp_ns: int
    stamps: dict[str, int]


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """One case: a drive in which nothing fails."""
    yield lambda: cost_case(make_drive(_duration_ns(settings)))


def tables(settings: Settings) -> Iterator[Callable[[], Table]]:
    """One table: a drive per sensor that is cut."""
    yield lambda: cut_table(_duration_ns(settings))


def _duration_ns(settings: Settings) -> int:
    return (6 if settings.quick else 60) * 1000 * MS


def why_not_genuine() -> str | None:
    """Why ROS's synchroniser cannot be compared with; None where it can.

    Anyseg's own small message_filters, which serves machines without the package, has no synchroniser.
    """
    for package in ("message_filters", "rclpy", "sensor_msgs"):
        spec = find_spec(package)
        if spec is None or spec.origin is None or "_ros_fallback" in Path(spec.origin).parts:
            return f"the genuine {package} is not installed (it comes with ROS 2, not from PyPI)"
    return None


def cost_case(drive: Drive) -> Case:
    """A drive's arrivals, one after another, through either synchroniser."""
    skipped, rivals = {}, []
    reason = why_not_genuine()
    if reason is not None:
        skipped[GENUINE] = reason
    else:
        note = f"Python, queue of {QUEUE_SIZE}, slop {SLOP_S:g} s; gives one 10 ms packet of events, ours the window"
        rivals.append(Rival(GENUINE, GenuineRun(drive), same_partners, note))
    return Case(
        "synchroniser",
        f"{len(drive.arrivals)} measurements of a {drive.duration_ns / 1e9:g} s drive: camera and lidar 10 Hz, "
        "events 100 packets a second",
        len(drive.arrivals),
        "measurement",
        lambda: run_ours(drive),
        tuple(rivals),
        skipped,
    )


def run_ours(drive: Drive) -> list[Output]:
    """Our state machine, woken at arrivals and at its own deadlines as the node does it."""
    timings = tuple(SensorTiming.from_period(name, modality, PERIOD_NS) for name, modality in SENSORS.items())
    synchronizer = Synchronizer(SyncConfig(timings))
    sets: list[FrameSet] = []
    for now_ns, measurement in drive.arrivals:
        while (deadline_ns := synchronizer.next_deadline_ns()) is not None and deadline_ns <= now_ns:
            sets += synchronizer.advance(deadline_ns)
        sets += synchronizer.add(measurement, now_ns)
    sets += synchronizer.advance(drive.end_ns)
    return [Output(s.closed_ns, s.stamp_ns, {name: m.stamp_ns for name, m in s.present.items()}) for s in sets]


class GenuineRun:
    """ROS's synchroniser over a drive; the messages are made once, as they would be before they reach it."""

    def __init__(self, drive: Drive) -> None:
        from sensor_msgs.msg import Image

        self._arrivals = []
        for now_ns, measurement in drive.arrivals:
            message = Image()  # any message with a header
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(measurement.stamp_ns, 1000 * MS)
            self._arrivals.append((now_ns, measurement.sensor, message))

    def __call__(self) -> list[Output]:
        """Signals every message to a fresh synchroniser; the camera's stamp is the output's."""
        from message_filters import ApproximateTimeSynchronizer, SimpleFilter

        inputs = {name: SimpleFilter() for name in SENSORS}
        synchronizer = ApproximateTimeSynchronizer(list(inputs.values()), QUEUE_SIZE, SLOP_S)
        found: list[Output] = []
        at_ns = 0

        def receive(*messages: object) -> None:
            stamps = {
                name: m.header.stamp.sec * 1000 * MS + m.header.stamp.nanosec
                for name, m in zip(SENSORS, messages, strict=True)
            }
            found.append(Output(at_ns, stamps["camera"], stamps))

        synchronizer.registerCallback(receive)
        for at_ns, name, message in self._arrivals:  # noqa: B007  receive() reads it
            inputs[name].signalMessage(message)
        return found


def same_partners(ours: list[Output], theirs: list[Output]) -> Agreement:
    """The same frames with the same lidar clouds, after the second in which ours gets to know its sensors."""
    settled_ns = START_NS + SETTLING_NS
    clouds = [{o.stamp_ns: o.stamps.get("lidar") for o in side if o.stamp_ns >= settled_ns} for side in (ours, theirs)]
    equal = sum(clouds[1].get(stamp_ns) == lidar_ns for stamp_ns, lidar_ns in clouds[0].items())
    same = equal > 0 and clouds[0] == clouds[1]
    return Agreement(same, f"{equal} frames have the same cloud, of {len(clouds[0])} and {len(clouds[1])} after 1 s")


def cut_table(duration_ns: int) -> Table:
    """The output of drives in which nothing, the camera, the lidar or the events are cut for the middle third."""
    reason = why_not_genuine()
    rows = []
    for cut in (None, *SENSORS):
        drive = make_drive(duration_ns, cut)
        rows.append((cut or "nothing", OURS, *figures(run_ours(drive), drive)))
        if reason is None:
            rows.append((cut or "nothing", GENUINE, *figures(GenuineRun(drive)(), drive)))
    return Table(
        "synchroniser_cuts",
        f"One sensor is silent for the middle third of a {duration_ns / 1e9:g} s drive. Times are the drive's own: the "
        "gap is the longest without output, the latency runs from the reference's stamp to the output. While "
        "nothing is cut, the last two columns are of the same third.",
        COLUMNS,
        tuple(rows),
        {} if reason is None else {GENUINE: reason},
    )


def figures(outputs: list[Output], drive: Drive) -> tuple[float | None, ...]:
    """Frames there are, frames out, those with all sensors, longest gap in s, latency p50 and p99 in ms or None.

    Then frames out in the middle third, from one stale time after its beginning, and their latency p50.
    """
    times = [START_NS, *(output.at_ns for output in outputs), drive.end_ns]
    gap_s = max(later - earlier for earlier, later in pairwise(times)) / 1e9
    latencies = [(output.at_ns - output.stamp_ns) / MS for output in outputs]
    p50, p99 = (round(float(np.percentile(latencies, q)), 1) if latencies else None for q in (50, 99))
    complete = sum(len(output.stamps) == len(SENSORS) for output in outputs)
    begin_ns, end_ns = (START_NS + k * drive.duration_ns // 3 for k in (1, 2))
    cut = [output for output in outputs if begin_ns + 3 * PERIOD_NS <= output.stamp_ns < end_ns]
    cut_p50 = round(float(np.median([(o.at_ns - o.stamp_ns) / MS for o in cut])), 1) if cut else None
    return drive.frames, len(outputs), complete, round(gap_s, 3), p50, p99, len(cut), cut_p50
