# SPDX-License-Identifier: Apache-2.0
"""``anyseg inspect`` on bags with known faults, on files, and on what cannot be used."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_kit import small_rig, tiny_checkpoint, write_bag
from box_world import picture, street_rig, sweep, write_street

from anyseg_ros.cli import main
from anyseg_ros.inspection.bag_source import choose
from anyseg_ros.inspection.files import read_cloud
from anyseg_ros.inspection.pictures import draw_cloud
from anyseg_ros.inspection.survey import Headers, skews, topic_figures
from anyseg_ros.modality import Modality
from anyseg_ros.sensors.rig import Sensor, save_rig

MS = 1_000_000
ROAD = Path(os.environ.get("ANYSEG_TEST_DATA", "")) / "road_frame"
needs_road = pytest.mark.skipif(
    not (os.environ.get("ANYSEG_TEST_DATA") and ROAD.is_dir()),
    reason="the real road frame is not here: set ANYSEG_TEST_DATA to the folder that holds road_frame",
)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A rig file, a small network, and where to write."""
    folder = tmp_path_factory.mktemp("inspect")
    tiny_checkpoint(folder / "tiny.safetensors")
    save_rig(street_rig(), folder / "street.yaml")
    save_rig(small_rig(), folder / "small.yaml")
    return folder


def inspected(kit, *paths, rig="street.yaml", **options):
    """Runs the command; the figures that it wrote."""
    out = kit / "out"
    arguments = [str(path) for path in paths] + ["--out", str(out), "--checkpoint", str(kit / "tiny.safetensors")]
    arguments += ["--rig", str(kit / rig)] if rig else []
    arguments += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    assert main(["inspect", *arguments]) == 0
    figures = json.loads((out / "inspect.json").read_text(encoding="utf-8"))
    page = (out / "index.html").read_text(encoding="utf-8")
    for finding in figures["findings"]:
        assert finding["what"].split(":")[0] in page
    for moment in figures["moments"]:
        for name in moment["pictures"]:
            assert cv2.imread(str(out / name)) is not None
    return figures


def sentences(figures):
    return " ".join(f"{f['what']} {f['do']}" for f in figures["findings"])


def test_nothing_is_wrong_with_a_sound_recording(kit, capsys):
    figures = inspected(kit, write_street(kit / "sound"))
    assert figures["findings"] == []
    fit = figures["fits"]["lidar"]
    assert fit["alignment"]["verdict"] == "good" and fit["clock"]["verdict"] == "good"
    lidar = next(t for t in figures["topics"] if t["sensor"] == "lidar")
    assert lidar["count"] == 12 and lidar["rate_hz"] == pytest.approx(10) and lidar["lag_ms"][1] == pytest.approx(60)
    assert figures["skews"][0]["median_ms"] == pytest.approx(30)
    assert all(cloud["ground_m"] == pytest.approx(0, abs=0.05) for cloud in figures["clouds"])
    out = capsys.readouterr().out
    assert "Nothing looks wrong." in out and "pose from /tf_static" in out and "10.0 Hz  /lidar/points" in out


def test_a_wrong_pose_is_found_and_a_better_one_named(kit):
    figures = inspected(kit, write_street(kit / "turned", turn_deg=(0.0, 0.0, 1.5)))
    found = figures["fits"]["lidar"]["alignment"]
    assert found["verdict"] == "off" and found["turn_deg"][2] == pytest.approx(-1.5, abs=0.4)
    assert figures["fits"]["lidar"]["rpy_deg_that_fits_best"] == pytest.approx([0, 0, 0], abs=0.5)
    said = sentences(figures)
    assert "off by about" in said and "yaw +1." in said and "rpy_deg: [" in said
    assert (kit / "out" / "edges_lidar_turned.png").exists()


def test_a_wrong_clock_is_found_and_the_offset_named(kit):
    figures = inspected(kit, write_street(kit / "late", lidar_late_ms=60))
    clock = figures["fits"]["lidar"]["clock"]
    assert clock["verdict"] == "off" and clock["late_ms"] == pytest.approx(60, abs=20)
    assert re.search(r"ahead of camera's .* Set offset_ms of 'lidar' to [4-8]\d", sentences(figures))


