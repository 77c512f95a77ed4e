# SPDX-License-Identifier: Apache-2.0
"""Plain sentences on what looks wrong, worst first, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from anyseg_ros.inspection.fit import Fit
from anyseg_ros.inspection.geometry import CloudView, Lens
from anyseg_ros.inspection.pictures import Shown
from anyseg_ros.inspection.recording import Finding, Recording
from anyseg_ros.inspection.survey import Skew, TopicFigures
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.alignment import AXES, OFF, TOLERANCE_DEG, rotation
from anyseg_ros.sensors.poses import BODY_FROM_OPTICAL
from anyseg_ros.sensors.rig import Rig

RATE_SHARE = 0.2  # a rate this far from the rig's is told
LAG_MS = 150.0  # stamps older than this on arrival make every set late
AHEAD_MS = -2.0  # stamps that lie in the future
JITTER_SHARE = 0.25
REPEATS = 2  # as many images equal to the one before are a frozen camera
CENTRE_SHARE = 0.12
ASPECT = (0.95, 1.05)
GROUND_M = 0.4
VIEW_SHARE = 0.02


@dataclass(frozen=True)
class Survey:
    """Everything that was found out about a recording.

    Attributes:
        topics, skews: from the headers; empty for files.
        lenses: by optical sensor.
        clouds: of every moment.
        fits: sensors against the camera.
        shown: pictures of every moment, with what was turned down.
    """

    topics: tuple[TopicFigures, ...] = ()
    skews: tuple[Skew, ...] = ()
    lenses: tuple[Lens, ...] = ()
    clouds: tuple[CloudView, ...] = ()
    fits: tuple[Fit, ...] = ()
    shown: tuple[Shown, ...] = ()


def findings(recording: Recording, survey: Survey) -> list[Finding]:
    """All of them, worst first."""
    found = [
        *recording.findings,
        *_missing(recording),
        *(f for figures in survey.topics for f in _topic(recording, figures)),
        *(f for skew in survey.skews for f in _skew(skew)),
        *(f for each in survey.lenses for f in _lens(recording, each)),
        *_sizes(recording),
        *_frames(recording),
        *_clouds(survey.clouds),
        *(f for fit in survey.fits for f in _fit(recording.rig, fit)),
        *_turned_down(survey.shown),
    ]
    return sorted(found, key=lambda finding: -finding.severity)


def _missing(recording: Recording) -> Iterator[Finding]:
    if not recording.headers:
        return
    for sensor in recording.rig.sensors:
        if sensor.name not in recording.matched:
            yield Finding(
                2,
                f"{sensor.name}: the recording has no topic for it ({sensor.topic or 'no topic in the rig'}).",
                f"Record it, or set topic of '{sensor.name}' in the rig file to its name.",
            )


def _topic(recording: Recording, figures: TopicFigures) -> Iterator[Finding]:
    """Rates, gaps, stamps and lags of one sensor's topic."""
    if not figures.sensor:
        return
    name, sensor = figures.sensor, recording.rig.sensor(figures.sensor)
    rate, expected = figures.rate_hz, figures.expected_hz
    if rate and expected and abs(rate / expected - 1) > RATE_SHARE:
        yield Finding(
            3 if rate < expected else 2,
            f"{name}: {rate:.1f} Hz, expected {expected:g} (rate_hz in the rig).",
            f"Set rate_hz of '{name}' to {rate:.3g} if the driver is meant to run so, else look at its rate, at the "
            "network and at the recorder (best effort loses large messages when the receive buffer is small).",
        )
    if figures.longest_gap_ms and figures.longest_gap_ms * 1e6 > sensor.stale_ns:
        yield Finding(
            2,
            f"{name}: silent for {figures.longest_gap_ms:.0f} ms from {figures.gap_at_s:.2f} s on; it counts as stale "
            f"after {sensor.stale_ns / 1e6:.0f} ms.",
            "Look for lost messages (recorder, network) or a driver that stalls; raise stale_ms if it is meant to.",
        )
    if rate and figures.jitter_ms and expected and figures.jitter_ms > JITTER_SHARE * 1e3 / expected:
        yield Finding(
            2,
            f"{name}: steps between stamps vary by {figures.jitter_ms:.1f} ms (95th percentile).",
            "Stamp at the exposure or by the sensor's clock (PTP), not on arrival in the driver.",
        )
    for count, what in ((figures.back, "run back"), (figures.duplicates, "come twice"), (figures.zero, "are 0")):
        if count:
            yield Finding(
                3,
                f"{name}: {count} of {figures.count} stamps {what}.",
                "Look at the driver's clock and at its stamping.",
            )
    yield from _lag(name, figures)
    if figures.repeats >= REPEATS and sensor.modality is Modality.CAMERA:
        yield Finding(
            3,
            f"{name}: {figures.repeats + 1} images in a row are the same.",
            "The camera or its driver hangs; from the third on, such images are rejected as frozen.",
        )


