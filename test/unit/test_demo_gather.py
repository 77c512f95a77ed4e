# SPDX-License-Identifier: Apache-2.0
"""From a bag and a recording to verdict, pictures and figures; and the same over a real graph."""

import io
import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="the demo's pictures need Pillow (extra 'sim')")
from bag_kit import CLASSES, MS, small_rig, tiny_checkpoint, write_bag  # noqa: E402

from anyseg_ros.bags.reader import BagReader  # noqa: E402
from anyseg_ros.demo import gather  # noqa: E402
from anyseg_ros.demo.due import after_cuts, frames_due  # noqa: E402
from anyseg_ros.demo.judge import judge_drive  # noqa: E402
from anyseg_ros.demo.plan import Walk  # noqa: E402
from anyseg_ros.demo.play import Run, play  # noqa: E402
from anyseg_ros.demo.stage import Stage, clean_environment, dds_profile, random_domain  # noqa: E402
from anyseg_ros.demo.terminal import Step  # noqa: E402
from anyseg_ros.modality import Modality  # noqa: E402
from anyseg_ros.model.checkpoint import CheckpointError  # noqa: E402
from anyseg_ros.pipeline import checkpoint_encoding  # noqa: E402
from anyseg_ros.sensors.presets import DEFAULT, EventEncoding  # noqa: E402
from anyseg_ros.sensors.rig import save_rig  # noqa: E402

SENSORS = {Modality.CAMERA: "camera", Modality.LIDAR: "lidar", Modality.EVENT: "event"}
WALK = Walk.of("day", (("CEL", 8), ("EL", 9), ("E", 9), ("CE", 8)))
RATE = 0.5
BEGAN_NS = 5_000_000_000  # of the steady clock


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "drive", seconds=WALK.duration_ns / 1e9)


def due_of(reader):
    left = after_cuts(gather.deliveries(reader, small_rig()), WALK.cuts(SENSORS), reader.start_ns)
    return left, frames_due(left, gather.rules_from_rig(small_rig(), DEFAULT))


def perfect_recording(folder, reader, missing=()):
    """What a recorder would write if every answer came 60 ms after its reference and was right."""
    rules = gather.rules_from_rig(small_rig(), DEFAULT)
    left, due = due_of(reader)
    truth = gather.Truth(reader, rules)
    (folder / "labels").mkdir(parents=True)

    def steady(bag_ns):
        return BEGAN_NS + round((bag_ns - reader.start_ns) / RATE)

    with (folder / "frames.jsonl").open("w") as frames, (folder / "status.jsonl").open("w") as status:
        for place, item in enumerate(due):
            labels = truth(item)
            if place in missing:
                continue
            cv2.imwrite(str(folder / f"labels/{item.stamp_ns}.png"), labels)
            row = {"stamp_ns": item.stamp_ns, "received_ns": steady(item.arrival_ns) + 60 * MS}
            frames.write(json.dumps({**row, "file": f"labels/{item.stamp_ns}.png"}) + "\n")
            status.write(json.dumps({**row, "values": {"subset": item.subset}}) + "\n")
    published = folder / "published.jsonl"
    rows = [{"sensor": d.sensor, "bag_ns": d.arrival_ns, "published_ns": steady(d.arrival_ns)} for d in left]
    published.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return gather.Recording(folder, published, RATE), due


def test_a_perfect_recording_is_found_perfect(bag, tmp_path):
    with BagReader(bag) as reader:
        recording, due = perfect_recording(tmp_path / "r", reader)
        truth = gather.Truth(reader, gather.rules_from_rig(small_rig(), DEFAULT))
        verdict = judge_drive(due, recording.outputs(due), truth, len(CLASSES))
    assert len(verdict.answered) == len(due) > 25 and not verdict.missing
    assert {item.subset for item in due} >= {"CEL", "EL", "E", "CE"}
    latencies = [figure for figures in verdict.latency_ms.values() for figure in figures]
    assert latencies == pytest.approx([60.0] * len(due))
    assert all(item["miou"] == 100.0 for item in verdict.trace)
    # Receipts lie in the time of the drive: one 30 ms after each reference, as playback ran at half speed.
    assert verdict.received == pytest.approx([item.arrival_ns + 30 * MS for item in due], abs=2)
    assert recording.differing(due) == 0


