# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 for inspection: the headers of every message, and the payloads of a few moments spread over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from anyseg_ros.bags.calibration import calibrated
from anyseg_ros.bags.reader import BagReader, EventFeed
from anyseg_ros.bags.topics import camera_info_topic
from anyseg_ros.inspection.recording import Finding, Moment, Recording
from anyseg_ros.inspection.survey import Headers, nearest
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS
from anyseg_ros.sensors.messages import converted, stamp_ns
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Events, FrameSet, Measurement

MS = 1_000_000
AROUND_NS = 165 * MS  # measurements this near to a moment's reference are kept for the comparison of clocks
LEAD_NS = 100 * MS  # event packets before that, which bring the decoder to the sensor's time


def read_bag(path: Path, rig: Rig, count: int) -> Recording:
    """Reads a bag twice: all headers, then the payloads around ``count`` moments.

    Args:
        path: a rosbag2 folder, or a bare .mcap or .db3 file.
        rig: CameraInfo and TF of the bag go before its calibration.
        count: moments at most.

    Raises:
        BagError: it is no bag, it is empty, or several topics would do for a sensor.
    """
    with BagReader(path) as reader:
        matched = reader.match(rig)
        rig, notes = calibrated(rig, reader)
        headers = _headers(reader)
        stamps = {name: np.frombuffer(headers[topic].stamp_ns, np.int64) for name, topic in matched.items()}
        times = choose(rig, stamps, count)
        moments = tuple(_moments(reader, rig, matched, headers, times))
        findings = [Finding(3, f"{reader.damage}.", "Repair it with mcap recover or ros2 bag reindex.")] * bool(
            reader.damage
        )
        for name, number in reader.rejected.items():
            findings.append(
                Finding(3, f"{name}: {number} messages cannot be read.", "The warnings on the console say why.")
            )
        start_ns, end_ns = reader.start_ns, reader.end_ns
    return Recording(
        path.name,
        rig,
        tuple(notes),
        (end_ns - start_ns) / 1e9,
        start_ns,
        headers,
        matched,
        moments,
        (*findings, *_camera_infos(rig, matched, headers)),
    )


def _headers(reader: BagReader) -> dict[str, Headers]:
    """The headers of every message, by topic."""
    noted = {topic: Headers(topic, msgtype) for topic, msgtype in reader.topics().items()}
    total = sum(reader.counts().values())
    for arrival_ns, topic, msg in tqdm(
        reader.messages(noted), total=total, desc="headers", unit=" messages", disable=None
    ):
        noted[topic].take(arrival_ns, msg)
    return noted


