# SPDX-License-Identifier: Apache-2.0
"""A bag through the segmentor, with cuts: ``ros2 launch anyseg_ros replay.launch.py bag:=out/drive drop:=lidar@4-8``.

Several cuts are separated by commas: ``drop:=lidar@4-8,camera@6-10``. Ends with the bag. ``rviz:=true`` shows camera,
overlay and painted cloud.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from anyseg_ros.nodes import installed
from anyseg_ros.resources import share_path
from launch import LaunchDescription

# Without event_camera_msgs the player sends events as point clouds on this other topic.
EVENTS = "/event_camera/events" if installed("event_camera_msgs") else "/event_camera/points"
ARGUMENTS = {
    "bag": (None, "The rosbag2 to play."),
    "drop": ("", "Cuts in bag seconds, separated by commas, such as lidar@4-8,camera@6-10."),
    "rate": ("1.0", "Playback speed."),
    "rig": (str(share_path("config/rigs/sim.yaml")), "Rig file."),
    "checkpoint": ("", "Weights; empty: the student that comes with the package."),
    "device": ("auto", "auto, cpu, cuda or cuda:N."),
    "camera": ("/camera/image_raw", "Image topic, as the rig file names it."),
    "camera_info": ("/camera/camera_info", "CameraInfo topic."),
    "lidar": ("/lidar/points", "PointCloud2 topic."),
    "events": (EVENTS, "Topic of the events, as the player sends them."),
    "depth": ("/depth/image_raw", "Depth Image topic."),
    "odometry": ("/odometry", "The vehicle's motion."),
    "rviz": ("false", "Show it in RViz."),
}
PASSED_ON = ("rig", "checkpoint", "device", "camera", "camera_info", "lidar", "events", "depth", "odometry")


def player(context):
    """The player with its list of cuts, and the end of everything when the bag has ended."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ("bag", "rig", "rate", "drop")}
    settings = {"bag": given["bag"], "rig": given["rig"], "rate": float(given["rate"]), "clock_hz": 200.0}
    settings["drop"] = given["drop"].split(",")
    node = Node(package="anyseg_ros", executable="player", output="screen", parameters=[settings])
    end = EmitEvent(event=Shutdown(reason="the bag has ended"))
    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[end]))]


def generate_launch_description():
    passed_on = {name: LaunchConfiguration(name) for name in PASSED_ON}
    segmentor = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("segmentor.launch.py"))),
        launch_arguments={"use_sim_time": "true", **passed_on}.items(),
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(share_path("config/rviz/anyseg.rviz"))],
        parameters=[{"use_sim_time": True}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    declared = [
        DeclareLaunchArgument(name, description=text, **({} if default is None else {"default_value": default}))
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, segmentor, OpaqueFunction(function=player), rviz])
