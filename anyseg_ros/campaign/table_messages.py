# SPDX-License-Identifier: Apache-2.0
"""Rows whose messages are broken: payloads, headers, calibrations."""

from __future__ import annotations

from anyseg_ros.campaign.rows import ALL, BAD, CAMERA, GONE, LIDAR, OTHERS, one

WITHOUT = "it is left out and named; the others answer at its pace"


PAYLOADS = (
    one("frozen camera", WITHOUT, "camera", "freeze", {"camera": ("frozen",)}, without=CAMERA),
    one("black camera", WITHOUT, "camera", "black", {"camera": ("blind", "frozen")}, without=CAMERA),
    one("blocked lidar", WITHOUT, "lidar", "blocked", {"lidar": ("blind", "view", "in reach")}, without=LIDAR),
    one("empty clouds", WITHOUT, "lidar", "empty", {"lidar": ("empty", "no point", "blind")}, without=LIDAR),
    one("NaN and infinite points", "they are passed over, the other half is used", "lidar", "not_a_number"),
    one("wrong point_step", WITHOUT, "lidar", "point_step", {"lidar": BAD}, without=LIDAR),
    one("truncated cloud", WITHOUT, "lidar", "truncate", {"lidar": BAD}, without=LIDAR),
    one("truncated image", WITHOUT, "camera", "truncate", {"camera": BAD}, without=CAMERA),
    one("unknown encoding", WITHOUT, "camera", "encoding", {"camera": BAD}, to="rgb9", without=CAMERA),
    one("encoding rgb8 to bgr8", "the labels stay those of the same picture", "camera", "swap_channels", quiet=True),
    one("image size halved", WITHOUT, "camera", "resize", {"camera": BAD}, without=CAMERA),
    one("silent event camera", "the others answer without events", "event", "silent", {"event": (*GONE, *BAD)}),
    one(
        "events out of bounds",
        "they are counted, the others answer",
        "event",
        "out_of_bounds",
        {"event": (*GONE, *BAD)},
    ),
    one(
        "one event of a hundred out of bounds",
        "packets lose these events and count them; a cloud is refused, and a sentence says so",
        "event",
        "out_of_bounds",
        {"event": ("outside", "counted: events.outside")},
        share=0.01,
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
        "wrong frame id events",
        "the rig's pose is used, and a warning says so",
        "event",
        "frame_id",
        {"event": ("frame",)},
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
        unusable=ALL,
        jumps=1,
        answered=0.0,
        costs=CAMERA,  # with which no other agrees
        fault_s=5.0,
    ),
    *(
        one(
            f"stamps of camera shift {by_s:+g} s",
            "no jump yet: its stamps are followed, there and back, within six periods",
            "camera",
            "shift_stamp",
            by_s=by_s,
            unusable=ALL,
            jumps=1,
            answered=0.0,
            gap_periods=6.0,
            costs=CAMERA if by_s > 0 else (),
            fault_s=5.0,
        )
        for by_s in (-0.93, -0.43, 0.43, 0.93)  # no stamp is sent twice
    ),
)
LATE_INFO = one(
    "camera_info late", "the rig file serves until it comes", "camera_info", "cut", from_start=True, quiet=True
)
NO_INFO = one(
    "camera_info never received",
    "the rig file serves",
    "camera_info",
    "cut",
    from_start=True,
    to_the_end=True,
    quiet=True,
)
CALIBRATION = (
    one("camera_info missing", "the last one serves", "camera_info", "cut", quiet=True),
    one("camera_info changes", "followed from the next frame on", "camera_info", "recalibrate", quiet=True),
)
