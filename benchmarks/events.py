# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the packets of an event camera to an image of (ON, OFF, recency)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.sensors.calibration import CameraModel, Grid
from anyseg_ros.sensors.event_warp import event_lookup
from anyseg_ros.sensors.events import SATURATION, accumulate
from anyseg_ros.sensors.evt3 import ADDR_X, ADDR_Y, TIME_HIGH, TIME_LOW, VECT_8, VECT_12, VECT_BASE_X, Evt3Decoder
from anyseg_ros.types import Events
from benchmarks.cases import Agreement, Case, Rival, Settings
from benchmarks.compare import both, same_images
from benchmarks.evt3_numpy import NumpyEvt3Decoder
from benchmarks.evt3_plain import decode_stream

RUST = "evt3 (Rust, from PyPI) + np.bincount"
PLAIN_NOTE = "as one writes it first: the joined stream, one pass per bit of the vector words, a sort, two indices"
DATA_VARIABLE = "ANYSEG_TEST_DATA"
PACKET_US = 4_000
START_US = 1 << 23
GROUP = (TIME_HIGH, TIME_LOW, ADDR_Y, ADDR_X, ADDR_X, VECT_BASE_X, VECT_12, VECT_8)
EVENTS_PER_GROUP = 5.7
"""Two single events and, of the 20 places of the vector words, ``VECTOR_SHARE``: 2.8 bytes an event, as a driving HD
sensor sends them."""
VECTOR_SHARE = 0.185
PLACE = {code: place for place, code in enumerate(GROUP)}


@dataclass(frozen=True)
class Stream:
    """Packets of one sensor; what is drawn is the whole of them, or their last ``window_us``."""

    packets: tuple[bytes, ...]
    width: int
    height: int
    window_us: int


@dataclass(frozen=True)
class Drawn:
    """What a way makes of a stream: image float32 [3,H,W] and the number of events decoded."""

    image: np.ndarray
    decoded: int


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """A synthetic window at the rate of a city drive, and the real recording where it is at hand."""
    recording = Path(os.environ.get(DATA_VARIABLE, "")) / "events_evt3"
    found = bool(os.environ.get(DATA_VARIABLE)) and recording.is_dir()
    missing = {} if found else {"the real recording": f"set {DATA_VARIABLE} to the folder that holds events_evt3"}
    yield lambda: events_case("events_synthetic", synthetic(10_000 if settings.quick else 480_000), missing)
    if found:
        yield lambda: events_case("events_recorded", recorded(recording, 40 if settings.quick else None), {})


def events_case(name: str, stream: Stream, skipped: dict[str, str]) -> Case:
    """Decode a stream and draw its window, ours and theirs; one lookup table serves all."""
    camera = CameraModel.pinhole(stream.width, stream.height, 64.0)
    lookup = event_lookup(camera, Grid.fit(camera, stream.height, stream.width), np.eye(4))
    rivals = [
        Rival("plain NumPy + np.add.at", lambda: draw_plainly(stream, lookup), same_drawing, PLAIN_NOTE),
        *(
            Rival(
                f"NumPy forward fill + {title}",
                lambda count=count: draw_with_numpy(stream, lookup, count),
                same_drawing,
            )
            for title, count in (("np.add.at", count_with_add_at), ("np.bincount", count_with_bincount))
        ),
    ]
    if find_spec("evt3") is None:
        skipped = {**skipped, RUST: "evt3 is not installed (pip install evt3)"}
    else:
        rivals.append(Rival(RUST, lambda: draw_with_evt3(stream, lookup), same_drawing))
    decoded = draw_ours(stream, lookup).decoded
    return Case(
        name,
        f"{len(stream.packets)} evt3 packets ({decoded} events, {stream.width}x{stream.height}) to ON, OFF and recency "
        f"of the last {stream.window_us / 1000:g} ms",
        decoded,
        "event",
        lambda: draw_ours(stream, lookup),
        tuple(rivals),
        skipped,
    )


def synthetic(events: int, window_us: int = 32_000) -> Stream:
    """About so many events in packets of 4 ms, HD: single ones and, for most, vector words.

    480,000 in 32 ms are 15 million events a second, the most that a drive brings.
    """
    rng = np.random.default_rng(11)
    width, height = 1280, 720
    groups = int(events / EVENTS_PER_GROUP)
    t_us = np.sort(rng.integers(START_US, START_US + window_us, groups))
    words = np.empty((groups, len(GROUP)), dtype=np.int64)
    words[:, PLACE[TIME_HIGH]] = t_us >> 12
    words[:, PLACE[TIME_LOW]] = t_us & 0xFFF
    words[:, PLACE[ADDR_Y]] = rng.integers(0, height, groups)
    signs = rng.integers(0, 2, (groups, 3)) << 11
    words[:, [3, 4]] = rng.integers(0, width, (groups, 2)) | signs[:, :2]
    words[:, PLACE[VECT_BASE_X]] = rng.integers(0, width - 20, groups) | signs[:, 2]
    bits = rng.random((groups, 20)) < VECTOR_SHARE
    words[:, PLACE[VECT_12]] = bits[:, :12] @ (1 << np.arange(12))
    words[:, PLACE[VECT_8]] = bits[:, 12:] @ (1 << np.arange(8))
    words |= np.array(GROUP) << 12
    # Packets begin anywhere, as those of a driver do, so that a decoder has to remember.
    cuts = np.searchsorted(t_us, START_US + np.arange(PACKET_US, window_us, PACKET_US)) * len(GROUP) + 3
    packets = np.split(words.reshape(-1).astype("<u2"), cuts)
    return Stream(tuple(p.tobytes() for p in packets), width, height, window_us)


