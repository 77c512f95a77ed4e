# SPDX-License-Identifier: Apache-2.0
"""Pictures of one moment: what each sensor sees, laid over the camera, and what the network is fed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from anyseg_ros.inspection.geometry import project_cloud
from anyseg_ros.inspection.recording import Moment, Recording
from anyseg_ros.modality import Modality
from anyseg_ros.painting import FAR_M, range_colours, show_encoded
from anyseg_ros.panels import text
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.alignment import View, rotation
from anyseg_ros.sensors.edges import ACROSS, EITHER
from anyseg_ros.sensors.rig import Rig, Sensor
from anyseg_ros.types import Events, Points

MS = 1_000_000
WIDEST = 960  # pictures are reduced to this width
WINDOW_NS = 30 * MS
ON, OFF = (255, 120, 40), (60, 140, 255)
EDGE_COLOURS = {ACROSS: (255, 80, 60), EITHER: (255, 170, 0)}
OTHER_EDGE = (60, 230, 90)


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes:
        name: for its file.
        caption: a short line.
        pixels: uint8 RGB [H,W,3].
        wide: it is shown large.
    """

    name: str
    caption: str
    pixels: np.ndarray
    wide: bool = False


@dataclass(frozen=True)
class Shown:
    """The pictures of one moment, and why the network would not get some sensor."""

    at_s: float
    pictures: tuple[Picture, ...]
    turned_down: dict[str, str]


def show(recording: Recording, moment: Moment, pipeline: Pipeline, number: int) -> Shown:
    """The pictures of one moment.

    Args:
        recording: gives the rig.
        moment: what to show.
        pipeline: encodes as the node does; its rig is the recording's.
        number: for the names of the files.
    """
    stack = pipeline.encode(moment.frame_set)
    pictures = [*_overlays(recording.rig, moment), *_encoded(pipeline, stack)]
    named = tuple(Picture(f"{number:02d}_{p.name}", p.caption, p.pixels, p.wide) for p in pictures)
    return Shown(moment.at_s, named, {name: stack.problems[name] for name in stack.problems})


def _encoded(pipeline: Pipeline, stack) -> Iterator[Picture]:
    """What the network sees of each sensor; the grid's border cut off."""
    top, left, height, width = pipeline.grid.content
    for name, modality in zip(stack.sensors, stack.modalities, strict=True):
        seen = show_encoded(modality, stack.raw[name])[top : top + height, left : left + width]
        yield Picture(f"network_{name}", f"the network's {name}", np.ascontiguousarray(seen))


def _overlays(rig: Rig, moment: Moment) -> Iterator[Picture]:
    """Each sensor over the picture of the image plane, or on black where there is none."""
    present = moment.frame_set.present
    plane = rig.sensor(rig.image_plane)
    assert plane.model is not None  # Rig refuses an image plane without a model
    image = present[plane.name].payload if plane.name in present and plane.modality is Modality.CAMERA else None
    size = (plane.model.width, plane.model.height)
    if image is None or (image.shape[1], image.shape[0]) != size:
        image = np.zeros((size[1], size[0], 3), np.uint8)
    for sensor in rig.sensors:
        if sensor.name not in present:
            continue
        payload = present[sensor.name].payload
        apart = f"{moment.frame_set.skew_ns.get(sensor.name, 0) / MS:+.0f} ms"
        if isinstance(payload, Points):
            uv, inside, figures = project_cloud(rig, sensor, payload)
            caption = f"{sensor.name} over {plane.name}: {figures.in_view} points in view, {apart} from the picture"
            range_m = np.linalg.norm(np.asarray(payload.xyz, np.float64), axis=1)
            yield Picture(sensor.name, caption, draw_cloud(image, uv[inside], range_m[inside]), wide=True)
        elif isinstance(payload, Events):
            cut = _window(rig, moment, sensor, payload)
            caption = f"{sensor.name} over {plane.name}: {len(cut)} events in {WINDOW_NS // MS} ms, as if far away"
            yield Picture(sensor.name, caption, draw_events(image, rig, sensor, cut), wide=True)
        elif sensor.modality is Modality.DEPTH:
            yield Picture(sensor.name, f"{sensor.name}, {apart}", _reduced(range_colours(np.nan_to_num(payload))))
        elif sensor.name != plane.name:
            yield Picture(sensor.name, f"{sensor.name}, {apart}", _reduced(payload))


