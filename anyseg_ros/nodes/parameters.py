# SPDX-License-Identifier: Apache-2.0
"""Parameters of the nodes: frozen dataclasses whose fields carry description, range and choices."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node

from anyseg_ros.engine.backends import BACKENDS
from anyseg_ros.engine.precision import CHOICES

P = TypeVar("P")


class ParameterError(ValueError):
    """A parameter that cannot work; the message says what was found and what was expected."""


def option(
    default: Any,
    description: str,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    read_only: bool = False,
) -> Any:
    """A dataclass field that becomes a ROS parameter; the default's type is the parameter's."""
    metadata = {
        "description": description,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "read_only": read_only,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SegmentorParameters:
    """What the segmentor can be told."""

    rig: str = option("", "Rig file: sensors, calibration, rates. A path, or one below the package's share folder.")
    rigs: tuple[str, ...] = option(
        (), "Instead of rig: files of several rigs, whose names become namespaces of topics; they share one network."
    )
    checkpoint: str = option(
        "",
        "Weights (safetensors), or the ONNX file of another backend than torch. Empty: the student that comes with the "
        "package.",
    )
    backend: str = option(
        "torch", "What runs the network; all but torch need the file that 'anyseg export' writes.", BACKENDS
    )
    precision: str = option(
        "fp32",
        "What the network computes in: bf16 needs a CPU that has it, or a GPU; fp16 a GPU; int8 a quantised file.",
        CHOICES,
    )
    device: str = option("auto", "Where the network runs: auto, cpu, cuda or cuda:N.")
    threads: int = option(0, "CPU threads of the network; 0: half the cores, at most 4.", minimum=0, maximum=256)
    output_size: str = option("grid", "Size of the outputs: the network's grid or the camera.", ("grid", "camera"))
    max_wait_ms: int = option(
        150, "Longest wait for the partners of a reference measurement.", minimum=1, maximum=10_000
    )
    max_queue_ms: int = option(
        300,
        "Longest wait of a closed frame set for the network; beyond it all but the newest are dropped.",
        minimum=0,
        maximum=10_000,
    )
    latency_budget_ms: int = option(
        0,
        "Longest time from a closed frame set to its labels; beyond it the network runs on a smaller grid. 0: none.",
        minimum=0,
        maximum=10_000,
    )
    camera_type: str = option(
        "auto",
        "Image or CompressedImage on ~/input/camera; auto goes by the topic's name.",
        ("auto", "raw", "compressed"),
    )
    event_type: str = option(
        "auto",
        "EventPacket, EventArray or PointCloud2 (x, y, t, p) on ~/input/events; "
        "auto: packets if event_camera_msgs is there, else points.",
        ("auto", "packet", "array", "points"),
    )
    motion_compensation: str = option(
        "off",
        "Bring lidar points to the frame's time by the vehicle's motion, and with which message on ~/input/odometry: "
        "odometry (Odometry), twist (TwistStamped), twist_with_covariance (TwistWithCovarianceStamped), or off.",
        ("off", "odometry", "twist", "twist_with_covariance"),
    )
    overlay_alpha: float = option(0.5, "Weight of the class colours in ~/output/overlay.", minimum=0.0, maximum=1.0)
    use_tf: bool = option(True, "Take sensor poses from TF where tf2_ros is installed and the frames are known.")
    autostart: bool = option(True, "Configure and activate without being asked.", read_only=True)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ParameterError: a value cannot work.
        """
        check(self)
        if self.rig and self.rigs:
            raise ParameterError(
                f"parameter 'rig' is '{self.rig}' and parameter 'rigs' holds {', '.join(self.rigs)}; give one of them: "
                "'rig' for a single rig, 'rigs' for several with a namespace each"
            )
        if not self.rig and not self.rigs:
            raise ParameterError(
                "parameter 'rig' is empty; give the path of a rig file, for example rig:=config/rigs/sim.yaml "
                "(without a rig there is no calibration to project lidar and events with)"
            )
        if self.device not in ("auto", "cpu", "cuda") and not self.device.removeprefix("cuda:").isdecimal():
            raise ParameterError(f"parameter 'device' is '{self.device}'; expected auto, cpu, cuda or cuda:N")
        if self.latency_budget_ms and self.backend != "torch":
            raise ParameterError(
                f"parameter 'latency_budget_ms' is {self.latency_budget_ms} with backend '{self.backend}', whose file "
                "is for one grid; set it to 0, or take the backend torch"
            )


