# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW files: a header of text lines, then the sensor's words (EVT2, EVT2.1 or EVT3).

Source: Prophesee's RAW file format description. Each line of the header begins with "% "; the ones that matter are
``format EVT3;height=720;width=1280``, ``geometry 1280x720`` and, in older files, ``evt 3.0``. ``end`` closes the
header; older files begin their words at the first line without the prefix.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anyseg_ros.sensors.evt2 import Evt2Decoder
from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.payload import PayloadError
from anyseg_ros.types import Events

SUFFIX = ".raw"
CHUNK_BYTES = 1 << 18
LONGEST_HEADER = 1 << 16
LARGEST_SIDE = 2048  # columns and rows have 11 bits in all three formats
VERSIONS = {"2.0": "evt2", "2.1": "evt21", "3.0": "evt3"}


@dataclass(frozen=True)
class RawHeader:
    """What the header of a RAW file says.

    Attributes:
        width, height: sensor size in pixels.
        encoding: evt2, evt21, evt21_legacy or evt3.
        fields: every line of the header, value by key.
        data_offset: byte at which the words begin.
    """

    width: int
    height: int
    encoding: str
    fields: dict[str, str]
    data_offset: int


class RawRecording:
    """An opened RAW file.

    Attributes:
        width, height: sensor size in pixels.
        encoding: evt2, evt21, evt21_legacy or evt3.
        header: everything that the header says.
        chunks: the events in order, in pieces of under 2 million; can be read once. ``t_ns`` counts from wherever
            the sensor's clock began, not from 1970.
    """

    def __init__(self, path: Path, header: RawHeader):
        self.header = header
        self.width, self.height, self.encoding = header.width, header.height, header.encoding
        self._decoder: Evt2Decoder | Evt3Decoder
        if header.encoding == "evt3":
            self._decoder = Evt3Decoder(header.width, header.height)
        else:
            self._decoder = Evt2Decoder(header.width, header.height, header.encoding)
        self._held_back = 0
        self.chunks: Generator[Events, None, None] = self._read(path)

    @property
    def counters(self) -> dict[str, int]:
        """Of what was read so far: words dropped by reason, trigger edges, events whose time ran back.

        Times that ran back (``held_back``) were raised to the time of the event before, so that time never runs back.
        """
        return {"torn_bytes": self._decoder.torn_bytes, "held_back": self._held_back, **self._decoder.counters}

    def _read(self, path: Path) -> Generator[Events, None, None]:
        last_ns = np.iinfo(np.int64).min
        with path.open("rb") as file:
            file.seek(self.header.data_offset)
            while data := file.read(CHUNK_BYTES):
                x, y, p, t_us = self._decoder.decode(data)
                if not len(t_us):
                    continue
                times = t_us * 1000
                t_ns = np.maximum(np.maximum.accumulate(times), last_ns)
                self._held_back += int(np.count_nonzero(t_ns != times))
                last_ns = int(t_ns[-1])
                yield Events(x, y, t_ns, p, self.width, self.height)


def read_raw(path: Path | str, size: tuple[int, int] | None = None) -> RawRecording:
    """Open a RAW file of a Prophesee sensor.

    Args:
        path: the file.
        size: (width, height) in pixels of the sensor, for older files whose header does not say.

    Raises:
        PayloadError: it is no RAW file, the format of its words is not read, or the sensor's size is not known.
        OSError: it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    return RawRecording(path, read_header(start, str(path), size))


def read_header(start: bytes, name: str, size: tuple[int, int] | None = None) -> RawHeader:
    """The header of a RAW file.

    Args:
        start: the first bytes of the file, up to ``LONGEST_HEADER``.
        name: how sentences call the file.
        size: (width, height) where the header does not say.

    Raises:
        PayloadError: as ``read_raw``.
    """
    fields, offset = _lines(start, name)
    options = dict(part.partition("=")[::2] for part in fields.get("format", "").split(";")[1:])
    encoding = _encoding(fields, options, name)
    width, height = _size(fields, options, name) or size or (0, 0)
    if not (width and height):
        raise PayloadError(
            f"the header of {name} does not say how large the sensor is (no 'geometry'); "
            "give the size of the event sensor, as the rig file has it"
        )
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise PayloadError(
            f"{name} is of a {width} x {height} sensor; expected 1 to {LARGEST_SIDE} pixels, as many as "
            f"{encoding} can address"
        )
    return RawHeader(width, height, encoding, fields, offset)


def _lines(start: bytes, name: str) -> tuple[dict[str, str], int]:
    """The header's values by key, and where it ends."""
    fields: dict[str, str] = {}
    offset = 0
    while start.startswith(b"% ", offset):
        end = start.find(b"\n", offset)
        if end < 0:
            raise PayloadError(
                f"the header of {name} does not end within {LONGEST_HEADER} bytes; the file is cut off or damaged"
            )
        key, _, value = start[offset + 2 : end].decode("ascii", "replace").strip().partition(" ")
        offset = end + 1
        if key == "end":
            break
        fields[key] = value.strip()
    if not offset:
        raise PayloadError(
            f"{name} is no RAW file of a Prophesee sensor: it begins with {start[:8]!r}, expected lines with '% '"
        )
    return fields, offset


def _encoding(fields: dict[str, str], options: dict[str, str], name: str) -> str:
    named = fields.get("format", "").split(";")[0]
    encoding = {"EVT2": "evt2", "EVT21": "evt21", "EVT3": "evt3"}.get(named) if named else None
    if not named:
        named = fields.get("evt", "")
        encoding = VERSIONS.get(named)
    if encoding is None:
        raise PayloadError(
            f"{name} holds events in the format '{named or 'unknown'}', expected EVT2, EVT2.1 or EVT3; "
            "convert it with Prophesee's tools, or record in EVT3"
        )
    if encoding == "evt21" and (options.get("endianness") or fields.get("endianness")) == "legacy":
        return "evt21_legacy"
    return encoding


def _size(fields: dict[str, str], options: dict[str, str], name: str) -> tuple[int, int] | None:
    """(width, height) by the format's options or the field geometry; None where neither is there."""
    stated = fields.get("geometry", "")
    if options.get("width") and options.get("height"):
        stated = f"{options['width']}x{options['height']}"
    if not stated:
        return None
    width, _, height = stated.partition("x")
    # isdecimal alone lets other scripts' digits through, which int reads, too
    if not (width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()):
        raise PayloadError(f"the header of {name} gives the sensor's size as '{stated}', expected such as 1280x720")
    return int(width[:9]), int(height[:9])
