# SPDX-License-Identifier: Apache-2.0
"""Where compiled kernels are kept when the installation and the home folder are read-only.

Numba refuses to import a cached function for which it finds no writable place, as on a hardened container or a system
service. A private folder that lives as long as the process serves then; the kernels are compiled once per start.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def ensure(places: tuple[Path, ...]) -> None:
    """Give numba a folder of this process's own, unless one was given or one of its usual places can be written."""
    if os.environ.get(VARIABLE) or any(writable(place) for place in places):
        return
    # Private and not predictable: numba unpickles what it finds there.
    folder = tempfile.mkdtemp(prefix="anyseg_kernels_")
    os.environ[VARIABLE] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def usual_places() -> tuple[Path, ...]:
    """Where numba looks by itself: beside the code, then the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(__file__).resolve().parent, Path(cache) / "numba"
