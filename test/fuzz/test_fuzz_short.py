# SPDX-License-Identifier: Apache-2.0
"""A few hundred mutated messages in every test run, and that the fuzzer finds what it should (see ``make fuzz``)."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_run import TARGET_NAMES, search
from fuzz_seeds import seeds
from fuzz_targets import TARGETS, Source, read

from anyseg_ros.sensors.messages import PayloadError


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_mutated_messages_are_read_or_refused(name):
    runs, _ = search(TARGETS[name], seeds(name), seed=7, runs=300)
    assert runs == 300


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_seeds_reach_what_lies_behind_the_reader(name, monkeypatch):
    """Most seeds must be messages that are read: else only the refusals would be tested."""
    read_well = []

    def noted(reader, *args):
        result = read(reader, *args)
        read_well.append(result is not None)
        return result

    monkeypatch.setattr("fuzz_targets.read", noted)
    for data in seeds(name):
        TARGETS[name](data)
    assert sum(read_well) >= 4


def test_a_planted_defect_is_found():
    def defect(data):
        if data.count(b"\xff") > 3:
            raise IndexError("out of bounds")

    with pytest.raises(IndexError):
        search(defect, seeds("image"), seed=1, runs=2000)


def test_a_refusal_without_a_sentence_is_found():
    def curt(_):
        raise PayloadError("bad")

    with pytest.raises(AssertionError, match="no sentence"):
        read(curt, None)


def test_the_same_seed_makes_the_same_inputs():
    def inputs(seed):
        found = []
        search(found.append, seeds("cloud"), seed, runs=50)
        return found

    assert inputs(3) == inputs(3) != inputs(4)


def test_bytes_that_are_used_up_give_zeros():
    source = Source(b"\x05\xff\x01\x02\x03\x04")
    assert (source.size(), source.size(), source.number(8)) == (5, 0x04030201, 0)


def test_one_command_runs_a_target_and_says_how_much(tmp_path):
    script = Path(__file__).with_name("fuzz_run.py")
    command = [sys.executable, str(script), "--seconds", "1", "--target", "image", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runs/s, no finding" in done.stdout