def test_a_slow_sensor_and_a_foreign_camera_info_are_told(kit):
    figures = inspected(kit, write_street(kit / "slow", lidar_every=3, info_size=(800, 450)), moments=2)
    said = sentences(figures)
    assert "lidar: 3.3 Hz, expected 10" in said and "rate_hz" in said
    assert "/camera/camera_info is for 800 x 450, the messages on /camera/image_raw are 400 x 225" in said
    assert "camera: all messages are 400 x 225, the calibration is for 800 x 450" in said
    assert "payloads would not reach the network" in said
    severities = [finding["severity"] for finding in figures["findings"]]
    assert severities == sorted(severities, reverse=True)


def test_events_and_random_input_are_read_and_nothing_is_claimed(kit):
    figures = inspected(kit, write_bag(kit / "random", seconds=1.5, truth=False), rig="small.yaml")
    assert figures["fits"]["event"]["alignment"]["verdict"] != "good"
    assert figures["fits"]["lidar"]["alignment"]["verdict"] == "cannot tell"
    assert {"00_event.png", "00_lidar.png"} <= set(figures["moments"][0]["pictures"])


def test_a_sensor_without_a_topic_is_told(kit):
    rig = street_rig()
    extra = Sensor("rear", Modality.LIDAR, "rear", np.eye(4), topic="/rear/points")
    save_rig(type(rig)(rig.name, rig.base_frame, (*rig.sensors, extra), rig.image_plane), kit / "rear.yaml")
    figures = inspected(kit, write_street(kit / "no_rear", seconds=0.4), rig="rear.yaml", moments=1)
    assert "rear: the recording has no topic for it (/rear/points)" in sentences(figures)
    assert figures["fits"]["lidar"]["clock"]["verdict"] == "cannot tell"


def test_files_with_a_rig(kit):
    cv2.imwrite(str(kit / "a.png"), picture(0.5)[..., ::-1])
    points = sweep(0.5)
    table = np.column_stack([points.xyz, points.intensity]).astype("<f4")
    (kit / "a.bin").write_bytes(table.tobytes())
    (kit / "broken.png").write_bytes(b"not a picture")
    figures = inspected(kit, kit / "a.png", kit / "a.bin", kit / "broken.png", layout="kitti")
    assert "broken.png is not used: cannot read the picture" in sentences(figures)
    assert figures["clouds"][0]["points"] == len(points)
    assert figures["fits"]["lidar"]["clock"] is None and figures["topics"] == []


