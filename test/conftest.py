# SPDX-License-Identifier: Apache-2.0
"""The environment of every test: one ROS domain per worker, checked message fields, the Fast DDS profile.

It has to be set before rclpy is imported, so that it stands at the top of this file.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
# Above 101 the ports of a domain fall into the range that Linux gives to any process.
HIGHEST_DOMAIN = 101


def _domain() -> int:
    """A domain for this worker; workers of one run get neighbouring ones, other runs start elsewhere."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    start = int(run[:8], 16) if run else os.getpid()
    worker = int("".join(c for c in os.environ.get("PYTEST_XDIST_WORKER", "") if c.isdigit()) or 0)
    return 1 + (start + worker) % HIGHEST_DOMAIN


os.environ["ROS_DOMAIN_ID"] = str(_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "anyseg_ros_test_logs"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first example of a compiled kernel includes its compilation: no example is judged by its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
