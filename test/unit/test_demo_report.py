# SPDX-License-Identifier: Apache-2.0
"""The report stands alone, and the animation shows every moment."""

import re

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the demo's pictures need Pillow (extra 'sim')")

from PIL import Image  # noqa: E402

from anyseg_ros.demo import pictures  # noqa: E402
from anyseg_ros.demo.animation import CANVAS, MAX_BYTES, draw, write_animation  # noqa: E402
from anyseg_ros.demo.due import Due, SensorRule  # noqa: E402
from anyseg_ros.demo.judge import Output, judge_drive  # noqa: E402
from anyseg_ros.demo.pictures import Moment  # noqa: E402
from anyseg_ros.demo.plan import MS, walks  # noqa: E402
from anyseg_ros.demo.report import DriveReport, write_report  # noqa: E402
from anyseg_ros.demo.summary import Judged, Machine, summarise  # noqa: E402
from anyseg_ros.labels import CITYSCAPES  # noqa: E402
from anyseg_ros.modality import Modality, parse_subset  # noqa: E402
from anyseg_ros.types import Events  # noqa: E402

SIZE = (64, 36)
START = 10_000_000_000
SENSORS = {Modality.CAMERA: "camera", Modality.LIDAR: "lidar", Modality.EVENT: "event"}


def moment(subset: str, at_ns: int, drive: str = "day") -> Moment:
    picture = np.random.default_rng(at_ns % 1000).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    live = frozenset(modality.value for modality in parse_subset(subset))
    return Moment(drive, at_ns, subset, live, 42.0, picture, picture, picture, picture, picture)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    labels = np.array([[0, 1], [10, 13]], np.uint8)
    reports, judged = [], []
    for walk in walks(0.2):
        times = range(0, walk.duration_ns, 100 * MS)
        due = [Due(START + t, "camera", walk.subset_at(t), START + t, START + t) for t in times]
        outputs = (Output(item.stamp_ns, item.arrival_ns, 80 * MS, labels) for item in due[:-1])
        verdict = judge_drive(due, outputs, lambda item: labels, len(CITYSCAPES))
        cuts = walk.cuts(SENSORS)
        samples = {item.subset: moment(item.subset, item.stamp_ns - START, walk.name) for item in due}
        reports.append(DriveReport(walk, cuts, verdict, START, tuple(samples.values())))
        judged.append(Judged(walk.name, verdict, cuts, START, 0, 0.48))
    rules = [SensorRule(name, modality, 100 * MS) for modality, name in SENSORS.items()]
    machine = Machine(8.0, 0.48, "cpu", "<b>.safetensors", {}, CITYSCAPES)
    summary = summarise(judged, rules, machine)
    film = write_animation([sample for one in reports for sample in one.samples], folder / "demo.webp")
    kinds = {modality.value: name for modality, name in SENSORS.items()}
    path = write_report(folder / "report.html", reports, summary, kinds, CITYSCAPES, film)
    return path.read_text(encoding="utf-8"), summary


def test_nothing_is_fetched_from_elsewhere(report):
    html, _ = report
    for reference in re.findall(r"""(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]*)""", html):
        assert reference.startswith("data:image/webp;base64,"), reference[:60]
    without_pictures = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|<script|<link|<iframe", without_pictures)


def test_it_tells_what_was_missed_and_shows_every_subset_by_day_and_by_night(report):
    html, summary = report
    assert f"{summary['frames_out']} of {summary['frames_due']} label images came out" in html
    assert summary["frames_due"] - summary["frames_out"] == 2
    assert html.count("class='strip'") == 14
    assert html.count("<svg") == 2
    for name in CITYSCAPES.names:
        assert name in html


def test_text_from_outside_is_escaped(report):
    html, _ = report
    assert "&lt;b&gt;.safetensors" in html and "<b>.safetensors" not in html


def test_the_animation_has_a_frame_for_each_moment(tmp_path):
    shown = [moment(subset, k * 100 * MS) for k, subset in enumerate(("CEL", "EL", "E", "C", "L", "CE", "CL"))]
    path = write_animation(shown, tmp_path / "film.webp")
    with Image.open(path) as film:
        assert film.n_frames == 7 and film.size == CANVAS
    assert path.stat().st_size < MAX_BYTES


def test_an_animation_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to animate"):
        write_animation([], tmp_path / "film.webp")


def test_a_cut_sensor_is_grey_and_carries_a_red_sign():
    live, cut = draw(moment("CEL", 0)).astype(int), draw(moment("EL", 0)).astype(int)
    camera = np.s_[70:280, 20:410]

    def red(picture):
        return ((picture[..., 0] > 200) & (picture[..., 1] < 80) & (picture[..., 2] < 80)).mean()

    assert red(cut[camera]) > red(live[camera]) + 0.02
    corner = cut[70:90, 20:60]
    assert np.abs(corner - corner.mean(axis=2, keepdims=True)).max() < 12


def test_events_are_painted_by_polarity():
    one, zero = np.ones(1, np.uint8), np.zeros(1, np.uint8)
    on = Events(np.array([1], np.uint16), np.array([0], np.uint16), np.zeros(1, np.int64), one, 4, 2)
    off = Events(np.array([2], np.uint16), np.array([1], np.uint16), np.ones(1, np.int64), zero, 4, 2)
    picture = pictures.paint_events([on, off], (4, 2))
    assert tuple(picture[0, 1]) == pictures.ON_COLOUR
    assert tuple(picture[1, 2]) == pictures.OFF_COLOUR
    assert tuple(picture[0, 0]) == pictures.NIGHT_SKY


def test_of_two_points_on_one_pixel_the_nearer_one_is_seen():
    uv, ranges = np.array([[2.0, 1.0], [2.0, 1.0], [99.0, 1.0]]), np.array([5.0, 50.0, 5.0])
    picture = pictures.paint_points(uv, ranges, (8, 8), (8, 8))
    alone = pictures.paint_points(uv[:1], ranges[:1], (8, 8), (8, 8))
    assert np.array_equal(picture, alone)