def _lag(name: str, figures: TopicFigures) -> Iterator[Finding]:
    if figures.lag_ms is None:
        return
    low, median, high = figures.lag_ms
    if median > LAG_MS:
        yield Finding(
            2,
            f"{name}: stamps are {median:.0f} ms old when the message arrives (95th percentile {high:.0f} ms).",
            "The clocks differ, or the driver is slow: synchronise the clocks (PTP, chrony), raise max_wait_ms, or set "
            "offset_ms where the stamps are wrong by a constant.",
        )
    if low < AHEAD_MS:
        yield Finding(
            2,
            f"{name}: stamps lie up to {-low:.0f} ms in the future of their arrival.",
            "The sensor's clock runs ahead of the computer's: synchronise them, or set offset_ms.",
        )


def _skew(skew: Skew) -> Iterator[Finding]:
    if skew.within < 0.9:
        yield Finding(
            2,
            f"{skew.sensor}: only {100 * skew.within:.0f} % of the pictures of {skew.reference} have a partner within "
            f"{skew.tolerance_ms:g} ms (median {skew.median_ms:+.0f} ms).",
            "See rates and gaps above; else correct offset_ms, or raise tolerance_ms.",
        )


def _lens(recording: Recording, lens: Lens) -> Iterator[Finding]:
    name = lens.sensor
    if max(abs(share) for share in lens.centre_off) > CENTRE_SHARE:
        yield Finding(
            2,
            f"{name}: the principal point lies {100 * lens.centre_off[0]:+.0f} % of the width and "
            f"{100 * lens.centre_off[1]:+.0f} % of the height from the middle of {lens.width} x {lens.height}.",
            "Plausible only for cropped images: check that K belongs to this size and this region of interest.",
        )
    if not ASPECT[0] <= lens.aspect <= ASPECT[1]:
        yield Finding(
            2,
            f"{name}: fx is {lens.aspect:.2f} times fy; pixels of cameras are square within a few percent.",
            "Images that were squeezed need a K that was squeezed, too: check size and K.",
        )
    if lens.valid_deg is not None and (lens.corner_deg is None or lens.corner_deg > lens.valid_deg):
        yield Finding(
            1,
            f"{name}: the distortion polynomial ({lens.distortion}) ends {lens.valid_deg:.0f} degrees from the axis, "
            "before the image does; beyond, no point is drawn.",
            "Calibrate with more marks near the corners, or use a model with more terms.",
        )


def _sizes(recording: Recording) -> Iterator[Finding]:
    """Messages of another size than the calibration."""
    for name, topic in recording.matched.items():
        model, headers = recording.rig.sensor(name).model, recording.headers[topic]
        wrong = {size: n for size, n in headers.sizes.items() if model and size != (model.width, model.height)}
        if not wrong or model is None:
            continue
        share = "all" if len(wrong) == len(headers.sizes) else f"{sum(wrong.values())} of {len(headers.arrival_ns)}"
        (width, height), _ = max(wrong.items(), key=lambda item: item[1])
        yield Finding(
            3,
            f"{name}: {share} messages are {width} x {height}, the calibration is for {model.width} x {model.height}.",
            f"Calibrate {width} x {height} (camera of '{name}' in the rig, or CameraInfo), or set the driver's size.",
        )


def _frames(recording: Recording) -> Iterator[Finding]:
    """Frames that TF does not know under the name that the messages use."""
    has_tf = "/tf_static" in recording.headers
    for name, topic in recording.matched.items():
        sensor = recording.rig.sensor(name)
        frames = [frame for frame in recording.headers[topic].frame_ids if frame]
        if frames and sensor.frame_id not in frames:
            yield Finding(
                2,
                f"{name}: messages name the frame '{frames[0]}', the rig says '{sensor.frame_id}'.",
                f"Set frame_id of '{name}' to '{frames[0]}', so that TF is looked up for it.",
            )
        if has_tf and f"{name}: pose from /tf_static" not in recording.notes:
            yield Finding(
                1,
                f"{name}: /tf_static does not connect '{sensor.frame_id}' to '{recording.rig.base_frame}'; the rig "
                "file's pose is used.",
                "Publish that transform, or make sure that the rig file's pose is that of this vehicle.",
            )