def recorded(folder: Path, most: int | None) -> Stream:
    """The packets of the recording; drawn are their last 30 ms."""
    from anyseg_ros.bags.reader import BagReader

    with BagReader(folder) as reader:
        topic = next(t for t, kind in reader.topics().items() if kind.endswith("/EventPacket"))
        messages = [msg for _, _, msg in reader.messages([topic])][:most]
    packets = tuple(bytes(msg.events) for msg in messages)
    return Stream(packets, int(messages[0].width), int(messages[0].height), 30_000)


def decode_all(decode: Callable[[bytes], tuple[Any, ...]], stream: Stream) -> list[np.ndarray]:
    """x, y, p, t_us of all packets, joined."""
    return [np.concatenate(part) for part in zip(*map(decode, stream.packets), strict=True)]


def draw_ours(stream: Stream, lookup: np.ndarray) -> Drawn:
    """Our decoder and our accumulation, as the pipeline calls them."""
    x, y, p, t_us = decode_all(Evt3Decoder(stream.width, stream.height).decode, stream)
    events = Events(x, y, t_us * 1000, p, stream.width, stream.height)
    image, _, _ = accumulate(events, lookup, stream.height, stream.width, int(events.t_ns[-1]), stream.window_us * 1000)
    return Drawn(image, len(events))


def draw_plainly(stream: Stream, lookup: np.ndarray) -> Drawn:
    """The first NumPy that comes to mind: decode, index by polarity and pixel, np.add.at."""
    x, y, p, t_us = decode_stream(b"".join(stream.packets), stream.width, stream.height)
    start_us = t_us[-1] - stream.window_us
    seen = (t_us > start_us) & (lookup[y, x] >= 0)
    pixel, off, recency = lookup[y, x][seen], 1 - p[seen], (t_us[seen] - start_us) / stream.window_us
    image = np.zeros((3, stream.height * stream.width), dtype=np.float32)
    np.add.at(image, (off, pixel), 1)
    image[:2] = np.minimum(image[:2], SATURATION) / SATURATION
    np.maximum.at(image[2], pixel, recency.astype(np.float32))
    return Drawn(image.reshape(3, stream.height, stream.width), len(x))


def draw_with_numpy(stream: Stream, lookup: np.ndarray, count: Callable[..., np.ndarray]) -> Drawn:
    """The NumPy decoder, then NumPy's histogram."""
    events = decode_all(NumpyEvt3Decoder(stream.width, stream.height).decode, stream)
    return draw_histogram(events, stream, lookup, count)


def draw_with_evt3(stream: Stream, lookup: np.ndarray) -> Drawn:
    """The decoder from PyPI, then NumPy's histogram."""
    import evt3

    decoder = evt3.Decoder(sensor_width=stream.width, sensor_height=stream.height)

    def decode(packet: bytes) -> tuple[Any, ...]:
        events = decoder.feed(packet)
        return events.x, events.y, events.p, events.t

    x, y, p, t_us = decode_all(decode, stream)
    return draw_histogram([x, y, p, t_us.astype(np.int64)], stream, lookup, count_with_bincount)


def draw_histogram(
    events: list[np.ndarray], stream: Stream, lookup: np.ndarray, count: Callable[..., np.ndarray]
) -> Drawn:
    """ON and OFF counts, saturated, and the recency of each pixel's last event, in NumPy."""
    x, y, p, t_us = events
    start_us = int(t_us[-1]) - stream.window_us
    new = np.searchsorted(t_us, start_us, side="right")
    pixel = lookup[y[new:], x[new:]]
    seen = pixel >= 0
    pixel, off, age_us = pixel[seen], p[new:][seen] == 0, t_us[new:][seen] - start_us
    size = stream.height * stream.width
    image = np.empty((3, size), dtype=np.float32)
    counts = count(pixel + size * off, 2 * size).reshape(2, size)
    np.divide(np.minimum(counts, SATURATION), SATURATION, out=image[:2], casting="same_kind")
    image[2] = 0
    image[2, pixel] = age_us / stream.window_us  # in order of time: the last one stays
    return Drawn(image.reshape(3, stream.height, stream.width), len(x))


def count_with_add_at(places: np.ndarray, size: int) -> np.ndarray:
    """How often each place occurs."""
    counts = np.zeros(size, dtype=np.int32)
    np.add.at(counts, places, 1)
    return counts


def count_with_bincount(places: np.ndarray, size: int) -> np.ndarray:
    """How often each place occurs."""
    return np.bincount(places, minlength=size)


def same_drawing(ours: Drawn, theirs: Drawn) -> Agreement:
    """The number of events and the image must be equal."""
    number = Agreement(ours.decoded == theirs.decoded, f"{ours.decoded} and {theirs.decoded} events")
    return both(number, same_images(ours.image, theirs.image, atol=1e-6))
