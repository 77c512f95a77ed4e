# SPDX-License-Identifier: Apache-2.0
"""What live tests need: a small rig, a random network, a short bag, and child processes that end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from anyseg_ros.bags.writer import BagWriter
from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.modality import Modality
from anyseg_ros.model.checkpoint import CheckpointMeta, save_checkpoint
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.poses import pose_matrix
from anyseg_ros.sensors.presets import DEFAULT
from anyseg_ros.sensors.rig import Rig, Sensor, save_rig
from anyseg_ros.types import Events, Points

MS = 1_000_000
START_NS = 1_700_000_000 * 1_000_000_000
GRID = (64, 128)
MIOU = {"C": 10.0, "E": 11.0, "L": 12.0, "CE": 13.0, "CL": 14.0, "EL": 15.0, "CEL": 16.0}


def small_rig():
    """Camera, lidar and events at 10 Hz, as in the simulator, with few pixels."""
    camera, events = CameraModel.pinhole(160, 90, 77), CameraModel.pinhole(80, 45, 64)
    eye = pose_matrix((1.5, 0.0, 1.6), optical=True)
    sensors = (
        Sensor("camera", Modality.CAMERA, "cam", eye, model=camera, topic="/camera/image_raw"),
        Sensor("lidar", Modality.LIDAR, "lidar", pose_matrix((1.4, 0.0, 1.9)), topic="/lidar/points"),
        Sensor("event", Modality.EVENT, "ev", eye, model=events, topic="/event_camera/events"),
    )
    return Rig("small", "base_link", sensors, "camera")


def write_checkpoint(path):
    """A narrow network with random weights: its labels mean nothing, its timing and shapes do."""
    torch.manual_seed(0)
    config = AnySegConfig(classes=len(CITYSCAPES), backbone="b0-half", head_width=32)
    meta = CheckpointMeta(
        architecture=asdict(config),
        classes=list(CITYSCAPES.names),
        palette=[list(rgb) for rgb in CITYSCAPES.palette],
        modalities=["camera", "event", "lidar"],
        encoding=DEFAULT.fingerprint,
        encoding_parameters=DEFAULT.parameters(),
        normalisation={m: {"mean": [0.3] * 3, "std": [0.3] * 3} for m in ("camera", "event", "lidar")},
        grid=list(GRID),
        miou=MIOU,
    )
    save_checkpoint(path, AnySeg(config).eval(), meta)


def image(random):
    return random.integers(0, 256, (90, 160, 3), np.uint8)


def points(random, count=3000):
    xyz = random.uniform((3.0, -15.0, -1.5), (40.0, 15.0, 4.0), (count, 3)).astype(np.float32)
    return Points(xyz, random.random(count, np.float32))


def events(random, begin_ns, end_ns, count=150):
    t_ns = np.sort(random.integers(begin_ns // 1000, end_ns // 1000, count)) * 1000
    t_ns[0], t_ns[-1] = begin_ns, end_ns - 1000
    x, y = random.integers(0, 80, count).astype("u2"), random.integers(0, 45, count).astype("u2")
    return Events(x, y, t_ns, random.integers(0, 2, count).astype("u1"), 80, 45)


def write_bag(path, seconds):
    """Camera at k*100 ms, lidar 50 ms later, event packets of 10 ms."""
    random, rig = np.random.default_rng(0), small_rig()
    model = rig.sensor("camera").model
    with BagWriter(path) as bag:
        for tick in range(round(seconds * 100)):
            now = START_NS + tick * 10 * MS
            if tick == 0:
                bag.write_tf_static(now, "base_link", [(s.frame_id, s.base_from_sensor) for s in rig.sensors])
            if tick % 10 == 0:
                bag.write_camera_info("/camera/camera_info", now, now, "cam", model)
                bag.write_image("/camera/image_raw", now, now, "cam", image(random))
            if tick % 10 == 5:
                bag.write_points("/lidar/points", now, now, "lidar", points(random))
            end = now + 10 * MS
            bag.write_events("/event_camera/events", end, now, "ev", events(random, now, end))


def write_inputs(folder, seconds=0.0):
    """Writes rig.yaml, net.safetensors and, for a length above 0, the bag."""
    save_rig(small_rig(), folder / "rig.yaml")
    write_checkpoint(folder / "net.safetensors")
    if seconds:
        write_bag(folder / "bag", seconds)


REMAPS = [
    "-r", "~/input/camera:=/camera/image_raw",
    "-r", "~/input/camera_info:=/camera/camera_info",
    "-r", "~/input/lidar:=/lidar/points",
    "-r", "~/input/events:=/event_camera/points",
]  # fmt: skip


class Child:
    """A node in a process of its own, its output collected line by line."""

    def __init__(self, module, *arguments, parameters=None):
        command = [sys.executable, "-m", f"anyseg_ros.nodes.{module}", "--ros-args", *arguments]
        for name, value in (parameters or {}).items():
            command += ["-p", f"{name}:={json.dumps(value) if not isinstance(value, str) else value}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=os.environ.copy(), **pipes)
        self.lines = []
        self._closed = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for(self, text, timeout_s=90.0):
        with self._news:
            self._news.wait_for(lambda: text in self.text or self._closed, timeout_s)
        assert text in self.text, f"'{text}' did not come:\n{self.text}"

    def wait(self, timeout_s=60.0):
        code = self.process.wait(timeout_s)
        self._reader.join(5.0)
        return code

    def end(self):
        """Ends it as a terminal would; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.wait(15.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def json_lines(self):
        return [json.loads(line) for line in self.lines if line.startswith("{")]


def wait_until(condition, timeout_s=15.0, what="the condition"):
    """Polls a condition that another thread or process makes true."""
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        tick.wait(0.02)


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
