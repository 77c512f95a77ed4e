# SPDX-License-Identifier: Apache-2.0
"""The campaign's judge on evidence that was tampered with: what a segmentor must not get away with."""

import json
from dataclasses import replace

import pytest
from live_graph import MS, START_NS, small_rig, write_checkpoint

from anyseg_ros.campaign import judge
from anyseg_ros.campaign.evidence import Evidence, thin_blobs
from anyseg_ros.campaign.graph import Played, place
from anyseg_ros.campaign.report import summary, table
from anyseg_ros.campaign.rows import Act, Action, Inject, Row
from anyseg_ros.campaign.verdict import Verdict

TOPICS = {"camera": "/c", "lidar": "/l", "event": "/e"}
END_S = 14.0
ROW = Row("a row", "", fault_s=4.0, clean_s=3.0)
BEGIN_S = place([ROW])[0].begin_s


class NoOffline:
    """Nothing here is about the labels themselves."""

    def __init__(self, *args):
        pass

    def check(self, frame):
        pass


def deliveries(evidence, rig):
    return {s.name: [(a.at_s, a.stamp_ns) for a in evidence.arrivals[s.name]] for s in rig.sensors}


class Honest:
    """The recording of a segmentor that does all as it should, with nothing at fault; tests change its rows."""

    def __init__(self, folder):
        self.folder, self.rig = folder, small_rig()
        write_checkpoint(folder / "net.safetensors")
        self.inputs, self.frames, self.status, self.diagnostics = [], [], [], []
        self.answers = []
        for tick in range(int(END_S * 100)):
            self._deliver("event", tick * 10 * MS, 10 * MS)
            if tick % 10 == 5:
                self._deliver("lidar", tick * 10 * MS, 5 * MS)
            if tick % 10 == 0:
                self._deliver("camera", tick * 10 * MS, 12 * MS)
                self._answer(tick * 10 * MS)
            if tick % 50 == 0:
                self._report(tick * 10 * MS)

    def _deliver(self, sensor, at_ns, late_ns):
        row = {"topic": TOPICS[sensor], "type": "", "stamp_ns": START_NS + at_ns, "blob": f"{sensor}{at_ns}"}
        self.inputs.append({**row, "received_ns": at_ns + late_ns})

    def _answer(self, at_ns):
        row = {"stamp_ns": START_NS + at_ns, "received_ns": at_ns + 40 * MS}
        self.frames.append({**row, "file": "none"})
        self.status.append({**row, "values": {"reference": "camera", "subset": "CEL", "stage_ms.wait": "0"}})

    def _report(self, at_ns):
        counters = {"worker.dropped": "0", "worker.failed": "0", "nothing_left": "0", "sets.reset": "0"}
        said = {"name": "segmentor: output", "level": "ok", "message": "publishing CEL", "values": counters}
        self.diagnostics.append({"stamp_ns": 0, "received_ns": at_ns, "statuses": [said]})

    def during(self, rows, begin_s=0.0, end_s=7.0):
        """The rows received in a span of seconds from the begin of the fault."""
        return [r for r in rows if begin_s <= r["received_ns"] / 1e9 - BEGIN_S < end_s]

    def silence(self, begin_s, end_s):
        self.frames = [r for r in self.frames if r not in self.during(self.frames, begin_s, end_s)]

    def say(self, level, message, begin_s, end_s=7.0, **values):
        for row in self.during(self.diagnostics, begin_s, end_s):
            row["statuses"][0].update(level=level, message=message)
            row["statuses"][0]["values"].update(values)

    def verdict(self, row=ROW):
        for name in ("inputs", "frames", "status", "diagnostics"):
            lines = [json.dumps(r) + "\n" for r in sorted(getattr(self, name), key=lambda r: r["received_ns"])]
            (self.folder / f"{name}.jsonl").write_text("".join(lines))
        played = Played(Act("act", (row,)), place([row]), self.folder, 1.0, {}, answers=self.answers)
        return judge.judge_act(played, self.rig, self.folder / "net.safetensors", TOPICS)[0]


@pytest.fixture
def honest(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "Offline", NoOffline)
    monkeypatch.setattr(Evidence, "deliveries", deliveries)
    return Honest(tmp_path)


def test_an_honest_recording_holds(honest):
    verdict = honest.verdict()
    assert not verdict.broken and (verdict.due, verdict.answered) == (70, 70)
    assert verdict.partners == {"fault": 1.0, "after": 1.0} and verdict.recovery_s == pytest.approx(0.085)
    assert verdict.latency_ms == {"p50": 28.0, "p99": 28.0}


