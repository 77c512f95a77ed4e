# SPDX-License-Identifier: Apache-2.0
"""FrameSet -> Segmentation: the one composition that node, replay, demo and evaluation share."""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from anyseg_ros.engine.backends import open_networks
from anyseg_ros.engine.engine import Engine
from anyseg_ros.intake import taken_in
from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import CheckpointError, CheckpointMeta, parse_meta, read_safetensors
from anyseg_ros.resources import share_path
from anyseg_ros.rig_timing import corrected_ns
from anyseg_ros.sensors.camera import grid_to_image
from anyseg_ros.sensors.checks import PAYLOAD_ERRORS, FrozenDetector, RejectedPayload
from anyseg_ros.sensors.encode import Encoded, Encoder
from anyseg_ros.sensors.motion_history import MotionHistory
from anyseg_ros.sensors.presets import Encoding, EncodingError, encoding_of
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.stack import Stack
from anyseg_ros.types import UNLABELLED, Absence, FrameSet, Measurement, Segmentation

log = logging.getLogger(__name__)

DEFAULT_WEIGHTS = "weights/anyseg_sim.safetensors"


def default_checkpoint() -> Path:
    """The student that comes with the package.

    Raises:
        FileNotFoundError: it is not installed.
    """
    return share_path(DEFAULT_WEIGHTS)


def checkpoint_encoding(path: Path | str) -> Encoding:
    """What payloads become for the network of a checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, or was trained on an encoding that this code does not make.
    """
    return _encoding(parse_meta(path, read_safetensors(path)[1]), path)


def _encoding(meta: CheckpointMeta, path: Path | str) -> Encoding:
    try:
        return encoding_of(meta.encoding, meta.encoding_parameters, str(path))
    except EncodingError as error:
        raise CheckpointError(str(error)) from error


