# SPDX-License-Identifier: Apache-2.0
"""Benchmark: the network, from a stack to labels, and whole frames, from payloads to labels.

Ours is the engine. Its rivals have the same weights: the plain implementation as published, and transformers' SegFormer
for one modality. Labels may differ where the best two classes are as good as equal; the logits are compared, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from anyseg_ros.engine.engine import Engine
from anyseg_ros.engine.torch_networks import TorchNetworks
from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.messages import EventStream, image_from, points_from
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sync.windows import join_events
from anyseg_ros.types import FrameSet, Measurement
from benchmarks import segformer
from benchmarks.cases import Agreement, Case, Rival, Settings, Table
from benchmarks.compare import both, same_logits
from benchmarks.engine_tables import memory_table, roofline_table, stage_table
from benchmarks.published import PublishedAnySeg
from benchmarks.stage_messages import FrameMessages, frame_messages

PUBLISHED_WIDTH = 768
BACKBONES = ("b0", "b2")
SIZES = ((512, 512), (1024, 1024), (1080, 1920))
QUICK_SIZES = ((64, 96),)
SENSORS = ("camera", "lidar", "event")
ROUNDS = 5
"""The plain implementation takes seconds to minutes for a frame."""
EQUAL_SHARE = 0.999
"""Labels that must be equal: between two classes as good as equal, the last digit decides."""
PROBABILITY = 1e-3
"""Largest difference of the labels' probabilities."""
LOGITS_CPU, LOGITS_GPU = 1e-5, 0.01
"""Largest difference of the logits, in their standard deviations: TF32 on a GPU costs about a thousandth."""
Answer = tuple[np.ndarray, np.ndarray | None]


def cases(settings: Settings) -> Iterator[Callable[[], Case]]:
    """Each backbone, size and number of modalities: the network alone; with all modalities the whole frame, too."""
    for backbone in BACKBONES[:1] if settings.quick else BACKBONES:
        for size in QUICK_SIZES if settings.quick else SIZES:
            for count in (1, 2, 3):
                yield lambda b=backbone, s=size, m=count: forward_case(b, s, m, settings)
                yield lambda b=backbone, s=size, m=count: frame_case(b, s, m, settings)


def tables(settings: Settings) -> Iterator[Callable[[], Table]]:
    """Where the time goes, what the machine could do, and the memory, for three modalities of each size."""
    for backbone in BACKBONES[:1] if settings.quick else BACKBONES:
        for size in QUICK_SIZES if settings.quick else SIZES:
            model = random_model(PUBLISHED_WIDTH, backbone)
            yield lambda m=model, s=size: roofline_table(m, s, settings)
            yield lambda m=model, s=size: stage_table(m, s)
    yield lambda: memory_table(QUICK_SIZES[0] if settings.quick else SIZES[1])


def forward_case(backbone: str, size: tuple[int, int], count: int, settings: Settings) -> Case:
    """A stack to labels and confidence."""
    model = random_model(PUBLISHED_WIDTH, backbone)
    engine = Engine(TorchNetworks(model, "fp32", count, [size]), meta_of(model, size), device=settings.device)
    plain = PublishedAnySeg(model).to(engine.device)
    stack = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(5)).numpy()
    tolerance = LOGITS_CPU if engine.device.type == "cpu" else LOGITS_GPU

    def same_logits_too(ours: Answer, theirs: Answer) -> Agreement:
        logits = same_logits(engine.logits(stack).cpu().numpy(), plain.logits(stack), tolerance)
        return both(same_answer(ours, theirs), logits)

    rivals = [Rival("plain implementation as published", lambda: plain.infer(stack), same_logits_too)]
    skipped: dict[str, str] = {}
    if count == 1:
        reason = segformer.why_not() or (None if engine.device.type == "cpu" else "compared on the CPU only")
        if reason is None:
            theirs = segformer.runner(model)
            note = "labels only; LayerNorm eps 1e-6 throughout"
            rivals.append(Rival(segformer.NAME, lambda: (theirs(stack), None), same_answer, note))
        else:
            skipped[segformer.NAME] = reason
    return Case(
        f"engine_{backbone}_{size[0]}x{size[1]}_{count}",
        f"{count} modalities of {size[0]}x{size[1]}, MiT-{backbone.upper()}, head {PUBLISHED_WIDTH} wide, to labels "
        f"and confidence, on {engine.device.type}",
        1,
        "frame",
        lambda: engine.infer(stack),
        tuple(rivals),
        skipped,
        ROUNDS,
    )


