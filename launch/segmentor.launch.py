# SPDX-License-Identifier: Apache-2.0
"""The segmentor alone: ``ros2 launch anyseg_ros segmentor.launch.py rig:=my_rig.yaml lidar:=/velodyne_points``.

Include it in a vehicle's launch file and give the topics; a sensor that the vehicle lacks simply never speaks. Several
rigs take their topics from their files: ``ros2 launch anyseg_ros segmentor.launch.py rigs:=front.yaml,rear.yaml``.

apt's ``ros2 launch`` runs in the system's Python, which lacks torch, numba and rosbags: nothing here may import them,
but for what reads rig files.
"""

import os
import sys

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from anyseg_ros.resources import share_path
from launch import LaunchDescription

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
ARGUMENTS = {
    "rig": ("", "Rig file: sensors, calibration, rates; empty: as in params_file."),
    "rigs": ("", "Rig files of several rigs, with commas between; their topics are those in the files."),
    "checkpoint": ("", "Weights (safetensors or ONNX); empty: as in params_file."),
    "backend": ("", "torch, onnxruntime or tensorrt; empty: as in params_file."),
    "precision": ("", "fp32, bf16, fp16 or int8; empty: as in params_file."),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: as in params_file."),
    "params_file": (str(share_path("config/segmentor.yaml")), "Parameters; the arguments that are given go before it."),
    "use_sim_time": ("", "Take the time from /clock: true or false; empty: as in params_file."),
    "output_size": ("", "grid or camera; empty: as in params_file."),
    "camera": ("/camera/image_raw", "Image topic; one that ends in /compressed holds CompressedImage."),
    "camera_info": ("/camera/camera_info", "CameraInfo topic."),
    "lidar": ("/lidar/points", "PointCloud2 topic."),
    "events": ("/event_camera/events", "EventPacket topic (or PointCloud2 of x, y, t, p)."),
    "depth": ("/depth/image_raw", "Depth Image topic."),
    "odometry": ("/odometry", "The vehicle's motion, where the parameter motion_compensation asks for it."),
}
PARAMETERS = {
    "rig": str,
    "checkpoint": str,
    "backend": str,
    "precision": str,
    "device": str,
    "use_sim_time": bool,
    "output_size": str,
}
TOPICS = ("camera", "camera_info", "lidar", "events", "depth", "odometry")


def start(context):
    """The segmentor with the parameter file, and before it the arguments that were given."""
    given = [n for n in PARAMETERS if LaunchConfiguration(n).perform(context)]
    overrides = {n: ParameterValue(LaunchConfiguration(n), value_type=PARAMETERS[n]) for n in given}
    remappings = [(f"~/input/{name}", LaunchConfiguration(name)) for name in TOPICS]
    rigs = [path.strip() for path in LaunchConfiguration("rigs").perform(context).split(",") if path.strip()]
    if rigs:
        # The parameter file's own rig gives way.
        overrides = {**overrides, "rig": LaunchConfiguration("rig").perform(context), "rigs": rigs}
        remappings = topics_of(rigs, LaunchConfiguration("odometry").perform(context))
    segmentor = Node(
        package="anyseg_ros",
        executable="segmentor",
        output="screen",
        parameters=[LaunchConfiguration("params_file"), *([overrides] if overrides else [])],
        remappings=remappings,
    )
    return [segmentor]


def topics_of(rigs, odometry):
    """Remappings to the topics that the rig files name."""
    try:
        from anyseg_ros.nodes.rig_topics import rig_remappings
    except ModuleNotFoundError as error:
        lacks, (major, minor, *_) = str(error.name).partition(".")[0], sys.version_info
        raise RuntimeError(
            f"'rigs' needs the rig files read by ros2 launch; its Python ({sys.executable}) has no '{lacks}'. With "
            "the virtual environment active, let it see the packages there: "
            f"export PYTHONPATH=$VIRTUAL_ENV/lib/python{major}.{minor}/site-packages:$PYTHONPATH"
        ) from error
    return rig_remappings(rigs, odometry)


def generate_launch_description():
    """Declares the arguments, sets the DDS profile and starts the node."""
    declared = [DeclareLaunchArgument(n, default_value=d, description=text) for n, (d, text) in ARGUMENTS.items()]
    # Whoever has chosen a profile keeps it.
    ours = SetEnvironmentVariable(PROFILES, str(share_path("config/fastdds.xml")))
    profiles = [] if os.environ.get(PROFILES) else [ours]
    return LaunchDescription([*declared, *profiles, OpaqueFunction(function=start)])
