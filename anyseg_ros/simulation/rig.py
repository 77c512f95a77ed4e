# SPDX-License-Identifier: Apache-2.0
"""The rig that the simulator carries."""

from __future__ import annotations

from anyseg_ros.resources import share_path
from anyseg_ros.sensors.rig import Rig, load_rig


def sim_rig() -> Rig:
    """The rig of ``config/rigs/sim.yaml``: camera, lidar and event camera, placed like those of MUSES."""
    return load_rig(share_path("config/rigs/sim.yaml"))
