# SPDX-License-Identifier: Apache-2.0
"""Progress on the terminal, and options that cannot work."""

import io

import pytest

from anyseg_ros.cli import main
from anyseg_ros.demo.terminal import Step


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_away_from_a_terminal_a_step_is_two_lines():
    out = io.StringIO()
    with Step("Drive", out) as step:
        for tenth in range(10):
            step.show(tenth / 10, "busy")
        step.result("42 label images")
    lines = out.getvalue().splitlines()
    assert lines[0] == "Drive ..." and len(lines) == 2
    assert lines[1].split() == ["ok", "Drive", "42", "label", "images", "(0", "s)"]


def test_on_a_terminal_one_line_is_redrawn():
    out = Terminal()
    with Step("Drive", out) as step:
        step.show(1.0, "EL  7 label images")
    assert "EL  7 label images" in out.getvalue()
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize(("error", "word"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "stopped")])
def test_a_step_that_ends_early_says_so(error, word):
    out = io.StringIO()
    with pytest.raises(error), Step("Drive", out):
        raise error
    assert word in out.getvalue()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scale", "7"], "--scale is 7.0; expected 0.1 to 1"),
        (["--rate", "0"], "--rate is 0.0; expected 0.05 to 1"),
        (["--checkpoint", "/nowhere/w.safetensors"], "there are no weights at /nowhere/w.safetensors"),
    ],
)
def test_options_that_cannot_work_are_refused_with_a_sentence(options, sentence, tmp_path, capsys):
    pytest.importorskip("PIL", reason="the demo's pictures need Pillow (extra 'sim')")
    assert main(["demo", "--out", str(tmp_path), *options]) == 2
    assert sentence in capsys.readouterr().err
