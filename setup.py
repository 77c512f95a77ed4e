# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "anyseg_ros"
HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / PACKAGE / "__init__.py").read_text()).group(1)


def share(*folders):
    """Data files of these folders, each kept at its own place below share/anyseg_ros."""
    found = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                found.setdefault(f"share/{PACKAGE}/{path.parent.as_posix()}", []).append(path.as_posix())
    return sorted(found.items())


ROS = [
    "ros-rclpy[fastrtps]>=7.1.6",
    "ros-sensor-msgs>=5.3.6",
    "ros-std-msgs>=5.3.6",
    "ros-geometry-msgs>=5.3.6",
    "ros-diagnostic-msgs>=5.3.6",
    "ros-visualization-msgs>=5.3.6",
    "ros-nav-msgs>=5.3.6",
    "ros-std-srvs>=5.3.6",
]
SIM = [
    "open3d-cpu>=0.19; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "open3d>=0.19; platform_system != 'Linux' or platform_machine != 'x86_64'",
    "h5py>=3.8",
    "pillow>=10",
]
TRAIN = ["h5py>=3.8", "hdf5plugin>=4.1", "matplotlib>=3.7", "pillow>=10", "scikit-learn>=1.4", "tensorboard>=2.14"]
ONNX = ["onnx>=1.16", "onnxruntime>=1.18"]
DEV = ONNX + [
    "pytest>=8.3,<8.4",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "ruff>=0.6",
    "import-linter>=2.0",
    "mypy>=1.10",
    "transformers>=4.40",
    "build>=1.0",
    "colcon-common-extensions>=0.3.0",
    "osrf-pycommon>=2.0",
    # Wheels for these only; elsewhere make fuzz mutates without coverage.
    "atheris>=3.0; platform_system == 'Linux' and platform_machine == 'x86_64' and python_version >= '3.11'"
    " and python_version < '3.14'",
]

setup(
    name=PACKAGE,
    version=VERSION,
    description="Semantic segmentation for ROS 2 that keeps running when sensors don't",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="anyseg_ros maintainers",
    maintainer_email="maintainers@anyseg-ros.dev",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]) + find_packages("training"),
    package_dir={"anyseg_training": "training/anyseg_training"},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *share("launch", "config", "weights"),
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools<81",
        "numpy>=1.26",
        "opencv-python-headless>=4.6,<5",
        "PyYAML>=6.0",
        "torch>=2.3",
        "safetensors>=0.4",
        "numba>=0.59",
        "rosbags>=0.10",
        "tqdm>=4.60",
    ],
    extras_require={"ros": ROS, "sim": SIM, "train": TRAIN, "onnx": ONNX, "dev": DEV},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "anyseg = anyseg_ros.cli:main",
            "anyseg-train = anyseg_training.cli:main",
            "segmentor = anyseg_ros.nodes.segmentor_node:main",
            "player = anyseg_ros.nodes.player_node:main",
            "recorder = anyseg_ros.nodes.recorder_node:main",
            "fault_relay = anyseg_ros.nodes.fault_relay:main",
        ]
    },
)