def _statistics(meta: CheckpointMeta, modality: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [3,1,1] of a modality's channels.

    Raises:
        CheckpointError: the description does not say them.
    """
    try:
        mean, std = (np.asarray(meta.normalisation[modality][key], np.float32) for key in ("mean", "std"))
    except (TypeError, KeyError, ValueError):
        mean = std = np.zeros(0, np.float32)
    if mean.shape != (3,) or std.shape != (3,) or not (np.isfinite(mean) & np.isfinite(std) & (std > 0)).all():
        raise CheckpointError(
            f"{path}: expected as normalisation of '{modality}' mean and std (above 0) of three channels; found "
            f"{meta.normalisation!r:.100}"
        )
    return mean[:, None, None], std[:, None, None]


class Pipeline:
    """Encodes a frame set, runs the network, and says what came out.

    Args:
        rig: sensors and calibration.
        checkpoint_path: safetensors file, or for other backends than torch an ONNX file that ``anyseg export`` wrote;
            None takes the student that comes with the package.
        device: ``auto``, ``cpu`` or a torch device such as ``cuda:0``.
        threads: CPU threads for the network; None leaves torch's choice.
        backend: what runs the network, one of ``engine.backends.BACKENDS``.
        precision: what it computes in, one of ``engine.precision.PRECISIONS``.

    Attributes:
        backend: what runs the network.
        checkpoint_path: file that the network is from.
        counters: ``answered``, ``nothing_left`` and ``turned_down:<sensor>``.
        encoding: what payloads become: that of the checkpoint.
        motion: the vehicle's twists, with which clouds are brought to the reference time; None leaves them as they are.
        unknown: names of sensors whose modality the checkpoint does not know; they count as disabled.

    Raises:
        CheckpointError: the file is no checkpoint, or was trained on an encoding that this code does not make.
        ValueError: device, backend, precision and file do not go together here.
    """

    def __init__(
        self,
        rig: Rig,
        checkpoint_path: Path | str | None = None,
        device: str = "auto",
        threads: int | None = None,
        backend: str = "torch",
        precision: str = "fp32",
    ):
        path = Path(checkpoint_path) if checkpoint_path is not None else default_checkpoint()
        self.checkpoint_path, self.backend = path, backend
        networks, self.meta = open_networks(path, backend, precision)
        self.encoding = _encoding(self.meta, path)
        self.engine = Engine(networks, self.meta, device=device, threads=threads)
        self.labels = LabelSet(tuple(self.meta.classes), tuple((r, g, b) for r, g, b in self.meta.palette))
        self._statistics = {Modality(name): _statistics(self.meta, name, path) for name in self.meta.modalities}
        self._begin(rig)

    def for_rig(self, rig: Rig) -> Pipeline:
        """A pipeline for another rig with the same network: one copy of the weights, all else of its own."""
        other = copy.copy(self)
        other._begin(rig)
        return other

    def _begin(self, rig: Rig) -> None:
        """Everything that belongs to one rig, as it is before the first frame."""
        self._size = (self.meta.grid[0], self.meta.grid[1])
        self.recalibrate(rig)
        self.counters: Counter[str] = Counter()
        self.unknown = tuple(s.name for s in rig.sensors if s.modality.value not in self.meta.modalities)
        self.motion: MotionHistory | None = None
        self._frozen = FrozenDetector()

    def recalibrate(self, rig: Rig) -> None:
        """Uses another calibration of the same sensors from now on. The network stays, for a pose may change often."""
        self.encoder = Encoder(rig, *self._size, self.encoding)
        self._encoded: dict[str, tuple[Measurement, Encoded]] = {}
        self.rig = rig
        self.grid = self.encoder.grid
        self.frame_id = rig.sensor(rig.image_plane).frame_id
        self._content = self.grid.mask()

    def resize(self, height: int, width: int) -> None:
        """Runs on a grid of another size from now on; the mIoU of the checkpoint holds for its own size only.

        Args:
            height: in pixels, a multiple of 32.
            width: likewise.
        """
        self._size = (height, width)
        self.recalibrate(self.rig)

    @property
    def full_size(self) -> bool:
        """Whether the grid is the one that the checkpoint was validated on."""
        return self._size == (self.meta.grid[0], self.meta.grid[1])

    def encode(self, frame_set: FrameSet) -> Stack:
        """Turns the payloads into one normalised stack; a payload that cannot be used becomes an absence."""
        begin = time.perf_counter_ns()
        absent, problems = dict(frame_set.absent), {}
        images, encoded = [], {}
        for sensor in self.rig.sensors:
            measurement = frame_set.present.get(sensor.name)
            if measurement is None:
                continue
            if sensor.name in self.unknown:
                absent[sensor.name] = Absence.DISABLED
                continue
            try:
                encoded[sensor.name] = self._encode_one(measurement, frame_set)
            except RejectedPayload as error:
                absent[sensor.name], problems[sensor.name] = error.absence, str(error)
            except PAYLOAD_ERRORS as error:
                absent[sensor.name] = Absence.REJECTED
                problems[sensor.name] = f"{type(error).__name__}: {error}"
            else:
                mean, std = self._statistics[sensor.modality]
                images.append((encoded[sensor.name].image - mean) / std)
        self._note(problems)
        return Stack(
            images=np.stack(images) if images else np.zeros((0, 3, self.grid.height, self.grid.width), np.float32),
            sensors=tuple(encoded),
            modalities=tuple(self.rig.sensor(name).modality for name in encoded),
            absent=absent,
            pixel_index={n: e.pixel_index for n, e in encoded.items() if e.pixel_index is not None},
            raw={name: e.image for name, e in encoded.items()},
            problems=problems,
            encode_ns=time.perf_counter_ns() - begin,
        )

    def _encode_one(self, measurement: Measurement, frame_set: FrameSet) -> Encoded:
        """Encodes one payload; raises ``RejectedPayload`` or one of ``PAYLOAD_ERRORS``."""
        kept, encoded = self._encoded.get(measurement.sensor, (None, None))
        timeless = measurement.modality is not Modality.EVENT and (
            measurement.modality is not Modality.LIDAR or self.motion is None
        )
        if timeless and kept is measurement and encoded is not None:  # a lidar at 10 Hz serves three images at 30 Hz
            return encoded
        reference_ns = corrected_ns(self.rig, frame_set)
        encoded = self.encoder(taken_in(measurement, self.rig, reference_ns, self._frozen, self.motion), reference_ns)
        if timeless:
            self._encoded[measurement.sensor] = (measurement, encoded)
        return encoded

    def _note(self, problems: dict[str, str]) -> None:
        """Counts payloads that were turned down and logs the first of each sensor."""
        for name, sentence in problems.items():
            self.counters[f"turned_down:{name}"] += 1
            if self.counters[f"turned_down:{name}"] == 1:
                log.warning("a payload of sensor '%s' was turned down: %s", name, sentence)

    def segment(self, stack: Stack, frame_set: FrameSet) -> Segmentation:
        """Runs the network on a stack that holds at least one image.

        Raises:
            ValueError: the stack is empty.
        """
        if not stack.sensors:
            raise ValueError("the stack holds no image; nothing can be segmented")
        begin = time.perf_counter_ns()
        answer = self.engine.infer(stack.images)
        return self.segmentation(answer, stack, frame_set, begin)

    def segmentation(
        self, answer: tuple[np.ndarray, np.ndarray], stack: Stack, frame_set: FrameSet, began_ns: int
    ) -> Segmentation:
        """What the network's answer means.

        Args:
            answer: labels and confidence on the grid.
            stack: what the network saw.
            frame_set: what that was made of.
            began_ns: when the network was started, by ``time.perf_counter_ns``.
        """
        labels, confidence = answer
        # Outside the camera's image the grid is padding: whatever the network said there means nothing.
        labels = np.where(self._content, labels, np.uint8(UNLABELLED))
        confidence = np.where(self._content, confidence, np.float32(0.0))
        used = set(stack.modalities)
        return Segmentation(
            labels=labels,
            confidence=confidence,
            stamp_ns=frame_set.stamp_ns,
            frame_id=self.frame_id,
            modalities=tuple(m for m in Modality if m in used),
            absent=stack.absent,
            stage_ns={"encode": stack.encode_ns, "infer": time.perf_counter_ns() - began_ns},
        )

    def __call__(self, frame_set: FrameSet) -> Segmentation | None:
        """The segmentation of a frame set; None, and counted, when no payload can be used."""
        stack = self.encode(frame_set)
        if not stack.sensors:
            self.counters["nothing_left"] += 1
            return None
        self.counters["answered"] += 1
        return self.segment(stack, frame_set)

    def to_camera(self, segmentation: Segmentation) -> Segmentation:
        """The segmentation at the resolution of the image plane's camera, by nearest neighbour; 255 beside the grid."""
        return replace(
            segmentation,
            labels=grid_to_image(segmentation.labels, self.grid, UNLABELLED),
            confidence=grid_to_image(segmentation.confidence, self.grid, 0),
        )

    def reset(self, sensor: str | None = None) -> None:
        """Forgets what earlier images of a sensor, or of all (None), looked like, as after a jump of the clock."""
        self._frozen.reset(sensor)
        for name in [sensor] if sensor else list(self._encoded):
            self._encoded.pop(name, None)


def segment_together(waiting: Sequence[tuple[Pipeline, Stack, FrameSet]]) -> list[Segmentation]:
    """Runs the network once on the stacks of several rigs, whose pipelines share it; ``infer`` is the time of all.

    Raises:
        ValueError: a stack is empty.
    """
    if not all(stack.sensors for _, stack, _ in waiting):
        raise ValueError("a stack holds no image; nothing can be segmented")
    begin = time.perf_counter_ns()
    answers = waiting[0][0].engine.infer_batch([stack.images for _, stack, _ in waiting])
    return [
        pipeline.segmentation(answer, stack, frame_set, begin)
        for answer, (pipeline, stack, frame_set) in zip(answers, waiting, strict=True)
    ]
