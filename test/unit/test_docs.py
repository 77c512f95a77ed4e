# SPDX-License-Identifier: Apache-2.0
"""The pages under docs name what the code has: parameters, topics, keys, options, and files that exist."""

import argparse
import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from anyseg_ros.bags import replay_command
from anyseg_ros.bags.drops import parse_drops
from anyseg_ros.bags.report import Tally
from anyseg_ros.cli import build_parser
from anyseg_ros.faults.schedule import KINDS, schedule_from
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import COEFFICIENT_COUNTS, CameraModel
from anyseg_ros.sensors.poses import RigError, pose_matrix
from anyseg_ros.sensors.rig import SENSOR_KEYS, Rig, Sensor, load_rig, rig_from_dict
from anyseg_ros.sensors.rig_values import CAMERA_KEYS
from anyseg_ros.sync.buffers import Fate
from anyseg_ros.sync.health import SensorState
from anyseg_ros.sync.output_health import OutputState
from anyseg_ros.types import Absence

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def named(text):
    """Everything between backticks outside code blocks, with `a`, `b` and `x.{a,b}` taken apart."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {word for span in re.findall(r"`([^`\n]+)`", prose) for word in (span, *re.split(r"[\s,]+", span))}


def rows(text):
    """Cells of every table row whose first cell is one name in backticks, by that name."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        match = re.fullmatch(r"`([^`]+)`", cells[0])
        if line.startswith("|") and match:
            found.setdefault(match[1], []).append(cells)
    return found


def four_modalities(twice=False):
    lens = CameraModel.pinhole(32, 16, 70)
    eye = pose_matrix((1.0, 0.0, 1.5), optical=True)
    names = [m.value for m in Modality] + (["camera_two"] if twice else [])
    sensors = tuple(
        Sensor(n, Modality(n.removesuffix("_two")), n, eye, model=None if n == "lidar" else lens) for n in names
    )
    return Rig("four", "base_link", sensors, "camera")


def parameter_classes():
    parameters = pytest.importorskip("anyseg_ros.nodes.parameters", reason="rclpy is not installed")
    return (
        parameters.SegmentorParameters,
        parameters.PlayerParameters,
        parameters.RecorderParameters,
        parameters.RelayParameters,
    )


def shown_default(default):
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return "`[]`"
    return '`""`' if default == "" else f"`{default}`"


def test_every_parameter_is_documented_with_its_default_and_range():
    table = rows(page("segmentor") + page("faults"))
    for cls in parameter_classes():
        for f in fields(cls):
            documented = [cells[1:3] for cells in table.get(f.name, [])]
            limits = f.metadata
            wanted = ""
            if limits["minimum"] is not None:
                wanted = f"{limits['minimum']} to {limits['maximum']}"
            elif limits["choices"]:
                wanted = ", ".join(limits["choices"])
            fitting = [
                1
                for default, allowed in documented
                if default.removesuffix(" (must be given)") == shown_default(f.default)
                and (not wanted or allowed == wanted)
            ]
            assert fitting, f"{cls.__name__}.{f.name}: {shown_default(f.default)}, {wanted}; docs have {documented}"


def test_every_topic_of_the_outputs_is_documented(monkeypatch):
    cls = parameter_classes()[0]
    from anyseg_ros.nodes import conversions, outputs

    topics = []
    monkeypatch.setattr(conversions, "message_type", lambda name: object)
    node = SimpleNamespace(create_lifecycle_publisher=lambda kind, topic, profile, **options: topics.append(topic))
    outputs.Outputs(node, cls(rig="x"))
    assert len(topics) == 10
    assert set(topics) <= set(rows(page("segmentor"))), "an output has no row in docs/segmentor.md"


def test_every_topic_of_the_inputs_is_documented(monkeypatch):
    cls = parameter_classes()[0]
    from anyseg_ros.nodes import inputs

    topics = []

    class Subscriber:
        def __init__(self, node, kind, topic, **options):
            topics.append(topic)

        def registerCallback(self, callback):  # noqa: N802
            pass

    monkeypatch.setattr(inputs.message_filters, "Subscriber", Subscriber)
    node = SimpleNamespace(resolve_topic_name=lambda topic: topic)
    inputs.Inputs(node, four_modalities(), cls(rig="x"), None, None, None)
    assert len(topics) == 7
    assert set(topics) <= set(rows(page("segmentor"))), "an input has no row in docs/segmentor.md"
    assert set(inputs.input_topics(four_modalities(twice=True)).values()) > {"~/input/camera", "~/input/camera_two"}
    assert "`~/input/<name>`" in page("segmentor")


def test_every_state_fate_and_absence_is_documented():
    words = named(page("segmentor"))
    states = {state.value for kind in (SensorState, OutputState) for state in kind}
    assert states <= words
    assert {f"count.{fate.value}" for fate in Fate} | {"count.received", "count.buffered"} <= words
    assert {absence.value for absence in Absence} <= words
    assert {absence.value for absence in Absence} <= named(page("replay"))


def test_every_key_of_status_and_diagnostics_is_documented():
    """Keys are read from the sources, where they stand as literal dictionary keys."""
    parameter_classes()
    from anyseg_ros.nodes import diagnostics, frame_processor

    words = named(page("segmentor"))
    sources = (
        diagnostics.Reporter._output_status,
        diagnostics._figures,
        frame_processor.FrameProcessor._status,
        frame_processor.FrameProcessor._account,
    )
    keys = {key for source in sources for key in literal_keys(source)}
    assert {"validated_miou", "skew_ms", "closed_ns"} <= keys
    assert keys <= words
    stages = {key for key in literal_keys(frame_processor.FrameProcessor.finish)} | {"encode", "infer"}
    assert stages >= {"wait", "queue", "publish", "total"}
    assert stages <= words


def literal_keys(function):
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    found = {k.value for d in ast.walk(tree) if isinstance(d, ast.Dict) for k in d.keys if isinstance(k, ast.Constant)}
    return {key for key in found if isinstance(key, str)}


def test_every_key_of_a_rig_file_is_documented():
    words = named(page("rigs"))
    known = {"rig": {}, "pose": {"name": "s", "modality": "lidar", "pose": {"nonsense": 1}}}
    for what, entry in known.items():
        data = {} if what == "rig" else {"name": "r", "image_plane": "s", "sensors": [entry]}
        with pytest.raises(RigError) as error:
            rig_from_dict(data)
        known[what] = set(str(error.value).rpartition("known: ")[2].split(", "))
    assert {"base_frame", "image_plane"} <= known["rig"]
    assert {"xyz_m", "matrix"} <= known["pose"]
    assert SENSOR_KEYS | CAMERA_KEYS | known["rig"] | known["pose"] <= words
    assert set(COEFFICIENT_COUNTS) | {m.value for m in Modality} <= words


def test_the_example_rigs_load():
    examples = [block for block in re.findall(r"^```yaml\n(.*?)^```", page("rigs"), re.M | re.S) if "sensors:" in block]
    assert examples
    for text in examples:
        rig = rig_from_dict(yaml.safe_load(text))
        assert rig.sensor(rig.image_plane).model is not None


@pytest.mark.parametrize(
    "command, name",
    [("simulate", "simulator"), ("replay", "replay"), ("inspect", "inspect"), ("faults", "faults"), ("soak", "faults")],
)
def test_every_option_of_a_command_is_documented(command, name):
    commands = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    actions = commands.choices[command]._actions
    words = named(page(name))
    for action in actions:
        shown = action.option_strings[-1] if action.option_strings else action.dest
        assert shown == "--help" or shown in words, f"anyseg {command} {shown} is not in docs/{name}.md"
        for choice in action.choices or ():
            assert choice in re.split(r"[\s|,:`]+", page(name)), f"{shown} {choice} is not in docs/{name}.md"


