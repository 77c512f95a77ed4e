# SPDX-License-Identifier: Apache-2.0
"""A machine that does not keep up gets a slower drive, not a report full of holes."""

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the demo's pictures need Pillow (extra 'sim')")

from anyseg_ros.demo import cli  # noqa: E402
from anyseg_ros.demo import play as player  # noqa: E402
from anyseg_ros.demo.plan import walks  # noqa: E402
from anyseg_ros.demo.play import Run, TooFast  # noqa: E402
from anyseg_ros.demo.terminal import Step  # noqa: E402


@dataclass
class Log:
    log: Path


def run_at(rate: float, folder: Path) -> Run:
    return Run(walks()[0], (), folder / "bag", folder, rate, folder / "rig.yaml", None, "cpu")


def demo(fixed_rate: float | None = None):
    made = object.__new__(cli._Demo)
    made.args = argparse.Namespace(rate=fixed_rate)
    made.stage = made.rig = None
    return made


@pytest.mark.parametrize(
    ("first", "sustained", "fixed", "tried"),
    [
        (0.5, 1.0, None, [0.5]),
        (0.5, 0.4, None, [0.5, 0.33]),
        (1.0, 0.3, None, [1.0, 0.65, 0.42, 0.27]),
        (0.5, 0.0, None, [0.5, 0.33, 0.21, 0.14, 0.1]),  # the slowest one is played to the end
        (0.5, 0.1, 0.5, [0.5]),  # and so is one that was asked for
    ],
)
def test_the_rate_goes_down_until_the_machine_keeps_up(first, sustained, fixed, tried, tmp_path, monkeypatch):
    rates = []

    def play(stage, run, rig, step, to_the_end):
        rates.append(run.rate)
        if run.rate > sustained and not to_the_end:
            raise TooFast

    monkeypatch.setattr(cli, "play", play)
    out = io.StringIO()
    with Step("Drive", out) as step:
        played = demo(fixed)._drive(run_at(first, tmp_path), step)
    assert rates == tried and played.rate == tried[-1]
    assert out.getvalue().count("starting over") == len(tried) - 1


def test_dropped_frames_are_noticed_in_the_diagnostics(tmp_path):
    def report(dropped):
        statuses = [{"name": "segmentor: camera", "values": {}}]
        statuses.append({"name": "segmentor: output", "values": {"worker.dropped": str(dropped)}})
        with (tmp_path / "diagnostics.jsonl").open("a") as file:
            file.write(json.dumps({"statuses": statuses}) + "\n")

    log = tmp_path / "player.log"
    log.write_text('{"event": "progress", "bag_s": 3.5}\n')
    with Step("Drive", io.StringIO()) as step:
        strict = player._Live(run_at(0.5, tmp_path), Log(log), step, to_the_end=False)
        lenient = player._Live(run_at(0.5, tmp_path), Log(log), step, to_the_end=True)
        report(0)
        strict.look()
        report(2)
        lenient.look()
        with pytest.raises(TooFast):
            strict.look()
