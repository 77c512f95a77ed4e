# SPDX-License-Identifier: Apache-2.0
"""A place for compiled kernels is found where the usual ones cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

from anyseg_ros import kernel_cache

NOWHERE = Path("/proc/self/fdinfo")  # nobody, root included, can make a file here


def test_a_writable_place_is_left_to_numba(tmp_path, monkeypatch):
    monkeypatch.delenv(kernel_cache.VARIABLE, raising=False)
    kernel_cache.ensure((NOWHERE, tmp_path / "not" / "there" / "yet"))
    assert kernel_cache.VARIABLE not in os.environ


def test_a_private_folder_serves_where_nothing_is_writable(monkeypatch):
    monkeypatch.setenv(kernel_cache.VARIABLE, "")
    kernel_cache.ensure((NOWHERE,))
    folder = Path(os.environ[kernel_cache.VARIABLE])
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    folder.rmdir()


def test_a_place_that_the_user_gave_is_kept(monkeypatch):
    monkeypatch.setenv(kernel_cache.VARIABLE, "/given")
    kernel_cache.ensure((NOWHERE,))
    assert os.environ[kernel_cache.VARIABLE] == "/given"
