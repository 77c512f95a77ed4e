# SPDX-License-Identifier: Apache-2.0
"""Counts what the presets make differently; prints the table of docs/encodings.md.

python tools/encoding_differences.py --road $ANYSEG_TEST_DATA/road_frame --events $ANYSEG_TEST_DATA/events_evt3 \
        --data data/sim --split val --every 10
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

from anyseg_training.muses import read_labels, read_measurements, read_rig, read_scenes  # noqa: E402

from anyseg_ros.bags.reader import BagReader  # noqa: E402
from anyseg_ros.bags.road_frame import load_road  # noqa: E402
from anyseg_ros.real import decode_counts, event_rig  # noqa: E402
from anyseg_ros.sensors import muses_sdk, release  # noqa: E402
from anyseg_ros.sensors.encode import Encoder  # noqa: E402
from anyseg_ros.sensors.presets import DEFAULT, PRESETS  # noqa: E402
from anyseg_ros.sensors.rig import Rig  # noqa: E402
from anyseg_ros.types import Events, Measurement, Points  # noqa: E402

NETWORK = (160, 288)
WINDOW_NS = DEFAULT.event.window_ns
Row = tuple[str, str]


def percent(part: float, whole: float) -> str:
    """Two decimals."""
    return f"{100 * part / max(whole, 1):.2f} %"


class CloudCounts:
    """Sums over clouds."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.samples: dict[str, list[np.ndarray]] = {}

    def add(self, rig: Rig, points: Points) -> None:
        """Draw one cloud in every way."""
        for name, size in (("camera size", None), ("network grid", NETWORK)):
            model = rig.sensor(rig.image_plane).model
            self._fill(rig, points, name, size or (model.height, model.width))
        self._order(rig, points)
        self._through_png(rig, points)

    def _fill(self, rig: Rig, points: Points, name: str, size: tuple[int, int]) -> None:
        stretched = replace(DEFAULT, fit="stretch")
        bare = replace(stretched, cloud=replace(DEFAULT.cloud, fill="none", max_range_m=None))
        wide = replace(PRESETS["muses_sdk"], cloud=replace(PRESETS["muses_sdk"].cloud, fill="dilate_2x2"))
        ways = {"z-buffer": bare, "default": stretched, "muses_sdk": PRESETS["muses_sdk"], "muses_sdk, dilated": wide}
        drawn = {way: encoded(rig, points, size, encoding) for way, encoding in ways.items()}
        for way, one in drawn.items():
            self._sum(f"{name}: {way}", np.count_nonzero(one.image[0]))
        self._sum(f"{name}: pixels", size[0] * size[1])
        ours, theirs = drawn["z-buffer"].pixel_index, drawn["muses_sdk"].pixel_index
        both = (ours >= 0) & (theirs >= 0)
        rows, columns = (np.divmod(index[both], size[1]) for index in (ours, theirs))
        self._keep(f"{name}: shift", np.stack([columns[1] - rows[1], columns[0] - rows[0]], 1))
        self._sum(f"{name}: other pixel", np.count_nonzero(ours[both] != theirs[both]))
        self._sum(f"{name}: in both", np.count_nonzero(both))
        self._sum(f"{name}: lost at the border", np.count_nonzero((ours >= 0) & (theirs < 0)))

    def _order(self, rig: Rig, points: Points) -> None:
        """At the camera's size: who is behind the camera, and where the last point is not the nearest."""
        model = rig.sensor(rig.image_plane).model
        size = (model.height, model.width)
        drawn = encoded(rig, points, size, PRESETS["muses_sdk"])
        pose = rig.plane_from("lidar")
        depth = np.asarray(points.xyz, np.float64) @ pose[2, :3] + pose[2, 3]
        seen = drawn.pixel_index >= 0
        self._sum("points", len(points.xyz))
        self._sum("behind", np.count_nonzero(seen & (depth <= 0)))
        for name, at in (("", size), (" on the network grid", NETWORK)):
            one = encoded(rig, points, at, PRESETS["muses_sdk"])
            chosen = (one.pixel_index >= 0) & (depth > 0)
            distance = np.linalg.norm(np.asarray(points.xyz, np.float64), axis=1)
            nearest = np.full(at[0] * at[1], np.inf)
            np.minimum.at(nearest, one.pixel_index[chosen], distance[chosen])
            filled = np.flatnonzero(np.isfinite(nearest))
            excess = one.image[0].ravel()[filled] - nearest[filled]
            self._sum(f"pixels with points in front{name}", len(filled))
            self._keep(f"farther{name}", excess[excess > 1e-3])

    def _through_png(self, rig: Rig, points: Points) -> None:
        """The range that the release can read back at a point's own place on 1024 x 1024."""
        model = rig.sensor(rig.image_plane).model
        native = encoded(rig, points, (model.height, model.width), PRESETS["muses_sdk"])
        squashed = encoded(rig, points, (1024, 1024), PRESETS["release"])
        last = np.flatnonzero(native.image[0].ravel()[np.maximum(native.pixel_index, 0)] > 0)
        last = last[native.pixel_index[last] >= 0]
        true_m = native.image[0].ravel()[native.pixel_index[last]]
        read_m = (squashed.image[2].ravel()[squashed.pixel_index[last]] + 0.5) * 256 / 150 - 100
        self._keep("png", np.abs(true_m - read_m))
        self._keep(
            "heights", np.unique(release.read_png16(muses_sdk.to_png16(native.image.transpose(1, 2, 0)))[..., 0])
        )

    def _sum(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0) + value

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.samples.setdefault(name, []).append(values)

    def rows(self) -> Iterator[Row]:
        """The table's rows."""
        sums, samples = self.sums, {name: np.concatenate(parts) for name, parts in self.samples.items()}
        for name in ("camera size", "network grid"):
            for way in ("z-buffer", "default", "muses_sdk", "muses_sdk, dilated"):
                label = {"z-buffer": "default without its filling"}.get(way, way)
                yield f"pixels filled, {name}: {label}", percent(sums[f"{name}: {way}"], sums[f"{name}: pixels"])
        yield (
            "points behind the camera that land in the image",
            (f"{sums['behind']:.0f} of {sums['points']:.0f} ({percent(sums['behind'], sums['points'])})"),
        )
        for name in ("", " on the network grid"):
            far, filled = samples[f"farther{name}"], sums[f"pixels with points in front{name}"]
            by = f", by {np.median(far):.2f} m in the median, {far.max():.1f} m at most" if len(far) else ""
            yield f"filled pixels whose last point is not the nearest{name}", percent(len(far), filled) + by
        for name in ("camera size", "network grid"):
            x, y = samples[f"{name}: shift"].mean(axis=0)
            other = percent(sums[f"{name}: other pixel"], sums[f"{name}: in both"])
            yield f"points in another pixel, {name}", f"{other}; mean shift {x:+.2f}, {y:+.2f} px"
            yield f"points lost by the strict bounds, {name}", f"{sums[f'{name}: lost at the border']:.0f}"
        error = samples["png"]
        yield (
            "release: error of the range at a point's own pixel, 1024 x 1024",
            (f"median {np.median(error):.1f} m, 90 % within {np.quantile(error, 0.9):.1f} m"),
        )
        yield "release: distinct heights", f"{len(np.unique(samples['heights'])) - 1} levels of 1.71 m"


