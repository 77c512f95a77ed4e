# SPDX-License-Identifier: Apache-2.0
"""Simulates a drive and plays it with cuts that walk through the sensors: ``ros2 launch anyseg_ros demo.launch.py``.

Needs the simulator's dependencies (Open3D). ``make demo`` does the same without ros2 launch, and writes a report.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchDescription

ARGUMENTS = {
    "bag": ("out/launch_demo_drive", "Where the drive is written; an earlier one is overwritten."),
    "duration": ("20.0", "Seconds of the drive."),
    "time_of_day": ("day", "day or night."),
    "weather": ("clear", "clear, fog, rain or snow."),
    "drop": ("lidar@4-8,camera@6-12,event@10-16", "Cuts in bag seconds."),
    "rviz": ("true", "Show it in RViz."),
}


def generate_launch_description():
    options = {"--bag": "bag", "--duration": "duration", "--time-of-day": "time_of_day", "--weather": "weather"}
    command = [ExecutableInPackage(package="anyseg_ros", executable="anyseg"), "simulate", "--force"]
    for option, name in options.items():
        command += [option, LaunchConfiguration(name)]
    simulate = ExecuteProcess(cmd=command, output="screen")
    replay = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("replay.launch.py"))),
        launch_arguments={name: LaunchConfiguration(name) for name in ("bag", "drop", "rviz")}.items(),
    )
    declared = [DeclareLaunchArgument(n, default_value=d, description=text) for n, (d, text) in ARGUMENTS.items()]
    then_replay = RegisterEventHandler(OnProcessExit(target_action=simulate, on_exit=[replay]))
    return LaunchDescription([*declared, simulate, then_replay])