def frame_case(backbone: str, size: tuple[int, int], count: int, settings: Settings) -> Case:
    """Payloads to a segmentation, through the pipeline of the node."""
    frame = whole_frame(frame_messages(6_400, 8_000) if settings.quick else frame_messages(120_000, 300_000), count)
    model = random_model(PUBLISHED_WIDTH, backbone)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_checkpoint(path, model, meta_of(model, size))
        ours, theirs = (Pipeline(frame.messages.rig, path, device=settings.device) for _ in range(2))
    theirs.engine = PublishedAnySeg(model).to(ours.engine.device)  # type: ignore[assignment]
    return Case(
        f"frame_{backbone}_{size[0]}x{size[1]}_{count}",
        f"{', '.join(SENSORS[:count])}: payloads to labels of {size[0]}x{size[1]}, MiT-{backbone.upper()}, head "
        f"{PUBLISHED_WIDTH} wide, on {ours.engine.device.type}",
        1,
        "frame",
        lambda: answer(ours, frame.set),
        (Rival("our sensor stage, plain implementation", lambda: answer(theirs, frame.set), same_answer),),
        rounds=ROUNDS,
    )


@dataclass(frozen=True)
class WholeFrame:
    """Messages and the frame set they make."""

    messages: FrameMessages
    set: FrameSet


def whole_frame(messages: FrameMessages, count: int) -> WholeFrame:
    """The first ``count`` sensors of the messages as one set."""
    stream = EventStream(messages.packets[0].width, messages.packets[0].height)
    payloads = {
        "camera": image_from(messages.image),
        "lidar": points_from(messages.cloud),
        "event": join_events([stream.feed(packet) for packet in messages.packets]),
    }
    stamp_ns = messages.reference_ns
    present = {name: Measurement(name, Modality(name), stamp_ns, payloads[name]) for name in SENSORS[:count]}
    return WholeFrame(messages, FrameSet(stamp_ns, "camera", present))


def answer(pipeline: Pipeline, frame_set: FrameSet) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence of a frame set; the same picture again must not count as a frozen camera."""
    pipeline.reset()
    segmentation = pipeline(frame_set)
    assert segmentation is not None  # every payload can be used
    return segmentation.labels, segmentation.confidence


def same_answer(ours: Answer, theirs: Answer) -> Agreement:
    """Labels equal but for ties, and probabilities where the other gives them."""
    equal = float((ours[0] == theirs[0]).mean())
    detail, same = f"{equal:.4%} of the labels equal", equal >= EQUAL_SHARE
    if ours[1] is not None and theirs[1] is not None:
        off = float(np.abs(ours[1] - theirs[1]).max())
        detail, same = f"{detail}; largest difference of a probability {off:.1e}", same and off <= PROBABILITY
    return Agreement(same, detail)


def meta_of(model: AnySeg, size: tuple[int, int]) -> CheckpointMeta:
    """A description with which the pipeline takes the network."""
    names = [m.value for m in Modality]
    return CheckpointMeta(
        architecture=asdict(model.config),
        classes=list(CITYSCAPES.names),
        palette=[list(rgb) for rgb in CITYSCAPES.palette],
        modalities=names,
        encoding=DEFAULT.fingerprint,
        encoding_parameters=DEFAULT.parameters(),
        normalisation={name: {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.4, 0.3]} for name in names},
        grid=list(size),
    )


def random_model(width: int, backbone: str = "b0") -> AnySeg:
    """Random weights, with BatchNorm statistics as training leaves them: not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AnySeg(AnySegConfig(len(CITYSCAPES.names), backbone, width)).eval().requires_grad_(False)
        bn = model.head.linear_fuse.bn
        bn.running_mean.normal_()
        bn.running_var.uniform_(0.2, 3.0)
        bn.weight.normal_()
        bn.bias.normal_()
    return model
