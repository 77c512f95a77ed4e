# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation for ROS 2 that keeps running when sensors don't."""

__version__ = "0.1.0"
