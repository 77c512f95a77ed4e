# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a drive through a real ROS 2 graph with sensors cut while it runs."""
