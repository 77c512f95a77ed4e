# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW files: headers as cameras write them, known words, and a real recording there and back."""

import os
from pathlib import Path

import numpy as np
import pytest
from event_codecs import encode_evt2, random_events

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.sensors import raw_files
from anyseg_ros.sensors.evt2 import Evt2Decoder
from anyseg_ros.sensors.evt3 import Evt3Decoder, encode_evt3
from anyseg_ros.sensors.payload import PayloadError
from anyseg_ros.sensors.raw_files import read_header, read_raw

DATA = os.environ.get("ANYSEG_TEST_DATA")
NEW = """% camera_integrator_name Prophesee
% date 2023-03-08 13:37:42
% evt 3.0
% format EVT3;height=720;width=1280
% generation 4.2
% geometry 1280x720
% plugin_name hal_plugin_prophesee
% system_ID 49
% end
"""
OLD = "% Date 2014-02-28 13:37:42\n% evt 2.0\n% geometry 640x480\n% serial_number 7\n"
EVT21 = "% format EVT21;height=320;width=320\n% end\n"
LEGACY = "% format EVT21;endianness=legacy;height=320;width=320\n% end\n"


def words(*values):
    return np.array(values, "<u4").tobytes()


def rows_of(chunks):
    return [tuple(map(int, row)) for e in chunks for row in zip(e.x, e.y, e.p, e.t_ns, strict=True)]


@pytest.mark.parametrize(
    "text, expected",
    [
        (NEW, (1280, 720, "evt3")),
        (OLD, (640, 480, "evt2")),
        (EVT21, (320, 320, "evt21")),
        (LEGACY, (320, 320, "evt21_legacy")),
        ("% evt 2.1\r\n% geometry 320x320\r\n% endianness legacy\r\n% end\r\n", (320, 320, "evt21_legacy")),
        ("% evt 3.0\n% geometry 640x480\n", (640, 480, "evt3")),
    ],
)
def test_headers(text, expected):
    header = read_header(text.encode() + b"\x25\x80", "x.raw")
    assert (header.width, header.height, header.encoding) == expected
    assert header.data_offset == len(text)


def test_fields_of_a_header():
    assert read_header(NEW.encode(), "x.raw").fields["plugin_name"] == "hal_plugin_prophesee"
    assert read_header(OLD.encode(), "x.raw").fields["Date"] == "2014-02-28 13:37:42"


def test_words_that_look_like_a_line_follow_the_end():
    assert read_header(NEW.encode() + b"% ", "x.raw").data_offset == len(NEW)


@pytest.mark.parametrize(
    "start, sentence",
    [
        (b"", "is no RAW file"),
        (b"\x00\x80\x01\x60", "is no RAW file"),
        (b"%end\n", "is no RAW file"),
        (b"% evt 3.0" + b"x" * raw_files.LONGEST_HEADER, "does not end within"),
        (b"% geometry 640x480\n% end\n", "format 'unknown', expected EVT2"),
        (b"% format HISTO3D;width=320;height=320\n", "format 'HISTO3D'"),
        (b"% evt 4.0\n% geometry 640x480\n", "format '4.0'"),
        (b"% evt 3.0\n% end\n", "give the size of the event sensor"),
        (b"% evt 3.0\n% geometry 640\n", "size as '640', expected such as 1280x720"),
        ("% evt 3.0\n% geometry ٣x٣\n".encode(), "expected such as"),
        (b"% evt 3.0\n% geometry 4096x720\n", "expected 1 to 2048 pixels"),
        (b"% evt 3.0\n% geometry 0x0\n", "does not say how large"),
        (b"% evt 3.0\n% geometry " + b"9" * 5000 + b"x1\n", "expected 1 to 2048"),
    ],
)
def test_headers_that_cannot_be_used(start, sentence):
    with pytest.raises(PayloadError, match=sentence):
        read_header(start, "x.raw")


def test_old_files_take_the_size_from_the_caller(tmp_path):
    path = tmp_path / "old.raw"
    path.write_bytes(b"% evt 2.0\n% end\n" + words(8 << 28 | 1, 1 << 28 | 2 << 22 | 639 << 11 | 479))
    recording = read_raw(path, size=(640, 480))
    assert rows_of(recording.chunks) == [(639, 479, 1, 66_000)]


def test_known_evt2_words():
    decoder = Evt2Decoder(640, 480)
    first = words(1 << 28, 8 << 28 | 3, 0 << 28 | 5 << 22 | 7 << 11 | 9, 1 << 28 | 6 << 22 | 640 << 11, 0xA0000101)
    events = [column.tolist() for column in decoder.decode(first + b"\x01")]
    assert events == [[7], [9], [0], [3 * 64 + 5]]
    assert decoder.counters == {
        "outside": 1, "untimed": 1, "unknown_words": 0, "triggers_rising": 1, "triggers_falling": 0,
    }  # fmt: skip
    assert decoder.torn_bytes == 1 and decoder.time_us == 3 * 64 + 6
    decoder.decode(words(0x30000000, 0xE0000000, 0xF0000000, 0xA0000000))
    assert decoder.counters["unknown_words"] == 1 and decoder.counters["triggers_falling"] == 1
    decoder.reset()
    assert decoder.time_us is None and len(decoder.decode(words(1 << 28))[0]) == 0


