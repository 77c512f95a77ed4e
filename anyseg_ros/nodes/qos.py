# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic (REP-2003 for sensor data; results are reliable, constants are latched)."""

from __future__ import annotations

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

SENSOR_DEPTH = 5
# An event camera sends a hundred and more packets a second: at depth 5 four fifths of them were lost.
EVENT_DEPTH = 1000
OUTPUT_DEPTH = 5


def sensor_data(depth: int = SENSOR_DEPTH) -> QoSProfile:
    """Best effort, so that it matches any publisher."""
    return _profile(depth, ReliabilityPolicy.BEST_EFFORT)


def reliable(depth: int = OUTPUT_DEPTH) -> QoSProfile:
    """For results: a best-effort subscriber matches it, too."""
    return _profile(depth, ReliabilityPolicy.RELIABLE)


def latched(depth: int = 1) -> QoSProfile:
    """For constants: who subscribes later still gets the last messages."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def without_events() -> PublisherEventCallbacks:
    """For publishers: rclpy's executor asks every event handler at every wake-up, and each publisher has two.

    Who subscribes with a quality of service that does not fit is told so by its own side.
    """
    return PublisherEventCallbacks(use_default_callbacks=False)


def overridable() -> QoSOverridingOptions:
    """History, depth and reliability become parameters ``qos_overrides.<topic>.subscription.*``."""
    return QoSOverridingOptions.with_default_policies()


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)
