# SPDX-License-Identifier: Apache-2.0
"""Single files for inspection: pictures, clouds and events that belong together, with their calibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anyseg_ros.bags.road_frame import road_rig
from anyseg_ros.inspection.files import read_cloud, read_event_file, read_json, read_picture
from anyseg_ros.inspection.recording import Finding, Moment, Recording
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.calibration import CameraModel
from anyseg_ros.sensors.raw_files import read_raw
from anyseg_ros.sensors.rig import Rig, Sensor, load_rig, rig_from_muses_calib
from anyseg_ros.types import Events, FrameSet, Measurement, Points

MS = 1_000_000
KINDS = {
    ".png": Modality.CAMERA, ".jpg": Modality.CAMERA, ".jpeg": Modality.CAMERA, ".pcd": Modality.LIDAR,
    ".bin": Modality.LIDAR, ".h5": Modality.EVENT, ".raw": Modality.EVENT,
}  # fmt: skip
EVENT_HFOV_DEG = 60.0  # of an event camera without a calibration: nothing is projected across sensors then
STAMP_NS = 10**12  # of what carries no stamp; a file's events end here
WINDOW_NS = 60 * MS
MUSES_EVENT_SIZE = (1280, 720)


def read_files(paths: Sequence[Path], rig_path: Path | None, layout: str | None, count: int) -> Recording:
    """Reads files; the first picture belongs to the first cloud and the first event file, and so on.

    Args:
        paths: files, or folders of them.
        rig_path: rig file; None takes the calibration that is among the files.
        layout: of ``.bin`` clouds, see ``read_cloud``.
        count: moments at most.

    Raises:
        ValueError: nothing among them can be used.
    """
    files, findings = _sorted(paths)
    payloads: dict[Modality, list[Any]] = {modality: [] for modality in Modality}
    scale = 1.0
    for path in files["data"]:
        modality = KINDS[path.suffix.lower()]
        if len(payloads[modality]) >= count:
            continue
        try:
            if modality is Modality.CAMERA:
                payloads[modality].append(read_picture(path))
            elif modality is Modality.LIDAR:
                points, scale = read_cloud(path, layout)
                payloads[modality].append(points)
            elif path.suffix.lower() == ".h5":
                payloads[modality].append(_ending_at(read_event_file(path), STAMP_NS))
            else:
                payloads[modality] += _raw_windows(path, count)
        except (ValueError, ModuleNotFoundError) as error:
            findings.append(Finding(3, f"{path.name} is not used: {error}.", "Mend or replace the file."))
    if not any(payloads.values()):
        reasons = " ".join(finding.what for finding in findings)
        raise ValueError(f"nothing can be inspected: no picture, cloud or event file could be read. {reasons}".strip())
    rig, notes = _calibration(files["json"], rig_path, payloads, scale)
    moments = tuple(_moments(rig, payloads, findings))
    if not moments:
        raise ValueError(f"the rig '{rig.name}' has no sensor for any of the files; give --rig with one that does")
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    return Recording(name, rig, tuple(notes), moments=moments, findings=tuple(findings))


def _sorted(paths: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Finding]]:
    """Data and calibration files; what is neither becomes a finding where it was named."""
    files: dict[str, list[Path]] = defaultdict(list)
    findings = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"there is no {path}")
        for each in sorted(path.iterdir()) if path.is_dir() else [path]:
            suffix = each.suffix.lower()
            if suffix in KINDS:
                files["data"].append(each)
            elif suffix == ".json":
                files["json"].append(each)
            elif each == path:
                known = ", ".join([*KINDS, ".json", ".mcap", ".db3"])
                findings.append(Finding(1, f"{each.name} is not used: expected one of {known}."))
    return files, findings


def _calibration(
    found: list[Path], rig_path: Path | None, payloads: dict[Modality, list[Any]], scale: float
) -> tuple[Rig, list[str]]:
    """The rig, and where it comes from."""
    if rig_path is not None:
        return load_rig(rig_path), [f"calibration from {rig_path}"]
    entries: dict[str, Any] = {}
    for path in found:
        data = read_json(path)
        if isinstance(data, dict) and {"intrinsics", "extrinsics"} <= data.keys():
            return _muses_rig(data, payloads), [f"calibration from {path.name}"]
        for entry in data.values() if isinstance(data, dict) else ():
            param = entry.get("param", {}) if isinstance(entry, dict) else {}
            if "cam_K" in param:
                entries["intrinsic"] = param
            elif "sensor_calib" in param:
                entries["extrinsic"] = param
    if len(entries) == 2 and payloads[Modality.LIDAR]:
        rig = road_rig(entries["intrinsic"], entries["extrinsic"], payloads[Modality.LIDAR][0])
        return _with_scale(rig, scale), [f"calibration from {' and '.join(path.name for path in found)}"]
    return _uncalibrated(payloads)


def _muses_rig(calib: dict[str, Any], payloads: dict[Modality, list[Any]]) -> Rig:
    """The rig of a calib.json, for pictures of the size at hand."""
    pictures, events = payloads[Modality.CAMERA], payloads[Modality.EVENT]
    sizes: dict[str, Any] = {}
    if pictures:
        sizes["camera_size"] = (pictures[0].shape[1], pictures[0].shape[0])
    if events:
        sizes["event_size"] = _event_size(calib)
    return _with_scale(rig_from_muses_calib(calib, **sizes), 1 / 255.0)


def _event_size(calib: dict[str, Any]) -> tuple[int, int]:
    """Size of the event sensor: MUSES' own, or twice the principal point where that is of a smaller one."""
    try:
        K = np.asarray(calib["intrinsics"]["event"]["K"], np.float64)
        width, height = round(2 * float(K[0, 2]) + 1), round(2 * float(K[1, 2]) + 1)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"calib.json has no intrinsics.event.K ({error}), which the event file needs") from error
    return MUSES_EVENT_SIZE if width > 0.75 * MUSES_EVENT_SIZE[0] else (width, height)


