# SPDX-License-Identifier: Apache-2.0
"""Parameters are declared with description, type and range, and nonsense is refused with a sentence."""

import re
from dataclasses import fields

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.parameter import Parameter  # noqa: E402

from anyseg_ros.nodes import parameters  # noqa: E402
from anyseg_ros.nodes.parameters import (  # noqa: E402
    ParameterError,
    PlayerParameters,
    RecorderParameters,
    SegmentorParameters,
)

NEEDED = {SegmentorParameters: {"rig": "r"}, PlayerParameters: {"bag": "b"}, RecorderParameters: {"out": "o"}}


@pytest.fixture
def node_with():
    made = []

    def make(**overrides):
        context = rclpy.Context()
        rclpy.init(context=context)
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        node = rclpy.create_node("parameters", context=context, parameter_overrides=given)
        made.append((node, context))
        return node

    yield make
    for node, context in made:
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize("cls", NEEDED)
def test_what_is_declared_is_what_is_read(node_with, cls):
    node = node_with(**NEEDED[cls])
    parameters.declare(node, cls)
    assert parameters.read(node, cls) == cls(**NEEDED[cls])
    for f in fields(cls):
        descriptor = node.describe_parameter(f.name)
        assert descriptor.description, f"{f.name} has no description"
        if f.metadata["minimum"] is not None:
            assert descriptor.integer_range or descriptor.floating_point_range


@pytest.mark.parametrize(
    ("cls", "name", "value", "sentence"),
    [
        (SegmentorParameters, "rig", "", "parameter 'rig' is empty; give the path"),
        (SegmentorParameters, "rigs", ("a", "b"), "'rig' is 'r' and parameter 'rigs' holds a, b; give one of them"),
        (SegmentorParameters, "device", "gpu", "'device' is 'gpu'; expected auto, cpu, cuda or cuda:N"),
        (SegmentorParameters, "device", "cuda:x", "expected auto, cpu, cuda or cuda:N"),
        (SegmentorParameters, "backend", "abacus", "'abacus'; expected one of torch, onnxruntime, tensorrt"),
        (SegmentorParameters, "precision", "fp8", "'precision' is 'fp8'; expected one of fp32, bf16, fp16"),
        (SegmentorParameters, "output_size", "huge", "'output_size' is 'huge'; expected one of grid, camera"),
        (SegmentorParameters, "event_type", "raw", "expected one of auto, packet, array, points"),
        (PlayerParameters, "bag", "", "parameter 'bag' is empty"),
        (RecorderParameters, "out", "", "parameter 'out' is empty"),
    ],
)
def test_a_value_that_cannot_work_is_refused(cls, name, value, sentence):
    with pytest.raises(ParameterError, match=re.escape(sentence)):
        cls(**{**NEEDED[cls], name: value})


def test_a_latency_budget_needs_a_backend_whose_grid_can_change():
    given = {**NEEDED[SegmentorParameters], "latency_budget_ms": 50}
    assert SegmentorParameters(**given).latency_budget_ms == 50
    with pytest.raises(ParameterError, match="backend 'onnxruntime', whose file is for one grid; set it to 0"):
        SegmentorParameters(**given, backend="onnxruntime")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SegmentorParameters, "threads", -1),
        (SegmentorParameters, "threads", "many"),
        (SegmentorParameters, "max_wait_ms", 0),
        (SegmentorParameters, "overlay_alpha", 1.5),
        (PlayerParameters, "rate", 0.0),
        (RecorderParameters, "idle_s", -1.0),
    ],
)
def test_an_override_out_of_range_or_type_is_refused_at_the_start(node_with, cls, name, value):
    node = node_with(**{**NEEDED[cls], name: value})
    with pytest.raises(ParameterError, match=f"parameter '{name}'"):
        parameters.declare(node, cls)


def test_ranges_hold_at_run_time(node_with):
    node = node_with(rig="r")
    parameters.declare(node, SegmentorParameters)
    (result,) = node.set_parameters([Parameter("max_wait_ms", value=20_000)])
    assert not result.successful and "range" in result.reason.lower()


def test_lists_of_strings_lose_their_placeholder(node_with):
    node = node_with(bag="b", drop=["lidar@4-8", ""])
    parameters.declare(node, PlayerParameters)
    assert parameters.read(node, PlayerParameters).drop == ("lidar@4-8",)
    assert parameters.read(node, PlayerParameters).exclude == ()