def choose(rig: Rig, stamps: dict[str, np.ndarray], count: int) -> list[int]:
    """Moments spread over a recording, each at a measurement of the best sensor that is there.

    Those at which every other sensor has a partner come first, so that one dead sensor's gap is not what is looked at.

    Args:
        rig: gives order, offsets and tolerances.
        stamps: by sensor name, int64 [N] as received.
        count: at most so many.

    Returns:
        Times on the rig's common clock, rising.
    """
    there = [s for s in rig.sensors if len(stamps.get(s.name, ()))]
    paced = [s for s in there if s.modality is not Modality.EVENT] or there
    if not paced:
        return []
    reference = next((s for s in paced if s.name == rig.image_plane), paced[0])
    times = np.unique(stamps[reference.name]) - reference.offset_ns
    if reference.modality is Modality.EVENT:
        times = times[:: max(1, len(times) // (4 * count))]
    complete = np.zeros(len(times), int)
    for sensor in there:
        partner = nearest(np.unique(stamps[sensor.name]) - sensor.offset_ns, times)
        complete += np.abs(partner - times) <= sensor.tolerance_ns
    best = times[complete == complete.max()]
    # Not the very ends: a window of events and the sweeps on both sides are to lie within the recording.
    places = np.linspace(0, len(best) - 1, count + 2)[1:-1] if len(best) > count else np.arange(len(best))
    return [int(best[round(float(place))]) for place in places]


def _moments(
    reader: BagReader, rig: Rig, matched: dict[str, str], headers: dict[str, Headers], times: list[int]
) -> Iterator[Moment]:
    """The payloads around the chosen times."""
    kept: list[list[Measurement]] = [[] for _ in times]
    for measurement in _measurements(reader, rig, matched, times):
        at_ns = measurement.stamp_ns - rig.sensor(measurement.sensor).offset_ns
        for k, time_ns in enumerate(times):
            if abs(at_ns - time_ns) <= _reach(rig.sensor(measurement.sensor)):
                kept[k].append(measurement)
    for time_ns, found in zip(times, kept, strict=True):
        moment = _moment(reader, rig, time_ns, found)
        if moment is not None:
            yield moment


def _reach(sensor: Sensor) -> int:
    """How far from a moment measurements of a sensor are kept."""
    if sensor.modality is Modality.LIDAR:
        # Two sweeps on each side: with a clock that is half a period off, one side alone would hold the top.
        return max(sensor.tolerance_ns, round(2.1 * sensor.period_ns))
    return max(sensor.tolerance_ns, AROUND_NS)


def _measurements(reader: BagReader, rig: Rig, matched: dict[str, str], times: list[int]) -> Iterator[Measurement]:
    """Measurements near the times; events are decoded anew for each span, so that hours between cost nothing."""
    sensors = {topic: rig.sensor(name) for name, topic in matched.items()}
    feeds: dict[str, EventFeed] = {}
    for _, topic, msg in tqdm(reader.messages(sensors), desc="moments", unit=" messages", disable=None):
        sensor = sensors[topic]
        stamp = stamp_ns(msg.header)
        event = sensor.modality is Modality.EVENT
        reach = _reach(sensor) + (LEAD_NS if event else 0)
        if not any(abs(stamp - sensor.offset_ns - time_ns) <= reach for time_ns in times):
            feeds.pop(topic, None)
            continue
        try:
            if event:
                measurement = feeds.setdefault(topic, EventFeed(sensor))(msg)
            else:
                measurement = converted(Measurement(sensor.name, sensor.modality, stamp, msg, msg.header.frame_id))
        except PAYLOAD_ERRORS as error:
            reader.reject(sensor.name, str(error))
            continue
        if measurement is not None:
            yield measurement


def _moment(reader: BagReader, rig: Rig, time_ns: int, found: list[Measurement]) -> Moment | None:
    """The frame set at a time: of each sensor the nearest measurement within its tolerance."""
    present, sweeps, skew_ns = {}, {}, {}
    for sensor in rig.sensors:
        own = [m for m in found if m.sensor == sensor.name]
        if not own:
            continue
        if sensor.modality is Modality.EVENT:
            present[sensor.name] = _joined(own)
            continue
        best = min(own, key=lambda m: abs(m.stamp_ns - sensor.offset_ns - time_ns))
        skew = best.stamp_ns - sensor.offset_ns - time_ns
        if abs(skew) <= sensor.tolerance_ns:
            present[sensor.name], skew_ns[sensor.name] = best, skew
        if sensor.modality is Modality.LIDAR:
            sweeps[sensor.name] = tuple(own)
    if not present:
        return None
    reference = next(name for name in (rig.image_plane, *present) if name in present)
    if rig.sensor(reference).modality is Modality.EVENT:
        frame_set = FrameSet(time_ns, reference, present, skew_ns=skew_ns)
    else:
        frame_set = FrameSet(present[reference].stamp_ns, reference, present, skew_ns=skew_ns)
    return Moment(frame_set, (time_ns - reader.start_ns) / 1e9, sweeps)


def _joined(parts: list[Measurement]) -> Measurement:
    """Event measurements in a row as one."""
    events = [m.payload for m in parts]
    x, y, t_ns, p = (np.concatenate([getattr(e, name) for e in events]) for name in ("x", "y", "t_ns", "p"))
    merged = Events(x, y, t_ns, p, events[0].width, events[0].height)
    first, last = parts[0], parts[-1]
    return Measurement(first.sensor, first.modality, last.stamp_ns, merged, first.frame_id, first.start_ns)


def _camera_infos(rig: Rig, matched: dict[str, str], headers: dict[str, Headers]) -> Iterator[Finding]:
    """CameraInfo that is for another size than the images."""
    types = {topic: each.msgtype for topic, each in headers.items()}
    for name, topic in matched.items():
        info = camera_info_topic(topic, types)
        if rig.sensor(name).model is None or info is None or not headers[topic].sizes:
            continue
        sizes, said = headers[topic].sizes, headers[info].sizes
        if said and set(said) != set(sizes):
            yield Finding(
                3,
                f"{name}: {info} is for {_list(said)}, the messages on {topic} are {_list(sizes)}.",
                "Publish the CameraInfo of the size that is published (image_proc's resize node scales both), or "
                "calibrate that size.",
            )


def _list(sizes: dict[tuple[int, int], int]) -> str:
    return " and ".join(f"{width} x {height}" for width, height in sizes)
