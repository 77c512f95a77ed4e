# SPDX-License-Identifier: Apache-2.0
"""The simulated sensors on a world whose answers are known on paper."""

import numpy as np
import pytest
from standin_world import SKY, WALL, StandInSurfaces, StandInWorld

from anyseg_ros.simulation import camera, events, lidar
from anyseg_ros.simulation.drive import MS, START_NS, Drive, DriveConfig
from anyseg_ros.simulation.light import sample_light
from anyseg_ros.simulation.weather import Weather, draw_drops, sample_weather

CLEAR = Weather("clear", 0.0, 0.0)


def drive(seed=5, duration_s=0.3, speed_mps=8.0, wall_x_m=30.0, **config) -> Drive:
    return Drive(
        DriveConfig(seed, duration_s, **config), world=StandInWorld(wall_x_m, speed_mps), surfaces=StandInSurfaces
    )


def crossings_reference(before, after, memory, last_us, on, off, t0, t1, refractory_us, limit):
    """The loop of ``events._crossings`` in plain Python, one pixel at a time."""
    found = []
    for (row, col), a in np.ndenumerate(before):
        b, fired = after[row, col], 0
        rising = b > a
        while fired < limit and a != b:
            level = memory[row, col] + (on[row, col] if rising else -off[row, col])
            if (level > b) if rising else (level < b):
                break
            share = min(max((level - a) / (b - a), 0.0), 1.0)
            when = t0 + max(int(share * (t1 - t0) + 0.5), 1)
            memory[row, col] = level
            fired += 1
            if when - last_us[row, col] >= refractory_us:
                last_us[row, col] = when
                found.append((col, row, when, int(rising)))
    return found


def test_crossings_equal_the_plain_loop():
    rng = np.random.default_rng(0)
    shape = (7, 9)
    before, after = rng.normal(0, 0.5, (2, *shape)).astype(np.float32)
    memory = (before + rng.uniform(-0.15, 0.15, shape)).astype(np.float32)
    on, off = rng.uniform(0.15, 0.25, (2, *shape)).astype(np.float32)
    last = np.zeros(shape, np.int64)
    state = memory.copy(), last.copy()
    x, y, t, p = (np.empty(2000, kind) for kind in (np.uint16, np.uint16, np.int64, np.uint8))
    count = events._crossings(before, after, memory, last, on, off, 50_000, 60_000, 500, 24, x, y, t, p)
    expected = crossings_reference(before, after, *state, on, off, 50_000, 60_000, 500, 24)
    assert count == len(expected) > 50
    found = list(zip(x[:count].tolist(), y[:count].tolist(), t[:count].tolist(), p[:count].tolist(), strict=True))
    assert [f[:2] + f[3:] for f in found] == [e[:2] + e[3:] for e in expected]
    np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], atol=1)
    np.testing.assert_array_equal(memory, state[0])


@pytest.mark.parametrize(("change", "polarity"), [(1.0, 1), (-1.0, 0)])
def test_polarity_follows_brightness(change, polarity):
    flat = np.zeros((4, 6), np.float32)
    pixels = events.EventPixels(np.full((4, 6), 0.2, np.float32), np.full((4, 6), 0.2, np.float32), 0.0, False)
    simulator = events.EventSimulator(pixels, flat, 0, np.random.default_rng(1))
    x, y, t, p = simulator.step(flat + np.float32(change), 10_000, np.random.default_rng(2))
    assert set(p.tolist()) == {polarity}
    per_pixel = np.bincount(y.astype(int) * 6 + x, minlength=24)
    assert set(per_pixel.tolist()) <= {5, 6, 4}  # a change of five thresholds
    assert np.all(np.diff(t) >= 0) and t.min() > 0 and t.max() <= 10_000


def test_event_times_lie_on_the_line_between_sub_frames():
    pixels = events.EventPixels(np.full((1, 1), 0.25, np.float32), np.full((1, 1), 0.25, np.float32), 0.0, False)
    simulator = events.EventSimulator(pixels, np.zeros((1, 1), np.float32), 0, np.random.default_rng(1))
    simulator._memory[:] = 0.0
    _, _, t, _ = simulator.step(np.ones((1, 1), np.float32), 10_000, np.random.default_rng(2))
    np.testing.assert_array_equal(t, [2500, 5000, 7500, 10_000])


