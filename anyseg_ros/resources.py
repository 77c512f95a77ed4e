# SPDX-License-Identifier: Apache-2.0
"""Finds the files that come with the package: config, launch files, weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = "anyseg_ros"


def share_roots() -> list[Path]:
    """Where shared files may lie, best first: ament prefixes, the package's own prefix, Python's, the source tree.

    The package's own prefix is not always Python's: ``pip install --user``, ``--target``, and pip on Debian's Python,
    which installs to /usr/local. ``pip install -e`` installs no data files, so the source tree is the last resort and
    a real one.
    """
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    home = Path(__file__).resolve().parent.parent
    # <prefix>/lib/python3.X/site-packages, or with --target the prefix itself.
    own = [home, *home.parents[2:3]]
    return [*(prefix / "share" / PACKAGE for prefix in [*prefixes, *own, Path(sys.prefix)]), home]


def share_path(relative: str) -> Path:
    """The path of a shared file, such as ``config/rigs/sim.yaml``.

    Raises:
        FileNotFoundError: none of the places holds it; the message lists them.
    """
    roots = share_roots()
    for root in roots:
        if (root / relative).exists():
            return root / relative
    looked = ", ".join(str(root) for root in roots)
    raise FileNotFoundError(
        f"{relative} is not installed with {PACKAGE}; looked in {looked}. Install the package again."
    )