def encoded(rig: Rig, points: Points, size: tuple[int, int], encoding):
    """The lidar's image."""
    sensor = rig.sensor("lidar")
    return Encoder(rig, *size, encoding)(Measurement("lidar", sensor.modality, 0, points), 0)


def lens_rows(rig: Rig, points: Points) -> Iterator[Row]:
    """What it costs that the SDK knows no lens, on a raw image."""
    model = rig.sensor("camera").model
    pose = rig.plane_from("lidar")
    xyz = np.asarray(points.xyz, np.float64) @ pose[:3, :3].T + pose[:3, 3]
    raw, valid = model.project(xyz)
    straight, _ = replace(model, distortion="none", D=()).project(xyz)
    inside = valid & (raw > 0).all(1) & (raw < (model.width - 1, model.height - 1)).all(1)
    moved = np.linalg.norm(raw[inside] - straight[inside], axis=1)
    yield (
        "without the lens model, points lie aside by",
        f"{np.median(moved):.1f} px in the median, {moved.max():.1f} at most",
    )


class EventCounts:
    """Sums over windows of events, at the event camera's own pixels."""

    def __init__(self) -> None:
        self.windows = self.active = self.over_10 = self.wrapped = self.most = self.lost = self.events = 0
        self.ends_ms: list[float] = []

    def add(self, events: Events, until_ns: int) -> None:
        """One window that ends at ``until_ns``."""
        window = events.between(until_ns - WINDOW_NS, until_ns)
        if not len(window):
            return
        counts = np.zeros((2, window.height, window.width), np.int64)
        np.add.at(counts, (window.p.astype(int), window.y, window.x), 1)
        self.windows += 1
        self.events += len(window)
        self.active += int((counts > 0).sum())
        self.over_10 += int((counts > DEFAULT.event.saturation).sum())
        self.wrapped += int((counts > 255).sum())
        self.lost += int((counts - counts.astype(np.uint8)).sum())
        self.most = max(self.most, int(counts.max()))
        self.ends_ms.append((until_ns - int(window.t_ns[-1])) / 1e6)

    def rows(self) -> Iterator[Row]:
        """The table's rows."""
        yield "30 ms windows of events", f"{self.windows}, {self.events / max(self.windows, 1):.0f} events each"
        yield "largest count of a pixel and polarity", str(self.most)
        yield "counts above 10, where the default saturates", percent(self.over_10, self.active)
        yield "counts above 255, where muses_sdk wraps", f"{self.wrapped} of {self.active}, {self.lost} events lost"
        yield "muses_sdk's window ends earlier by", f"{np.mean(self.ends_ms):.2f} ms in the mean"


