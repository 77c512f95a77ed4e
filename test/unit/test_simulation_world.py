# SPDX-License-Identifier: Apache-2.0
"""The simulated street: the same seed, the same world; nothing in the ego's way; every class there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

o3d = pytest.importorskip("open3d")
pytestmark = pytest.mark.simulator

from anyseg_ros.simulation import kinds as k  # noqa: E402
from anyseg_ros.simulation.materials import albedo, emission, reflectivity  # noqa: E402
from anyseg_ros.simulation.world import SKY, Hits, World  # noqa: E402

DURATION_S = 12.0


@pytest.fixture(scope="module")
def world() -> World:
    return World(5, DURATION_S)


def _camera_rays(world: World, t_ns: int, width: int = 320, height: int = 180) -> tuple[np.ndarray, np.ndarray]:
    focal = width / 2 / np.tan(np.radians(77 / 2))
    u, v = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    d = np.stack([np.full(u.shape, focal), -u, -v], -1).reshape(-1, 3)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    pose = world.pose(t_ns)
    origin = pose[:3, :3] @ [1.5, 0, 1.6] + pose[:3, 3]
    directions = (d @ pose[:3, :3].T).astype(np.float32)
    return np.tile(origin.astype(np.float32), (len(d), 1)), directions


def _ns(world: World, seconds: float) -> int:
    return world.start_ns + round(seconds * 1e9)


def _look(world: World, seconds: float):
    t_ns = _ns(world, seconds)
    return world.cast(*_camera_rays(world, t_ns), t_ns)


def test_same_seed_gives_the_same_hits_and_colours(world: World) -> None:
    again = World(5, DURATION_S)
    _look(again, 9.0)
    for seconds in (0.5, 7.25):
        one, two = _look(world, seconds), _look(again, seconds)
        for field in ("range_m", "class_id", "material", "instance", "normal", "position", "local"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field), err_msg=field)
        np.testing.assert_array_equal(albedo(one, np.float32(0.02)), albedo(two, np.float32(0.02)))


def test_another_seed_gives_another_world(world: World) -> None:
    other = _look(World(6, DURATION_S), 1.0)
    assert (other.class_id != _look(world, 1.0).class_id).mean() > 0.05


def test_a_new_process_gives_the_same_world(world: World) -> None:
    code = (
        "import io, sys, zlib, numpy as np\n"
        "from anyseg_ros.simulation.world import World\n"
        f"w = World(5, {DURATION_S})\n"
        "rays = np.load(io.BytesIO(sys.stdin.buffer.read()))\n"
        "h = w.cast(rays[:, :3], rays[:, 3:], w.start_ns)\n"
        "print(*(zlib.crc32(a.tobytes()) for a in (h.range_m, h.instance, h.material, h.local)))\n"
    )
    origins, directions = _camera_rays(world, world.start_ns)
    stream = io.BytesIO()
    np.save(stream, np.concatenate([origins, directions], axis=1))
    out = subprocess.run([sys.executable, "-c", code], input=stream.getvalue(), capture_output=True, check=True).stdout
    hits = world.cast(origins, directions, world.start_ns)
    here = [zlib.crc32(a.tobytes()) for a in (hits.range_m, hits.instance, hits.material, hits.local)]
    assert [int(number) for number in out.split()] == here


def test_the_fields_of_hits_fit_together(world: World) -> None:
    t_ns = _ns(world, 3.0)
    origins, directions = _camera_rays(world, t_ns)
    hits = world.cast(origins, directions, t_ns)
    sky = np.isinf(hits.range_m)
    assert 0.01 < sky.mean() < 0.8
    assert (hits.class_id[sky] == SKY).all() and (hits.instance[sky] == -1).all()
    assert (hits.class_id[~sky] != SKY).all() and (hits.instance[~sky] >= 0).all()
    expected = origins + directions * np.where(sky, 0, hits.range_m)[:, None]
    np.testing.assert_allclose(hits.position[~sky], expected[~sky], atol=1e-3)
    facing = (hits.normal * directions).sum(axis=1)
    assert (facing[~sky] <= 1e-5).all()
    np.testing.assert_allclose(np.linalg.norm(hits.normal[~sky], axis=1), 1.0, atol=1e-3)


def test_nearest_hit_wins(world: World) -> None:
    """Against each of the two scenes alone: the static world and the movers."""
    t_ns = _ns(world, 4.0)
    origins, directions = _camera_rays(world, t_ns)
    both = world.cast(origins, directions, t_ns)
    seen_moving = seen_static = 0
    for body in (world._static, world._moving(t_ns)):
        alone = body.scene.cast_rays(o3d.core.Tensor(np.concatenate([origins, directions], 1)))["t_hit"].numpy()
        assert (both.range_m <= alone + 1e-4).all()
        wins = int((np.isfinite(alone) & (alone <= both.range_m)).sum())
        seen_static, seen_moving = (wins, 0) if body is world._static else (seen_static, wins)
    assert seen_static > 1000 and seen_moving > 100


def test_movers_move_and_keep_their_number(world: World) -> None:
    first, later = _look(world, 2.0), _look(world, 2.4)
    movers = np.unique(world._moving(_ns(world, 2.0)).mesh.instance)
    assert len(np.intersect1d(np.unique(first.instance), movers)) > 3
    assert len(np.intersect1d(np.unique(later.instance), movers)) > 3
    static = np.unique(world._static.mesh.instance)
    assert len(np.intersect1d(static, movers)) == 0


def test_the_past_can_be_asked_again(world: World) -> None:
    """Poses of movers depend on the time alone, not on what was asked before."""
    before = _look(world, 6.0).range_m
    for seconds in np.linspace(0, 11, 12):
        world.cast(np.zeros((1, 3)), np.array([[1.0, 0, 0]]), _ns(world, float(seconds)))
    np.testing.assert_array_equal(_look(world, 6.0).range_m, before)


@pytest.mark.parametrize("seed", [2, 8])
def test_the_ego_lane_is_clear(seed: int) -> None:
    """Nothing stands or drives within 0.3 m of the car's flanks or 4 m of its bumper."""
    world = World(seed, DURATION_S)
    angle = np.radians(np.arange(0, 360, 3))
    fan = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    room = np.minimum(1.2 / np.maximum(np.abs(np.sin(angle)), 1e-3), 6.0 / np.maximum(np.abs(np.cos(angle)), 1e-3))
    for seconds in np.arange(0, DURATION_S, 0.75):
        t_ns = _ns(world, float(seconds))
        pose = world.pose(t_ns)
        for height in (0.5, 1.2):
            origin = pose[:3, 3] + [0, 0, height]
            hits = world.cast(np.tile(origin, (len(fan), 1)), fan @ pose[:3, :3].T, t_ns)
            close = hits.range_m < room
            assert not close.any(), (seconds, np.unique(hits.class_id[close]))


