# SPDX-License-Identifier: Apache-2.0
"""Plays one bag over a real ROS 2 graph: segmentor, recorder and player as separate processes."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from anyseg_ros.bags.topics import GROUND_TRUTH_TOPIC
from anyseg_ros.demo.node_arguments import has_event_packets, played_topics, ros_arguments
from anyseg_ros.demo.plan import SECOND, Cut, Walk
from anyseg_ros.demo.stage import Child, Stage
from anyseg_ros.demo.terminal import Step
from anyseg_ros.sensors.rig import Rig

CLOCK_HZ = 200.0
QUEUE_MS = 300  # the segmentor's own default, in the time of the drive: slowed playback stretches it
START_S = 120.0  # loading and warming up the network, on a slow machine
QUIET_S = 2.5  # without a label image for this long after the player's end, all have come


class TooFast(Exception):
    """The segmentor had to drop frames: the machine does not sustain the playback rate."""


@dataclass(frozen=True)
class Run:
    """What is to be played.

    Attributes:
        walk: its segments.
        cuts: the cut list.
        bag: the rosbag2.
        folder: where the recording goes.
        rate: playback rate.
        rig_path: the rig file.
        checkpoint: weights; None for those that come with the package.
        device: for the network.
    """

    walk: Walk
    cuts: tuple[Cut, ...]
    bag: Path
    folder: Path
    rate: float
    rig_path: Path
    checkpoint: Path | None
    device: str

    @property
    def player_log(self) -> Path:
        """One line per message that the player published."""
        return self.folder / "published.jsonl"


class Tail:
    """Reads the lines that were added to a JSONL file since the last look; other lines are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def new(self) -> list[dict]:
        """The new rows; an unfinished last line waits for the next look."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


def play(stage: Stage, run: Run, rig: Rig, step: Step, to_the_end: bool = True) -> None:
    """Play a bag through the graph and record what comes out.

    Args:
        stage: starts and ends the processes.
        run: what to play.
        rig: its sensors.
        step: for the progress.
        to_the_end: go on when the segmentor drops frames.

    Raises:
        StageError: a process failed or got stuck.
        TooFast: frames were dropped, and it is not to go on then; the processes have been ended.
    """
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    name = run.walk.name
    segmentor = stage.start(
        f"segmentor {name}", "anyseg_ros.nodes.segmentor_node", _segmentor_arguments(run, rig, stage), True
    )
    recorder = stage.start(f"recorder {name}", "anyseg_ros.nodes.recorder_node", _recorder_arguments(run), True)
    player = stage.start(f"player {name}", "anyseg_ros.nodes.player_node", _player_arguments(run))
    live = _Live(run, player, step, to_the_end)
    longest = START_S + 3 * run.walk.duration_ns / SECOND / run.rate + 30
    try:
        stage.wait(lambda: not player.running, longest, f"the player to finish the {name} drive", live.look)
    except TooFast:
        stage.close()
        raise
    player.check()
    stage.wait(lambda: live.quiet_s > QUIET_S, 60, "the last label images", live.look)
    for child in (player, segmentor, recorder):
        stage.stop(child)
    step.result(f"{live.frames} label images, median latency {live.latency}")


def _segmentor_arguments(run: Run, rig: Rig, stage: Stage) -> list[str]:
    topics = played_topics(rig, has_event_packets(stage))
    parameters = {
        "rig": str(run.rig_path),
        "checkpoint": str(run.checkpoint or ""),
        "device": run.device,
        "output_size": "camera",
        "max_queue_ms": round(QUEUE_MS / run.rate),
        "use_sim_time": True,
    }
    return ros_arguments([f"~/input/{name}:={topic}" for name, topic in topics.items()], parameters)


def _recorder_arguments(run: Run) -> list[str]:
    return ros_arguments(parameters={"out": str(run.folder)})


def _player_arguments(run: Run) -> list[str]:
    parameters = {
        "bag": str(run.bag),
        "rig": str(run.rig_path),
        "rate": float(run.rate),
        "clock_hz": CLOCK_HZ,
        "drop": [str(cut) for cut in run.cuts],
        "exclude": [GROUND_TRUTH_TOPIC],
        "wait_s": START_S,
        "log": str(run.player_log),
    }
    return ros_arguments(parameters=parameters)


class _Live:
    """The progress line while a bag is played."""

    def __init__(self, run: Run, player: Child, step: Step, to_the_end: bool) -> None:
        self.frames = 0
        self._run = run
        self._step = step
        self._player = Tail(player.log)
        self._status = Tail(run.folder / "status.jsonl")
        self._frames = Tail(run.folder / "frames.jsonl")
        self._diagnostics = None if to_the_end else Tail(run.folder / "diagnostics.jsonl")
        self._latencies: list[float] = []
        self._bag_s: float | None = None
        self._looked = self._last_frame = time.monotonic()

    @property
    def quiet_s(self) -> float:
        """Seconds since the last label image."""
        return time.monotonic() - self._last_frame

    @property
    def latency(self) -> str:
        """Median latency of the last frames, in words."""
        return f"{statistics.median(self._latencies[-200:]):.0f} ms" if self._latencies else "unknown"

    def look(self) -> None:
        """Read what is new and redraw the line.

        Raises:
            TooFast: frames were dropped, and it is not to go on then.
        """
        for row in self._diagnostics.new() if self._diagnostics else ():
            if any(int(status["values"].get("worker.dropped", 0)) for status in row["statuses"]):
                raise TooFast
        fresh = self._frames.new()
        if fresh:
            self.frames += len(fresh)
            self._last_frame = time.monotonic()
        for row in self._status.new():
            # The node measures in drive time; slowed playback stretches it.
            self._latencies.append(float(row["values"]["stage_ms.total"]) / self._run.rate)
        for row in self._player.new():
            self._bag_s = row["bag_s"]
        if self._bag_s is None:
            self._step.show(0.0, "waiting for the graph to come up")
            return
        subset = self._run.walk.subset_at(int(self._bag_s * SECOND))
        share = self._bag_s * SECOND / self._run.walk.duration_ns
        self._step.show(share, f"{subset:<3}  {self.frames} label images, latency {self.latency}")
