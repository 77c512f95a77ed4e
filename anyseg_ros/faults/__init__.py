# SPDX-License-Identifier: Apache-2.0
"""Faults that a relay puts on a topic: when, what, and how messages change. Pure: no ROS, no clock, no thread."""
