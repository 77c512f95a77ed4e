# SPDX-License-Identifier: Apache-2.0
"""Encodings: all that decides which numbers a payload becomes. Three are named; docs/encodings.md describes them.

A checkpoint carries the fingerprint and the parameters of the encoding that it was trained on, and is used with no
other. Whoever changes what the code makes of the same parameters raises ``VERSION``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from anyseg_ros.sensors.calibration import FIT_MODES, Z_MIN_M
from anyseg_ros.sensors.events import DECAY_NS, SATURATION
from anyseg_ros.sensors.lidar import MIN_RANGE_M

VERSION = "v1"
MS = 1_000_000


class EncodingError(ValueError):
    """An encoding that there is not, or that cannot be; the message says what was found and what was expected."""


def _check_choice(what: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise EncodingError(f"{what} '{found}' is unknown, expected one of: {', '.join(known)}")


@dataclass(frozen=True)
class CameraEncoding:
    """How a picture becomes three planes.

    Attributes:
        resize: ``area`` (the mean of the pixels that a grid pixel covers; linear where the grid is finer) or
            ``bicubic`` (Pillow's, in whole grey levels).
        full_scale: what grey level 255 becomes; level 0 is 0.
    """

    resize: str = "area"
    full_scale: float = 1.0

    def __post_init__(self) -> None:
        _check_choice("resize", self.resize, ("area", "bicubic"))
        if not self.full_scale > 0:
            raise EncodingError(f"full_scale is {self.full_scale}, expected a positive number")


@dataclass(frozen=True)
class CloudEncoding:
    """How a cloud or a depth image becomes three planes.

    Attributes:
        projection: ``z_buffer`` (lens model, nearest point wins; range in m, intensity 0..1, height in m above the
            base frame) or ``muses_sdk`` (as ``muses_sdk.draw_points`` says; all in the sensor's frame).
        fill: what empty pixels get: ``nearest_3x3`` (the channels of the neighbour of least range), ``none``, or
            ``dilate_2x2`` (the maximum of each channel on its own, as the MUSES SDK's dilation).
        min_range_m: nearer points are left out.
        max_range_m: farther points are left out; None for no limit.
    """

    projection: str = "z_buffer"
    fill: str = "nearest_3x3"
    min_range_m: float = MIN_RANGE_M
    max_range_m: float | None = 100.0

    def __post_init__(self) -> None:
        _check_choice("projection", self.projection, ("z_buffer", "muses_sdk"))
        of_sdk = self.projection == "muses_sdk"
        _check_choice(f"fill of {self.projection}", self.fill, ("none", "dilate_2x2" if of_sdk else "nearest_3x3"))
        far_m = float("inf") if self.max_range_m is None else self.max_range_m
        if not 0 <= self.min_range_m < far_m:
            raise EncodingError(f"the range gate is {self.min_range_m} to {far_m} m, expected 0 <= near < far")


@dataclass(frozen=True)
class EventEncoding:
    """How a window of events becomes three planes.

    Attributes:
        representation: ``histogram``, ``voxel_grid``, ``time_surface`` (see ``events``) or ``muses_sdk`` (see
            ``muses_sdk.draw_events``).
        window_ns: length of the window.
        max_events: only the last so many of the window; 0 for all.
        saturation: counts are cut here and divided by it (not by ``muses_sdk``).
        decay_ns: of ``time_surface``.
        dilate: whether the counts are spread over 2x2 pixels by their maximum (``muses_sdk`` only).
    """

    representation: str = "histogram"
    window_ns: int = 30 * MS
    max_events: int = 0
    saturation: int = SATURATION
    decay_ns: int = DECAY_NS
    dilate: bool = False

    def __post_init__(self) -> None:
        known = ("histogram", "voxel_grid", "time_surface", "muses_sdk")
        _check_choice("representation", self.representation, known)
        for name, least in (("window_ns", 1), ("max_events", 0), ("saturation", 1), ("decay_ns", 1)):
            if getattr(self, name) < least:
                raise EncodingError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.dilate and self.representation != "muses_sdk":
            raise EncodingError(f"dilate goes with the representation muses_sdk, not with {self.representation}")


@dataclass(frozen=True)
class Encoding:
    """What the network is fed.

    Attributes:
        name: for messages; two encodings of equal parameters are the same, whatever they are called.
        camera, cloud, event: per kind of payload.
        fit: how the camera image lies on the grid: letterbox, crop or stretch (``Grid.fit``).
        through_png: ``muses_sdk`` images only: drawn at the camera's size, saved as the SDK's PNG, read as the
            AnySeg release reads it (8 bits, channels reversed) and resized by Pillow's bicubic.
    """

    name: str
    camera: CameraEncoding = CameraEncoding()
    cloud: CloudEncoding = CloudEncoding()
    event: EventEncoding = EventEncoding()
    fit: str = "letterbox"
    through_png: bool = False

    def __post_init__(self) -> None:
        _check_choice("fit", self.fit, FIT_MODES)
        of_sdk = {self.cloud.projection == "muses_sdk", self.event.representation == "muses_sdk"}
        if len(of_sdk) > 1:
            raise EncodingError("clouds and events must either both be drawn as the MUSES SDK does, or neither")
        if self.of_muses_sdk and (self.fit != "stretch" or self.event.max_events):
            raise EncodingError("muses_sdk images want fit stretch and max_events 0")
        if self.through_png != (self.camera.resize == "bicubic"):
            raise EncodingError("through_png and resize bicubic go together")
        if self.through_png and not (self.of_muses_sdk and self.camera.full_scale == 255.0):
            raise EncodingError("through_png wants muses_sdk clouds and events, and full_scale 255")

    @property
    def of_muses_sdk(self) -> bool:
        """Whether clouds and events are drawn as the MUSES SDK does."""
        return self.cloud.projection == "muses_sdk"

    def parameters(self) -> dict[str, Any]:
        """All that shapes the tensors, for JSON, and the name."""
        return asdict(self) | {"version": VERSION, "z_min_m": Z_MIN_M}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the parameters without the name, as JSON with sorted keys."""
        shaping = {key: value for key, value in self.parameters().items() if key != "name"}
        canonical = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


DEFAULT = Encoding("default")
_SDK_CLOUD = CloudEncoding("muses_sdk", "none", max_range_m=None)
_SDK_EVENT = EventEncoding("muses_sdk")
PRESETS = {
    preset.name: preset
    for preset in (
        DEFAULT,
        Encoding("muses_sdk", cloud=_SDK_CLOUD, event=_SDK_EVENT, fit="stretch"),
        Encoding("release", CameraEncoding("bicubic", 255.0), _SDK_CLOUD, _SDK_EVENT, "stretch", through_png=True),
    )
}


def encoding_of(fingerprint: str, parameters: Mapping[str, Any], what: str) -> Encoding:
    """The encoding that a checkpoint or a pack was made with.

    Args:
        fingerprint: as ``what`` carries it.
        parameters: ``Encoding.parameters`` as ``what`` carries them.
        what: for the message, such as the path of the checkpoint.

    Raises:
        EncodingError: this code makes no such tensors; the message says what differs.
    """
    for preset in PRESETS.values():
        if preset.fingerprint == fingerprint:
            return preset
    if "pictures" in parameters:
        raise EncodingError(
            f"{what} was made of the pictures of the dataset '{parameters.get('name')}', which no sensor delivers: "
            "train on raw sensor files what is to run on a vehicle"
        )
    try:
        encoding = _from_parameters(parameters)
    except (EncodingError, TypeError, ValueError):
        encoding = PRESETS.get(str(parameters.get("name")), DEFAULT)
    if encoding.fingerprint == fingerprint:
        return encoding
    raise EncodingError(
        f"{what} was made with the encoding {fingerprint or '(none)'}, this code's '{encoding.name}' is "
        f"{encoding.fingerprint}: {differences(parameters, encoding.parameters())}; use the checkpoint that came with "
        "this version, or pack and train again"
    )


def _from_parameters(parameters: Mapping[str, Any]) -> Encoding:
    kinds = {"camera": CameraEncoding, "cloud": CloudEncoding, "event": EventEncoding}
    known = {field.name for field in fields(Encoding)}
    values = {key: kinds[key](**value) if key in kinds else value for key, value in parameters.items() if key in known}
    return Encoding(**values)


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Which parameters differ, such as ``event.window_ns is 30000000, expected 50000000``; the name does not count."""
    if not found:
        return "what it was made of is not recorded"
    one, other = _flat(found), _flat(expected)
    said = [
        f"{key} is {one.get(key, 'missing')}, expected {other.get(key, 'none')}"
        for key in sorted(one.keys() | other.keys())
        if key != "name" and one.get(key, "missing") != other.get(key, "missing")
    ]
    return "; ".join(said) or "the parameters are the same, but not the code"


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
