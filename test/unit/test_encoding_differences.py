# SPDX-License-Identifier: Apache-2.0
"""The tool that counts what the presets do differently."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tiny_muses import write_tiny_muses

from anyseg_ros.types import Events

TOOL = Path(__file__).parents[2] / "tools/encoding_differences.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("encoding_differences", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_counts_a_data_set(tool, tmp_path):
    root = write_tiny_muses(tmp_path, {"val": 3})
    rows = tool.simulated_rows(root, "val", 2)
    assert rows["scenes"] == "2"
    assert rows["points behind the camera that land in the image"] == "0 of 8000 (0.00 %)"
    shift = rows["points in another pixel, camera size"].split("mean shift ")[1].removesuffix(" px").split(", ")
    assert [float(value) for value in shift] == pytest.approx([-0.5, -0.5], abs=0.03)
    assert rows["unlabelled pixels that --void-as-road calls road"] == "12.50 %"
    bare, full = (
        float(rows[f"pixels filled, camera size: {way}"].split()[0])
        for way in ("default without its filling", "default")
    )
    assert 0 < bare < full <= 100


def test_it_counts_wrapped_events(tool):
    x = np.full(300, 4, np.uint16)
    events = Events(x, x, np.arange(300) * 1000 + 1, np.ones(300, np.uint8), 8, 8)
    counts = tool.EventCounts()
    counts.add(events, 1_000_000)
    counts.add(events, 90_000_000)
    rows = dict(counts.rows())
    assert rows["30 ms windows of events"] == "1, 300 events each"
    assert rows["counts above 255, where muses_sdk wraps"] == "1 of 1, 256 events lost"
    assert rows["muses_sdk's window ends earlier by"] == "0.70 ms in the mean"
