# SPDX-License-Identifier: Apache-2.0
"""The table of the campaign, act by act."""

from __future__ import annotations

from dataclasses import replace

from anyseg_ros.campaign.rows import Act, Action, Row, one

GONE = ("stale", "lost")
BAD = ("degraded", "not used", "rejected")
ANEW = "all starts over, the next good measurement is answered"
OTHERS = "the other sensors answer, the reference changes if it was this one"
WITHOUT = "it is left out and named; the others answer at its pace"

CUTS = tuple(
    one(f"cut {sensor}", f"{OTHERS}; it is back when it returns", sensor, "cut", {sensor: GONE})
    for sensor in ("camera", "lidar", "event")
)
FLAPPING = (
    one("flap camera 0.1 Hz", OTHERS, "camera", "flap", {"camera": GONE}, hz=0.1, fault_s=10.0),
    one("flap camera 1 Hz", OTHERS, "camera", "flap", {"camera": (*GONE, *BAD)}, hz=1.0, fault_s=4.0),
    one("flap camera 10 Hz", OTHERS, "camera", "flap", hz=10.0),
    one("flap lidar 1 Hz", OTHERS, "lidar", "flap", {"lidar": (*GONE, *BAD)}, hz=1.0, fault_s=4.0),
    one("flap events 1 Hz", OTHERS, "event", "flap", {"event": (*GONE, *BAD)}, hz=1.0, fault_s=4.0),
)
TRANSPORT = (
    *(
        one(
            f"delay {sensor} 300 ms",
            "the others do not wait for it for ever; it is back afterwards",
            sensor,
            "delay",
            by_ms=300.0,
        )
        for sensor in ("camera", "lidar", "event")
    ),
    one("jitter camera 0-60 ms", "nothing is lost", "camera", "jitter", by_ms=60.0),
    one("jitter lidar 0-60 ms", "nothing is lost", "lidar", "jitter", by_ms=60.0),
    one("reorder camera", "stamps of the output still rise", "camera", "reorder", answered=0.4),
    one("reorder lidar", "the nearest cloud is used", "lidar", "reorder"),
    one("reorder events", "what was overtaken is left out", "event", "reorder"),
    one("duplicate camera", "the first is kept", "camera", "duplicate", quiet=True),
    one("duplicate lidar", "the first is kept", "lidar", "duplicate", quiet=True),
    one("duplicate events", "the first is kept", "event", "duplicate", quiet=True),
)
PAYLOADS = (
    one("frozen camera", WITHOUT, "camera", "freeze", {"camera": ("frozen",)}),
    one("black camera", WITHOUT, "camera", "black", {"camera": ("blind", "black")}),
    one("blocked lidar", WITHOUT, "lidar", "blocked", {"lidar": ("blind", "view", "in reach")}),
    one("empty clouds", WITHOUT, "lidar", "empty", {"lidar": ("empty", "no point", "blind")}),
    one("NaN and infinite points", "they are passed over, the other half is used", "lidar", "not_a_number"),
    one("wrong point_step", WITHOUT, "lidar", "point_step", {"lidar": BAD}),
    one("truncated cloud", WITHOUT, "lidar", "truncate", {"lidar": BAD}),
    one("truncated image", WITHOUT, "camera", "truncate", {"camera": BAD}),
    one("unknown encoding", WITHOUT, "camera", "encoding", {"camera": BAD}, to="rgb9"),
    one("encoding rgb8 to bgr8", "the labels stay those of the same picture", "camera", "swap_channels", quiet=True),
    one("image size halved", WITHOUT, "camera", "resize", {"camera": BAD}),
    one("silent event camera", "the others answer without events", "event", "silent", {"event": (*GONE, *BAD)}),
    one(
        "events out of bounds",
        "they are counted, the others answer",
        "event",
        "out_of_bounds",
        {"event": (*GONE, *BAD)},
    ),
    one(
        "torn event packets",
        "what is whole is used or all of it left out",
        "event",
        "truncate",
        {"event": (*GONE, *BAD)},
    ),
)
HEADERS = (
    one(
        "wrong frame id camera",
        "the rig's pose is used, and a warning says so",
        "camera",
        "frame_id",
        {"camera": ("frame",)},
    ),
    one(
        "wrong frame id lidar",
        "the rig's pose is used, and a warning says so",
        "lidar",
        "frame_id",
        {"lidar": ("frame",)},
    ),
    one(
        "zero stamps camera",
        f"they are rejected; {OTHERS}",
        "camera",
        "zero_stamp",
        {"camera": (*GONE, *BAD)},
        unusable=("camera",),
    ),
    one("zero stamps lidar", "they are rejected", "lidar", "zero_stamp", {"lidar": (*GONE, *BAD)}, unusable=("lidar",)),
    one(
        "stamps of lidar leap 10 s",
        "it is left out until its stamps fit",
        "lidar",
        "shift_stamp",
        {"lidar": (*GONE, *BAD)},
        by_s=10.0,
        unusable=("lidar",),
    ),
    one(
        "stamps of camera leap 10 s",
        "the reference's time is followed, there and back",
        "camera",
        "shift_stamp",
        by_s=10.0,
        unusable=("camera", "lidar", "event"),
        jumps=1,
        answered=0.0,
    ),
)
LATE_INFO = one(
    "camera_info late", "the rig file serves until it comes", "camera_info", "cut", from_start=True, quiet=True
)
CALIBRATION = (
    one("camera_info missing", "the last one serves", "camera_info", "cut", quiet=True),
    one("camera_info changes", "followed from the next frame on", "camera_info", "recalibrate", quiet=True),
)
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
        fault_s=5.0,
        says={"camera": GONE},
    ),
    Row(
        "incompatible QoS",
        "named as such; the others answer",
        actions=(
            Action(0.0, "stop", "camera"),
            Action(0.5, "start", "camera unreliable"),
            Action(4.0, "stop", "camera"),
            Action(4.5, "start", "camera"),
        ),
        fault_s=7.0,
        says={"camera": ("incompatible",)},
    ),
)
COMMANDS = (
    Row(
        "parameter switches the lidar off",
        "disabled is no fault, and it is back when switched on",
        actions=(Action(0.0, "set", "sensors.lidar.enabled=false"), Action(2.5, "set", "sensors.lidar.enabled=true")),
        says={"lidar": ("disabled",)},
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
        answered=0.0,
    ),
    Row(
        "inference raises",
        "an error says so; back with the next frame",
        actions=(Action(0.0, "engine", "raise"), Action(3.0, "engine", "well")),
        fault_s=3.0,
        gap_periods=None,
        says={"output": ("fail",)},
        answered=0.0,
    ),
    Row(
        "inference out of memory",
        "an error says so; back with the next frame",
        actions=(Action(0.0, "engine", "memory"), Action(3.0, "engine", "well")),
        fault_s=3.0,
        gap_periods=None,
        says={"output": ("fail",)},
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
    answered=0.0,
    ends_well=True,
)
CLEAN = Row("nothing (baseline)", "every due frame is answered, nothing is complained of", quiet=True, answered=0.99)
TWIN = Row("two segmentors on one graph", "both answer alike, neither disturbs the other", quiet=True)

ACTS = (
    Act("sensors", (CLEAN, *CUTS, *FLAPPING, *TRANSPORT)),
    Act("messages", (LATE_INFO, *PAYLOADS, *HEADERS, *CALIBRATION)),
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
    Act("live", (CLEAN, *CUTS, TRANSPORT[0]), simulated=False),
)
SHORT = (
    Act(
        "short",
        tuple(replace(row, fault_s=1.5, clean_s=2.2) for row in (CUTS[0], PAYLOADS[0], HEADERS[2])),
    ),
)
