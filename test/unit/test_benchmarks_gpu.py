# SPDX-License-Identifier: Apache-2.0
"""The GPU's benchmark: every case and table once on a CPU, with the device's clock and memory counters played."""

from __future__ import annotations

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import engine_gpu, engine_gpu_tables, suite
from benchmarks.cases import Settings, measure
from benchmarks.engine import random_model
from benchmarks.engine_gpu_tables import differences, floor, latencies, network_of
from benchmarks.engine_tables import best_of, work

QUICK = Settings(quick=True, repeats=2, sample_s=0.0)
CPU = torch.device("cpu")


@pytest.fixture
def played(monkeypatch):
    """A CPU in the part of the GPU."""
    monkeypatch.setattr(engine_gpu, "device_of", lambda settings: CPU)
    monkeypatch.setattr(engine_gpu_tables, "event_seconds", lambda run: best_of(run, 1))
    monkeypatch.setattr(engine_gpu_tables, "RUNS", 2)
    monkeypatch.setattr(engine_gpu, "PUBLISHED_WIDTH", 16)
    monkeypatch.setattr(engine_gpu, "QUICK_SIZES", ((32, 64),))
    for name, value in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: 0,
        "memory_reserved": lambda device: 0,
        "max_memory_allocated": lambda device: 3 << 20,
        "max_memory_reserved": lambda device: 4 << 20,
        "memory_stats": lambda device: {"allocation.all.allocated": 7},
        "device": lambda device: torch.inference_mode(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def test_without_a_gpu_it_refuses_with_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        command.main(["--quick", "--only", "engine_gpu", "--out", str(tmp_path)])
    assert ended.value.code == 2 and "engine_gpu needs a CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert suite.refusals(QUICK, ["lidar", "engine"]) == []
    assert "--device is cpu" in suite.refusals(Settings(device="cpu"), ["engine_gpu"])[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert suite.refusals(Settings(device="cuda:0"), ["engine_gpu"]) == []
    assert "engine_gpu" not in command.parser().parse_args([]).only


@pytest.mark.slow
def test_every_case_agrees_with_its_rivals(played):
    made = [make() for make in engine_gpu.cases(QUICK)]
    names = [case.name for case in made]
    assert len(set(names)) == len(names) == 6 and sum("compiled" in name for name in names) == 1
    for case in made:
        found = measure(case, QUICK)
        assert found["rivals"] and all(rival["same"] for rival in found["rivals"]), found["rivals"]


@pytest.mark.slow
def test_every_table_can_be_made(played):
    made = {table.name: table for table in (make() for make in engine_gpu.tables(QUICK))}
    assert {name.split("_")[2] for name in made} == {"exactness", "frames", "roofline", "parts", "kernels", "memory"}
    for table in made.values():
        assert all(len(row) == len(table.columns) for row in table.rows)
    frames = made["engine_gpu_frames_b0"].rows
    assert [row[2] for row in frames if row[1] == "any"] == [20] * 3 and {row[-1] for row in frames} == {0}
    exact = made["engine_gpu_exactness_b0"].rows
    assert [row[5] for row in exact if row[0] == "fp32"] == [0, 0, 0], "labels beyond the margin"
    assert made["engine_gpu_memory_b0"].rows[0][1:3] == ("3", "4")


def test_a_wrong_answer_is_seen():
    model = random_model(32)
    network = network_of(model, CPU, "fp32", [(64, 96)])
    stack = torch.randn(1, 3, 64, 96)
    expected = network.logits(stack)
    assert differences(network, stack, expected)[2:4] == ("100.0000%", 0)
    assert differences(network, stack, expected.roll(1, 0))[3] > 0
    labels, confidence = network.labels(stack)
    answer, other = (labels, confidence), (labels + 1, confidence)
    assert engine_gpu.same_answer(answer, answer, expected, expected, "fp32").same
    assert not engine_gpu.same_answer(answer, answer, expected, 1.1 * expected, "fp32").same
    assert not engine_gpu.same_answer(answer, other, expected, expected, "bf16").same
    assert not engine_gpu.half_agrees(answer, other).same


def test_latencies_are_told_apart_by_the_number_of_modalities():
    counts, times = [1, 2] * 50, [1.0, 2.0] * 49 + [1.0, 8.0]
    rows = latencies(counts, times)
    assert [row[:2] for row in rows] == [("any", 100), ("1", 50), ("2", 50)]
    assert rows[1][2:] == ("1.000", "1.000", "1.000", "1.00")
    assert rows[2][2] == "2.000" and rows[2][4] == "8.000" and float(rows[2][5]) > 1


def test_the_floor_is_the_longer_of_the_two_times_of_each_part():
    model, size = random_model(32), (64, 96)
    parts = work(model, size, 3).values()
    macs, moved, seconds = floor(model, size, 2, 1e9, 1e30)
    assert seconds == pytest.approx(macs / 1e9) and moved == pytest.approx(sum(part[1] for part in parts) / 2)
    assert floor(model, size, 4, 1e30, 1e9)[2] == pytest.approx(2 * moved / 1e9)
