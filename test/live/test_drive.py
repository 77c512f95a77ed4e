# SPDX-License-Identifier: Apache-2.0
"""Player, segmentor and recorder in processes of their own, over real DDS, with sensors cut on the way."""

import json

import cv2
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from live_graph import GRID, MIOU, MS, REMAPS, START_NS, Child, read_jsonl, wait_until, write_inputs  # noqa: E402

pytestmark = pytest.mark.live

SECONDS = 6
# Half the pace, by /clock, so that a busy machine does not decide what is stale.
RATE = 0.5
# camera, events and lidar; then without the lidar; then events alone; then all again
DROPS = ["lidar@1.53-4.53", "camera@3.03-4.53"]


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    write_inputs(folder, SECONDS)
    children = []
    try:
        segmentor = Child(
            "segmentor_node",
            *REMAPS,
            parameters={
                "rig": str(folder / "rig.yaml"),
                "checkpoint": str(folder / "net.safetensors"),
                "threads": 1,
                "use_sim_time": True,
                "max_queue_ms": 10_000,
            },
        )
        recorder = Child("recorder_node", parameters={"out": str(folder / "out")})
        children += [segmentor, recorder]
        segmentor.wait_for("active")
        recorder.wait_for("recording to")
        player = Child(
            "player_node",
            parameters={
                "bag": str(folder / "bag"),
                "rig": str(folder / "rig.yaml"),
                "drop": str(DROPS).replace(" ", ""),
                "rate": RATE,
                "clock_hz": 200.0,
                "log": str(folder / "published.jsonl"),
            },
        )
        children.append(player)
        assert player.wait() == 0, player.text
        last = max(row["stamp_ns"] for row in read_jsonl(folder / "published.jsonl") if row["sensor"] == "camera")
        wait_until(lambda: any(row["stamp_ns"] == last for row in frames(folder)), what="the last frame")
        codes = recorder.end(), segmentor.end()
    finally:
        for child in children:
            child.end()
    return {"folder": folder, "segmentor": segmentor, "recorder": recorder, "player": player, "codes": codes}


def frames(folder):
    # The recorder may be in the middle of a line.
    lines = (folder / "out" / "frames.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def statuses(drive):
    return read_jsonl(drive["folder"] / "out" / "status.jsonl")


def seconds(row):
    return (row["stamp_ns"] - START_NS) / 1e9


def test_every_process_ends_well(drive):
    assert drive["codes"] == (0, 0), drive["segmentor"].text + drive["recorder"].text
    for child in ("segmentor", "recorder", "player"):
        assert "Traceback" not in drive[child].text, drive[child].text


def test_output_never_stops_and_never_goes_back(drive):
    stamps = [row["stamp_ns"] for row in frames(drive["folder"])]
    gaps = [later - earlier for earlier, later in zip(stamps, stamps[1:], strict=False)]
    assert len(stamps) >= SECONDS * 10 - 8
    assert min(gaps) > 0 and max(gaps) < 400 * MS, gaps


def test_the_subsets_are_those_that_the_cuts_leave(drive):
    subsets = {}
    for row in statuses(drive):
        subsets.setdefault(row["values"]["subset"], []).append(seconds(row))
    middle = {"CEL": 0.8, "CE": 2.3, "E": 3.9}
    for subset, around in middle.items():
        assert any(abs(t - around) < 0.3 for t in subsets.get(subset, [])), subsets
    assert max(subsets["CEL"]) > 5.3, "after the cuts all sensors are back"


def test_a_cut_sensor_is_named_with_the_reason(drive):
    reasons = {row["values"].get("absent.lidar") for row in statuses(drive) if 2.0 < seconds(row) < 4.4}
    assert reasons == {"stale"}, reasons


def test_status_says_where_the_time_went(drive):
    for row in statuses(drive):
        values = row["values"]
        assert int(values["stamp_ns"]) == row["stamp_ns"]
        assert int(values["due_ns"]) <= int(values["closed_ns"]) <= int(values["published_ns"])
        for stage in ("wait", "queue", "encode", "infer", "publish", "total"):
            assert float(values[f"stage_ms.{stage}"]) >= 0


def test_there_is_one_status_for_each_label_image(drive):
    assert [r["stamp_ns"] for r in statuses(drive)] == [r["stamp_ns"] for r in frames(drive["folder"])]


def test_label_images_have_the_size_of_the_grid_and_its_border(drive):
    row = frames(drive["folder"])[10]
    labels = cv2.imread(str(drive["folder"] / "out" / row["file"]), cv2.IMREAD_UNCHANGED)
    assert labels.shape == GRID and row["frame_id"] == "cam"
    assert (labels[:, 0] == 255).all() and (labels[32, 64] < 19), "a 16:9 image leaves borders on a 2:1 grid"


def test_diagnostics_name_every_sensor_and_the_validated_score(drive):
    rows = read_jsonl(drive["folder"] / "out" / "diagnostics.jsonl")
    names = {status["name"] for row in rows for status in row["statuses"]}
    assert {f"segmentor: {what}" for what in ("camera", "lidar", "event", "output")} <= names
    outputs = [s for row in rows for s in row["statuses"] if s["name"] == "segmentor: output"]
    scored = [s["values"] for s in outputs if s["values"]["subset"]]
    assert all(float(v["validated_miou"]) == MIOU[v["subset"]] for v in scored) and scored
    assert {"total_p50_ms", "total_p99_ms", "worker.dropped"} <= set(scored[-1])
    lidar = [s["values"]["state"] for row in rows for s in row["statuses"] if s["name"] == "segmentor: lidar"]
    assert "stale" in lidar and lidar[-1] == "ok", lidar


def test_the_player_tells_its_progress_and_keeps_its_pace(drive):
    said = drive["player"].json_lines()
    assert [said[0]["event"], said[-1]["event"]] == ["start", "end"]
    assert said[-1]["published"]["camera"] == SECONDS * 10 - 15 and said[-1]["cut"] == {"camera": 15, "lidar": 30}
    published = read_jsonl(drive["folder"] / "published.jsonl")
    took = (published[-1]["published_ns"] - published[0]["published_ns"]) / 1e9
    assert abs(took - SECONDS / RATE) < 0.5


def test_the_recorder_can_tell_the_latency(drive):
    sent = {r["stamp_ns"]: r["published_ns"] for r in read_jsonl(drive["folder"] / "published.jsonl")}
    latencies = [r["received_ns"] - sent[r["stamp_ns"]] for r in frames(drive["folder"]) if r["stamp_ns"] in sent]
    assert len(latencies) > 20 and all(0 < latency < 20_000 * MS for latency in latencies), latencies
