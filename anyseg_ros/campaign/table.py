# SPDX-License-Identifier: Apache-2.0
"""The table of the campaign, act by act."""

from __future__ import annotations

from dataclasses import replace

from anyseg_ros.campaign.rows import GONE, LATENCY_MS, LIDAR, OTHERS, Act, Action, Row, one
from anyseg_ros.campaign.table_messages import CALIBRATION, HEADERS, LATE_INFO, NO_INFO, PAYLOADS
from anyseg_ros.campaign.table_sensors import ALL_GONE, CUTS, DELAYS, FLAPPING, ONE_LEFT, PAIRS, TRANSPORT

ANEW = "all starts over, the next good measurement is answered"
SLOW_MS = LATENCY_MS + 300.0 + 350.0  # beside that: max_queue_ms, and what the slow engine takes

TIME = (
    Row(
        "pause",
        "nothing ages while time stands still",
        timeline="pause@{at}+2.0",
        fault_s=2.0,
        gap_periods=None,
        quiet=True,
    ),
    Row("bag loop (back 20 s)", ANEW, timeline="jump@{at}-20", fault_s=0.5, jumps=1, answered=0.7),
    Row("jump forward 60 s", ANEW, timeline="jump@{at}+60", fault_s=0.5, answered=0.7),
)
PROCESSES = (
    Row(
        "SIGKILL of the camera's publisher",
        f"{OTHERS}; it is back when it is started again",
        actions=(Action(0.0, "kill", "camera"), Action(2.0, "start", "camera")),
        fault_s=7.0,
        cause_ends_s=2.0,
        restarts="camera",
        says={"camera": GONE},
    ),
    Row(
        "incompatible QoS",
        "named as such; the others answer",
        actions=(
            Action(0.0, "stop", "camera"),
            Action(0.5, "start", "camera unreliable"),
            Action(6.0, "stop", "camera"),
            Action(6.5, "start", "camera"),
        ),
        fault_s=11.5,
        cause_ends_s=6.5,
        restarts="camera",
        says={"camera": ("incompatible",)},
        told_within_s=6.0,
    ),
)
COMMANDS = (
    Row(
        "parameter switches the lidar off",
        "disabled is no fault, and it is back when switched on",
        actions=(Action(0.0, "set", "sensors.lidar.enabled=false"), Action(2.5, "set", "sensors.lidar.enabled=true")),
        says={"lidar": ("disabled",)},
        without=LIDAR,
        quiet=True,
    ),
    Row(
        "parameter that needs a restart",
        "refused with a sentence, nothing else changes",
        actions=(Action(0.2, "set", "max_wait_ms=50", refused=True), Action(0.6, "set", "device=cuda", refused=True)),
        quiet=True,
    ),
    Row(
        "deactivate and activate under load",
        "silent while inactive, back at once",
        actions=(Action(0.0, "change", "deactivate"), Action(1.5, "change", "activate")),
        cause_ends_s=1.5,
        gap_periods=None,
        answered=0.0,
    ),
    Row(
        "cleanup and configure under load",
        "silent meanwhile, back at once",
        actions=(
            Action(0.0, "change", "deactivate"),
            Action(0.3, "change", "cleanup"),
            Action(0.6, "change", "configure"),
            Action(3.5, "change", "activate"),
        ),
        fault_s=6.0,
        cause_ends_s=3.5,
        gap_periods=None,
        answered=0.0,
    ),
)
ENGINE = (
    Row(
        "inference slower than the camera",
        "the newest wins, the queue does not grow, drops are counted",
        actions=(Action(0.0, "engine", "slow"), Action(3.0, "engine", "well")),
        fault_s=3.0,
        gap_periods=8.0,
        says={"output": ("behind", "drop")},
        latency_ms=SLOW_MS,
        answered=0.0,
    ),
    Row(
        "inference raises",
        "an error says so; back with the next frame",
        actions=(Action(0.0, "engine", "raise"), Action(3.0, "engine", "well")),
        fault_s=3.0,
        gap_periods=None,
        says={"output": ("error: fail",)},
        answered=0.0,
    ),
    Row(
        "inference out of memory",
        "an error says so; back with the next frame",
        actions=(Action(0.0, "engine", "memory"), Action(3.0, "engine", "well")),
        fault_s=3.0,
        gap_periods=None,
        says={"output": ("error: fail",)},
        answered=0.0,
    ),
)
BUDGET = Row(
    "latency budget of 200 ms",
    "a smaller grid is taken and named; the full one is back when there is time again",
    actions=(Action(0.0, "engine", "slow"), Action(5.0, "engine", "well")),
    fault_s=5.0,
    clean_s=12.0,
    gap_periods=8.0,
    says={"output": ("smaller grid",)},
    latency_ms=SLOW_MS,
    answered=0.0,
    ends_well=True,
)
CLEAN = Row("nothing (baseline)", "every due frame is answered, nothing is complained of", quiet=True, answered=0.99)
REQUIRED = one(
    "a required lidar is cut",
    "an error of the lidar and of the output; labels go on",
    "lidar",
    "cut",
    {"lidar": ("error: silent",), "output": ("error: lidar",)},
    fault_s=3.5,
)
TWIN = Row("two segmentors on one graph", "both answer alike, neither disturbs the other", quiet=True)

ACTS = (
    Act("sensors", (CLEAN, *CUTS, *PAIRS, ALL_GONE, *FLAPPING, *TRANSPORT, ONE_LEFT)),
    Act("messages", (LATE_INFO, *PAYLOADS, *HEADERS, *CALIBRATION)),
    Act("uncalibrated", (NO_INFO,)),
    Act("required", (REQUIRED,), required=LIDAR),
    Act("time", TIME),
    Act(
        "processes",
        PROCESSES,
        own_relay=True,
        parameters={"qos_overrides./camera/image_raw.subscription.reliability": "reliable"},
    ),
    Act("commands", COMMANDS),
    Act("engine", ENGINE, segmentor="anyseg_ros.nodes.segmentor_under_fault"),
    Act(
        "budget",
        (BUDGET,),
        segmentor="anyseg_ros.nodes.segmentor_under_fault",
        parameters={"latency_budget_ms": 200},
        simulated=False,
    ),
    Act("twins", (TWIN, *CUTS[:1]), twin=True),
    Act("live", (CLEAN, *CUTS, DELAYS[0]), simulated=False),
    Act("packets", (replace(CLEAN, name="live EventPackets (evt3)"), CUTS[2]), simulated=False, packets=True),
)
SHORT = (
    Act(
        "short",
        tuple(replace(row, fault_s=1.5, clean_s=2.2) for row in (CUTS[0], PAYLOADS[0], HEADERS[3])),
    ),
)
