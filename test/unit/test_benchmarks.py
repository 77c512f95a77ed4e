# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, compare results before times, and their rivals do the work that ours do."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.engine import precision
from anyseg_ros.sensors.evt3 import Evt3Decoder, decode_reference, encode_evt3
from anyseg_ros.sensors.messages import EventStream, image_from, points_from
from benchmarks import __main__ as command
from benchmarks import backends, subsets, suite, synchroniser, training_step
from benchmarks.cases import Agreement, Case, Rival, Settings, measure, take_turns
from benchmarks.compare import same_images, same_logits
from benchmarks.drive import MS, make_drive
from benchmarks.engine import random_model
from benchmarks.evt3_numpy import NumpyEvt3Decoder
from benchmarks.evt3_plain import decode_stream
from benchmarks.machine import busy, describe
from benchmarks.published import PublishedHead
from benchmarks.stage_messages import frame_messages

QUICK = Settings(quick=True, repeats=3, sample_s=0.0)
FALLBACKS = Path(__file__).resolve().parents[2] / "anyseg_ros" / "_ros_fallback"


def equal(ours, theirs):
    return Agreement(ours == theirs, f"{ours} and {theirs}")


@pytest.mark.parametrize("room", suite.ROOMS)
def test_a_quick_run_agrees_everywhere(room, tmp_path, capsys):
    if reasons := suite.refusals(QUICK, [room]):
        pytest.skip(reasons[0])
    assert command.main(["--quick", "--repeats", "2", "--only", room, "--out", str(tmp_path)]) == 0
    run = json.loads((tmp_path / "benchmarks.json").read_text())
    assert run["quick"] and run["machine"]["cpu"] and run["machine"]["libraries"]["numpy"] == np.__version__
    assert run["cases"] and bool(run["tables"]) == (room in suite.TABLES)
    for case in run["cases"]:
        assert case["ours"]["median_ms"] > 0 and (case["rivals"] or case["skipped"])
        for rival in case["rivals"]:
            assert rival["same"] and rival["ratio"]["median"] > 0, rival["detail"]
    text = (tmp_path / "benchmarks.md").read_text()
    assert "only show that everything runs" in text and all(case["name"] in text for case in run["cases"])
    capsys.readouterr()
    assert command.main(["--markdown", str(tmp_path / "benchmarks.json")]) == 0
    assert capsys.readouterr().out.strip() == text.strip()