def test_partners_that_are_ignored_break_the_row(honest):
    for row in honest.status:
        row["values"]["subset"] = "C"
    honest.status[100]["values"]["subset"] = "CEL"  # one full frame, so that the rig counts as back
    sentences = honest.verdict().broken
    assert [s for s in sentences if "0% of the due frames during the fault had the expected subset" in s]
    assert [s for s in sentences if "of the due frames after it had the expected subset" in s]


def test_partners_may_lack_what_the_row_itself_spoils_and_nothing_else(honest):
    for row in honest.during(honest.status, end_s=4.0):
        row["values"]["subset"] = "CE"
    assert "expected subset" in honest.verdict().broken[0]
    assert not honest.verdict(replace(ROW, without=("lidar",))).broken
    assert "expected subset" in honest.verdict(replace(ROW, without=("event",))).broken[0]


def test_labels_that_come_a_second_late_break_the_row(honest):
    for row in (*honest.frames, *honest.status):
        row["received_ns"] += 1_000 * MS
    (sentence,) = honest.verdict().broken
    assert sentence == "a latency of 1028 ms (p99), promised 300 ms"


def test_sets_that_wait_for_a_late_sensor_break_the_row(honest):
    for row in honest.during(honest.status, end_s=4.0):
        row["values"].update({"absent.lidar": "late", "subset": "CE", "stage_ms.wait": "150"})
    late = replace(ROW, late="lidar", without=("lidar",))
    (sentence,) = honest.verdict(late).broken
    assert sentence == "sets without 'lidar' waited 150 ms (median), promised at most 50 ms"
    for row in honest.during(honest.status, begin_s=1.9, end_s=4.0):
        row["values"]["stage_ms.wait"] = "10"
    assert not honest.verdict(late).broken, "it takes time to learn how late a sensor is"


def test_the_recovery_counts_from_when_the_cause_goes_away(honest):
    for row in honest.during(honest.status, end_s=4.0):
        row["values"]["subset"] = "CE"
    early = replace(ROW, cause_ends_s=1.5, partners=0.0)
    assert honest.verdict(early).recovery_s == pytest.approx(2.585)
    assert honest.verdict(early).broken == ["the full rig was not back within 2 s"]
    assert not honest.verdict(replace(ROW, partners=0.0)).broken


def test_unanswered_frames_have_to_be_counted(honest):
    honest.silence(1.0, 1.5)
    row = replace(ROW, gap_periods=None, partners=0.8)
    assert honest.verdict(row).broken == ["5 due frames were not answered, but 0 counted"]
    honest.say("ok", "publishing CEL", 2.0, 99.0, **{"worker.dropped": "3", "nothing_left": "1"})
    verdict = honest.verdict(row)
    assert verdict.counted == 4 and not verdict.broken, "one may be under way at the border"


def test_counters_that_start_anew_count_from_zero(honest):
    honest.say("ok", "", -9.0, 1.0, **{"worker.failed": "9"})
    honest.say("ok", "", 1.0, 99.0, **{"worker.failed": "2"})
    assert honest.verdict().counted == 2


def test_late_measurements_explain_a_silence_only_where_stamps_go_back(honest):
    honest.silence(4.0, 4.5)
    for row in honest.diagnostics:
        late = "5" if row["received_ns"] / 1e9 - BEGIN_S > 4.0 else "0"
        row["statuses"].append(
            {"name": "segmentor: camera", "level": "ok", "message": "", "values": {"count.late": late}}
        )
    shift = replace(ROW, injects=(Inject("camera", "shift_stamp"),), gap_periods=None, partners=0.8)
    assert honest.verdict(shift).broken == ["5 due frames were not answered, but 0 counted"]
    assert honest.verdict(replace(shift, jumps=1)).counted == 5


def test_an_inactive_segmentor_owes_nothing_and_each_action_has_its_own_answer(honest):
    actions = [Action(at_s, "change", what) for at_s, what in
               ((0.0, "deactivate"), (0.5, "activate"), (2.0, "deactivate"), (2.5, "activate"))]  # fmt: skip
    row = replace(ROW, gap_periods=None, answered=0.0, actions=tuple(actions))
    honest.silence(0.0, 0.6)
    honest.silence(2.0, 2.6)
    honest.answers = [{"at_s": BEGIN_S + a.at_s, "detail": a.detail, "ok": True} for a in actions]
    verdict = honest.verdict(row)
    assert verdict.counted == 12 and not verdict.broken
    honest.answers[0]["ok"] = False  # the second 'deactivate' must not cover up for it
    assert "'deactivate' was refused" in honest.verdict(row).broken
    honest.answers[:1] = []
    assert "'deactivate' was not answered" in honest.verdict(row).broken