def test_the_ego_drives_smoothly_and_turns(world: World) -> None:
    times = world.start_ns + (np.arange(0, DURATION_S, 0.05) * 1e9).astype(np.int64)
    poses = world.pose(times)
    assert poses.shape == (len(times), 4, 4)
    np.testing.assert_allclose(poses[7], world.pose(int(times[7])))
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / 0.05
    assert speed.min() > 5.0 and speed.max() < 14.5
    assert np.abs(np.diff(speed)).max() < 0.5
    assert (poses[:, 2, 3] == 0).all()
    headings = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
    assert np.abs(np.diff(headings)).max() < 0.05


def test_all_classes_are_seen_over_a_few_drives() -> None:
    counts = np.zeros((3, 19), int)
    for row, seed in enumerate((11, 12, 13)):
        world = World(seed, DURATION_S)
        for seconds in (0.0, 4.0, 8.0, 11.5):
            counts[row] += np.bincount(_look(world, seconds).class_id, minlength=19)
    assert counts.shape[1] == 19
    assert (counts.sum(axis=0) > 100).all(), counts.sum(axis=0)
    assert ((counts > 20).sum(axis=1) >= 17).all(), counts


def test_shadows_agree_with_casts(world: World) -> None:
    t_ns = _ns(world, 5.0)
    hits = _look(world, 5.0)
    ground = np.flatnonzero((hits.class_id == k.ROAD) & np.isfinite(hits.range_m))[::7]
    start = hits.position[ground] + [0, 0, 0.05]
    sun = np.tile(np.array([0.6, 0.5, 0.62], np.float32), (len(ground), 1))
    sun /= np.linalg.norm(sun, axis=1, keepdims=True)
    shadow = world.occluded(start, sun, t_ns, 150.0)
    np.testing.assert_array_equal(shadow, world.cast(start, sun, t_ns).range_m < 150.0)


