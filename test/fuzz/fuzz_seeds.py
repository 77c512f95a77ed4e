# SPDX-License-Identifier: Apache-2.0
"""Where fuzzing starts from: byte strings that the targets make into messages as drivers send them; always the same."""

import struct

import cv2
import numpy as np
from fuzz_targets import ENCODINGS, FIELDS, FORMATS, PACKETS

from anyseg_ros.sensors.evt3 import encode_evt3

STAMP = struct.pack("<II", 1_700_000_000, 500_000_000)
LAYOUTS = (  # name, datatype, offset; bytes of a point
    ([("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("intensity", 7, 12), ("ring", 4, 16), ("time", 7, 18)], 22),
    ([("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("reflectivity", 4, 16), ("t", 6, 20), ("channel", 2, 26)], 32),
    ([("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("i", 2, 12), ("timestamp", 8, 18)], 26),
    ([("x", 4, 0), ("y", 4, 2), ("t", 6, 4), ("p", 2, 8)], 9),
)


def seeds(target):
    """The byte strings to begin with, by name of the target."""
    return {
        "image": _images,
        "compressed_image": _compressed_images,
        "cloud": _clouds,
        "event_packets": _event_packets,
        "event_array": _event_arrays,
        "event_words": _event_words,
    }[target]()


def _images():
    noise = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    return [bytes([number, big, 1, 8, 0, 3]) + noise for number in range(len(ENCODINGS)) for big in (0, 1)]


def _compressed_images():
    rng = np.random.default_rng(1)
    pictures = [
        rng.integers(0, 256, shape).astype(kind) for kind in ("u1", "u2") for shape in ((6, 7), (6, 7, 3), (6, 7, 4))
    ]
    files = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    files += [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures[:2]]
    depth = struct.pack("<iff", 0, 100.0, -9.0)
    rvl = struct.pack("<III", 3, 1, 0x0_3_C_1_2_1_0_0)
    bodies = [*files, depth + files[3], depth + rvl]
    return [bytes([number]) + body for number in range(len(FORMATS)) for body in bodies]


def _clouds():
    rng, found = np.random.default_rng(2), []
    for fields, step in LAYOUTS:
        layout = np.dtype(
            {
                "names": [name for name, *_ in fields],
                "formats": [[None, "i1", "u1", "i2", "<u2", "i4", "<u4", "<f4", "<f8"][kind] for _, kind, _ in fields],
                "offsets": [offset for *_, offset in fields],
                "itemsize": step,
            }
        )
        points = np.zeros(40, layout)
        for name in layout.names:
            points[name] = rng.uniform(0, 40, 40)
        described = b"".join(bytes([FIELDS.index(name), kind, offset, 1]) for name, kind, offset in fields)
        for width in (40, 8):
            sizes = bytes([width, 40 // width, step, 0])
            found.append(STAMP + bytes([0, 1, len(fields)]) + described + sizes + points.tobytes())
    return found


def _words():
    """Words by encoding: good EVT3, and noise for the others, in which every kind of word comes up."""
    rng = np.random.default_rng(3)
    t_us = np.cumsum(rng.integers(0, 40, 60))
    good = encode_evt3(rng.integers(0, 64, 60), rng.integers(0, 48, 60), rng.integers(0, 2, 60), t_us)
    return good, rng.integers(0, 256, 240, dtype=np.uint8).tobytes()


def _event_packets():
    found = []
    for number, encoding in enumerate(PACKETS):
        for words in _words():
            chunks = [words[:80], words[80:200]]
            packets = [
                STAMP + struct.pack("<HQBB", seq, 1_700_000_000_000_000_000, 0, len(chunk)) + chunk
                for seq, chunk in enumerate(chunks)
            ]
            found.append(bytes([number]) + b"".join(packets))
        assert encoding
    return found


def _event_arrays():
    """CDR in both byte orders; the events carry their own stamps."""
    found = []
    for order, representation in (("<", 1), (">", 0)):
        events = b""
        for number in range(12):
            events += bytes(len(events) % 2) + struct.pack(order + "HH", number, number)
            events += bytes(-len(events) % 4) + struct.pack(order + "iIB", 1_700_000_000, number * 1000, number % 2)
        head = struct.pack(order + "iII4sIII", 1_700_000_000, 0, 4, b"cam\0", 48, 64, 12)
        found += [bytes([0, representation, 0, 0]) + head + events, bytes([0, representation, 0, 0]) + head]
    return found


def _event_words():
    header = b"% format EVT3;height=48;width=64\n% geometry 64x48\n% evt 3.0\n% end\n"
    return [bytes([kind, 40]) + text + words for kind in range(4) for text in (b"", header) for words in _words()]