def _clouds(clouds: Iterable[CloudView]) -> Iterator[Finding]:
    by_sensor: dict[str, list[CloudView]] = {}
    for cloud in clouds:
        by_sensor.setdefault(cloud.sensor, []).append(cloud)
    for name, views in by_sensor.items():
        share = float(np.median([v.in_view / max(1, v.ahead) for v in views]))
        if share < VIEW_SHARE:
            yield Finding(
                3,
                f"{name}: {100 * share:.1f} % of its points ahead of the camera fall into the picture.",
                "Its pose in the rig or TF is wrong (is the camera's pose that of the optical frame?).",
            )
        heights = [v.ground_m for v in views if v.ground_m is not None]
        if heights and abs(float(np.median(heights))) > GROUND_M:
            yield Finding(
                2,
                f"{name}: the ground ahead lies {float(np.median(heights)):+.2f} m above the base frame, expected 0.",
                "The base frame is to lie on the ground: check the height and tilt of the pose.",
            )


def _fit(rig: Rig, fit: Fit) -> Iterator[Finding]:
    if fit.clock is not None and fit.clock.verdict == OFF:
        sensor = rig.sensor(fit.sensor)
        late, offset = fit.clock.late_ms, sensor.offset_ns / 1e6
        yield Finding(
            3,
            f"{fit.sensor}: its stamps run {abs(late):.0f} ms {'ahead of' if late > 0 else 'behind'} {fit.camera}'s "
            f"(+-{fit.clock.sigma_ms:.0f} ms), judged by what lies on what.",
            f"Set offset_ms of '{fit.sensor}' to {offset + late:.0f} (it is {offset:g}), or synchronise the clocks.",
        )
    if fit.alignment.verdict == OFF:
        yield Finding(3, f"{fit.sensor}: {turn_sentence(fit)}.", _correction(rig, fit))


def turn_sentence(fit: Fit) -> str:
    """By how much about which axes the calibration is off."""
    found = fit.alignment
    parts = [
        f"{name} {-turn:+.1f} (+-{sigma:.1f})"
        for name, turn, sigma, tolerance in zip(AXES, found.turn_deg, found.sigma_deg, TOLERANCE_DEG, strict=True)
        if abs(turn) > max(tolerance, 2 * sigma)
    ]
    return f"its calibration against {fit.camera} is off by about {' and '.join(parts)} degrees (camera's axes)"


def _correction(rig: Rig, fit: Fit) -> str:
    roll, pitch, yaw = corrected_rpy_deg(rig, fit)
    return (
        f"Calibrate again. Until then, rpy_deg: [{roll:.2f}, {pitch:.2f}, {yaw:.2f}] in the pose of '{fit.sensor}' "
        "fits best (position unchanged; see the pictures)."
    )


def corrected_rpy_deg(rig: Rig, fit: Fit) -> tuple[float, float, float]:
    """Roll, pitch, yaw as the rig file writes them, of the sensor turned to where it fits best."""
    base_from_plane = rig.sensor(rig.image_plane).base_from_sensor[:3, :3]
    R = base_from_plane @ rotation(fit.alignment.turn_deg) @ rig.plane_from(fit.sensor)[:3, :3]
    if rig.sensor(fit.sensor).model is not None:
        R = R @ BODY_FROM_OPTICAL[:3, :3].T
    roll, pitch = np.arctan2(R[2, 1], R[2, 2]), np.arcsin(np.clip(-R[2, 0], -1, 1))
    return float(np.degrees(roll)), float(np.degrees(pitch)), float(np.degrees(np.arctan2(R[1, 0], R[0, 0])))


def _turned_down(shown: Iterable[Shown]) -> Iterator[Finding]:
    """Payload checks; each sentence once."""
    shown = list(shown)
    for name in sorted({name for each in shown for name in each.turned_down}):
        sentences = [each.turned_down[name] for each in shown if name in each.turned_down]
        yield Finding(
            3,
            f"{name}: {len(sentences)} of {len(shown)} payloads would not reach the network: {sentences[0]}.",
            "Look at the pictures below.",
        )