def test_an_empty_request_is_answered(world: World) -> None:
    none = np.zeros((0, 3), np.float32)
    assert len(world.cast(none, none, world.start_ns).range_m) == 0
    assert len(world.occluded(none, none, world.start_ns, 50.0)) == 0


def test_surfaces_are_physical(world: World) -> None:
    hits = _look(world, 1.0)
    colours, lidar = albedo(hits, hits.range_m / 250), reflectivity(hits)
    assert colours.dtype == np.float32 and colours.min() >= 0 and colours.max() <= 1
    assert lidar.min() >= 0 and lidar.max() <= 1 and (lidar[hits.instance < 0] == 0).all()
    night, day = emission(hits, True), emission(hits, False)
    assert night.sum() > day.sum() and (night >= 0).all() and (day >= 0).all()


def test_compiled_textures_equal_plain_python(world: World, tmp_path: Path) -> None:
    """Also finds a compiled cache that is older than a file it inlines: then delete __pycache__."""
    hits = _look(world, 3.0)
    seen = np.flatnonzero(hits.instance >= 0)
    _, first = np.unique(hits.material[seen], return_index=True)
    chosen = np.concatenate([seen[first], seen[::97]])
    some = {name: getattr(hits, name)[chosen] for name in hits.__dataclass_fields__}
    np.savez(tmp_path / "hits.npz", **some)
    code = (
        "import sys, numpy as np\n"
        "from anyseg_ros.simulation.materials import albedo, emission\n"
        "from anyseg_ros.simulation.world import Hits\n"
        "h = Hits(**np.load(sys.argv[1]))\n"
        "np.savez(sys.argv[2], albedo=albedo(h, np.float32(0.03)), emission=emission(h, True))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "hits.npz"), str(tmp_path / "plain.npz")]
    subprocess.run(command, check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"})
    plain = np.load(tmp_path / "plain.npz")
    np.testing.assert_allclose(albedo(Hits(**some), np.float32(0.03)), plain["albedo"], atol=1e-4)
    np.testing.assert_allclose(emission(Hits(**some), True), plain["emission"], atol=1e-4)


def test_fine_texture_fades_with_the_footprint(world: World) -> None:
    hits = _look(world, 1.0)
    road = hits.class_id == k.ROAD
    fine, coarse = (albedo(hits, np.float32(size))[road].std() for size in (0.005, 8.0))
    assert coarse < fine


def test_a_class_is_not_a_colour(world: World) -> None:
    """Of every colour that buildings have, cars, trucks and fences have it, too (coarse bins)."""
    bins: dict[int, set] = {}
    for seed in (21, 22, 23):
        hits = _look(World(seed, 4.0), 2.0)
        coarse = (albedo(hits, np.float32(0.05)) ** 0.45 * 6).astype(int)
        for label in (k.ROAD, k.BUILDING, k.CAR, k.TRUCK, k.PERSON):
            bins.setdefault(label, set()).update(map(tuple, coarse[hits.class_id == label]))
    assert len(bins[k.CAR] & bins[k.BUILDING]) > 0.4 * len(bins[k.CAR])
    assert len(bins[k.ROAD] & bins[k.BUILDING]) > 0.4 * len(bins[k.ROAD])
    assert len(bins[k.PERSON]) > 8


def test_night_lights_are_near_the_ego(world: World) -> None:
    t_ns = _ns(world, 5.0)
    positions, colours = world.lights(t_ns)
    assert positions.shape == colours.shape and positions.shape[1] == 3 and len(positions) >= 3
    assert np.linalg.norm(positions - world.pose(t_ns)[:3, 3], axis=1).max() < 91.0
