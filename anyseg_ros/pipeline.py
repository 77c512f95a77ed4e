# SPDX-License-Identifier: Apache-2.0
"""FrameSet -> Segmentation: the one composition that node, replay, demo and evaluation share."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from anyseg_ros.engine.engine import Engine
from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import load_checkpoint
from anyseg_ros.resources import share_path
from anyseg_ros.sensors.camera import grid_to_image
from anyseg_ros.sensors.encode import Encoded, Encoder, RejectedPayload, fingerprint
from anyseg_ros.sensors.messages import compressed_image_from, image_from, points_from
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.sync.timing import SensorTiming, SyncConfig
from anyseg_ros.types import UNLABELLED, Absence, Events, FrameSet, Measurement, Points, Segmentation

log = logging.getLogger(__name__)

DEFAULT_WEIGHTS = "weights/anyseg_sim.safetensors"
FROZEN_AFTER = 3  # as many identical images in a row mean that the camera hangs
# What broken payloads raise while they are read. A payload is other people's data: it must cost its own
# sensor only. Anything else (out of memory, a failing device) is no payload's fault and goes up.
PAYLOAD_ERRORS = (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, cv2.error)


def default_checkpoint() -> Path:
    """The student that comes with the package.

    Raises:
        FileNotFoundError: it is not installed.
    """
    return share_path(DEFAULT_WEIGHTS)


def timings_from_rig(rig: Rig) -> SyncConfig:
    """The synchroniser's configuration: one timing per sensor, in the rig's order of preference."""
    return SyncConfig(
        sensors=tuple(
            SensorTiming(
                name=s.name,
                modality=s.modality,
                period_ns=s.period_ns,
                offset_ns=s.offset_ns,
                tolerance_ns=s.tolerance_ns,
                stale_ns=s.stale_ns,
                lost_ns=s.lost_ns,
                window_ns=s.window_ns,
                required=s.required,
                enabled=s.enabled,
            )
            for s in rig.sensors
        )
    )


def corrected_ns(rig: Rig, frame_set: FrameSet) -> int:
    """The time of a frame set on the rig's common clock.

    It is the reference's stamp less its clock offset. An event reference is answered at multiples of its output
    period, which count on the common clock already.
    """
    reference = rig.sensor(frame_set.reference)
    return frame_set.stamp_ns if reference.modality is Modality.EVENT else frame_set.stamp_ns - reference.offset_ns


@dataclass(frozen=True)
class Stack:
    """What is left of a frame set after encoding.

    Attributes:
        images: float32 [M,3,H,W], normalised; M sensors are present, none is zero-filled.
        sensors: names, in the order of ``images``.
        modalities: the modality of each.
        absent: by sensor name: the synchroniser's reasons and the payload checks' together.
        pixel_index: by lidar name, int32 [N]: flat grid pixel of each point, -1 outside the grid.
        raw: by sensor name, float32 [3,H,W] as encoded, before normalisation (for pictures).
        problems: by sensor name, a sentence for each payload that was turned down.
        encode_ns: wall time spent.
    """

    images: np.ndarray
    sensors: tuple[str, ...]
    modalities: tuple[Modality, ...]
    absent: dict[str, Absence]
    pixel_index: dict[str, np.ndarray] = field(default_factory=dict)
    raw: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    encode_ns: int = 0


class FrozenDetector:
    """Notices a camera that repeats one image.

    The same measurement may serve as a partner several times, so repetition counts per stamp.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, np.ndarray, int]] = {}

    def __call__(self, sensor: str, stamp_ns: int, image: np.ndarray) -> bool:
        """True from the third identical image in a row on.

        Args:
            sensor: name of the sensor.
            stamp_ns: stamp of the image.
            image: pixels, compared in full.
        """
        before = self._last.get(sensor)
        if before is None:
            repeats = 1
        elif before[0] == stamp_ns:
            repeats = before[2]
        else:
            last = before[1]
            # A few rows settle it for a camera that is alive; only a suspect is compared in full.
            same = np.array_equal(last[::16], image[::16]) and np.array_equal(last, image)
            repeats = before[2] + 1 if same else 1
        self._last[sensor] = (stamp_ns, image, repeats)
        return repeats >= FROZEN_AFTER

    def reset(self, sensor: str | None = None) -> None:
        """Forgets a sensor, or every one (None), as after a jump of the clock."""
        for name in list(self._last) if sensor is None else [sensor]:
            self._last.pop(name, None)


