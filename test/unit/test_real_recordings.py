# SPDX-License-Identifier: Apache-2.0
"""The two real recordings (named by ANYSEG_TEST_DATA), and what reads them."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_kit import tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.bags.pcd import lzf_decompress, read_pcd
from anyseg_ros.bags.road_frame import lidar_height_m, load_road, points_in_picture
from anyseg_ros.cli import main
from anyseg_ros.real import data_folder, decode_counts

FOLDER = Path(os.environ.get("ANYSEG_TEST_DATA", ""))
needs_recordings = pytest.mark.skipif(
    not (os.environ.get("ANYSEG_TEST_DATA") and (FOLDER / "road_frame").is_dir()),
    reason="the real recordings are not here: set ANYSEG_TEST_DATA to the folder with road_frame and events_evt3",
)


@pytest.fixture(scope="module")
def road():
    return load_road(FOLDER / "road_frame")


@needs_recordings
def test_real_lidar_on_the_real_picture(road):
    rig, image, points = road
    assert image.shape == (1200, 1920, 3) and len(points) == 85546
    assert int(points_in_picture(rig, points)[1].sum()) == 10523
    assert int(points_in_picture(rig, points, distorted=False)[1].sum()) == 10331


@needs_recordings
def test_projection_of_the_real_lidar_matches_opencv(road):
    rig, _, points = road
    model, plane = rig.sensor("camera").model, rig.plane_from("lidar")
    uv, inside = points_in_picture(rig, points)
    xyz = (points.xyz.astype(np.float64) @ plane[:3, :3].T + plane[:3, 3])[inside]
    expected, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), model.K, np.array(model.D))
    assert np.abs(uv[inside] - expected[:, 0]).max() < 1e-6


@needs_recordings
def test_base_frame_of_the_road_frame_lies_on_the_road(road):
    _, _, points = road
    assert lidar_height_m(points.xyz) == pytest.approx(1.95, abs=0.05)


@needs_recordings
def test_real_events_decode_to_their_known_numbers():
    figures = decode_counts(FOLDER / "events_evt3")
    assert (figures["off"], figures["on"]) == (218_291, 125_183)
    assert (figures["width"], figures["height"]) == (640, 480)
    assert figures["seconds"] == pytest.approx(2.08, abs=0.02)


@needs_recordings
def test_the_command_runs_both_recordings(tmp_path, capsys):
    checkpoint = tiny_checkpoint(tmp_path / "tiny.safetensors")
    assert main(["real", "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["road_frame"]["points_in_picture"] == 10523
    assert set(summary["road_frame"]["subsets"]) == {"C", "L", "CL"}
    assert summary["events"]["on"] == 125_183 and 15 <= summary["events"]["sets_answered"] <= 21
    for name in ("road.png", "events.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 5
    out = capsys.readouterr().out
    assert "two different scenes" in out and "knows no real road" in out


def test_missing_recordings_get_a_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("ANYSEG_TEST_DATA", raising=False)
    with pytest.raises(ValueError, match="set ANYSEG_TEST_DATA"):
        data_folder(None)
    with pytest.raises(ValueError, match="does not hold road_frame and events_evt3"):
        data_folder(tmp_path)


def pack_lzf(data: bytes) -> bytes:
    """A plain LZF packer for the tests: literals, and repeats of the last three bytes where they occur."""
    out, i = bytearray(), 0
    while i < len(data):
        back = data.rfind(data[i : i + 3], max(0, i - 8191), i) if i + 3 <= len(data) else -1
        if back >= 0:
            run = 3
            while i + run < len(data) and run < 264 and data[back + run] == data[i + run]:
                run += 1
            away, short = i - back - 1, run - 2
            out += bytes([min(short, 7) << 5 | away >> 8])
            if short >= 7:
                out += bytes([short - 7])
            out += bytes([away & 255])
            i += run
        else:
            out += bytes([0, data[i]])
            i += 1
    return bytes(out)


@given(st.lists(st.sampled_from([0, 1, 7, 255]), min_size=1, max_size=700))
def test_lzf_unpacks_what_was_packed(values):
    data = bytes(values)
    packed = np.frombuffer(pack_lzf(data), np.uint8)
    assert lzf_decompress(packed, len(data)).tobytes() == data


@given(st.binary(min_size=1, max_size=60), st.integers(1, 200))
def test_damaged_lzf_never_reads_or_writes_outside(packed, size):
    try:
        assert len(lzf_decompress(np.frombuffer(packed, np.uint8), size)) == size
    except ValueError as error:
        assert "copy the file again" in str(error)


def write_pcd(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A PCD of five points with x (float32) and ring (uint16)."""
    x, ring = np.arange(5, dtype="<f4"), np.arange(5, dtype="<u2")
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x ring\nSIZE 4 2\nTYPE F U\nCOUNT 1 1\nWIDTH 5\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 5\nDATA {kind}\n"
    )
    if kind == "binary_compressed":
        packed = pack_lzf(x.tobytes() + ring.tobytes())
        body = struct.pack("<II", len(packed), 30) + packed
    else:
        body = b"".join(x[k].tobytes() + ring[k].tobytes() for k in range(5))
    path.write_bytes(header.encode() + body)
    return x, ring


@pytest.mark.parametrize("kind", ["binary", "binary_compressed"])
def test_pcd_by_row_and_by_column(tmp_path, kind):
    x, ring = write_pcd(tmp_path / "a.pcd", kind)
    fields = read_pcd(tmp_path / "a.pcd")
    assert np.array_equal(fields["x"], x) and np.array_equal(fields["ring"], ring)


def test_pcd_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.pcd"
    write_pcd(path, "ascii")
    with pytest.raises(ValueError, match="DATA ascii; expected binary"):
        read_pcd(path)
    write_pcd(path, "binary")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="ends after 26 of 30 bytes"):
        read_pcd(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="is no PCD file"):
        read_pcd(path)