def test_every_key_of_a_replays_summary_is_documented():
    keys = set(Tally(2).summary()) | literal_keys(replay_command.replay)
    assert {"frames_due", "stage_ms", "wall_s", "damage"} <= keys
    assert keys <= named(page("replay"))


def test_every_kind_of_fault_is_documented_with_its_arguments():
    table = rows(page("faults"))
    for kind, arguments in KINDS.items():
        told = " ".join(table[kind][0])
        for name, default in arguments.items():
            shown = f"{default:g}" if isinstance(default, float) else default
            assert f"`{name}` {shown}" in told if default is not None else f"`{name}`" in told, f"{kind}: {told}"
    example = next(block for block in re.findall(r"^```yaml\n(.*?)^```", page("faults"), re.M | re.S))
    assert len(schedule_from(yaml.safe_load(example)).faults) == 3


def test_the_documented_cuts_are_read():
    rig = load_rig(ROOT / "config" / "rigs" / "sim.yaml")
    section = page("replay").partition("## Cuts")[2].partition("\n## ")[0]
    cuts = list(rows(section))
    assert len(cuts) == 5
    assert all(parse_drops([cut], rig) for cut in cuts)


def anchors(path):
    """The anchors that a page's headings get, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name} links {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{path.name} links {target}: no such heading"
