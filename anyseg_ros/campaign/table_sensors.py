# SPDX-License-Identifier: Apache-2.0
"""Rows whose messages come late, doubled, shuffled or not at all."""

from __future__ import annotations

from anyseg_ros.campaign.rows import ALL, BAD, GONE, OTHERS, Inject, Row, one

CUTS = tuple(
    one(f"cut {sensor}", f"{OTHERS}; it is back when it returns", sensor, "cut", {sensor: GONE})
    for sensor in ("camera", "lidar", "event")
)
FLAPPING = tuple(
    one(f"flap {name} {hz:g} Hz", OTHERS, sensor, "flap", says, hz=hz, fault_s=fault_s, cause_ends_s=cause_ends_s)
    for sensor, name in (("camera", "camera"), ("lidar", "lidar"), ("event", "events"))
    for hz, fault_s, cause_ends_s, says in (
        (0.1, 10.0, 5.0, {sensor: GONE}),  # down in the first half of every cycle
        (1.0, 4.0, 3.5, {sensor: (*GONE, *BAD)}),
        (10.0, 2.5, 2.45, {}),
    )
)
PAIRS = tuple(
    Row(
        f"cut {first} and {other}",
        "the third answers alone, both are back when they return",
        (Inject(first, "cut"), Inject(other, "cut")),
        says={first: GONE, other: GONE},
        gap_periods=4.0,
    )
    for first, other in (("camera", "lidar"), ("camera", "event"), ("lidar", "event"))
)
ALL_GONE = Row(
    "cut all sensors",
    "an error says so; the first good measurement is answered",
    tuple(Inject(sensor, "cut") for sensor in ALL),
    fault_s=3.5,
    gap_periods=None,
    says={"output": ("error: ",)},
    ends_well=True,
)
DELAYS = (
    one("delay camera 300 ms", "the others answer meanwhile; it leads again, late", "camera", "delay", by_ms=300.0),
    *(
        one(
            f"delay {sensor} 300 ms",
            "the others do not wait for it, a warning names it; it is back afterwards",
            sensor,
            "delay",
            by_ms=300.0,
            late=sensor,
            costs=(sensor,),
            fault_s=5.0,
        )
        for sensor in ("lidar", "event")
    ),
)
ONE_LEFT = Row(
    "black camera, lidar 300 ms late, no events",
    "while one sensor lives there is output: the lidar answers at its pace",
    (Inject("camera", "black"), Inject("lidar", "delay", {"by_ms": 300.0}), Inject("event", "cut")),
    fault_s=6.0,
    gap_periods=20.0,
    says={"camera": ("blind", "frozen"), "event": GONE},
    costs=("camera", "event"),
    without=("camera",),
    answered=0.6,
)
TRANSPORT = (
    *DELAYS,
    one("jitter camera 0-60 ms", "nothing is lost", "camera", "jitter", by_ms=60.0),
    one("jitter lidar 0-60 ms", "nothing is lost", "lidar", "jitter", by_ms=60.0),
    one("jitter events 0-60 ms", "what was overtaken is left out", "event", "jitter", by_ms=60.0),
    one("reorder camera", "stamps of the output still rise", "camera", "reorder", answered=0.4),
    one("reorder lidar", "the nearest cloud is used", "lidar", "reorder"),
    one("reorder events", "what was overtaken is left out", "event", "reorder"),
    one("duplicate camera", "the first is kept", "camera", "duplicate", quiet=True),
    one("duplicate lidar", "the first is kept", "lidar", "duplicate", quiet=True),
    one("duplicate events", "the first is kept", "event", "duplicate", quiet=True),
)
