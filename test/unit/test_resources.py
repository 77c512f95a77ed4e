# SPDX-License-Identifier: Apache-2.0
"""Shared files are found wherever pip or colcon has put the package."""

from __future__ import annotations

import pytest

from anyseg_ros import resources


@pytest.fixture
def installed_at(tmp_path, monkeypatch):
    """Pretends that the package's code lies at one place and its shared files at another, both below a folder."""
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.setattr(resources.sys, "prefix", str(tmp_path / "python"))

    def install(code, share):
        (tmp_path / code / "anyseg_ros").mkdir(parents=True)
        monkeypatch.setattr(resources, "__file__", str(tmp_path / code / "anyseg_ros" / "resources.py"))
        file = tmp_path / share / "config" / "a b.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    return install


@pytest.mark.parametrize(
    ("code", "share"),
    [
        ("python/lib/python3.12/site-packages", "python/share/anyseg_ros"),  # a virtual environment
        ("usr/local/lib/python3.12/dist-packages", "usr/local/share/anyseg_ros"),  # pip on Debian's Python
        ("home/.local/lib/python3.12/site-packages", "home/.local/share/anyseg_ros"),  # pip install --user
        ("target", "target/share/anyseg_ros"),  # pip install --target
        ("a checkout", "a checkout"),  # pip install -e
    ],
)
def test_shared_files_are_found(installed_at, code, share):
    file = installed_at(code, share)
    assert resources.share_path("config/a b.yaml") == file


def test_an_ament_prefix_goes_first(installed_at, tmp_path, monkeypatch):
    installed_at("python/lib/python3.12/site-packages", "python/share/anyseg_ros")
    workspace = tmp_path / "workspace"
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'other'}:{workspace}")
    (workspace / "share" / "anyseg_ros" / "config").mkdir(parents=True)
    (workspace / "share" / "anyseg_ros" / "config" / "a b.yaml").touch()
    assert resources.share_path("config/a b.yaml").is_relative_to(workspace)


def test_what_is_nowhere_is_missed_with_the_places_looked_at(installed_at, tmp_path):
    installed_at("target", "elsewhere")
    with pytest.raises(FileNotFoundError, match="looked in .*target"):
        resources.share_path("config/a b.yaml")
