# SPDX-License-Identifier: Apache-2.0
"""Plays one act over a real ROS 2 graph: player, relay, segmentor and recorder as separate processes."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from anyseg_ros.bags.topics import GROUND_TRUTH_TOPIC
from anyseg_ros.campaign.graph import Placed, Played, Setup, place, route_names
from anyseg_ros.campaign.rows import Act, Action
from anyseg_ros.demo.node_arguments import has_event_packets, played_topics, ros_arguments
from anyseg_ros.demo.play import CLOCK_HZ, QUEUE_MS, START_S, Tail
from anyseg_ros.demo.stage import Child, Stage, StageError
from anyseg_ros.demo.terminal import Step
from anyseg_ros.faults.schedule import Fault, Route, Schedule, fault, to_data
from anyseg_ros.sensors.rig import save_rig

BEGIN_NS = 1_700_000_000 * 1_000_000_000
RAW = "/undisturbed"  # what the player publishes, before the relay


class Performance:
    """One act, from the start of its processes to their end.

    Args:
        stage: starts and ends processes.
        setup: what is played through what.
        act: what happens.
        step: for the progress.
        record_inputs: keep the messages that reach the segmentor, for the judge.

    Attributes:
        watch: is called with the time of the drive, some twenty times a second.
        children: the processes, by name.
    """

    def __init__(self, stage: Stage, setup: Setup, act: Act, step: Step, record_inputs: bool = True) -> None:
        self.stage, self.setup, self.act, self.step = stage, setup, act, step
        self.record_inputs = record_inputs
        self.watch: Callable[[float], None] = lambda drive_s: None
        topics = played_topics(setup.rig, has_event_packets(stage))
        folder = setup.out / "recording" / act.name / "main"
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        rate = setup.rate if act.simulated else 1.0
        self.played = Played(act, place(act.rows), folder, rate, topics)
        self.routes = route_names(setup.rig, topics)
        self.children: dict[str, Child] = {}
        self._todo = self._actions()

    def play(self) -> Played:
        """Play it to the end.

        Raises:
            StageError: the graph did not come up, or the player failed.
        """
        self._start_listeners()
        for relay in self._relays():
            self._start_relay(relay)
        player = self._start_player()
        said = Tail(player.log)
        began: list[int] = []

        def look() -> None:
            for line in said.new():
                if not began and line.get("event") == "start":
                    began.append(line["began_ns"])
            if began:
                self._look(began[0])

        end = time.monotonic() + START_S + 60 + (self.duration_s + 5) / self.played.rate
        while player.running:
            look()
            self._bury()
            if time.monotonic() > end:
                raise StageError(f"the drive of act '{self.act.name}' did not end. The player's log:\n{player.tail()}")
            time.sleep(0.05)
        look()
        player.check()
        self.played.began_ns = began[0]
        self._collect_answers()
        for child in [*self.children.values(), player]:
            self.stage.stop(child)
        return self.played

    @property
    def duration_s(self) -> float:
        """Length of the drive."""
        return self.played.placed[-1].until_s + 0.5

    def _start_listeners(self) -> None:
        names = ["segmentor", "twin"] if self.act.twin else ["segmentor"]
        for name in names:
            remap = [f"~/input/{key}:={topic}" for key, topic in self.played.topics.items()]
            remap += [] if name == "segmentor" else [f"__node:={name}"]
            parameters = {
                "rig": str(self._rig_path()),
                "checkpoint": str(self.setup.checkpoint),
                "device": "cpu",
                "threads": 1,
                "use_sim_time": self.act.simulated,
                "max_queue_ms": round(QUEUE_MS / self.played.rate),
                **self.act.parameters,
            }
            self._start(name, self.act.segmentor, ros_arguments(remap, parameters), "active")
        inputs = [f"{topic} {msgtype}" for topic, msgtype in self.routes.values()] if self.record_inputs else []
        self._start(
            "recorder",
            "anyseg_ros.nodes.recorder_node",
            ros_arguments(parameters={"out": str(self.played.folder), "inputs": inputs}),
            "recording to",
        )
        if self.act.twin:
            remap = [f"segmentor/output/{topic}:=twin/output/{topic}" for topic in ("labels", "status")]
            arguments = ros_arguments([*remap, "__node:=twin_recorder"], {"out": str(self.played.twin)})
            self._start("twin recorder", "anyseg_ros.nodes.recorder_node", arguments, "recording to")

    def _rig_path(self) -> Path:
        """The rig of the segmentor: where the act requires sensors, one that says so."""
        if not self.act.required:
            return self.setup.rig_path
        rig, file = self.setup.rig, self.played.folder.parent / "rig.yaml"
        sensors = [replace(s, required=True) if s.name in self.act.required else s for s in rig.sensors]
        save_rig(replace(rig, sensors=tuple(sensors)), file)
        return file

    def _relays(self) -> dict[str, list[str]]:
        camera = [name for name in self.routes if name.startswith("camera")]
        rest = [name for name in self.routes if name not in camera]
        return {"camera": camera, "others": rest} if self.act.own_relay else {"all": list(self.routes)}

    def _start_relay(self, relay: str, reliable: bool = True) -> None:
        names = self._relays()[relay]
        # One that is started again is found by the segmentor and by its witness at different times: it waits for both.
        listeners = 2 if self._running and self.record_inputs else 0
        routes = tuple(Route(n, f"{RAW}{self.routes[n][0]}", *self.routes[n], reliable, listeners) for n in names)
        faults: list[Fault] = [
            fault(
                i.route,
                i.kind,
                0.0 if p.row.from_start else p.begin_s,
                None if p.row.to_the_end else p.end_s,
                **i.arguments,
            )
            for p in self.played.placed
            for i in p.row.injects
            if i.route in names
        ]
        file = self.played.folder.parent / f"relay_{relay}.yaml"
        file.write_text(yaml.safe_dump(to_data(Schedule(routes, tuple(faults), seed=1))), encoding="utf-8")
        arguments = ros_arguments([f"__node:=relay_{relay}"], {"schedule": str(file), "rate": float(self.played.rate)})
        self._start(f"relay {relay}", "anyseg_ros.nodes.fault_relay", arguments, "" if self._running else "relaying")

    @property
    def _running(self) -> bool:
        return "player" in self.children

    def _start_player(self) -> Child:
        timeline = [p.row.timeline.format(at=round(p.begin_s, 3)) for p in self._on_progress() if p.row.timeline]
        parameters: dict[str, Any] = {
            "bag": str(self.setup.bag),
            "rig": str(self.setup.rig_path),
            "rate": float(self.played.rate),
            "clock_hz": CLOCK_HZ if self.act.simulated else 0.0,
            "exclude": [GROUND_TRUTH_TOPIC, "/tf_static"],
            "wait_s": START_S,
            "loop": True,
            "onward": True,
            "begin_ns": BEGIN_NS if self.act.simulated else time.time_ns() // 10**9 * 10**9,
            "duration_s": self._progress_of(self.duration_s),
            "timeline": timeline,
            "log": str(self.played.folder / "published.jsonl"),
        }
        remap = [f"{topic}:={RAW}{topic}" for topic, _ in self.routes.values()]
        child = self.stage.start("player", "anyseg_ros.nodes.player_node", ros_arguments(remap, parameters))
        self.children["player"] = child
        return child

    def _on_progress(self) -> list[Placed]:
        """The rows by the progress of the drive, out of which pauses are taken."""
        return [Placed(p.row, self._progress_of(p.begin_s)) for p in self.played.placed]

    def _progress_of(self, elapsed_s: float) -> float:
        paused = [p for p in self.played.placed if p.row.timeline.startswith("pause") and p.begin_s < elapsed_s]
        return elapsed_s - sum(p.row.fault_s for p in paused)

    def _start(self, name: str, module: str, arguments: list[str], until: str) -> None:
        child = self.stage.start(f"{self.act.name} {name}", module, arguments)
        self.children[name] = child
        if until:
            self.stage.wait(lambda: until in child.tail(200), START_S, f"{name} to be ready", lambda: None)

    def _actions(self) -> list[tuple[float, Action]]:
        todo = [(p.begin_s + action.at_s, action) for p in self.played.placed for action in p.row.actions]
        return sorted(todo, key=lambda entry: entry[0])

    def _look(self, began_ns: int) -> None:
        """Do what is due, and show how far the drive is."""
        now_s = (time.monotonic_ns() - began_ns) / 1e9 * self.played.rate
        if "operator" not in self.children and any(a.what in ("set", "change", "engine") for _, a in self._todo):
            self._start_operator(began_ns)
        while self._todo and self._todo[0][0] <= now_s:
            _, action = self._todo.pop(0)
            if action.what in ("kill", "stop", "start"):
                self._handle_relay(action)
        self.watch(now_s)
        current = [p.row.name for p in self.played.placed if p.begin_s <= now_s < p.until_s]
        self.step.show(now_s / self.duration_s, current[0] if current else "")

    def _handle_relay(self, action: Action) -> None:
        relay, _, how = action.detail.partition(" ")
        if action.what == "start":
            self._start_relay(relay, reliable=how != "unreliable")
            return
        child = self.children.pop(f"relay {relay}")
        self.stage.stop(child, signal.SIGKILL if action.what == "kill" else signal.SIGINT)

    def _start_operator(self, began_ns: int) -> None:
        file = self.played.folder.parent / "operator.json"
        rows = [
            {"at_s": at_s / self.played.rate, "what": a.what, "detail": a.detail}
            for at_s, a in self._actions()
            if a.what in ("set", "change", "engine")
        ]
        file.write_text(json.dumps(rows), encoding="utf-8")
        arguments = ros_arguments(parameters={"actions": str(file), "origin_ns": began_ns})
        self._start("operator", "anyseg_ros.nodes.operator_node", arguments, "")

    def _dead(self) -> list[str]:
        return [name for name, child in self.children.items() if name != "player" and not child.running]

    def _bury(self) -> None:
        for name in self._dead():
            child = self.children.pop(name)
            self.stage.children.remove(child)
            if name != "operator" or child.process.returncode:
                self.played.deaths.append(f"{name} (exit {child.process.returncode}): {child.tail(3).strip()}")

    def _collect_answers(self) -> None:
        operator = self.stage.logs / f"{self.act.name}_operator.log".replace(" ", "_")
        self.played.answers = Tail(operator).new()
