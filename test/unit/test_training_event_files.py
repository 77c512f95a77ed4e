# SPDX-License-Identifier: Apache-2.0
"""Event files compressed as those of MUSES and DSEC are, written in one process and read in a fresh one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from anyseg_training.muses import read_scenes
from tiny_muses import write_tiny_muses

pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed (pip install .[train])")

# A process that has imported hdf5plugin reads everything, so neither end may be this one.
COMPRESS = """
import sys, h5py, hdf5plugin
with h5py.File(sys.argv[1], "r+") as file:
    for name in "xytp":
        column = file["events"][name][:]
        del file["events"][name]
        codec = hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.SHUFFLE)
        file["events"].create_dataset(name, data=column, chunks=True, **codec)
"""
READ = """
import json, sys
from pathlib import Path
from anyseg_training.muses import read_events
from anyseg_ros.inspection.files import read_event_file
path = Path(sys.argv[1])
events, reference_ns = read_events(path, (40, 30), 1_700_000_000_000_000)
print(json.dumps([len(events), int(events.x.sum()), reference_ns, len(read_event_file(path))]))
"""
WITHOUT = "import sys; sys.modules['hdf5plugin'] = None\n"
CHECK = "from anyseg_training.cli import main; sys.exit(main(['pack', '--data', sys.argv[1], '--check']))"


def python(code: str, *arguments: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[Path, Path, list]:
    """Root, its compressed event file, and what was read before it was compressed."""
    root = write_tiny_muses(tmp_path_factory.mktemp("muses"), {"train": 1})
    file = read_scenes(root, "train")[0].file(root, "event_camera", "event_camera.h5")
    before = json.loads(python(READ, file).stdout)
    done = python(COMPRESS, file)
    assert done.returncode == 0, done.stderr
    return root, file, before


def test_blosc_is_read_in_a_fresh_process(packed):
    _, file, before = packed
    done = python(READ, file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == before and before[0] == 3000


def test_without_the_codec_the_check_fails_and_says_what_to_install(packed):
    root, file, _ = packed
    done = python(WITHOUT + CHECK, root)
    assert done.returncode == 2, done.stderr
    assert f"{file} is compressed with HDF5 filter 32001" in done.stdout and "pip install hdf5plugin" in done.stdout
    assert "4 files: 1 missing or unusable, 0 broken sensor files" in done.stdout


def test_files_without_compression_need_no_codec(tmp_path):
    root = write_tiny_muses(tmp_path, {"train": 1})
    assert python(WITHOUT + CHECK, root).returncode == 0
