# SPDX-License-Identifier: Apache-2.0
"""The pipeline: any subset goes through, and a bad payload costs its own sensor only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bag_kit import (
    CLASSES,
    GRID,
    MS,
    START_NS,
    full_set,
    measurement,
    random_cloud,
    random_events,
    random_image,
    small_rig,
    tiny_checkpoint,
)

from anyseg_ros.bags import messages
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.encode import Encoder
from anyseg_ros.sensors.messages import converted
from anyseg_ros.sensors.motion_history import MotionHistory
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.types import Absence, Events, Points


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def pipeline(checkpoint):
    return Pipeline(small_rig(), checkpoint, device="cpu", threads=1)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def only(frame_set, *names):
    """The frame set with some sensors left, the others lost."""
    lost = {name: Absence.LOST for name in frame_set.present if name not in names}
    present = {name: frame_set.present[name] for name in names}
    # Frames are answered at their own stamp, events at a multiple of their period on the common clock.
    stamp_ns = frame_set.stamp_ns if names[0] == "event" else present[names[0]].stamp_ns
    return replace(frame_set, present=present, absent=lost, reference=names[0], stamp_ns=stamp_ns)


@pytest.mark.parametrize(
    ("names", "subset"),
    [
        (("camera",), "C"),
        (("event",), "E"),
        (("lidar",), "L"),
        (("camera", "event"), "CE"),
        (("camera", "lidar"), "CL"),
        (("lidar", "event"), "EL"),
        (("camera", "lidar", "event"), "CEL"),
    ],
)
def test_every_subset_is_answered(pipeline, rng, names, subset):
    frame_set = only(full_set(pipeline.rig, rng), *names)
    stack = pipeline.encode(frame_set)
    assert stack.images.shape == (len(names), 3, *GRID) and stack.images.dtype == np.float32
    segmentation = pipeline(frame_set)
    assert segmentation.subset == subset
    assert segmentation.stamp_ns == frame_set.stamp_ns and segmentation.frame_id == "camera_optical_frame"
    assert set(segmentation.absent) == {"camera", "lidar", "event"} - set(names)
    assert segmentation.labels.shape == GRID and segmentation.labels.dtype == np.uint8
    assert segmentation.confidence.dtype == np.float32
    assert set(segmentation.stage_ns) == {"encode", "infer"} and min(segmentation.stage_ns.values()) > 0
    assert pipeline.counters["answered"] == 1


def test_stack_is_normalised_by_the_checkpoint(pipeline, rng):
    frame_set = full_set(pipeline.rig, rng)
    stack = pipeline.encode(frame_set)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.4, 0.3])
    for image, name in zip(stack.images, stack.sensors, strict=True):
        expected = (stack.raw[name] - mean[:, None, None]) / std[:, None, None]
        assert np.allclose(image, expected, atol=1e-6)
    plain = Encoder(pipeline.rig, *GRID)(frame_set.present["camera"], START_NS).image
    assert np.array_equal(stack.raw["camera"], plain)
    assert stack.sensors == ("camera", "lidar", "event"), "order of the rig"


def test_outside_the_camera_image_nothing_is_labelled(checkpoint, rng):
    rig = small_rig()
    square = replace(rig.sensor("camera").model, width=36, K=np.array([[30.0, 0, 17.5], [0, 30, 17.5], [0, 0, 1]]))
    pipeline = Pipeline(rig.replace_calibration("camera", model=square), checkpoint, device="cpu", threads=1)
    frame_set = only(full_set(pipeline.rig, rng, camera=random_image(rng)[:, :36]), "camera")
    segmentation = pipeline(frame_set)
    outside = ~pipeline.grid.mask()
    assert outside.any() and (segmentation.labels[outside] == 255).all()
    assert (segmentation.confidence[outside] == 0).all() and (segmentation.labels[~outside] < len(CLASSES)).all()
    at_camera = pipeline.to_camera(segmentation)
    assert at_camera.labels.shape == (36, 36) and (at_camera.labels < 255).all()
    top, left, height, width = pipeline.grid.content
    inner = segmentation.labels[top : top + height, left : left + width]
    assert at_camera.labels[0, 0] == inner[0, 0] and at_camera.labels[-1, -1] == inner[-1, -1]


def bad_payloads():
    cloud = random_cloud(np.random.default_rng(0), 400)
    torn = messages.points(START_NS, "lidar", cloud)
    torn.data = torn.data[:100]
    strange = messages.image(START_NS, "camera_optical_frame", np.zeros((36, 64, 3), np.uint8))
    strange.encoding = "yuv_of_the_future"
    return [
        ("camera", np.zeros((36, 64, 3), np.uint8), Absence.BLIND),
        ("camera", np.zeros((7, 5, 3), np.uint8), Absence.REJECTED),
        ("camera", strange, Absence.REJECTED),
        ("camera", None, Absence.REJECTED),
        ("lidar", torn, Absence.REJECTED),
        ("lidar", Points(-np.abs(cloud.xyz), cloud.intensity), Absence.BLIND),
        ("lidar", Points(np.full((9, 3), np.nan, np.float32), np.zeros(9, np.float32)), Absence.BLIND),
        ("lidar", "not a cloud", Absence.REJECTED),
        ("event", Events(*(np.zeros(0, t) for t in ("u2", "u2", "i8", "u1")), 32, 18), Absence.EMPTY),
        ("event", object(), Absence.REJECTED),
    ]


@pytest.mark.parametrize(("name", "payload", "absence"), bad_payloads())
def test_a_bad_payload_costs_its_own_sensor_only(pipeline, rng, name, payload, absence):
    frame_set = full_set(pipeline.rig, rng, **{name: payload})
    segmentation = pipeline(frame_set)
    assert segmentation.absent == {name: absence}
    assert len(segmentation.modalities) == 2 and pipeline.rig.sensor(name).modality not in segmentation.modalities
    assert pipeline.counters[f"turned_down:{name}"] == 1
    untouched = pipeline(only(frame_set, *(n for n in ("camera", "lidar", "event") if n != name)))
    assert np.array_equal(segmentation.labels, untouched.labels), "as if the sensor were not there"


def test_nothing_left_is_counted_and_logged_once(pipeline, rng, caplog):
    frame_set = full_set(pipeline.rig, rng, camera=np.zeros((36, 64, 3), np.uint8))
    for _ in range(3):
        assert pipeline(only(frame_set, "camera")) is None
    assert pipeline.counters["nothing_left"] == 3 and pipeline.counters["turned_down:camera"] == 3
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="nothing can be segmented"):
        pipeline.segment(pipeline.encode(only(frame_set, "camera")), frame_set)


def test_messages_and_arrays_give_the_same(pipeline, rng):
    plain = full_set(pipeline.rig, rng)
    payloads = {
        "camera": messages.image(START_NS, "camera_optical_frame", plain.present["camera"].payload),
        "lidar": messages.points(START_NS, "lidar", plain.present["lidar"].payload),
    }
    raw = replace(plain, present={n: replace(m, payload=payloads.get(n, m.payload)) for n, m in plain.present.items()})
    a, b = pipeline.encode(plain), Pipeline.encode(pipeline, raw)
    assert np.array_equal(a.images, b.images)
    assert np.array_equal(a.pixel_index["lidar"], b.pixel_index["lidar"]) and len(a.pixel_index["lidar"]) == 500


def test_events_must_be_decoded_before_the_pipeline():
    rig = small_rig()
    packet = messages.event_packet(START_NS, "e", random_events(np.random.default_rng(0), START_NS, START_NS + MS), 0)
    with pytest.raises(TypeError, match="expected Events"):
        converted(measurement(rig, "event", START_NS, packet))


def test_reference_other_than_camera_corrects_its_clock(pipeline, rng):
    """A set of a lidar whose clock is 4 ms behind sees the events of true time."""
    true_ns = START_NS + 50 * MS
    frame_set = full_set(pipeline.rig, rng, true_ns)
    by_lidar = only(frame_set, "lidar", "event")
    assert by_lidar.stamp_ns == true_ns - 4 * MS
    stack = pipeline.encode(by_lidar)
    by_camera = pipeline.encode(frame_set)
    assert np.array_equal(stack.raw["event"], by_camera.raw["event"])


def test_events_as_reference_bring_their_whole_window(pipeline, rng):
    """The synchroniser stamps such a set on the common clock: the offset must not be taken off a second time."""
    chunk = full_set(pipeline.rig, rng).present["event"]
    (led_by_events,) = Synchronizer(timings_from_rig(pipeline.rig, DEFAULT)).add(chunk, chunk.stamp_ns)
    assert led_by_events.stamp_ns == START_NS
    led_by_camera = full_set(pipeline.rig, rng, event=chunk.payload)
    expected = pipeline.encode(led_by_camera).raw["event"]
    assert np.array_equal(pipeline.encode(led_by_events).raw["event"], expected)


def test_another_calibration_costs_no_other_network(pipeline, checkpoint, rng):
    before, engine = full_set(pipeline.rig, rng), pipeline.engine
    moved = pipeline.rig.sensor("lidar").base_from_sensor.copy()
    moved[:3, 3] += (0.3, 0.2, -0.1)
    rig = pipeline.rig.replace_calibration("camera", model=CameraModel.pinhole(64, 36, 60.0))
    rig = rig.replace_calibration("lidar", base_from_sensor=moved)
    old = pipeline.encode(before).images
    pipeline.recalibrate(rig)
    new, fresh = pipeline.encode(before), Pipeline(rig, checkpoint, device="cpu", threads=1).encode(before)
    assert pipeline.engine is engine and pipeline.grid.camera.K[0, 0] > 45
    assert not np.array_equal(new.images, old) and np.array_equal(new.images, fresh.images)


def test_a_measurement_of_several_sets_is_encoded_once(pipeline, rng, monkeypatch):
    first, second = full_set(pipeline.rig, rng, START_NS), full_set(pipeline.rig, rng, START_NS + 33 * MS)
    lidar = first.present["lidar"]
    second = replace(second, present={**second.present, "lidar": lidar})
    alone = pipeline.encode(second).images
    pipeline.reset()
    calls, encoder = [], pipeline.encoder
    monkeypatch.setattr(pipeline, "encoder", lambda m, t: calls.append(m.sensor) or encoder(m, t))
    pipeline.encode(first)
    assert np.array_equal(pipeline.encode(second).images, alone)
    assert sorted(calls) == ["camera", "camera", "event", "event", "lidar"]
    pipeline.motion = MotionHistory()  # from here on points go to each set's own time
    pipeline.encode(second)
    assert calls[-3:].count("lidar") == 1
    pipeline.motion = None


def test_checkpoint_of_other_encodings_is_refused(tmp_path):
    path = tiny_checkpoint(tmp_path / "old.safetensors", encoding="0123456789abcdef")
    with pytest.raises(CheckpointError, match="old.safetensors was made with the encoding 0123456789abcdef.*the same"):
        Pipeline(small_rig(), path, device="cpu")


@pytest.mark.parametrize(
    "wrong",
    [None, {}, {"mean": [0.5] * 3}, {"mean": [0.5] * 2, "std": [1.0] * 2}, {"mean": [0.5] * 3, "std": [1.0, 0.0, 1.0]}],
)
def test_a_checkpoint_without_the_statistics_of_a_sensor_is_refused(tmp_path, checkpoint, wrong):
    model, meta = load_checkpoint(checkpoint)
    path = tmp_path / "wrong.safetensors"
    save_checkpoint(path, model, replace(meta, normalisation=meta.normalisation | {"event": wrong}))
    with pytest.raises(CheckpointError, match="wrong.safetensors: expected as normalisation of 'event' mean and std"):
        Pipeline(small_rig(), path, device="cpu", threads=1)


def test_the_checkpoint_says_what_payloads_become(tmp_path, rng):
    half = replace(DEFAULT, name="half", event=replace(DEFAULT.event, window_ns=15 * MS))
    path = tiny_checkpoint(tmp_path / "half.safetensors", half.fingerprint, parameters=half.parameters())
    pipeline = Pipeline(small_rig(), path, device="cpu", threads=1)
    assert pipeline.encoding == half
    assert timings_from_rig(pipeline.rig, pipeline.encoding).sensors[2].window_ns == 15 * MS
    frame_set = full_set(pipeline.rig, rng)
    expected = Encoder(pipeline.rig, *GRID, half)(frame_set.present["event"], START_NS).image
    assert np.array_equal(pipeline.encode(frame_set).raw["event"], expected)


def test_sensor_that_the_checkpoint_does_not_know_is_disabled(tmp_path, rng):
    path = tiny_checkpoint(tmp_path / "ce.safetensors", modalities=("camera", "event"))
    pipeline = Pipeline(small_rig(), path, device="cpu", threads=1)
    assert pipeline.unknown == ("lidar",)
    segmentation = pipeline(full_set(pipeline.rig, rng))
    assert segmentation.subset == "CE" and segmentation.absent == {"lidar": Absence.DISABLED}


def test_timings_follow_the_rig():
    rig = small_rig()
    timings = timings_from_rig(rig, DEFAULT).sensors
    assert [t.name for t in timings] == ["camera", "lidar", "event"]
    lidar = timings[1]
    assert (lidar.modality, lidar.period_ns, lidar.offset_ns) == (Modality.LIDAR, 100 * MS, -4 * MS)
    assert (lidar.tolerance_ns, lidar.lost_ns) == (rig.sensor("lidar").tolerance_ns, rig.sensor("lidar").lost_ns)
    assert timings[2].window_ns == 30 * MS
