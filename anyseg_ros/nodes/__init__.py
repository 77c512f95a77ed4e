# SPDX-License-Identifier: Apache-2.0
"""The ROS face: the segmentor, the player and the recorder. Nothing else imports this package.

Genuine ROS packages are used wherever they are installed. The folder of fallbacks stands at the very end of
``sys.path``, so that each of them serves only where its package is missing.
"""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

_FALLBACK_DIR = Path(__file__).resolve().parent.parent / "_ros_fallback"
_REPLACEABLE = ("message_filters", "cv_bridge", "sensor_msgs_py")

if str(_FALLBACK_DIR) not in sys.path:
    sys.path.append(str(_FALLBACK_DIR))


def installed(package: str) -> bool:
    """Whether an optional ROS package such as ``vision_msgs`` can be imported."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def fallbacks() -> tuple[str, ...]:
    """Names of the packages that our own versions stand in for."""
    found = {name: find_spec(name) for name in _REPLACEABLE}
    return tuple(n for n, spec in found.items() if spec and spec.origin and _FALLBACK_DIR in Path(spec.origin).parents)


def refuse_broken_packages() -> None:
    """Refuses the ROS 1 port of cv_bridge that PyPI holds: it fails on NumPy 2 and misreads 16-bit depth.

    Raises:
        RuntimeError: that package is installed.
    """
    if "cv_bridge" in fallbacks():
        return
    try:
        version = metadata.version("cv_bridge")
    except metadata.PackageNotFoundError:
        return
    if version.startswith("1."):
        raise RuntimeError(
            f"cv_bridge {version} from PyPI is a broken port of the ROS 1 package; expected ROS 2's own or none. "
            "Run 'pip uninstall cv-bridge' (without it a small version that comes with anyseg_ros serves)."
        )
