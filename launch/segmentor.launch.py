# SPDX-License-Identifier: Apache-2.0
"""The segmentor alone: ``ros2 launch anyseg_ros segmentor.launch.py rig:=my_rig.yaml lidar:=/velodyne_points``.

Include it in a vehicle's launch file and give the topics; a sensor that the vehicle lacks simply never speaks.
"""

import os

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from anyseg_ros.resources import share_path
from launch import LaunchDescription

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
ARGUMENTS = {
    "rig": (str(share_path("config/rigs/sim.yaml")), "Rig file: sensors, calibration, rates."),
    "checkpoint": ("", "Weights (safetensors); empty: the student that comes with the package."),
    "device": ("auto", "auto, cpu, cuda or cuda:N."),
    "params_file": (str(share_path("config/segmentor.yaml")), "Further parameters."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "output_size": ("grid", "grid or camera."),
    "camera": ("/camera/image_raw", "Image topic; one that ends in /compressed holds CompressedImage."),
    "camera_info": ("/camera/camera_info", "CameraInfo topic."),
    "lidar": ("/lidar/points", "PointCloud2 topic."),
    "events": ("/event_camera/events", "EventPacket topic (or PointCloud2 of x, y, t, p)."),
    "depth": ("/depth/image_raw", "Depth Image topic."),
}
PARAMETERS = {"rig": str, "checkpoint": str, "device": str, "use_sim_time": bool, "output_size": str}
TOPICS = ("camera", "camera_info", "lidar", "events", "depth")


def generate_launch_description():
    overrides = {n: ParameterValue(LaunchConfiguration(n), value_type=kind) for n, kind in PARAMETERS.items()}
    segmentor = Node(
        package="anyseg_ros",
        executable="segmentor",
        output="screen",
        parameters=[LaunchConfiguration("params_file"), overrides],
        remappings=[(f"~/input/{name}", LaunchConfiguration(name)) for name in TOPICS],
    )
    declared = [DeclareLaunchArgument(n, default_value=d, description=text) for n, (d, text) in ARGUMENTS.items()]
    # Whoever has chosen a profile keeps it.
    ours = SetEnvironmentVariable(PROFILES, str(share_path("config/fastdds.xml")))
    profiles = [] if os.environ.get(PROFILES) else [ours]
    return LaunchDescription([*declared, *profiles, segmentor])