def test_nothing_changes_nothing_fires():
    still = drive(speed_mps=0.0, duration_s=0.1)
    threshold = np.full((180, 320), 0.2, np.float32)
    still.instruments.event_pixels = lambda name: events.EventPixels(threshold, threshold, 0.0, False)
    assert len(still.sample(50 * MS).measurements["event"].payload) == 0


def test_coarse_events_come_in_blocks():
    rng = np.random.default_rng(3)
    pixels = events.EventPixels.sample(rng, 8, 10, night=False, coarse=True)
    simulator = events.EventSimulator(pixels, np.zeros((8, 10), np.float32), 0, rng)
    log = rng.normal(0, 1, (8, 10)).astype(np.float32)
    pixels.__dict__["noise_hz"] = 0.0
    x, y, _, _ = simulator.step(log, 10_000, rng)
    counts = np.bincount(y.astype(int) * 10 + x, minlength=80).reshape(8, 10)
    np.testing.assert_array_equal(counts[::2], counts[1::2])
    np.testing.assert_array_equal(counts[:, ::2], counts[:, 1::2])
    assert counts.any()
    with pytest.raises(ValueError, match="blocks of 2 x 2, but the event camera has 10 x 9 pixels"):
        events.EventPixels.sample(rng, 9, 10, night=False, coarse=True)


def test_lidar_measures_the_wall():
    points = drive(speed_mps=0.0).sample(0).measurements["lidar"].payload
    on_wall = points.xyz[:, 2] > -1.5  # the lidar looks from 1.9 m above the ground
    x = points.xyz[on_wall & (points.ring < 20), 0]
    assert len(x) > 5000
    assert abs(np.median(x) - (30.0 - 1.4)) < 0.01
    assert 0.01 < x.std() < 0.03
    low = points.xyz[points.ring == 63]
    np.testing.assert_allclose(low[:, 2], -1.9, atol=0.05)


def test_lidar_sweeps_while_the_vehicle_moves():
    points = drive(speed_mps=20.0, duration_s=1.0).sample(500 * MS).measurements["lidar"].payload
    assert points.t_ns.min() >= -50 * MS and points.t_ns.max() <= 50 * MS
    assert np.all(np.diff(points.t_ns) >= 0)
    wall = points.ring < 15
    early, late = wall & (points.t_ns < -40 * MS), wall & (points.t_ns > 40 * MS)
    # 90 ms at 20 m/s between the first tenth and the last.
    assert abs((np.median(points.xyz[early, 0]) - np.median(points.xyz[late, 0])) - 1.8) < 0.05
    assert np.median(points.xyz[early, 1]) > 10 > -10 > np.median(points.xyz[late, 1])  # left to right


def sweep_at(range_m: float, weather: Weather, jitter: bool = False):
    pattern = lidar.sweep_pattern(100 * MS)
    count = lidar.COLUMNS * lidar.RINGS
    returns = lidar.Returns(*(np.full(count, value, np.float32) for value in (range_m, 0.9, 0.3)))
    return lidar.measure(returns, pattern, weather, 100.0, 1 / 255, jitter, np.random.default_rng(0))


def test_fog_shortens_the_lidar():
    fog = Weather("fog", 0.05, 0.04)
    clear_far, fog_far, fog_near = (len(sweep_at(*case)) for case in ((60, CLEAR), (60, fog), (10, fog)))
    everything = lidar.COLUMNS * lidar.RINGS
    assert clear_far > 0.95 * everything and fog_near > 0.95 * everything
    assert fog_far < 0.3 * everything
    assert sweep_at(20, fog).intensity.mean() < sweep_at(20, CLEAR).intensity.mean()


def test_snow_puts_clutter_near_the_lidar():
    ranges = np.linalg.norm(sweep_at(40.0, Weather("snow", 0.01, 0.01, backscatter=0.05)).xyz, axis=1)
    share = np.mean(ranges < 30)
    assert 0.03 < share < 0.07
    assert np.all(np.linalg.norm(sweep_at(40.0, CLEAR).xyz, axis=1) > 39)


