# SPDX-License-Identifier: Apache-2.0
"""Reads PCD 0.7 point clouds (the format of the Point Cloud Library's file-format page)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numba import njit

NUMPY_KIND = {"F": "f", "U": "u", "I": "i"}
HEADER_LIMIT = 4096  # a header is a few hundred bytes; a file without DATA by then is none


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """The fields of a point cloud, each [N], by name.

    Binary and binary_compressed files are read; fields with COUNT above 1 become [N, COUNT].

    Raises:
        ValueError: the file is no PCD, or is ASCII or truncated.
    """
    raw = Path(path).read_bytes()
    header, body = _split(raw, path)
    kind = header["DATA"][0]
    points = int(header["POINTS"][0])
    counts = [int(c) for c in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
    columns = [
        (name, np.dtype(f"<{NUMPY_KIND[code]}{size}"), count)
        for name, code, size, count in zip(header["FIELDS"], header["TYPE"], header["SIZE"], counts, strict=True)
    ]
    row = sum(dtype.itemsize * count for _, dtype, count in columns)
    if kind == "binary_compressed":
        packed, unpacked = struct.unpack("<II", body[:8])
        data = lzf_decompress(np.frombuffer(body[8 : 8 + packed], np.uint8), unpacked)
    elif kind == "binary":
        data = np.frombuffer(body, np.uint8)
    else:
        raise ValueError(f"{path} is a PCD with DATA {kind}; expected binary or binary_compressed")
    if len(data) < row * points:
        raise ValueError(f"{path} ends after {len(data)} of {row * points} bytes; copy it again")
    return _columns(data[: row * points], columns, points, by_column=kind == "binary_compressed")


def _split(raw: bytes, path: Path) -> tuple[dict[str, list[str]], bytes]:
    """Header entries by key, and the bytes after the header."""
    head = raw[:HEADER_LIMIT]
    mark = head.find(b"\nDATA ")
    end = head.find(b"\n", mark + 1)
    if mark < 0 or end < 0:
        raise ValueError(f"{path} is no PCD file: it has no DATA line in its first {HEADER_LIMIT} bytes")
    lines = head[:end].decode("ascii", "replace").splitlines()
    header = {words[0]: words[1:] for words in map(str.split, lines) if words and not words[0].startswith("#")}
    missing = {"FIELDS", "SIZE", "TYPE", "POINTS", "DATA"} - header.keys()
    if missing:
        raise ValueError(f"{path} is no PCD file: its header lacks {', '.join(sorted(missing))}")
    return header, raw[end + 1 :]


def _columns(
    data: np.ndarray, columns: list[tuple[str, np.dtype, int]], points: int, by_column: bool
) -> dict[str, np.ndarray]:
    """Cuts the bytes into fields.

    Compressed files hold one field after the other, plain ones one point after the other.
    """
    found, begin = {}, 0
    for name, dtype, count in columns:
        width = dtype.itemsize * count
        if by_column:
            cut = data[begin * points : (begin + width) * points]
        else:
            cut = np.ascontiguousarray(data.reshape(points, -1)[:, begin : begin + width]).reshape(-1)
        begin += width
        values = cut.copy().view(dtype)
        found[name] = values if count == 1 else values.reshape(points, count)
    return found


def lzf_decompress(packed: np.ndarray, size: int) -> np.ndarray:
    """Unpacks LZF, the compression of binary_compressed PCD files.

    A control byte below 32 copies that many and one literal bytes. Otherwise its upper three bits are a
    length (7: one more byte is added to it), its lower five with the next byte a distance; length + 2 bytes
    are repeated from distance + 1 bytes back.

    Args:
        packed: uint8.
        size: number of bytes that come out.

    Raises:
        ValueError: the data are damaged.
    """
    out = np.empty(size, np.uint8)
    if _lzf(packed, out) != size:
        raise ValueError(f"compressed data of {len(packed)} bytes do not unpack to {size} bytes; copy the file again")
    return out


@njit(cache=True)
def _lzf(packed, out):
    """Returns the number of bytes written, or -1 for damaged data."""
    i, o = 0, 0
    while i < len(packed):
        control = int(packed[i])
        i += 1
        if control < 32:
            run = control + 1
            if i + run > len(packed) or o + run > len(out):
                return -1
            for k in range(run):
                out[o + k] = packed[i + k]
            i += run
        else:
            run = control >> 5
            if run == 7:
                if i >= len(packed):
                    return -1
                run += int(packed[i])
                i += 1
            if i >= len(packed):
                return -1
            source = o - ((control & 31) << 8) - int(packed[i]) - 1
            i += 1
            run += 2
            if source < 0 or o + run > len(out):
                return -1
            for k in range(run):  # byte by byte: source and destination may overlap
                out[o + k] = out[source + k]
        o += run
    return o
