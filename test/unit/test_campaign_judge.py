# SPDX-License-Identifier: Apache-2.0
"""The campaign's judge: it finds what is wrong, and passes what is right."""

import json

import cv2
import numpy as np
import pytest
from live_graph import MS, START_NS, image, points, small_rig, write_checkpoint

from anyseg_ros.bags import messages
from anyseg_ros.bags.definitions import CAMERA_INFO, IMAGE, POINT_CLOUD, typestore
from anyseg_ros.campaign import table
from anyseg_ros.campaign.evidence import Evidence
from anyseg_ros.campaign.graph import Played, place
from anyseg_ros.campaign.judge import judge_act, slower_period_ns
from anyseg_ros.campaign.offline import Offline, WrongOutput
from anyseg_ros.campaign.report import summary
from anyseg_ros.campaign.report import table as shown
from anyseg_ros.campaign.rows import TOLD_WITHIN_S, Act, Row
from anyseg_ros.demo.due import SensorRule
from anyseg_ros.demo.gather import rules_from_rig
from anyseg_ros.faults.payload import TRANSFORMS
from anyseg_ros.faults.schedule import KINDS
from anyseg_ros.modality import Modality
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.types import FrameSet, Measurement

ROUTES = {"camera": "/c", "camera_info": "/i", "lidar": "/l", "event": "/e"}
TYPES = {"camera": IMAGE, "camera_info": CAMERA_INFO, "lidar": POINT_CLOUD}
SKEW_NS = 50 * MS  # the lidar's after the camera's


class Recorded:
    """Writes a recording as the recorder does, of a segmentor that answers with camera and lidar."""

    def __init__(self, folder):
        self.folder, self.rig = folder, small_rig()
        write_checkpoint(folder / "net.safetensors")
        (folder / "labels").mkdir()
        (folder / "blobs").mkdir()
        self.pipeline = Pipeline(self.rig, folder / "net.safetensors", "cpu")
        self.random = np.random.default_rng(3)
        self.rows = {"frames": [], "status": [], "diagnostics": [], "inputs": []}
        self.count = 0

    def deliver(self, sensor, stamp_ns, message):
        self.count += 1
        raw = bytes(typestore().serialize_cdr(message, message.__msgtype__))
        (self.folder / "blobs" / str(self.count)).write_bytes(raw)
        row = {"topic": ROUTES[sensor], "type": TYPES[sensor], "stamp_ns": stamp_ns, "blob": str(self.count)}
        self.rows["inputs"].append({**row, "received_ns": stamp_ns - START_NS})

    def answer(self, stamp_ns, labels, at_ns, skew_ns=-SKEW_NS, **status):
        file = f"labels/{len(self.rows['frames'])}.png"
        cv2.imwrite(str(self.folder / file), labels)
        self.rows["frames"].append({"stamp_ns": stamp_ns, "received_ns": at_ns, "file": file})
        values = {
            "reference": "camera",
            "subset": "CL",
            "skew_ms.lidar": f"{skew_ns / 1e6:.6g}",
            "absent.event": "never_seen",
        }
        self.rows["status"].append({"stamp_ns": stamp_ns, "received_ns": at_ns, "values": {**values, **status}})

    def say(self, at_ns, name, level, message):
        status = {"name": f"segmentor: {name}", "level": level, "message": message, "values": {"state": "ok"}}
        self.rows["diagnostics"].append({"stamp_ns": 0, "received_ns": at_ns, "statuses": [status]})

    def frame(self, number, answered=True, wrong=None):
        """One camera image, the cloud before it, and the answer, whose labels can be changed."""
        stamp_ns = START_NS + number * 100 * MS
        picture, cloud = image(self.random), points(self.random)
        self.deliver("lidar", stamp_ns - SKEW_NS, messages.points(stamp_ns - SKEW_NS, "lidar", cloud))
        self.deliver("camera", stamp_ns, messages.image(stamp_ns, "cam", picture))
        present = {
            "camera": Measurement("camera", Modality.CAMERA, stamp_ns, picture, "cam"),
            "lidar": Measurement("lidar", Modality.LIDAR, stamp_ns - SKEW_NS, cloud, "lidar"),
        }
        self.pipeline.reset()
        labels = self.pipeline(FrameSet(stamp_ns, "camera", present)).labels
        if answered:
            self.answer(stamp_ns, labels if wrong is None else wrong(labels), number * 100 * MS + 20 * MS)
        return stamp_ns

    def evidence(self):
        for name, rows in self.rows.items():
            lines = [json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: row["received_ns"])]
            (self.folder / f"{name}.jsonl").write_text("".join(lines))
        return Evidence(self.folder, 0, 1.0, ROUTES)

    def verdicts(self, *rows):
        self.evidence()
        played = Played(Act("act", rows), place(rows), self.folder, 1.0, {})
        return judge_act(played, self.rig, self.folder / "net.safetensors", ROUTES)

    def offline(self):
        evidence = self.evidence()
        offline = Offline(evidence, self.rig, rules_from_rig(self.rig, DEFAULT), self.folder / "net.safetensors")
        return offline, evidence


@pytest.fixture
def recorded(tmp_path):
    return Recorded(tmp_path)


def refusal(recorded):
    offline, evidence = recorded.offline()
    with pytest.raises(WrongOutput) as error:
        offline.check(evidence.frames[-1])
    return str(error.value)


def test_the_labels_of_the_offline_pipeline_pass(recorded):
    for number in range(3):
        recorded.frame(number)
    offline, evidence = recorded.offline()
    for frame in evidence.frames:
        offline.check(frame)