def test_jitter_roughens_the_lidar():
    steady, shaken = (np.linalg.norm(sweep_at(20.0, CLEAR, jitter).xyz, axis=1).std() for jitter in (False, True))
    assert steady < 0.025 < 0.1 < shaken


def test_intensity_is_written_in_the_scale_of_the_rig():
    intensity = sweep_at(5.0, CLEAR).intensity
    assert 20 < intensity.mean() < 120 and intensity.max() <= 255.0


def test_fog_hides_contrast_as_koschmieder_says():
    seen = {}
    for name, extinction in (("clear", 0.0), ("fog", 0.05)):
        instruments = drive(speed_mps=0.0).instruments
        instruments._renderer.weather = Weather(name, extinction, 0.0)
        rendering = instruments.render("camera", 0)
        wall = rendering.radiance[(rendering.class_id == WALL) & (rendering.range_m < 28.7)]
        seen[name] = np.percentile(wall[:, 1], 95) - np.percentile(wall[:, 1], 5)
    assert abs(seen["fog"] / seen["clear"] - np.exp(-0.05 * 28.6)) < 0.02


def test_the_sky_is_the_sky_and_fog_hides_it():
    instruments = drive(speed_mps=0.0).instruments
    clear = instruments.render("camera", 0)
    sky = clear.radiance[clear.class_id == SKY]
    assert np.abs(sky - instruments.light.airlight).max() > 0.05 and sky.std(axis=0).max() > 0.005
    instruments._renderer.weather = Weather("fog", 0.1, 0.0)
    hidden = instruments.render("camera", 0).radiance[clear.class_id == SKY]
    np.testing.assert_allclose(hidden, np.broadcast_to(instruments.light.airlight, hidden.shape), atol=0.02)


def test_night_starves_the_camera_more_than_the_events():
    day, night = drive(seed=9), drive(seed=9, time_of_day="night")
    radiance = {}
    for name, d in (("day", day), ("night", night)):
        rendering = d.instruments.render("camera", 100 * MS)
        radiance[name] = np.median(rendering.radiance[rendering.class_id == WALL])
    assert radiance["night"] < 0.1 * radiance["day"]
    counts = [len(d.sample(100 * MS).measurements["event"].payload) for d in (day, night)]
    assert counts[1] > 0.3 * counts[0]


def test_over_and_underexposure_show():
    means = {}
    for corner in (None, "overexposure", "underexposure"):
        means[corner] = drive(corner=corner).sample(100 * MS).measurements["camera"].payload.mean()
    assert means["overexposure"] > means[None] + 40 and means["underexposure"] < means[None] - 40


def test_motion_blur_smears():
    def roughness(corner):
        picture = drive(corner=corner, wall_x_m=14.0, speed_mps=30.0).sample(150 * MS).measurements["camera"].payload
        return np.abs(np.diff(picture[:240, :100].astype(int), axis=1)).mean()

    assert roughness("motion_blur") < 0.85 * roughness(None)


def test_tone_curve_is_srgb():
    np.testing.assert_array_equal(camera.tone_curve(np.array([0.0, 0.2140, 1.0])), [0, 127, 255])


def test_labels_come_from_pixel_centres():
    labels = drive(speed_mps=0.0).sample(0).labels
    assert labels.shape == (360, 640) and labels.dtype == np.uint8
    assert labels[0, 320] == SKY and labels[359, 320] == 0
    model = drive().rig.sensor("camera").model
    # The wall ends 8 m up and begins on the ground; the camera looks from 1.6 m, 28.5 m away.
    top = model.K[1, 2] - model.K[1, 1] * 6.4 / 28.5
    bottom = model.K[1, 2] + model.K[1, 1] * 1.6 / 28.5
    rows = np.flatnonzero(labels[:, 320] == WALL)
    assert rows[0] == int(np.ceil(top)) and rows[-1] == int(np.floor(bottom))


def test_depth_is_along_the_optical_axis():
    sample = drive(speed_mps=0.0).sample(0, depth=True)
    depth = sample.measurements["depth"].payload
    wall = depth[sample.labels == WALL]
    assert abs(np.nanmedian(wall) - 28.5) < 0.05
    assert np.all(np.isnan(depth[sample.labels == SKY]))


