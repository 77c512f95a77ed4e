# SPDX-License-Identifier: Apache-2.0
"""What is promised of healthy rigs in which one thing fails, and of any input at all.

What holds under any mixture of faults is judged in test_sync_machine.py.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, note, settings
from hypothesis import strategies as st
from sync_drives import NOW0, STAMP0, Run, config_of, reference_ns, schedule, sources

from anyseg_ros.modality import Modality
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming, SyncConfig
from anyseg_ros.types import Absence, Events, Measurement

EXAMPLES = 40

DURATION = 5 * SECOND // 2
thorough = settings(max_examples=EXAMPLES, deadline=None)
seeds = st.integers(0, 2**32)


def check_sets(run, config):
    """What holds for every run."""
    for (one, two), (first, second) in zip(pairwise(run.sets), pairwise(run.epochs), strict=True):
        if first == second:
            assert two.stamp_ns > one.stamp_ns
            assert reference_ns(two, config) > reference_ns(one, config)
    names = {timing.name for timing in config.sensors}
    for each in run.sets:
        assert set(each.present) | set(each.absent) == names
        assert not set(each.present) & set(each.absent)
        assert set(each.skew_ns) == set(each.present)
        assert list(each.present) == [t.name for t in config.sensors if t.name in each.present]
        assert each.reference in each.present or each.absent[each.reference] is Absence.EMPTY
        assert each.closed_ns >= each.due_ns
    sets = run.sync.set_counts()
    assert sets["due"] == sets["given"] + sets["reset"] + run.sync.open_sets
    assert sets["given"] == len(run.sets)
    for counts in run.sync.counts().values():
        assert counts["buffered"] >= 0
        assert counts["received"] == sum(counts.values()) - counts["received"]


@thorough
@given(rig=sources(most=5), seed=seeds)
def test_every_measurement_of_a_healthy_reference_is_answered_once(rig, seed):
    config = config_of(rig)
    arrivals = schedule(rig, DURATION, seed)
    run = Run(config, arrivals).exactly()
    best = config.sensors[0]
    answered = [s.stamp_ns for s in run.sets if s.reference == best.name]
    if best.is_event:
        newest = max((m.stamp_ns - best.offset_ns for _, m in arrivals if m.sensor == best.name), default=0)
        wanted = list(range(answered[0], newest + 1, best.period_ns)) if answered else []
    else:
        wanted = [m.stamp_ns for _, m in arrivals if m.sensor == best.name]
        wanted = [stamp for stamp in wanted if answered and stamp >= answered[0]]
    assert answered == wanted


@thorough
@given(rig=sources(least=2, most=5), seed=seeds, data=st.data())
def test_a_dead_sensor_costs_no_latency(rig, seed, data):
    dead = data.draw(st.sampled_from(rig))
    cut = data.draw(st.integers(500, 1500)) * MS
    config = config_of(rig)
    alive = [source for source in rig if source is not dead]
    without = Run(config, schedule(alive, DURATION, seed)).exactly()
    dying = [replace(s, cuts=((cut, DURATION),)) if s is dead else s for s in rig]
    after = Run(config, schedule(dying, DURATION, seed)).exactly()
    settled = STAMP0 + cut + dead.timing.stale_ns + 4 * max(s.timing.period_ns for s in rig)

    def latencies(run):
        return {(s.reference, s.stamp_ns): s.closed_ns - s.due_ns for s in run.sets if s.stamp_ns > settled}

    assert latencies(after) == latencies(without)


@thorough
@given(rig=sources(least=2, most=4), seed=seeds, cut_ms=st.integers(500, 1500))
def test_after_a_cut_of_the_reference_stamps_go_on_within_three_periods(rig, seed, cut_ms):
    gaps = _gaps_after_cut(rig, seed, cut_ms, lambda s, config: reference_ns(s, config))
    for gap, slower in gaps:
        assert gap < 3 * slower


@thorough
@given(
    rig=sources(least=2, most=4, periods_ms=(50, 100, 120), lag_share=0.2),
    seed=seeds,
    cut_ms=st.integers(500, 1500),
    jitter=st.sampled_from([0, 0.1]),
)
def test_after_a_cut_of_the_reference_output_goes_on_within_three_periods(rig, seed, cut_ms, jitter):
    rig = [replace(s, lag_jitter_ns=round(jitter * (s.step_ns or s.timing.period_ns))) for s in rig]
    wait = min(s.timing.period_ns for s in rig) * 3 // 10
    gaps = _gaps_after_cut(rig, seed, cut_ms, lambda s, _: s.closed_ns, max_wait_ns=wait)
    for gap, slower in gaps:
        assert gap < 3 * slower


def _gaps_after_cut(rig, seed, cut_ms, when, **others):
    """(gap, period of the slower of the sensor cut and the one that takes over) between sets around the cut."""
    config = config_of(rig, **others)
    cut = replace(rig[0], cuts=((cut_ms * MS, DURATION),))
    run = Run(config, schedule([cut, *rig[1:]], DURATION, seed)).exactly()
    period = {t.name: t.period_ns for t in config.sensors}
    late = [s for s in run.sets if reference_ns(s, config) > STAMP0 + 400 * MS]
    found = [
        (when(two, config) - when(one, config), max(period[rig[0].name], period[one.reference], period[two.reference]))
        for one, two in pairwise(late)
    ]
    assert run.sets[-1].reference != rig[0].name
    note(f"{len(found)} gaps")
    return found


@thorough
@given(
    rig=sources(most=4, periods_ms=(20, 50, 100)),
    seed=seeds,
    jump_ms=st.sampled_from([-50_000, -2_500, 2_500, 50_000]),
    moves_now=st.booleans(),
)
def test_after_a_jump_output_goes_on(rig, seed, jump_ms, moves_now):
    config = config_of(rig)
    at = NOW0 + DURATION // 2
    arrivals = []
    for now, m in schedule(rig, DURATION, seed):
        jumped = now >= at
        arrivals.append((now + jump_ms * MS if jumped and moves_now else now, _moved(m, jump_ms * MS) if jumped else m))
    if moves_now and jump_ms > 0:
        jump_ms = 0  # time went on in silence, for both clocks
    run = Run(config, arrivals).exactly()
    check_sets(run, config)
    slowest = max(t.period_ns for t in config.sensors)
    closings = [s.closed_ns for s in run.sets]
    first = next((c for c, e in zip(closings, run.epochs, strict=True) if e > 0), None)
    if jump_ms:
        start = at + (jump_ms * MS if moves_now else 0)
        assert first is not None
        assert first <= start + 4 * slowest + config.max_wait_ns
    last = arrivals[-1][0]
    assert closings[-1] >= last - 2 * slowest - config.max_wait_ns


def _moved(m, by_ns):
    start = None if m.start_ns is None else m.start_ns + by_ns
    payload = m.payload
    if m.modality is Modality.EVENT:
        payload = replace(payload, t_ns=payload.t_ns + by_ns)
    return replace(m, stamp_ns=m.stamp_ns + by_ns, start_ns=start, payload=payload)


small = st.integers(-3, 60)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.sampled_from(["a", "b"]), small, small),
        st.tuples(st.just("chunk"), small, st.integers(-1, 5), small),
        st.tuples(st.just("advance"), small),
        st.tuples(st.just("enable"), st.sampled_from(["a", "b", "e"]), st.booleans()),
        st.tuples(st.just("reset"), small),
        st.tuples(st.just("leap"), st.sampled_from([-40, -3, 3, 40])),
        st.tuples(st.just("health"), small),
    ),
    max_size=80,
)


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(steps=operations, sim_time=st.booleans())
def test_no_input_at_all_breaks_it(steps, sim_time):
    """Stamps and clocks in any order, in units of 50 ms, leaps of seconds, zero stamps; bounds at their tightest."""
    unit = 50 * MS
    config = SyncConfig(
        (
            SensorTiming.from_period("a", Modality.CAMERA, unit),
            SensorTiming.from_period("e", Modality.EVENT, 2 * unit, offset_ns=3 * MS),
            SensorTiming.from_period("b", Modality.LIDAR, 3 * unit),
        ),
        max_frames=4,
        max_chunks=6,
        max_open_sets=2,
        max_bytes=2000,
    )
    run = Run(config, [])
    base, now = STAMP0, 0 if sim_time else NOW0
    for kind, *rest in steps:
        if kind == "frame":
            modality = Modality.CAMERA if rest[0] == "a" else Modality.LIDAR
            stamp = 0 if rest[1] < 0 else base + rest[1] * unit
            now += max(0, rest[2]) * MS
            run._add(Measurement(rest[0], modality, stamp, bytes(300)), now)
        elif kind == "chunk":
            stamp = base + rest[0] * unit
            run._add(_chunk(stamp - rest[1] * unit, stamp), now)
        elif kind == "advance":
            now += rest[0] * unit // 2
            run._advance(now)
        elif kind == "enable":
            run.sync.set_enabled(*rest)
        elif kind == "reset":
            run.sync.reset("test", now)
            run._resets += len(run.sync.take_resets())
        elif kind == "leap":
            base += rest[0] * SECOND
        else:
            run.sync.health(now)
            run.sync.output_health(now)
        assert run.sync.open_sets <= config.max_open_sets
        assert all(c["buffered"] <= 6 + config.max_open_sets + 1 for c in run.sync.counts().values())
    check_sets(run, config)
    run._deadlines(now + SECOND)
    assert run.sync.open_sets == 0 or now == 0


def _chunk(start, stamp):
    times = range(max(start, stamp - 5 * MS) + 1, stamp, MS)
    side = [0] * len(times)
    events = Events(
        np.array(side, np.uint16),
        np.array(side, np.uint16),
        np.array(times, np.int64),
        np.array(side, np.uint8),
        320,
        180,
    )
    return Measurement("e", Modality.EVENT, stamp, events, start_ns=start)