def real_rows(road: Path, bag: Path) -> dict[str, str]:
    """Counted on the road frame, taken as undistorted, and the event recording."""
    rig, _, points = load_road(road)
    rows = dict(lens_rows(rig, points))
    model = rig.sensor("camera").model
    clouds = CloudCounts()
    clouds.add(rig.replace_calibration("camera", model=replace(model, distortion="none", D=())), points)
    figures = decode_counts(bag)
    event = event_rig(figures["width"], figures["height"])
    events = EventCounts()
    with BagReader(bag) as reader:
        parts = [m.payload for _, m in reader.measurements(event)]
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "t_ns", "p")]
    whole = Events(*joined, figures["width"], figures["height"])
    for until_ns in range(int(whole.t_ns[0]) + WINDOW_NS, int(whole.t_ns[-1]), WINDOW_NS):
        events.add(whole, until_ns)
    return rows | dict(clouds.rows()) | dict(events.rows())


def simulated_rows(root: Path, split: str, every: int) -> dict[str, str]:
    """Counted on scenes in the MUSES layout."""
    scenes = read_scenes(root, split)[::every]
    rig = read_rig(root, scenes[0])
    clouds, events, void, pixels = CloudCounts(), EventCounts(), 0, 0
    for scene in scenes:
        data = read_measurements(root, scene, rig)
        clouds.add(rig, data.measurements["lidar"].payload)
        events.add(data.measurements["event"].payload, data.reference_ns)
        labels = read_labels(root, scene)
        void, pixels = void + int((labels == 255).sum()), pixels + labels.size
    return {"scenes": str(len(scenes))} | dict(clouds.rows()) | dict(events.rows()) | {
        "unlabelled pixels that --void-as-road calls road": percent(void, pixels)
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--road", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=10)
    arguments = parser.parse_args()
    real = real_rows(arguments.road, arguments.events)
    simulated = simulated_rows(arguments.data, arguments.split, arguments.every)
    print("| | real | simulated |\n|---|---|---|")
    for name in dict.fromkeys([*real, *simulated]):
        print(f"| {name} | {real.get(name, '')} | {simulated.get(name, '')} |")


if __name__ == "__main__":
    main()