def test_two_pixels_of_a_thousand_are_wrong(recorded):
    def change(labels):
        changed = labels.copy()
        changed[20:24, 30:34] = (changed[20:24, 30:34] + 1) % 19
        return changed

    recorded.frame(0, wrong=change)
    assert "of the labels differ from the offline pipeline's (CL)" in refusal(recorded)


def test_a_stamp_that_was_never_sent_is_wrong(recorded):
    stamp_ns = recorded.frame(0)
    recorded.answer(stamp_ns + MS, np.zeros((64, 128), np.uint8), 30 * MS)
    assert "'camera' never sent a measurement with its stamp" in refusal(recorded)


def test_a_sensor_that_had_not_arrived_is_no_partner(recorded):
    stamp_ns = recorded.frame(0)
    recorded.answer(stamp_ns, np.zeros((64, 128), np.uint8), 30 * MS, skew_ns=20 * MS)
    assert "'lidar' is claimed, but no measurement of it had arrived" in refusal(recorded)


def test_a_partner_out_of_tolerance_is_wrong(recorded):
    stamp_ns = recorded.frame(0)
    recorded.answer(stamp_ns, np.zeros((64, 128), np.uint8), 30 * MS, skew_ns=-150 * MS)
    assert "'lidar' is -150.0 ms off, out of its tolerance" in refusal(recorded)


def test_a_claim_on_what_is_torn_is_wrong(recorded):
    stamp_ns = START_NS + 100 * MS
    torn = messages.image(stamp_ns, "cam", image(recorded.random))
    torn.data = torn.data[:100]
    recorded.deliver("camera", stamp_ns, torn)
    labels = np.zeros((64, 128), np.uint8)
    recorded.answer(stamp_ns, labels, 120 * MS, **{"subset": "C", "absent.lidar": "lost"})
    assert "offline a payload is refused" in refusal(recorded)


def test_stamps_that_go_back_are_wrong_but_for_a_jump(recorded):
    frames = 60
    for number in range(frames):
        recorded.frame(number)
    recorded.rows["frames"].append({**recorded.rows["frames"][10], "received_ns": 5_800 * MS})
    row = Row("a row", "", fault_s=0.2, clean_s=0.7, recovers=False, gap_periods=None)
    (verdict,) = recorded.verdicts(row)
    assert [text.partition(": ")[2][:13] for text in verdict.wrong][:1] == ["its stamp is "]
    jumps = Row("a row", "", fault_s=0.2, clean_s=0.7, recovers=False, gap_periods=None, jumps=1)
    (verdict,) = recorded.verdicts(jumps)
    assert not any("its stamp is" in text for text in verdict.wrong)


def test_a_row_counts_answers_gaps_and_what_was_said(recorded):
    for number in range(75):
        recorded.frame(number, answered=number not in (53, 54, 55))
    recorded.say(5_300 * MS, "camera", "warn", "frozen: the same image")
    recorded.say(5_400 * MS, "camera", "warn", "frozen: the same image")
    row = Row("a row", "", fault_s=1.0, clean_s=1.0, says={"camera": ("frozen",), "lidar": ("stale",)}, recovers=False)
    (verdict,) = recorded.verdicts(row)
    assert (verdict.due, verdict.answered) == (20, 17) and len(verdict.unanswered_s) == 3
    assert verdict.gap_s == pytest.approx(0.4) and verdict.gap_limit_s == pytest.approx(0.3)
    assert verdict.said == ["+0.2 s camera: WARN frozen: the same image"] and not verdict.wrong
    assert len(verdict.broken) == 5, verdict.broken
    for part in (
        "a gap of 0.400 s",
        "17 of 20 due frames answered",
        "3 due frames were not answered, but 0 counted",
        "70% of the due frames during the fault had the expected subset",
        "diagnostics of 'lidar' never said stale",
    ):
        assert any(part in sentence for sentence in verdict.broken)
    data = summary([verdict], {"rate": 1.0})
    assert (data["rows_broken"], data["frames_due"]) == (1, 20)
    assert "| BROKEN | act | a row | 17 of 20 | 0 | 70% / 100% | 20, 300, - | 0.40, 0.30 | 0 | - |" in shown(data)


def test_the_longest_silence_follows_the_sensor_at_fault_and_the_one_that_takes_over():
    rules = [SensorRule(n, m, p) for n, m, p in zip("ael", Modality, (30, 100, 200), strict=False)]
    found = [slower_period_ns(at_fault, rules) for at_fault in ((), {"a"}, {"e"}, {"l"}, {"a", "e"}, {"camera_info"})]
    assert found == [200, 100, 100, 200, 200, 30]


def test_the_table_holds_every_kind_of_fault_and_places_rows_one_after_the_other():
    used = {inject.kind for act in table.ACTS for row in act.rows for inject in row.injects}
    # The campaign kills the relay from outside; frames of another size take the place of a wrong frame.
    assert used == set(KINDS) - {"die"} and set(TRANSFORMS) <= set(KINDS)
    for act in table.ACTS:
        placed = place(act.rows)
        assert all(a.until_s == b.begin_s for a, b in zip(placed, placed[1:], strict=False))
        assert len({row.name for row in act.rows}) == len(act.rows)
        assert all(row.clean_s > 2.0 for row in act.rows), "the recovery has to be seen"
        for row in act.rows:
            assert row.cause_ends_s is None or 0 <= row.cause_ends_s <= row.fault_s
            assert not row.costs or row.fault_s >= TOLD_WITHIN_S + 1.2, "reports come once a second"
    assert [row.name for row in table.SHORT[0].rows] == ["cut camera", "frozen camera", "zero stamps camera"]
