# SPDX-License-Identifier: Apache-2.0
"""The command line: helps, and fails with sentences."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from anyseg_ros import cli


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for command in cli.ROOMS:
        assert command in out


def test_no_command_prints_help(capsys):
    assert cli.main([]) == 2
    assert "usage: anyseg" in capsys.readouterr().out


def test_a_missing_package_costs_its_command_only(monkeypatch, capsys):
    monkeypatch.setattr(cli, "ROOMS", {"fly": "open3d_that_is_not_there", "inspect": cli.ROOMS["inspect"]})
    assert cli.main(["fly", "--high"]) == 2
    assert "'open3d_that_is_not_there' is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["inspect", "--help"])


def test_the_advice_names_extras_that_there_are():
    setup = (Path(__file__).resolve().parents[2] / "setup.py").read_text()
    offered = re.search(r"extras_require=\{(.*?)\}", setup, re.DOTALL).group(1)
    assert all(f'"{extra}":' in offered for extra in cli.EXTRAS.values())


def test_simulate_wants_one_target(tmp_path, capsys):
    assert cli.main(["simulate"]) == 2
    assert "--bag DIR for one drive or --dataset DIR" in capsys.readouterr().err
    assert cli.main(["simulate", "--bag", str(tmp_path / "b"), "--dataset", str(tmp_path / "d")]) == 2
    capsys.readouterr()
    (tmp_path / "taken").mkdir()
    assert cli.main(["simulate", "--bag", str(tmp_path / "taken")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_an_open3d_that_does_not_load_is_told_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "open3d", None)  # import raises
    assert cli.main(["simulate", "--bag", str(tmp_path / "bag"), "--duration", "0.1"]) == 2
    err = capsys.readouterr().err
    assert "anyseg simulate: the simulator casts rays with Open3D" in err and "anyseg_ros[sim]" in err
    assert "Traceback" not in err
