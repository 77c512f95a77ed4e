# SPDX-License-Identifier: Apache-2.0
"""package.xml names every ROS package that nodes and launch files import or start."""

import ast
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "anyseg_ros" / "nodes").glob("*.py")), *sorted((ROOT / "launch").glob("*.py"))]
PYTHON = {"anyseg_ros", "cv2", "numpy", "yaml"}  # what python3-* keys and constraints files bring
FROM_SOURCE = {"dvs_msgs", "prophesee_event_msgs"}  # used where built from source: rosdep does not know their names
OPTIONAL = re.compile(r"\"(\w+)/msg/\w+\"")  # types that are looked up by name


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def needed():
    found = {name for path in FILES for name in imported(path)}
    for path in FILES:
        found.update(OPTIONAL.findall(path.read_text()))
        found.update(re.findall(r"package=\"(\w+)\"", path.read_text()))
    return found - PYTHON - set(sys.stdlib_module_names)


def test_every_ros_package_that_is_used_is_a_dependency():
    declared = {entry.text for entry in ET.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    assert {"rclpy", "tf2_ros", "vision_msgs", "launch_ros"} <= needed(), "the search finds what is there"
    assert needed() - declared == FROM_SOURCE
    assert "ros2launch" in declared, "ros2 launch itself"
