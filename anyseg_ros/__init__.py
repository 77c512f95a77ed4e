# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation for ROS 2 that keeps running when sensors don't."""

from anyseg_ros import kernel_cache

__version__ = "0.1.0"

kernel_cache.ensure(kernel_cache.usual_places())
