# SPDX-License-Identifier: Apache-2.0
"""``anyseg replay FILE.raw``: a RAW file is a recording of one event sensor."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bag_kit import MS, small_rig, tiny_checkpoint

from anyseg_ros.bags import raw_reader
from anyseg_ros.bags.raw_reader import RawReader, is_raw, packets
from anyseg_ros.bags.writer import BagError
from anyseg_ros.cli import main
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.evt3 import encode_evt3
from anyseg_ros.sensors.payload import PayloadError
from anyseg_ros.sensors.rig import save_rig
from anyseg_ros.types import Events

SIZE = (32, 18)  # of the event sensor of ``small_rig``


def write_raw(path, seconds=1.0, count=20_000, size=SIZE, silent=(0.0, 0.0), header="", tail=b""):
    """A RAW file of random events, none in ``silent``; returns its columns x, y, p, t_us."""
    rng = np.random.default_rng(5)
    t_us = np.sort(rng.integers(5_000, round(seconds * 1e6), count))
    t_us = t_us[(t_us < silent[0] * 1e6) | (t_us >= silent[1] * 1e6)]
    x, y = rng.integers(0, size[0], len(t_us)), rng.integers(0, size[1], len(t_us))
    p = rng.integers(0, 2, len(t_us))
    header = header or f"% evt 3.0\n% geometry {size[0]}x{size[1]}\n% end\n"
    path.write_bytes(header.encode() + encode_evt3(x, y, p, t_us) + tail)
    return x, y, p, t_us


def test_the_measurements_hold_every_event_once_and_their_spans_join(tmp_path):
    x, y, p, t_us = write_raw(tmp_path / "a.raw")
    with RawReader(tmp_path / "a.raw", small_rig()) as reader:
        assert reader.start_ns == t_us[0] * 1000 and reader.topics() == {}
        found = list(reader.measurements(small_rig()))
        assert reader.end_ns == t_us[-1] * 1000 and not reader.rejected
    parts = [measurement.payload for _, measurement in found]
    for name, wanted in (("x", x), ("y", y), ("p", p), ("t_ns", t_us * 1000)):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), wanted)
    assert all(arrival_ns == m.stamp_ns == m.payload.t_ns[-1] for arrival_ns, m in found)
    assert all(a.stamp_ns == b.start_ns for (_, a), (_, b) in pairwise(found))
    assert all(m.stamp_ns // (10 * MS) == m.payload.t_ns[0] // (10 * MS) for _, m in found) and len(found) == 100


def test_a_span_over_a_long_silence_is_not_known(tmp_path):
    write_raw(tmp_path / "a.raw", silent=(0.3, 0.8))
    with RawReader(tmp_path / "a.raw", small_rig()) as reader:
        found = [m for _, m in reader.measurements(small_rig())]
    apart = [(a, b) for a, b in pairwise(found) if b.start_ns != a.stamp_ns]
    assert len(apart) == 1 and apart[0][1].start_ns == apart[0][1].payload.t_ns[0] - 1 >= 800 * MS - 1


def test_packets_end_also_where_time_stands_still(monkeypatch):
    monkeypatch.setattr(raw_reader, "MOST_EVENTS", 250)
    one = np.zeros(100, np.uint16)
    chunk = Events(one, one, np.full(100, 7, np.int64), one.astype(np.uint8), 8, 8)
    assert [len(packet) for packet in packets([chunk] * 7)] == [300, 300, 100]
    assert list(packets([])) == []


def test_what_is_torn_or_outside_is_counted(tmp_path):
    write_raw(tmp_path / "a.raw", tail=b"\x00")
    with RawReader(tmp_path / "a.raw", small_rig()) as reader:
        list(reader.measurements(small_rig()))
        assert reader.rejected == {"event (torn_bytes)": 1}


@pytest.fixture
def kit(tmp_path):
    save_rig(small_rig(), tmp_path / "rig.yaml")
    tiny_checkpoint(tmp_path / "tiny.safetensors")
    return tmp_path


def command(kit, *more, rig="rig.yaml"):
    return main(
        ["replay", str(kit / "a.raw"), "--out", str(kit / "out"), "--rig", str(kit / rig), "--checkpoint",
         str(kit / "tiny.safetensors"), "--device", "cpu", *more]
    )  # fmt: skip


def test_the_command_answers_at_the_output_period_of_the_events(kit, capsys):
    write_raw(kit / "a.raw", 2.05)
    assert command(kit, "--drop", "event@1-1.5") == 0
    summary = json.loads((kit / "out" / "summary.json").read_text())
    assert set(summary["subsets"]) == {"E"} and summary["frames_out"] == summary["frames_due"]
    period_s = small_rig().sensor("event").period_ns / 1e9
    assert 1.3 / period_s <= summary["frames_out"] <= 1.6 / period_s
    assert "camera: the recording has nothing of it, so it counts as never seen" in capsys.readouterr().out


def test_what_does_not_fit_gets_a_sentence(kit, capsys):
    rig = small_rig()
    event = rig.sensor("event")
    without = tuple(sensor for sensor in rig.sensors if sensor.modality is not Modality.EVENT)
    save_rig(replace(rig, sensors=without), kit / "none.yaml")
    save_rig(replace(rig, sensors=(*rig.sensors, replace(event, name="rear", topic="/rear"))), kit / "two.yaml")

    def fails(*more, rig="rig.yaml"):
        assert command(kit, *more, rig=rig) == 2
        return capsys.readouterr().err

    assert "there is no file" in fails()
    write_raw(kit / "a.raw", 0.1, 100, (64, 64))
    assert "is of a 64 x 64 sensor, but 'event' of rig 'small' has" in fails()
    write_raw(kit / "a.raw", 0.1, 100)
    assert "has 0 event sensors; expected one" in fails(rig="none.yaml")
    assert "has 2 event sensors (event, rear); expected one" in fails(rig="two.yaml")
    assert "holds events alone" in fails("--odometry", "auto")
    (kit / "a.raw").write_bytes(b"% evt 3.0\n% end\n")
    assert "holds no events" in fails()
    (kit / "a.raw").write_bytes(b"RIFF")
    assert "is no RAW file" in fails()
    assert not (kit / "out").exists(), "nothing is written before the input is known to be good"


def test_an_older_header_without_a_size_takes_the_rigs(tmp_path):
    write_raw(tmp_path / "a.raw", 0.1, 100, header="% evt 3.0\n% end\n")
    with RawReader(tmp_path / "a.raw", small_rig()) as reader:
        assert sum(len(m.payload) for _, m in reader.measurements(small_rig())) == 100


def test_errors_are_those_that_the_command_line_tells(tmp_path):
    with pytest.raises(BagError):
        RawReader(tmp_path / "none.raw", small_rig())
    (tmp_path / "a.raw").write_bytes(b"")
    with pytest.raises(PayloadError):
        RawReader(tmp_path / "a.raw", small_rig())
    assert is_raw(tmp_path / "a.RAW") and not is_raw(tmp_path) and not is_raw(tmp_path / "bag")
