# SPDX-License-Identifier: Apache-2.0
"""Records what a segmentor says, with the time at which it was received.

Writes into the folder ``out``:
    labels/<stamp_ns>.png      label image, mono8; <stamp_ns>_2.png where a stamp comes again, as in a bag that loops
    frames.jsonl               one line per label image: stamp_ns, received_ns (steady clock, shared by all processes
                               of a machine), received_wall_ns, frame_id, height, width, file
    status.jsonl               one line per ~/output/status: stamp_ns, received_ns, values
    diagnostics.jsonl          one line per /diagnostics message: stamp_ns, received_ns, statuses
    inputs.jsonl               with ``inputs``, one line per message of those topics: topic, type, stamp_ns,
                               received_ns, blob
    blobs/<blob>               its bytes with a stamp of zero, so that what is sent again and again is kept once

Run it with ``python -m anyseg_ros.nodes.recorder_node --ros-args -p out:=out/recording``; it listens to
``segmentor/output/labels`` and ``segmentor/output/status`` (remap them for another name).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from anyseg_ros.faults import cdr
from anyseg_ros.nodes import conversions, parameters, qos, runner

# Nothing may be missed while a picture is written.
_DEPTH = 200


class RecorderNode(Node):
    """Subscribes to labels, status and diagnostics, and writes them down."""

    def __init__(self) -> None:
        super().__init__("recorder")
        parameters.declare(self, parameters.RecorderParameters)
        self._settings = parameters.read(self, parameters.RecorderParameters)
        self._out = Path(self._settings.out).expanduser()
        (self._out / "labels").mkdir(parents=True, exist_ok=True)
        names = ("frames", "status", "diagnostics", *(["inputs"] if self._settings.inputs else []))
        self._files = {name: (self._out / f"{name}.jsonl").open("w") for name in names}
        self._blobs: set[str] = set()
        self._last_ns: int | None = None
        self._stamps: Counter[int] = Counter()
        self.frames = 0
        heard: tuple[tuple[type, str, Any], ...] = (
            (Image, "segmentor/output/labels", self._on_labels),
            (DiagnosticArray, "segmentor/output/status", self._on_status),
            (DiagnosticArray, "/diagnostics", self._on_diagnostics),
        )
        for kind, topic, callback in heard:
            self.create_subscription(kind, topic, callback, qos.reliable(_DEPTH))
        for text in self._settings.inputs:
            self._listen_to_input(text)
        if self._settings.idle_s > 0:
            self.create_timer(0.2, self._end_when_idle)
        self.get_logger().info(f"recording to {self._out}")

    def destroy_node(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        super().destroy_node()

    def _write(self, name: str, row: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(row) + "\n")
        self._files[name].flush()

    def _listen_to_input(self, text: str) -> None:
        """Subscribes to ``topic type``.

        Raises:
            ParameterError: there is no such type, or it is written otherwise.
        """
        topic, _, msgtype = text.partition(" ")
        kind = conversions.message_type(msgtype)
        if kind is None:
            raise parameters.ParameterError(
                f"'{text}' in 'inputs' names no type that is installed; write '/camera/image_raw sensor_msgs/msg/Image'"
            )
        (self._out / "blobs").mkdir(exist_ok=True)

        take: Any = lambda raw, info: self._on_input(topic, msgtype, raw, _received_ns(info))  # noqa: E731
        self.create_subscription(kind, topic, take, qos.reliable(qos.EVENT_DEPTH), raw=True)

    def _on_input(self, topic: str, msgtype: str, raw: Any, received_ns: int) -> None:
        raw = bytes(raw)
        bare = cdr.without_stamp(raw)
        blob = hashlib.blake2b(bare, digest_size=12).hexdigest()
        if blob not in self._blobs:
            self._blobs.add(blob)
            (self._out / "blobs" / blob).write_bytes(bare)
        row = {"topic": topic, "type": msgtype, "stamp_ns": cdr.stamp_ns(raw), "received_ns": received_ns}
        self._write("inputs", {**row, "blob": blob})

    def _on_labels(self, msg: Image, info: Any) -> None:
        received_ns, wall_ns = _received_ns(info), info["received_timestamp"]
        stamp_ns = conversions.stamp_ns(msg.header)
        self._stamps[stamp_ns] += 1
        repeated = f"_{self._stamps[stamp_ns]}" if self._stamps[stamp_ns] > 1 else ""
        file = f"labels/{stamp_ns}{repeated}.png"
        cv2.imwrite(str(self._out / file), conversions.labels_from(msg), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._last_ns = received_ns
        self.frames += 1
        row = {"stamp_ns": stamp_ns, "received_ns": received_ns, "received_wall_ns": wall_ns, "file": file}
        self._write("frames", {**row, "frame_id": msg.header.frame_id, "height": msg.height, "width": msg.width})

    def _on_status(self, msg: DiagnosticArray, info: Any) -> None:
        received_ns = _received_ns(info)
        for status in conversions.statuses_from(msg):
            row = {"stamp_ns": conversions.stamp_ns(msg.header), "received_ns": received_ns}
            self._write("status", {**row, "values": status["values"]})

    def _on_diagnostics(self, msg: DiagnosticArray, info: Any) -> None:
        row = {"stamp_ns": conversions.stamp_ns(msg.header), "received_ns": _received_ns(info)}
        self._write("diagnostics", {**row, "statuses": conversions.statuses_from(msg)})

    def _end_when_idle(self) -> None:
        if self._last_ns is not None and time.monotonic_ns() - self._last_ns > self._settings.idle_s * 1e9:
            self.get_logger().info(f"no label image for {self._settings.idle_s:g} s; {self.frames} recorded")
            raise SystemExit(0)


def _received_ns(info: Any) -> int:
    """When the middleware had a message, on the steady clock: while a picture is written others wait for their turn."""
    return time.monotonic_ns() - (time.time_ns() - info["received_timestamp"])


def main(args: list[str] | None = None) -> int:
    """Entry point of the ``recorder`` command."""
    return runner.run(RecorderNode, args=args)


if __name__ == "__main__":
    sys.exit(main())