def _with_scale(rig: Rig, scale: float) -> Rig:
    sensors = (replace(s, intensity_scale=scale) if s.modality is Modality.LIDAR else s for s in rig.sensors)
    return replace(rig, sensors=tuple(sensors))


def _uncalibrated(payloads: dict[Modality, list[Any]]) -> tuple[Rig, list[str]]:
    """A rig of one sensor that is its own image plane, for files of one kind without calibration.

    Raises:
        ValueError: several sensors need a calibration, and there is none.
    """
    kinds = [modality for modality in Modality if payloads[modality]]
    if kinds == [Modality.LIDAR] or len(kinds) > 1:
        names = " and ".join(modality.value for modality in kinds)
        raise ValueError(
            f"files of {names} came without calibration: give --rig, a calib.json (MUSES), or the two JSON files of "
            "SensorsCalibration"
        )
    first = payloads[kinds[0]][0]
    size = (first.width, first.height) if isinstance(first, Events) else (first.shape[1], first.shape[0])
    model = CameraModel.pinhole(size[0], size[1], EVENT_HFOV_DEG)
    sensor = Sensor(kinds[0].value, kinds[0], f"{kinds[0].value}_optical_frame", np.eye(4), model=model)
    note = f"no calibration: a field of view of {EVENT_HFOV_DEG:g} degrees is assumed, and nothing is projected"
    return Rig("uncalibrated", "base_link", (sensor,), sensor.name), [note]


def _raw_windows(path: Path, count: int) -> list[Events]:
    """Windows of a RAW file, spread over it; each ends at ``STAMP_NS``."""
    spans = [(int(chunk.t_ns[0]), int(chunk.t_ns[-1])) for chunk in read_raw(path).chunks]
    if not spans:
        raise ValueError(f"{path} holds no event")
    first_ns, last_ns = spans[0][0], spans[-1][1]
    ends = [first_ns + (last_ns - first_ns) * k // count for k in range(1, count + 1)]
    windows: list[list[Events]] = [[] for _ in ends]
    for chunk in read_raw(path).chunks:
        for k, end_ns in enumerate(ends):
            part = chunk.between(end_ns - WINDOW_NS, end_ns)
            if len(part):
                windows[k].append(part)
    return [_ending_at(_join(parts), STAMP_NS, end) for parts, end in zip(windows, ends, strict=True) if parts]


def _join(parts: list[Events]) -> Events:
    x, y, t_ns, p = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "t_ns", "p"))
    return Events(x, y, t_ns, p, parts[0].width, parts[0].height)


def _ending_at(events: Events, stamp_ns: int, end_ns: int | None = None) -> Events:
    """The events with their times moved so that ``end_ns`` (default: the last event) becomes ``stamp_ns``."""
    if end_ns is None:
        end_ns = int(events.t_ns[-1]) if len(events) else stamp_ns
    return replace(events, t_ns=events.t_ns - end_ns + stamp_ns)


def _moments(rig: Rig, payloads: dict[Modality, list[Any]], findings: list[Finding]) -> Iterator[Moment]:
    """Frame sets by rank; stamps are the same for all, as nothing says otherwise."""
    sensors = {sensor.modality: sensor for sensor in reversed(rig.sensors)}
    for modality, found in payloads.items():
        if found and modality not in sensors:
            findings.append(
                Finding(
                    2, f"rig '{rig.name}' has no {modality.value}: {len(found)} files are not used.", "Give its rig."
                )
            )
    most = max(len(found) for modality, found in payloads.items() if modality in sensors) if sensors else 0
    for k in range(most):
        present = {}
        for modality, sensor in sensors.items():
            if k < len(payloads[modality]):
                present[sensor.name] = _measurement(sensor, payloads[modality][k])
        reference = next((s.name for s in rig.sensors if s.name in present), None)
        if reference is not None:
            yield Moment(FrameSet(present[reference].stamp_ns, reference, present))


def _measurement(sensor: Sensor, payload: np.ndarray | Points | Events) -> Measurement:
    stamp_ns = STAMP_NS + sensor.offset_ns
    if isinstance(payload, Events):
        model = sensor.model
        assert model is not None  # Sensor refuses an event sensor without a model
        if payload.x.size and (payload.x.max() < model.width and payload.y.max() < model.height):
            payload = replace(payload, width=model.width, height=model.height)
        payload = replace(payload, t_ns=payload.t_ns + sensor.offset_ns)
        return Measurement(sensor.name, sensor.modality, stamp_ns, payload, sensor.frame_id, stamp_ns - WINDOW_NS)
    return Measurement(sensor.name, sensor.modality, stamp_ns, payload, sensor.frame_id)