@pytest.mark.parametrize(
    "name, content, what",
    [
        ("notes.txt", b"hello", "no picture, cloud or event file"),
        ("cut.pcd", b"# .PCD v0.7\n", "is no PCD file"),
        ("odd.bin", b"\x00" * 7, "fits none of muses, nuscenes, kitti"),
        ("none.raw", b"\x00\x01", "is no RAW file"),
        ("only.bin", np.tile(np.float32([5, 1, -1, 0.5]), 64).tobytes(), "without calibration|fits"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(kit, capsys, name, content, what):
    (kit / name).write_bytes(content)
    assert main(["inspect", str(kit / name), "--out", str(kit / "never")]) == 2
    assert re.search(what, capsys.readouterr().err)
    assert not (kit / "never").exists()


def test_paths_that_are_not_there_or_too_many(kit, capsys):
    assert main(["inspect", str(kit / "nowhere")]) == 2
    assert "there is no" in capsys.readouterr().err
    write_street(kit / "alone", seconds=0.2)
    assert main(["inspect", str(kit / "alone"), str(kit / "alone")]) == 2
    assert "one at a time" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["muses", "kitti", "nuscenes"])
def test_the_layout_of_a_cloud_is_recognised(tmp_path, layout):
    points = sweep(0.5)
    columns = {
        "muses": ([points.xyz, points.intensity * 255, points.ring, np.full(len(points), 1.7e9)], "<f8"),
        "nuscenes": ([points.xyz, points.intensity * 255, points.ring], "<f4"),
        "kitti": ([points.xyz, points.intensity], "<f4"),
    }[layout]
    path = tmp_path / "a.bin"
    path.write_bytes(np.column_stack(columns[0]).astype(columns[1]).tobytes())
    read, scale = read_cloud(path, layout)
    assert np.allclose(read.xyz, points.xyz) and np.allclose(read.intensity * scale, points.intensity, atol=1e-6)
    try:
        guessed, _ = read_cloud(path)
        assert np.allclose(guessed.xyz, points.xyz)
    except ValueError as error:
        assert "--layout" in str(error)


def headers_of(stamps_ms, arrivals_ms=None):
    headers = Headers("/t", "sensor_msgs/msg/Image")
    for stamp, arrival in zip(stamps_ms, arrivals_ms or stamps_ms, strict=True):
        headers.stamp_ns.append(int(stamp * MS))
        headers.arrival_ns.append(int(arrival * MS))
    return headers


def test_figures_of_a_topic_by_hand():
    sensor = street_rig().sensor("lidar")
    stamps = [1000, 1100, 1200, 1200, 1150, 1300, 2000, 2100]
    figures = topic_figures(headers_of(stamps, [s + 20 for s in range(1000, 1800, 100)]), sensor, 1000 * MS)
    assert (figures.back, figures.duplicates, figures.zero) == (1, 1, 0)
    assert figures.rate_hz == pytest.approx(10) and figures.expected_hz == pytest.approx(10)
    silent = topic_figures(headers_of([0, 100, 200, 900, 1000]), sensor, 0)
    assert silent.longest_gap_ms == 700 and silent.gap_at_s == pytest.approx(0.2) and silent.zero == 1
    assert silent.alive == ((0.0, pytest.approx(0.3)), (0.9, pytest.approx(1.1)))
    assert topic_figures(headers_of([]), sensor, 0).count == 0
    assert topic_figures(headers_of([5]), sensor, 0).rate_hz is None


def test_skews_by_hand():
    rig = small_rig()  # the lidar's clock runs 4 ms behind
    camera = np.arange(0, 1000, 100) * MS
    lidar = camera[::2] + 26 * MS
    found = skews(rig, {"camera": camera, "lidar": lidar, "event": camera})
    assert [s.sensor for s in found] == ["lidar"]
    assert found[0].within == 1.0 and sum(found[0].histogram) == 10
    assert found[0].high_ms == pytest.approx(30) and found[0].low_ms == pytest.approx(-70)
    assert skews(rig, {"camera": camera}) == []


def test_moments_are_spread_and_complete():
    rig = street_rig()
    camera = np.arange(0, 20_000, 100) * MS
    lidar = camera[100:]  # silent for the first half
    times = choose(rig, {"camera": camera, "lidar": lidar}, 4)
    assert len(times) == 4 and min(times) >= 9_900 * MS and np.diff(times).min() > 1_500 * MS
    assert choose(rig, {"camera": camera[:2], "lidar": lidar}, 6) == [0, 100 * MS]
    assert choose(rig, {}, 3) == []


def test_near_points_are_drawn_over_far_ones():
    image = np.full((640, 960, 3), 200, np.uint8)
    drawn = draw_cloud(image, np.array([[150.0, 50.0], [150.0, 50.0]]), np.array([2.0, 55.0]))
    assert drawn[50, 150, 0] > drawn[50, 150, 2], "red, near"
    assert drawn[0, 0].tolist() == [120, 120, 120]


@needs_road
def test_the_real_road_frame_is_calibrated_well(kit, capsys):
    figures = inspected(kit, ROAD, rig=None)
    assert figures["findings"] == []
    assert figures["fits"]["lidar"]["alignment"]["verdict"] == "good"
    assert figures["clouds"][0]["points"] == 85546 and 10_400 < figures["clouds"][0]["in_view"] < 10_600
    assert "lidar on camera: good" in capsys.readouterr().out


@needs_road
@pytest.mark.parametrize("axis", [0, 1, 2], ids=["roll", "pitch", "yaw"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_degree_on_the_real_road_frame_is_found(axis, sign):
    from anyseg_ros.bags.road_frame import load_road
    from anyseg_ros.sensors.alignment import make_view, rotation, search
    from anyseg_ros.sensors.edges import cloud_edges

    rig, image, points = load_road(ROAD)
    turn = sign * np.eye(3)[axis]
    pose = np.eye(4)
    pose[:3, :3] = rotation(turn)
    found = search([make_view(cloud_edges(points), pose @ rig.plane_from("lidar"), image, rig.sensor("camera").model)])
    assert found.verdict == "off" and np.abs(found.turn_deg + turn).max() < 0.3