def test_what_the_recorder_missed_is_missing(bag, tmp_path):
    with BagReader(bag) as reader:
        recording, due = perfect_recording(tmp_path / "r", reader, missing={3, 9})
        truth = gather.Truth(reader, gather.rules_from_rig(small_rig(), DEFAULT))
        verdict = judge_drive(due, recording.outputs(due), truth, len(CLASSES))
    assert verdict.missing == [due[3], due[9]]


def test_pictures_hold_the_last_of_a_cut_sensor(bag, tmp_path):
    with BagReader(bag) as reader:
        recording, due = perfect_recording(tmp_path / "r", reader)
        cuts = WALK.cuts(SENSORS)
        source = gather.Source(reader, small_rig(), DEFAULT, cuts, recording, CLASSES, "day")
        alone = [item for item in due if item.subset == "E"][-3:]
        rules = gather.rules_from_rig(small_rig(), DEFAULT)
        shown = gather.moments(source, [*alone, alone[0]], gather.Truth(reader, rules), {alone[0].stamp_ns: 42.0})
    assert list(shown) == [item.stamp_ns for item in alone]
    first, last = shown[alone[0].stamp_ns], shown[alone[-1].stamp_ns]
    assert first.live == {"event"} and first.miou == 42.0 and last.miou is None
    assert np.array_equal(first.camera, last.camera) and first.camera.std() > 5
    assert not np.array_equal(first.events, last.events)
    assert np.array_equal(first.prediction, first.truth)


def test_the_window_of_events_is_that_of_the_checkpoint(tmp_path):
    """The judge would otherwise hold events to have been there, or not, by another rule than the network's."""
    encoding = replace(DEFAULT, event=EventEncoding(window_ns=50 * MS))
    path = tiny_checkpoint(tmp_path / "w.safetensors", encoding.fingerprint, parameters=encoding.parameters())
    rules = gather.rules_from_rig(small_rig(), checkpoint_encoding(path))
    assert {rule.window_ns for rule in rules} == {50 * MS}
    with pytest.raises(CheckpointError, match="made with the encoding 123"):
        checkpoint_encoding(tiny_checkpoint(tmp_path / "old.safetensors", "123"))


def test_an_unreadable_label_image_says_which(bag, tmp_path):
    with BagReader(bag) as reader:
        recording, due = perfect_recording(tmp_path / "r", reader)
        (tmp_path / f"r/labels/{due[2].stamp_ns}.png").write_bytes(b"no picture")
        with pytest.raises(OSError, match=str(due[2].stamp_ns)):
            list(recording.outputs(due))


@pytest.mark.live
def test_a_short_walk_over_a_real_graph_is_answered(bag, tmp_path):
    pytest.importorskip("rclpy", reason="rclpy is not installed (extra 'ros')")
    rig_path = tmp_path / "rig.yaml"
    save_rig(small_rig(), rig_path)
    run = Run(
        WALK,
        WALK.cuts(SENSORS),
        bag,
        tmp_path / "r",
        RATE,
        rig_path,
        tiny_checkpoint(tmp_path / "w.safetensors"),
        "cpu",
    )
    environment = clean_environment(os.environ, random_domain(), tmp_path / "ros", dds_profile(tmp_path))
    said = io.StringIO()
    with Stage(tmp_path / "logs", environment) as stage, Step("Drive", said) as step:
        play(stage, run, small_rig(), step)
        assert not stage.children
    assert "label images" in said.getvalue()
    with BagReader(bag) as reader:
        _, due = due_of(reader)
        recording = gather.Recording(run.folder, run.player_log, RATE)
        truth = gather.Truth(reader, gather.rules_from_rig(small_rig(), DEFAULT))
        verdict = judge_drive(due, recording.outputs(due), truth, len(CLASSES))
    # A busy machine may drop a frame; the judge and the synchroniser must still speak of the same ones.
    assert len(verdict.answered) >= 0.7 * len(due)
    assert len(verdict.extra) <= 1 and not verdict.duplicates and not verdict.backwards
    assert {item["subset"] for item in verdict.trace} >= {"CEL", "EL", "E", "CE"}
    assert all(item["latency_ms"] is not None and item["latency_ms"] > 0 for item in verdict.trace)
