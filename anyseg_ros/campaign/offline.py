# SPDX-License-Identifier: Apache-2.0
"""The offline pipeline on the measurements that a label image claims to be made of."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anyseg_ros.campaign.evidence import Arrival, Evidence, Frame
from anyseg_ros.demo.due import SensorRule
from anyseg_ros.modality import Modality
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.rig import Rig
from anyseg_ros.types import Events, FrameSet, Measurement

DIFFERENT = 1e-4
SKEW_NS = 2_000  # a skew is reported in milliseconds with six digits
WITNESS_S = 0.1  # the middleware may bring a message to the recorder later than to the segmentor
FORGOTTEN_S = 4.0  # a measurement is answered sooner; a drive whose time jumps sends its stamp again later
TAKEN_OVER_S = 1.0  # a calibration serves from the next frame on; which one that is depends on the queue


class WrongOutput(Exception):
    """A label image that is wrong; the message says in what."""


@dataclass(frozen=True)
class _Calibration:
    at_s: float
    rig: Rig


class Offline:
    """Looks up what an output was made of, and makes it again.

    Args:
        evidence: the recording.
        rig: its sensors.
        rules: their periods and tolerances, as the judge knows them.
        checkpoint: the segmentor's.
    """

    def __init__(self, evidence: Evidence, rig: Rig, rules: Sequence[SensorRule], checkpoint: Path) -> None:
        self._evidence = evidence
        self._rig = rig
        self._rules = {rule.name: rule for rule in rules}
        self._pipeline = Pipeline(rig, checkpoint, "cpu", threads=1)
        self._calibrations = self._read_calibrations()
        self._stamps: dict[str, dict[int, list[Arrival]]] = {}
        self._order: dict[str, list[int]] = {}
        self._events: dict[str, list[tuple[float, Measurement]]] = {}
        for sensor in rig.sensors:
            if sensor.modality is Modality.EVENT:
                self._events[sensor.name] = list(evidence.events(rig, sensor.name))
                continue
            by_stamp: dict[int, list[Arrival]] = {}
            for arrival in evidence.arrivals[sensor.name]:
                by_stamp.setdefault(arrival.stamp_ns, []).append(arrival)
            self._stamps[sensor.name] = by_stamp
            self._order[sensor.name] = sorted(by_stamp)

    def check(self, frame: Frame) -> None:
        """Compare one label image with what the offline pipeline makes of the same measurements.

        Raises:
            WrongOutput: its stamp was not sent, a measurement did not arrive, or the labels differ.
        """
        frame_set = self._frame_set(frame)
        shown = frame.labels()
        shares = []
        for rig in self._rigs_at(frame.at_s):
            if rig is not self._pipeline.rig:
                self._pipeline.recalibrate(rig)
            if shown.shape != (self._pipeline.grid.height, self._pipeline.grid.width):
                self._pipeline.resize(*shown.shape)  # a latency budget lowers the grid and raises it again
            self._pipeline.reset()
            stack = self._pipeline.encode(frame_set)
            if set(stack.sensors) != set(frame_set.present):
                refused = "; ".join(stack.problems.values())
                raise WrongOutput(f"says {frame.used}, but offline a payload is refused ({refused})")
            labels = self._pipeline.segment(stack, frame_set).labels
            if labels.shape != shown.shape:
                raise WrongOutput(f"labels are of shape {shown.shape}, offline {labels.shape}")
            shares.append(float(np.mean(labels != shown)))
        if min(shares) > DIFFERENT:
            raise WrongOutput(f"{min(shares):.2%} of the labels differ from the offline pipeline's ({frame.used})")

    def _frame_set(self, frame: Frame) -> FrameSet:
        status = frame.status
        if "reference" not in status:
            raise WrongOutput("no ~/output/status came with it")
        reference = self._rules[status["reference"]]
        self._check_reference(frame, reference)
        corrected_ns = frame.stamp_ns - (0 if reference.modality is Modality.EVENT else reference.offset_ns)
        present = {}
        for sensor in self._rig.sensors:
            if f"absent.{sensor.name}" in status:
                continue
            skew_ns = round(float(status.get(f"skew_ms.{sensor.name}", 0.0)) * 1e6)
            present[sensor.name] = self._measurement(frame, self._rules[sensor.name], corrected_ns, skew_ns)
        return FrameSet(frame.stamp_ns, reference.name, present)

    def _check_reference(self, frame: Frame, rule: SensorRule) -> None:
        if rule.modality is Modality.EVENT:
            if frame.stamp_ns % rule.period_ns:
                raise WrongOutput(f"its stamp is no multiple of the output period of '{rule.name}'")
        elif not self._arrived(frame, rule.name, frame.stamp_ns):
            raise WrongOutput(f"'{rule.name}' never sent a measurement with its stamp")

    def _measurement(self, frame: Frame, rule: SensorRule, corrected_ns: int, skew_ns: int) -> Measurement:
        """The measurement that served.

        Raises:
            WrongOutput: there is none, or it is out of tolerance.
        """
        if rule.modality is Modality.EVENT:
            return self._window(frame, rule, corrected_ns, skew_ns)
        if abs(skew_ns) > rule.tolerance_ns + SKEW_NS:
            raise WrongOutput(f"'{rule.name}' is {skew_ns / 1e6:.1f} ms off, out of its tolerance")
        wanted_ns = corrected_ns + skew_ns + rule.offset_ns
        order = self._order[rule.name]
        near = order[bisect.bisect_left(order, wanted_ns - SKEW_NS) : bisect.bisect_right(order, wanted_ns + SKEW_NS)]
        arrived = [arrival for stamp_ns in near for arrival in self._arrived(frame, rule.name, stamp_ns)]
        if not arrived:
            raise WrongOutput(f"'{rule.name}' is claimed, but no measurement of it had arrived")
        message = self._evidence.message(arrived[0])
        sensor = self._rig.sensor(rule.name)
        return Measurement(rule.name, rule.modality, arrived[0].stamp_ns, message, sensor.frame_id)

    def _arrived(self, frame: Frame, sensor: str, stamp_ns: int) -> list[Arrival]:
        """What had arrived with a stamp not long before a frame; of duplicates the first is kept, and stands first."""
        arrivals = self._stamps[sensor].get(stamp_ns, [])
        return [arrival for arrival in arrivals if -WITNESS_S <= frame.at_s - arrival.at_s < FORGOTTEN_S]

    def _window(self, frame: Frame, rule: SensorRule, corrected_ns: int, skew_ns: int) -> Measurement:
        after_ns = corrected_ns - rule.window_ns + rule.offset_ns
        until_ns = corrected_ns + min(0, skew_ns) + rule.offset_ns
        parts = [
            m.payload.between(after_ns, until_ns)
            for at_s, m in self._events[rule.name]
            if -WITNESS_S <= frame.at_s - at_s < FORGOTTEN_S and m.stamp_ns > after_ns and (m.start_ns or 0) < until_ns
        ]
        parts = [part for part in parts if len(part)]
        if not parts:
            raise WrongOutput(f"'{rule.name}' is claimed, but no event of its window had arrived")
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y", "t_ns", "p")}
        order = np.argsort(joined["t_ns"], kind="stable")
        events = Events(**{name: values[order] for name, values in joined.items()}, width=parts[0].width,
                        height=parts[0].height)  # fmt: skip
        return Measurement(rule.name, rule.modality, until_ns, events, self._rig.sensor(rule.name).frame_id, after_ns)

    def _read_calibrations(self) -> list[_Calibration]:
        """The rig as CameraInfo changed it, in time."""
        found = [_Calibration(float("-inf"), self._rig)]
        camera = next((s.name for s in self._rig.sensors if s.modality is Modality.CAMERA), None)
        last = ""
        for arrival in self._evidence.arrivals.get("camera_info", []):
            if arrival.blob == last or camera is None:
                continue
            last = arrival.blob
            model, now = (
                CameraModel.from_camera_info(self._evidence.message(arrival)),
                found[-1].rig.sensor(camera).model,
            )
            if now is None or not np.allclose(model.K, now.K, rtol=0, atol=1e-6):
                found.append(_Calibration(arrival.at_s, found[-1].rig.replace_calibration(camera, model=model)))
        return found

    def _rigs_at(self, at_s: float) -> list[Rig]:
        """The rig that was known, and before it the one that it has just replaced."""
        known = [c for c in self._calibrations if c.at_s <= at_s]
        replaced = len(known) > 1 and at_s - known[-1].at_s < TAKEN_OVER_S
        return [c.rig for c in reversed(known[-2 if replaced else -1 :])]
