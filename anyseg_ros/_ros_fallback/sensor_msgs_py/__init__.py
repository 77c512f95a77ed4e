# SPDX-License-Identifier: Apache-2.0
"""The part of sensor_msgs_py that the nodes use: ``point_cloud2.create_cloud``."""