def _window(rig: Rig, moment: Moment, sensor: Sensor, events: Events) -> Events:
    """The events of the window that ends with the reference."""
    reference = rig.sensor(moment.frame_set.reference)
    if reference.modality is Modality.EVENT:
        end_ns = moment.frame_set.stamp_ns + sensor.offset_ns
    else:
        end_ns = moment.frame_set.stamp_ns - reference.offset_ns + sensor.offset_ns
    return events.between(end_ns - WINDOW_NS, end_ns)


def _reduced(image: np.ndarray) -> np.ndarray:
    """At most ``WIDEST`` pixels wide."""
    height, width = image.shape[:2]
    if width <= WIDEST:
        return image
    return cv2.resize(image, (WIDEST, round(height * WIDEST / width)), interpolation=cv2.INTER_AREA)


def _enlarged(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image at about ``WIDEST`` pixels of width, and the scale: dots on a small picture would hide it."""
    height, width = image.shape[:2]
    scale = WIDEST / width
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (WIDEST, round(height * scale)), interpolation=method), scale


def draw_cloud(image: np.ndarray, uv: np.ndarray, range_m: np.ndarray) -> np.ndarray:
    """The picture, dimmed, with points coloured by range (near ones on top) and a scale.

    Args:
        image: uint8 RGB [H,W,3].
        uv: float64 [N,2], pixels.
        range_m: float64 [N].
    """
    canvas, scale = _enlarged(image)
    canvas = (canvas * 0.6).astype(np.uint8)
    colours = range_colours(range_m)
    places = np.floor((uv + 0.5) * scale).astype(int)
    for i in np.argsort(-range_m):
        centre, colour = (int(places[i, 0]), int(places[i, 1])), tuple(int(c) for c in colours[i])
        cv2.circle(canvas, centre, 2, colour, -1, cv2.LINE_AA)
    _scale_bar(canvas)
    return canvas


def _scale_bar(canvas: np.ndarray) -> None:
    """Which colour is which range, at the lower left."""
    width, height, left, top = 240, 10, 14, canvas.shape[0] - 34
    cv2.rectangle(canvas, (left - 8, top - 8), (left + width + 42, canvas.shape[0] - 6), (16, 16, 16), -1)
    canvas[top : top + height, left : left + width] = range_colours(np.linspace(0.5, FAR_M, width))[None]
    for mark in (0, 20, 40, 60):
        text(canvas, f"{mark} m", left + round(mark / FAR_M * width), top + 24, 0.4, (240, 240, 240))


def draw_events(image: np.ndarray, rig: Rig, sensor: Sensor, events: Events) -> np.ndarray:
    """The picture, grey and dimmed, with events where they lie if what moves is far away: orange ON, blue OFF."""
    canvas, scale = _enlarged(image)
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
    canvas = (np.repeat(grey[..., None], 3, axis=2) * 0.6).astype(np.uint8)
    model, plane = sensor.model, rig.sensor(rig.image_plane).model
    assert model is not None and plane is not None  # Rig and Sensor refuse them without a model
    inside = (events.x < model.width) & (events.y < model.height)
    frame = np.zeros((model.height, model.width, 3), np.uint8)
    frame[events.y[inside], events.x[inside]] = np.array((OFF, ON), np.uint8)[events.p[inside]]
    v, u = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    rays = plane.rays(np.stack([u.ravel() + 0.5, v.ravel() + 0.5], axis=1) / scale - 0.5)
    uv, valid = model.project(rays @ rig.plane_from(sensor.name)[:3, :3])  # the inverse: from the plane to the sensor
    uv[~valid] = -1e4
    maps = uv.reshape(*canvas.shape[:2], 2).astype(np.float32)
    drawn = cv2.remap(frame, maps, np.empty(0), cv2.INTER_NEAREST)
    return np.where(drawn.any(axis=2, keepdims=True), drawn, canvas)


def draw_edges(image: np.ndarray, model, view: View, turn_deg: np.ndarray) -> np.ndarray:
    """The picture with the edges that the score compares, after a turn: red upright ones, green level ones."""
    canvas, scale = _enlarged(image)
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
    canvas = (np.repeat(grey[..., None], 3, axis=2) * 0.75).astype(np.uint8)
    pose = view.plane_from_sensor
    uv, valid = model.project(view.edges.xyz @ (rotation(turn_deg) @ pose[:3, :3]).T + pose[:3, 3])
    valid &= np.isfinite(uv).all(axis=1)
    for (u, v), channel in zip((uv[valid] + 0.5) * scale, view.edges.channel[valid], strict=True):
        if 0 <= u < canvas.shape[1] and 0 <= v < canvas.shape[0]:
            cv2.circle(canvas, (int(u), int(v)), 1, EDGE_COLOURS.get(int(channel), OTHER_EDGE), -1, cv2.LINE_AA)
    return canvas