def test_int8_is_timed_where_the_processor_has_it_and_skipped_with_the_reason_elsewhere(monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_vnni", "avx512_bf16"})
    case = backends.backend_case((64, 96), 2, True)
    (int8,) = (rival for rival in case.rivals if rival.name == "ONNX Runtime in int8")
    assert "its labels say nothing about accuracy" in int8.note
    ours, theirs = case.ours(), int8.run()
    assert int8.agreement(ours, theirs).same and (ours[0] != theirs[0]).any(), "nearly the same, and not the same file"
    assert not int8.agreement(ours, (ours[0] + 1, ours[1])).same
    others = backends.backend_case((64, 96), 2, False).rivals
    assert [rival.name for rival in others] == ["ONNX Runtime", "torch in bf16"]
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    skipped = backends.backend_case((64, 96), 2, True).skipped
    assert "avx512_vnni" in skipped["ONNX Runtime in int8"] and "bfloat16" in skipped["torch in bf16"]
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_vnni"})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime" in backends.backend_case((64, 96), 1, True).skipped["ONNX Runtime in int8"].lower()


def test_the_command_knows_the_rooms_of_the_suite():
    assert tuple(suite.ROOMS) == command.ROOMS and set(suite.TABLES) <= set(suite.ROOMS)


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--threads", "-1"], ["--only", "kitchen"]])
def test_bad_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "expected at least 1" in capsys.readouterr().err or "kitchen" in arguments


def test_a_fast_wrong_answer_gets_no_ratio_and_fails_the_run(monkeypatch, tmp_path, capsys):
    case = Case("sum", "adds", 2, "number", lambda: sum([2, 2]), (Rival("guess", lambda: 5, equal),))
    monkeypatch.setitem(suite.ROOMS, "lidar", lambda _: [lambda: case])
    assert command.main(["--quick", "--only", "lidar", "--out", str(tmp_path)]) == 1
    rival = json.loads((tmp_path / "benchmarks.json").read_text())["cases"][0]["rivals"][0]
    assert rival["ratio"] is None and not rival["same"]
    captured = capsys.readouterr()
    assert "NOT THE SAME: 4 and 5" in captured.out and "sum: ours and guess do not agree" in captured.err


def test_turns_rotate_and_every_round_holds_everyone():
    calls = []
    runs = [lambda name=name: calls.append(name) for name in "abc"]
    samples = take_turns(runs, QUICK, "letters")
    assert [len(s) for s in samples] == [3, 3, 3]
    assert "".join(calls[-9:]) == "abc" + "bca" + "cab"


def test_ratio_is_the_median_of_the_rounds(monkeypatch):
    monkeypatch.setattr("benchmarks.cases.take_turns", lambda *_: [[1.0, 2.0, 4.0], [2.0, 6.0, 4.0]])
    found = measure(Case("c", "w", 10, "u", lambda: 1, (Rival("r", lambda: 1, equal),)), QUICK)
    ratio = found["rivals"][0]["ratio"]
    assert ratio["median"] == statistics.median([2.0, 3.0, 1.0]) and ratio["quartiles"] == [1.5, 2.5]
    assert found["ours"]["median_ms"] == 2000 and found["ours"]["per_second"] == 5


def test_comparisons_notice_differences():
    image = np.zeros((3, 4, 5), np.float32)
    image[:, 1, 1:3] = 2
    other = image.copy()
    assert same_images(image, other, 1e-4).same
    other[2, 1, 1] += 1e-3
    assert not same_images(image, other, 1e-4).same and same_images(image, other, 1e-4, allowed_share=0.5).same
    assert not same_images(image * 0, image * 0, 1e-4).same, "two empty images show nothing"
    assert not same_images(image, image[:, :3], 1e-4).same
    logits = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert same_logits(logits, logits + 1e-4, 1e-3).same and not same_logits(logits, logits + 1, 1e-3).same


def test_a_loaded_machine_is_called_busy():
    machine = describe()
    assert busy({**machine, "load_average": [float(machine["cores_usable"]), 0, 0]})
    assert not busy({**machine, "load_average": [0.0, 9, 9]}) and not busy({**machine, "load_average": None})


def as_tuples(decoded):
    return list(zip(*(part.tolist() for part in decoded), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numpy_decoders_read_any_words_as_the_plain_one(data):
    codes = data.draw(st.lists(st.sampled_from([0, 2, 2, 3, 4, 5, 6, 6, 8, 10, 7, 14, 1]), max_size=80))
    payloads = data.draw(st.lists(st.integers(0, 0xFFF), min_size=len(codes), max_size=len(codes)))
    words = (np.array(codes, np.int64) << 12 | np.array(payloads, np.int64)).astype("<u2")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(codes)), max_size=3)))
    packets = [part.tobytes() for part in np.split(words, cuts)]
    decoder = NumpyEvt3Decoder(1280, 720)
    found = [event for packet in packets for event in as_tuples(decoder.decode(packet))]
    assert found == decode_reference(packets, 1280, 720)
    assert as_tuples(decode_stream(b"".join(packets), 1280, 720)) == found


def test_numpy_decoder_unwraps_time_across_packets():
    t_us = np.array([(1 << 24) - 2000, (1 << 24) - 1, (1 << 24) + 5, (1 << 24) + 70_000])
    x, y, p = np.array([1, 2, 3, 4]), np.array([5, 5, 6, 6]), np.array([1, 0, 1, 1])
    packets = [encode_evt3(x[:2], y[:2], p[:2], t_us[:2]), encode_evt3(x[2:], y[2:], p[2:], t_us[2:])]
    for decoder in (NumpyEvt3Decoder(640, 480), Evt3Decoder(640, 480)):
        events = [event for packet in packets for event in as_tuples(decoder.decode(packet))]
        assert events == list(zip(x.tolist(), y.tolist(), p.tolist(), t_us.tolist(), strict=True))
    assert as_tuples(decode_stream(b"".join(packets), 640, 480)) == events


