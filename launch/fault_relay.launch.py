# SPDX-License-Identifier: Apache-2.0
"""Faults on your own topics: ``ros2 launch anyseg_ros fault_relay.launch.py schedule:=my_faults.yaml``.

The schedule names the topics from and to which messages go (docs/faults.md). Let the drivers publish on the one, and
what is to be tested listen to the other. The relay comes back after a fault of kind ``die``.
"""

import os

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from anyseg_ros.resources import share_path
from launch import LaunchDescription

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


def generate_launch_description():
    relay = Node(
        package="anyseg_ros",
        executable="fault_relay",
        output="screen",
        respawn=True,
        parameters=[
            {
                "schedule": LaunchConfiguration("schedule"),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
            }
        ],
    )
    # Whoever has chosen a profile keeps it.
    ours = SetEnvironmentVariable(PROFILES, str(share_path("config/fastdds.xml")))
    profiles = [] if os.environ.get(PROFILES) else [ours]
    declared = [
        DeclareLaunchArgument("schedule", description="YAML file of routes and faults."),
        DeclareLaunchArgument("rate", default_value="1.0", description="Speed of the schedule."),
    ]
    return LaunchDescription([*declared, *profiles, relay])