def converted(measurement: Measurement) -> Measurement:
    """The measurement with its payload read from the message that it may still be.

    Raises:
        ValueError: the message is malformed or of an encoding that is not understood.
        TypeError: an event payload is not ``Events`` (its decoder has state and runs before this).
    """
    payload = measurement.payload
    if isinstance(payload, (np.ndarray, Points, Events)):
        return measurement
    if measurement.modality is Modality.EVENT:
        raise TypeError(f"events of '{measurement.sensor}' came as {type(payload).__name__}, expected Events")
    if measurement.modality is Modality.LIDAR:
        return replace(measurement, payload=points_from(payload))
    compressed = hasattr(payload, "format") and not hasattr(payload, "encoding")
    return replace(measurement, payload=compressed_image_from(payload) if compressed else image_from(payload))


class Pipeline:
    """Encodes a frame set, runs the network, and says what came out.

    Args:
        rig: sensors and calibration.
        checkpoint_path: safetensors file; None takes the student that comes with the package.
        device: ``auto``, ``cpu`` or a torch device such as ``cuda:0``.
        threads: CPU threads for the network; None leaves torch's choice.

    Attributes:
        counters: ``answered``, ``nothing_left`` and ``turned_down:<sensor>``.
        unknown: names of sensors whose modality the checkpoint does not know; they count as disabled.

    Raises:
        CheckpointError: the file is no checkpoint, or was trained on other encodings than these.
    """

    def __init__(
        self,
        rig: Rig,
        checkpoint_path: Path | str | None = None,
        device: str = "auto",
        threads: int | None = None,
    ):
        path = Path(checkpoint_path) if checkpoint_path is not None else default_checkpoint()
        model, self.meta = load_checkpoint(path, encoding=fingerprint())
        self.engine = Engine(model, self.meta, device=device, threads=threads)
        self.recalibrate(rig)
        self.labels = LabelSet(tuple(self.meta.classes), tuple((r, g, b) for r, g, b in self.meta.palette))
        self.counters: Counter[str] = Counter()
        self.unknown = tuple(s.name for s in rig.sensors if s.modality.value not in self.meta.modalities)
        self._frozen = FrozenDetector()
        self._statistics = {
            Modality(name): tuple(np.asarray(stats[key], np.float32)[:, None, None] for key in ("mean", "std"))
            for name, stats in self.meta.normalisation.items()
        }

    def recalibrate(self, rig: Rig) -> None:
        """Uses another calibration of the same sensors from now on. The network stays, for a pose may change often."""
        self.encoder = Encoder(rig, *self.meta.grid)
        self.rig = rig
        self.grid = self.encoder.grid
        self.frame_id = rig.sensor(rig.image_plane).frame_id
        self._content = self.grid.mask()

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
        measurement = converted(measurement)
        if isinstance(measurement.payload, np.ndarray) and self._frozen(
            measurement.sensor, measurement.stamp_ns, measurement.payload
        ):
            raise RejectedPayload(
                Absence.FROZEN, f"'{measurement.sensor}' sent the same image {FROZEN_AFTER} times or more"
            )
        return self.encoder(measurement, corrected_ns(self.rig, frame_set))

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
        labels, confidence = self.engine.infer(stack.images)
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
            stage_ns={"encode": stack.encode_ns, "infer": time.perf_counter_ns() - begin},
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