def test_the_same_seed_gives_the_same_bytes_in_any_order():
    one, other = drive(weather="rain"), drive(weather="rain")
    other.sample(200 * MS)
    a, b = one.sample(100 * MS), other.sample(100 * MS)
    assert a.measurements["camera"].payload.tobytes() == b.measurements["camera"].payload.tobytes()
    assert a.measurements["lidar"].payload.xyz.tobytes() == b.measurements["lidar"].payload.xyz.tobytes()
    assert a.measurements["event"].payload.t_ns.tobytes() == b.measurements["event"].payload.t_ns.tobytes()
    unlike = drive(seed=6, weather="rain").sample(100 * MS)
    assert a.measurements["camera"].payload.tobytes() != unlike.measurements["camera"].payload.tobytes()


def test_the_stream_has_the_rates_and_clocks_of_the_rig():
    d = drive(duration_s=0.3)
    stream = list(d.measurements())
    stamps = [m.stamp_ns for m in stream]
    assert stamps == sorted(stamps)
    of = {name: [m for m in stream if m.sensor == name] for name in ("camera", "lidar", "event")}
    assert [m.stamp_ns - START_NS for m in of["camera"]] == [0, 100 * MS, 200 * MS, 300 * MS]
    assert [m.stamp_ns - START_NS for m in of["lidar"]] == [46 * MS, 146 * MS, 246 * MS]
    assert [m.stamp_ns - START_NS for m in of["event"]] == [(10 * k + 3) * MS for k in range(1, 31)]
    for before, after in zip(of["event"], of["event"][1:], strict=False):
        assert after.start_ns == before.stamp_ns
    for m in of["event"]:
        assert len(m.payload) and m.start_ns < m.payload.t_ns[0] and m.payload.t_ns[-1] <= m.stamp_ns
    # The stream and the sample are one world: the same instant gives the same picture and sweep.
    at = d.sample(200 * MS).measurements
    assert at["camera"].payload.tobytes() == of["camera"][2].payload.tobytes()
    assert abs(len(at["event"].payload) / sum(len(m.payload) for m in of["event"][17:20]) - 1) < 0.15


def test_rain_streaks_and_flakes_cover_little_and_change_with_time():
    grey = np.full((90, 160, 3), 0.2, np.float32)
    for kind in ("rain", "snow"):
        weather = Weather(kind, 0.0, 0.0, drops=600)
        one, two = (draw_drops(grey, weather, np.float32([1, 1, 1]), np.random.default_rng(s)) for s in (1, 2))
        changed = np.mean(np.abs(one - grey) > 0.02)
        assert 0.001 < changed < 0.3
        assert not np.array_equal(one, two)
    assert draw_drops(grey, CLEAR, np.float32([1, 1, 1]), np.random.default_rng(1)) is grey


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DriveConfig(1, corner="hail"), "corner case 'hail' is unknown"),
        (lambda: DriveConfig(1, duration_s=0.0), "no length"),
        (lambda: sample_weather(np.random.default_rng(0), "hail"), "weather 'hail' is unknown"),
        (lambda: sample_light(np.random.default_rng(0), "noon", CLEAR), "time of day 'noon' is unknown"),
        (lambda: drive().sample(10**12), "outside the drive"),
        (lambda: next(drive().measurements(workers=2)), "use workers=0"),
    ],
)
def test_bad_input_gets_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.simulator
def test_other_processes_give_the_same_bytes():
    pytest.importorskip("open3d", reason="Open3D is not installed (extra sim)")
    config = DriveConfig(2, 0.2, weather="snow")
    here, there = list(Drive(config).measurements()), list(Drive(config).measurements(workers=2))
    assert [(m.sensor, m.stamp_ns) for m in here] == [(m.sensor, m.stamp_ns) for m in there]
    for a, b in zip(here, there, strict=True):
        if a.sensor == "camera":
            assert a.payload.tobytes() == b.payload.tobytes()
        elif a.sensor == "lidar":
            assert a.payload.xyz.tobytes() == b.payload.xyz.tobytes()
        else:
            assert a.payload.t_ns.tobytes() == b.payload.t_ns.tobytes()
    assert len({m.sensor for m in here}) == 3
