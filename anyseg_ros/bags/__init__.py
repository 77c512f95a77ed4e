# SPDX-License-Identifier: Apache-2.0
"""Reading, writing and replaying rosbag2 without ROS."""