def test_evt2_time_wraps_after_34_bits_but_a_small_step_back_is_none():
    decoder = Evt2Decoder(640, 480)
    heads = [8 << 28 | 0xFFFFFFF, 1 << 28, 8 << 28 | 0xFFFFFF0, 1 << 28, 8 << 28, 1 << 28 | 1 << 22]
    assert decoder.decode(words(*heads))[3].tolist() == [(1 << 34) - 64, (1 << 34) - 1024, (1 << 34) + 1]


@pytest.mark.parametrize("encoding, header", [("evt21", EVT21), ("evt21_legacy", LEGACY)])
def test_known_evt21_words(tmp_path, encoding, header):
    pairs = [(8 << 28 | 2, 0), (1 << 28 | 3 << 22 | 300 << 11 | 5, 1 << 31 | 0b101), (9 << 28, 7)]
    data = b"".join(words(*(reversed(pair) if encoding == "evt21" else pair)) for pair in pairs)
    (tmp_path / "a.raw").write_bytes(header.encode() + data)
    recording = read_raw(tmp_path / "a.raw")
    assert rows_of(recording.chunks) == [(300, 5, 1, 131_000), (302, 5, 1, 131_000)]
    assert recording.counters["outside"] == 1 and recording.counters["unknown_words"] == 1


@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_files_come_in_chunks_and_time_never_runs_back(tmp_path, monkeypatch, version):
    monkeypatch.setattr(raw_files, "CHUNK_BYTES", 256)
    events = random_events(np.random.default_rng(0), 2000, 640, 480, 5000, 300_000)
    if version == "2.0":
        data = encode_evt2(events) + encode_evt2([(1, 2, 1, 100)]) + b"\x00"
    else:
        data = encode_evt3(*np.array(events).T) + np.array([0x8000, 0x6064, 0x0002, 0x2801], "<u2").tobytes() + b"\x00"
    (tmp_path / "a.raw").write_bytes(f"% evt {version}\n% geometry 640x480\n% end\n".encode() + data)
    recording = read_raw(tmp_path / "a.raw")
    chunks = list(recording.chunks)
    last_ns = 1000 * events[-1][3]
    rows = rows_of(chunks)
    if version == "2.0":
        assert rows == [(x, y, p, 1000 * t) for x, y, p, t in events] + [(1, 2, 1, last_ns)]
        assert recording.counters["held_back"] == 1
    assert len(chunks) > 10 and max(len(chunk) for chunk in chunks) <= 6 * 256
    assert all(a[3] <= b[3] for a, b in zip(rows, rows[1:], strict=False))
    assert recording.counters["torn_bytes"] == 1


def test_a_file_without_words_has_no_events(tmp_path):
    (tmp_path / "a.raw").write_bytes(NEW.encode())
    assert list(read_raw(tmp_path / "a.raw").chunks) == []
    with pytest.raises(FileNotFoundError):
        read_raw(tmp_path / "none.raw")


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "events_evt3").is_dir(), reason="ANYSEG_TEST_DATA holds no events_evt3"
)
def test_the_real_recording_as_raw_files(tmp_path):
    """Its words in one EVT3 file, and its events encoded once more in EVT2 and EVT2.1 files: always the same events."""
    with BagReader(Path(DATA) / "events_evt3") as reader:
        packets = [bytes(msg.events) for _, _, msg in reader.messages(reader.topics())]
    decoder = Evt3Decoder(640, 480)
    x, y, p, t_us = (np.concatenate(part) for part in zip(*map(decoder.decode, packets), strict=True))
    events = list(zip(x.tolist(), y.tolist(), p.tolist(), t_us.tolist(), strict=True))
    files = {"EVT3": b"".join(packets), "EVT2": encode_evt2(events), "EVT21": encode_evt2(events, "evt21")}
    for name, data in files.items():
        path = tmp_path / f"{name}.raw"
        path.write_bytes(f"% format {name};height=480;width=640\n% end\n".encode() + data)
        recording = read_raw(path)
        parts = list(recording.chunks)
        for field, expected in (("x", x), ("y", y), ("p", p), ("t_ns", t_us * 1000)):
            assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), expected), name
        assert (int(np.sum(p == 0)), int(np.sum(p == 1))) == (218_291, 125_183)
        counters = recording.counters
        edges = (2079, 2078) if name == "EVT3" else (0, 0)
        assert (counters.pop("triggers_rising"), counters.pop("triggers_falling")) == edges
        assert not any(counters.values())
