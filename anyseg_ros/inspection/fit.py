# SPDX-License-Identifier: Apache-2.0
"""Calibration and clocks of a recording against its pictures: which moments go into which comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from anyseg_ros.inspection.recording import Moment, Recording
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.alignment import OFF, Alignment, View, alignment_score, make_view, search
from anyseg_ros.sensors.clock_alignment import ClockAlignment, clock_alignment
from anyseg_ros.sensors.edges import EITHER, EdgePoints, cloud_edges
from anyseg_ros.sensors.rig import Sensor
from anyseg_ros.types import Events, Measurement

MS = 1_000_000
HALF_WINDOW_NS = 15 * MS  # edges move little in so much time, and it holds enough events
EVENT_SHIFTS_MS = np.arange(-120, 121, 15)
SATURATION = 5  # a flickering lamp must not outweigh a street
FAR_M = 15.0  # distance that events are taken to come from: the two cameras sit side by side
EXACT = 0.15  # of a period: a sweep this near to the picture needs no other on the far side
CLOCK_TOLERANCE_MS = {Modality.LIDAR: 25.0, Modality.EVENT: 12.0}


@dataclass(frozen=True)
class Fit:
    """One sensor against the camera.

    Attributes:
        sensor, camera: names in the rig.
        alignment: rotation.
        clock: None for files of one moment.
        views: what the alignment was found from.
        pictures: of each view, the rank of its picture among the moments that have one of the camera.
    """

    sensor: str
    camera: str
    alignment: Alignment
    clock: ClockAlignment | None
    views: tuple[View, ...]
    pictures: tuple[int, ...]


def fits(recording: Recording) -> list[Fit]:
    """Every lidar and event camera of a recording against the camera of its image plane; none without pictures."""
    camera = recording.camera()
    if camera is None:
        return []
    size = (_model(camera).height, _model(camera).width)
    moments = [
        (rank, moment)
        for rank, moment in enumerate(m for m in recording.moments if camera.name in m.frame_set.present)
        if moment.frame_set.present[camera.name].payload.shape[:2] == size  # else the calibration is another image's
    ]
    found = []
    for sensor in recording.rig.sensors:
        with_sensor = [(rank, m) for rank, m in moments if sensor.name in m.frame_set.present]
        if not with_sensor or sensor.modality not in CLOCK_TOLERANCE_MS:
            continue
        compare = _lidar if sensor.modality is Modality.LIDAR else _events
        found.append(compare(recording, camera, sensor, with_sensor))
    return found


def _lidar(recording: Recording, camera: Sensor, sensor: Sensor, moments: list[tuple[int, Moment]]) -> Fit:
    pose = recording.rig.plane_from(sensor.name)
    timed: list[list[tuple[float, View]]] = []
    edges: dict[int, EdgePoints] = {}  # neighbouring moments share sweeps
    for _, moment in moments:
        picture = moment.frame_set.present[camera.name]
        blank = make_view(
            EdgePoints(np.empty((0, 3)), np.empty(0), np.empty(0, np.int64)), pose, picture.payload, _model(camera)
        )
        timed.append([])
        for sweep in moment.sweeps.get(sensor.name) or [moment.frame_set.present[sensor.name]]:
            found = edges.setdefault(sweep.stamp_ns, cloud_edges(sweep.payload))
            timed[-1].append((_apart_ms(sweep, sensor, picture, camera), blank.with_edges(found)))
    clock = None
    if recording.headers:
        scores = [(np.array([t for t, _ in row]), np.array([alignment_score(v) for _, v in row])) for row in timed]
        clock = clock_alignment(scores, sensor.period_ns / MS, CLOCK_TOLERANCE_MS[Modality.LIDAR])
    late = clock.late_ms if clock is not None and clock.verdict == OFF else 0.0
    chosen = [
        (rank, view)
        for (rank, _), row in zip(moments, timed, strict=True)
        for view in _bracket(row, late, sensor.period_ns / MS)
    ]
    ranks, views = (tuple(column) for column in zip(*chosen, strict=True))
    return Fit(sensor.name, camera.name, search(views), clock, views, ranks)


def _bracket(row: list[tuple[float, View]], late_ms: float, period_ms: float) -> Iterable[View]:
    """The sweep at the time of the picture, or the two around it: what moved meanwhile cancels to first order."""
    offsets = np.array([t - late_ms for t, _ in row])
    best = int(np.argmin(np.abs(offsets)))
    yield row[best][1]
    if abs(offsets[best]) > EXACT * period_ms:
        other = [k for k in range(len(row)) if offsets[k] * offsets[best] < 0 and abs(offsets[k]) <= 1.1 * period_ms]
        if other:
            yield row[min(other, key=lambda k: abs(offsets[k]))][1]


def _events(recording: Recording, camera: Sensor, sensor: Sensor, moments: list[tuple[int, Moment]]) -> Fit:
    pose = recording.rig.plane_from(sensor.name)
    model = _model(sensor)
    rays = model.pixel_rays().reshape(model.height, model.width, 3) * FAR_M
    views, scores = [], []
    for _, moment in moments:
        picture, events = moment.frame_set.present[camera.name], moment.frame_set.present[sensor.name]
        centre_ns = picture.stamp_ns - camera.offset_ns + sensor.offset_ns
        if not recording.headers:  # a file's events end with the picture
            views.append(make_view(event_edges(events.payload, rays), pose, picture.payload, _model(camera)))
            continue
        centred = event_edges(_around(events.payload, centre_ns), rays)
        view = make_view(centred, pose, picture.payload, _model(camera))
        views.append(view)
        shifted = [_around(events.payload, centre_ns + int(shift) * MS) for shift in EVENT_SHIFTS_MS]
        score = [alignment_score(view.with_edges(event_edges(part, rays))) if len(part) else np.nan for part in shifted]
        scores.append((EVENT_SHIFTS_MS.astype(float), np.array(score)))
    clock = clock_alignment(scores, 100.0, CLOCK_TOLERANCE_MS[Modality.EVENT]) if recording.headers else None
    return Fit(sensor.name, camera.name, search(views), clock, tuple(views), tuple(rank for rank, _ in moments))


def event_edges(events: Events, rays: np.ndarray) -> EdgePoints:
    """Pixels with events as edges.

    Args:
        events: of a short time.
        rays: float64 [H,W,3], where each pixel looks, at some distance; NaN where the lens has no ray.
    """
    height, width = rays.shape[:2]
    inside = (events.x < width) & (events.y < height)
    flat = events.y[inside].astype(np.int64) * width + events.x[inside]
    counts = np.bincount(flat, minlength=height * width)
    pixels = np.flatnonzero((counts > 0) & np.isfinite(rays[..., 2].ravel()))
    weight = np.minimum(counts[pixels], SATURATION).astype(np.float64)
    return EdgePoints(rays.reshape(-1, 3)[pixels], weight, np.full(len(pixels), EITHER, np.int64))


def _around(events: Events, centre_ns: int) -> Events:
    return events.between(centre_ns - HALF_WINDOW_NS, centre_ns + HALF_WINDOW_NS)


def _apart_ms(sweep: Measurement, sensor: Sensor, picture: Measurement, camera: Sensor) -> float:
    """Time of the sweep minus time of the picture, on the rig's common clock."""
    return (sweep.stamp_ns - sensor.offset_ns - picture.stamp_ns + camera.offset_ns) / MS


def _model(sensor: Sensor):
    assert sensor.model is not None  # Sensor refuses an optical sensor without a model
    return sensor.model
