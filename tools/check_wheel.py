# SPDX-License-Identifier: Apache-2.0
"""Checks that a built wheel holds both packages, the scripts and the shared files."""

from __future__ import annotations

import sys
import zipfile

EXPECTED = (
    "anyseg_ros/pipeline.py",
    "anyseg_training/cli.py",
    "share/ament_index/resource_index/packages/anyseg_ros",
    "share/anyseg_ros/package.xml",
    "share/anyseg_ros/config/rigs/sim.yaml",
    "share/anyseg_ros/config/fastdds.xml",
    "share/anyseg_ros/launch/segmentor.launch.py",
    "share/anyseg_ros/weights/anyseg_sim.safetensors",
)


def missing_from(path: str) -> list[str]:
    """The expected entries that the wheel at ``path`` does not hold."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    return [entry for entry in EXPECTED if not any(name.endswith(entry) for name in names)]


def main() -> int:
    """Exit status 0 when the wheel given as the only argument is complete."""
    if len(sys.argv) != 2:
        print("usage: check_wheel.py WHEEL; exactly one wheel must be in dist/", file=sys.stderr)
        return 2
    missing = missing_from(sys.argv[1])
    for entry in missing:
        print(f"{sys.argv[1]} lacks {entry}; add it to setup.py", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