def test_the_printed_head_is_the_same_function():
    model = random_model(32)
    maps = [torch.randn(1, c, 16 // s, 24 // s) for c, s in ((32, 1), (64, 2), (160, 4), (256, 8))]
    with torch.inference_mode():
        assert torch.allclose(PublishedHead(model.head).eval()(maps), model.head(maps), atol=1e-4)


def test_a_plain_step_of_training_has_the_same_gradients_and_others_are_noticed():
    """In float64, where the agreement to 1e-4 that a benchmark asks for leaves no room for a slip."""
    case = training_step.step_case(32, (32, 64), torch.float64)
    ours, theirs = case.ours(), case.rivals[0].run()
    assert len(ours) > 100 and all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-10) for name in ours)
    assert case.rivals[0].agreement(ours, theirs).same
    name = "head.linear_pred.bias"
    assert not training_step.same_gradients({**ours, name: 1.01 * ours[name]}, theirs).same
    assert not training_step.same_gradients({k: v for k, v in ours.items() if k != name}, theirs).same


def test_labels_of_other_subsets_do_not_agree():
    case = subsets.subsets_case(16, (64, 96))
    ours, theirs = case.ours(), case.rivals[0].run()
    assert len(ours) == 15 and subsets.same_labels(ours, theirs).same and subsets.same_last(ours, theirs[-1]).same
    assert not subsets.same_labels(ours, theirs[::-1]).same and not subsets.same_last(ours, theirs[0]).same


def test_a_drive_arrives_in_order_and_the_cut_is_silent():
    drive = make_drive(3000 * MS, "lidar")
    times = [now for now, _ in drive.arrivals]
    assert times == sorted(times) and times[-1] < drive.end_ns and drive.frames == 30
    count = {name: sum(m.sensor == name for _, m in drive.arrivals) for name in ("camera", "lidar", "event")}
    assert count == {"camera": 30, "lidar": 20, "event": 299}


@pytest.mark.parametrize("cut", [None, "camera", "lidar", "event"])
def test_output_goes_on_through_each_cut(cut):
    drive = make_drive(6000 * MS, cut)
    outputs = synchroniser.run_ours(drive)
    frames, out, complete, gap_s, _, p99_ms, while_cut, wait_ms = synchroniser.figures(outputs, drive)
    assert frames <= out <= frames + 1 and gap_s < 0.3 and p99_ms < 200
    assert complete >= (frames - 2 if cut is None else frames * 2 // 3 - 4)
    # Nobody waits for what is cut: the lidar is the slowest, 50 ms after its stamp and 20 ms after the camera's.
    assert while_cut == 17 and wait_ms == {"camera": 50.0, "lidar": 15.0}.get(cut, 70.0)
    stamps = [output.stamp_ns for output in outputs]
    assert stamps == sorted(set(stamps))


def test_the_messages_of_a_frame_set_hold_what_they_say():
    messages = frame_messages(6_400, 20_000)
    stream = EventStream(1280, 720)
    events = [stream.feed(packet) for packet in messages.packets]
    assert sum(map(len, events)) == pytest.approx(20_000, rel=0.03)
    assert messages.reference_ns - 30_000_000 <= events[0].t_ns[0] and events[-1].t_ns[-1] <= messages.reference_ns
    assert points_from(messages.cloud).xyz.shape == (6_400, 3)
    assert image_from(messages.image).shape == (1080, 1920, 3)


def test_figures_of_a_synchroniser_that_says_nothing():
    drive = make_drive(1000 * MS)
    assert synchroniser.figures([], drive) == (10, 0, 0, 1.0, None, None, 0, None)


def test_sets_with_other_clouds_do_not_agree():
    drive = make_drive(3000 * MS)
    ours = synchroniser.run_ours(drive)
    assert synchroniser.same_partners(ours, list(ours)).same
    moved = [synchroniser.Output(o.at_ns, o.stamp_ns, {**o.stamps, "lidar": 1}) for o in ours]
    assert not synchroniser.same_partners(ours, moved).same
    assert not synchroniser.same_partners(ours, ours[:-1]).same and not synchroniser.same_partners([], []).same


def test_the_fallback_is_not_taken_for_the_genuine_synchroniser(monkeypatch):
    monkeypatch.delitem(sys.modules, "message_filters", raising=False)
    monkeypatch.syspath_prepend(str(FALLBACKS))
    reason = synchroniser.why_not_genuine()
    assert reason is not None and "genuine message_filters is not installed" in reason
    case = synchroniser.cost_case(make_drive(500 * MS))
    assert case.rivals == () and case.skipped == {synchroniser.GENUINE: reason}
