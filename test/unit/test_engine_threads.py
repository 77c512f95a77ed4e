# SPDX-License-Identifier: Apache-2.0
"""Threads of a network that shares the processor."""

from __future__ import annotations

import os

import pytest

from anyseg_ros.engine.threads import shared_threads, usable_cores


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (16, 4), (128, 4)])
def test_half_the_cores_and_four_at_most(cores, threads):
    assert shared_threads(cores) == threads


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5, 7, 8, 9}, raising=False)
    assert usable_cores() == 6 and shared_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1 and shared_threads() == 1