@dataclass(frozen=True)
class PlayerParameters:
    """What the player can be told."""

    bag: str = option("", "The rosbag2 to play: its folder, or an mcap or db3 file.")
    rig: str = option("config/rigs/sim.yaml", "Rig file: gives the sensors' names and their topics in the bag.")
    rate: float = option(1.0, "Playback speed against the wall clock.", minimum=0.01, maximum=100.0)
    clock_hz: float = option(
        0.0, "Rate of /clock in wall time; 0: none. Needed for use_sim_time.", minimum=0.0, maximum=1000.0
    )
    drop: tuple[str, ...] = option((), "Cuts in bag seconds, such as lidar@4-8: the sensor says nothing in [4, 8).")
    exclude: tuple[str, ...] = option((), "Topics that are not played.")
    loop: bool = option(False, "Start over at the end.")
    onward: bool = option(False, "With loop: the stamps of later laps go on, as in one long drive (kept in memory).")
    duration_s: float = option(
        0.0, "Ends after this much of the drive; 0: with the bag, or never with loop.", minimum=0.0, maximum=1e6
    )
    begin_ns: int = option(0, "Stamp at which the drive begins, all others are moved along; 0: as recorded.")
    timeline: tuple[str, ...] = option((), "Pauses and jumps of all stamps and /clock: pause@8+2, jump@12+60.")
    subscribers: int = option(
        1, "Subscribers that every sensor's topic must have before the bag starts.", minimum=0, maximum=100
    )
    wait_s: float = option(30.0, "Longest wait for these subscribers.", minimum=0.0, maximum=600.0)
    log: str = option("", "JSONL file for topic, stamp and steady time of every sensor message; empty: none.")

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ParameterError: a value cannot work.
        """
        check(self)
        if not self.bag:
            raise ParameterError("parameter 'bag' is empty; give the path of a rosbag2, for example bag:=out/drive")


@dataclass(frozen=True)
class RecorderParameters:
    """What the recorder can be told."""

    out: str = option("", "Folder to write: frames.jsonl, status.jsonl, diagnostics.jsonl and labels/<stamp>.png.")
    inputs: tuple[str, ...] = option((), "What is recorded besides, each as 'topic type', payload by payload.")
    idle_s: float = option(
        0.0, "Ends this long after the last label image; 0: only when told to.", minimum=0.0, maximum=3600.0
    )

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ParameterError: a value cannot work.
        """
        check(self)
        if not self.out:
            raise ParameterError("parameter 'out' is empty; give a folder to write to, for example out:=out/recording")


@dataclass(frozen=True)
class RelayParameters:
    """What the fault relay can be told."""

    schedule: str = option("", "YAML file of routes and faults. A path, or one below the package's share folder.")
    origin_ns: int = option(0, "Steady time from which the schedule counts; 0: from the first message.")
    rate: float = option(1.0, "Speed of the schedule: that of a slowed playback.", minimum=0.01, maximum=100.0)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ParameterError: a value cannot work.
        """
        check(self)
        if not self.schedule:
            raise ParameterError(
                "parameter 'schedule' is empty; give a YAML file of routes and faults (docs/faults.md)"
            )


@dataclass(frozen=True)
class OperatorParameters:
    """What the operator can be told."""

    actions: str = option("", "JSON file: the list of actions.")
    origin_ns: int = option(0, "Steady time from which the list counts; 0: from the start.")


def check(parameters: Any) -> None:
    """Checks ranges and choices of a parameter dataclass.

    Raises:
        ParameterError: a value is out of range or none of the choices.
    """
    for f in fields(parameters):
        value, limits = getattr(parameters, f.name), f.metadata
        if limits["choices"] and value not in limits["choices"]:
            raise ParameterError(f"parameter '{f.name}' is '{value}'; expected one of {', '.join(limits['choices'])}")
        low, high = limits["minimum"], limits["maximum"]
        if low is not None and not low <= value <= high:
            raise ParameterError(f"parameter '{f.name}' is {value}; expected {low} to {high}")


def declare(node: Node, cls: type) -> None:
    """Declares a parameter for every field of a parameter dataclass.

    Raises:
        ParameterError: an override on the command line or in a file has the wrong type or is out of range.
    """
    for f in fields(cls):
        # rclpy takes an empty list for a list of bytes, so that empty lists of strings travel as [""].
        default = list(f.default) or [""] if isinstance(f.default, tuple) else f.default
        try:
            node.declare_parameter(f.name, default, _descriptor(f))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"parameter '{f.name}' ({f.metadata['description']}) is refused: {error}") from error


def read(node: Node, cls: type[P]) -> P:
    """The parameters of a node as they are now.

    Raises:
        ParameterError: a value cannot work.
    """
    values = {}
    for f in fields(cls):  # type: ignore[arg-type]
        try:
            value = node.get_parameter(f.name).value
        except ParameterUninitializedException:
            value = ()  # what rclpy makes of an empty list on the command line
        values[f.name] = _texts(value) if isinstance(f.default, tuple) else value
    return cls(**values)


def same(value: Any, read_value: Any) -> bool:
    """Whether a parameter's value as rclpy has it is one that was read."""
    return bool((_texts(value) if isinstance(read_value, tuple) else value) == read_value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for text in value or () if text)


def _descriptor(f: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=f.metadata["description"], read_only=f.metadata["read_only"])
    low, high = f.metadata["minimum"], f.metadata["maximum"]
    if low is not None and isinstance(f.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif low is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    if f.metadata["choices"]:
        descriptor.additional_constraints = f"one of {', '.join(f.metadata['choices'])}"
    return descriptor