def test_an_error_has_to_be_of_the_level_error(honest):
    row = replace(ROW, says={"output": ("error: fail",)})
    honest.say("warn", "a frame failed (RuntimeError: error)", 0.5, 2.0)
    assert honest.verdict(row).broken == ["diagnostics of 'output' never said error: fail within 3 s"]
    honest.say("error", "a frame failed", 3.2, 4.0)
    assert honest.verdict(row).broken, "too late"
    honest.say("error", "a frame failed", 1.0, 2.0)
    assert not honest.verdict(row).broken


def test_a_value_that_has_to_be_counted_has_to_rise(honest):
    row = replace(ROW, says={"output": ("counted: events.outside",)})
    assert "never said counted: events.outside" in honest.verdict(row).broken[0]
    honest.say("ok", "", 1.0, 99.0, **{"events.outside": "5"})
    assert not honest.verdict(row).broken


def test_a_sensor_that_contributes_nothing_has_to_be_named_until_the_end(honest):
    row = replace(ROW, costs=("lidar",))
    assert "at 3.4 s the output said ok 'publishing CEL', nothing of lidar" in honest.verdict(row).broken
    honest.say("ok", "lidar", 2.5, 4.0)
    assert honest.verdict(row).broken, "a warning is no OK"
    honest.say("warn", "without lidar", 2.5, 4.0)
    assert not honest.verdict(row).broken
    assert honest.verdict(replace(row, fault_s=3.2)).broken == [
        "the output said nothing from 3 s to the end of the fault"
    ]


def test_an_answer_of_another_sensor_was_owed_when_its_measurement_arrived(honest):
    for row in honest.inputs:
        if row["topic"] == "/l":
            row["stamp_ns"] += 10 * MS  # 40 ms before the camera's
            row["received_ns"] += 110 * MS
    for row in honest.during(honest.frames + honest.status, end_s=4.0):
        row["stamp_ns"] -= 40 * MS
        row["received_ns"] += 40 * MS
        row.get("values", {})["reference"] = "lidar"
    assert "due frames answered, promised 90%" in honest.verdict().broken[0]
    verdict = honest.verdict(replace(ROW, without=("camera",), partners=0.0))
    assert (verdict.due, verdict.answered) == (70, 70)
    assert verdict.latency_ms["p99"] == 28.0, "after the fault; in it the lidar came at +65 ms and its answer at +80 ms"


def test_the_cause_goes_away_with_the_first_message_of_a_publisher_that_is_started_again(honest):
    for row in honest.during(honest.status, end_s=4.0):
        row["values"]["subset"] = "EL"
    honest.inputs = [r for r in honest.inputs if r["topic"] != "/c" or r not in honest.during([r], end_s=3.7)]
    asked = replace(ROW, cause_ends_s=1.5, partners=0.0, answered=0.0)
    assert honest.verdict(asked).recovery_s == pytest.approx(2.585)
    assert honest.verdict(replace(asked, restarts="camera")).recovery_s == pytest.approx(0.328)
    never = honest.verdict(replace(asked, restarts="camera", fault_s=3.0))
    assert never.recovery_s == pytest.approx(2.585), "it did not come back during the fault"


def test_a_label_image_answers_once(honest):
    spoilt = replace(ROW, without=("camera",), answered=0.9)
    kept = honest.frames[::2]
    honest.frames = kept
    verdict = honest.verdict(spoilt)
    assert 35 <= verdict.answered <= 36, "each second moment lies within a period of an answer, but that one is taken"


def test_a_row_that_cannot_be_played_says_so(honest):
    skipped = Verdict("packets", "live", "", skipped="event_camera_msgs is not installed")
    data = summary([honest.verdict(), skipped], {"rate": 1.0})
    assert (data["rows"], data["rows_skipped"], data["rows_broken"]) == (2, 1, 0)
    shown = table(data)
    assert "| skipped | packets | live |" in shown and "| event_camera_msgs is not installed |" in shown
    widths = {line.count("|") for line in shown.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_messages_of_broken_rows_are_kept(tmp_path):
    (tmp_path / "blobs").mkdir()
    rows = [{"blob": str(n % 4), "received_ns": n} for n in range(8)]
    for n in range(4):
        (tmp_path / "blobs" / str(n)).write_bytes(b"")
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    thin_blobs(tmp_path, [(5, 7)])
    assert sorted(file.name for file in (tmp_path / "blobs").iterdir()) == ["1", "2"]
    thin_blobs(tmp_path, [])
    assert not list((tmp_path / "blobs").iterdir())
