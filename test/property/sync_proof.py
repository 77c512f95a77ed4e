# SPDX-License-Identifier: Apache-2.0
"""The proof of one schedule: it is played and judged, and played again in other ways that must not matter."""

import random
from collections import Counter
from dataclasses import replace

from sync_answers import Usefulness
from sync_judge import Judge
from sync_leaders import Leaders
from sync_play import Player, Violation, demand
from sync_rigs import Op, Tape, random_steps

from anyseg_ros.sync.arrivals import VAIN_WAITS
from anyseg_ros.sync.timing import MS, SECOND

VARIANTS = (
    "same_input_same_output",
    "payloads_do_not_matter",
    "more_advances_do_not_matter",
    "a_sensor_that_is_dead",
    "a_sensor_that_has_become_too_late",
)


class Trial:
    """A schedule on its way through the synchroniser.

    Attributes:
        seed, steps: what it consists of.
        tape: what reaches it.
        player: the synchroniser.
        judge: what is found.
        others: judges that go by what it has found.
    """

    def __init__(self, seed):
        self.seed, self.steps = seed, []
        self.tape = Tape(seed)
        self.player = Player(self.tape.config)
        self.judge = Judge(self.tape.config, self.player.sync, self.tape)
        self.others = (Usefulness(self.judge), Leaders(self.judge))

    def step(self, kind, sensor, amount):
        """Let something happen."""
        self.steps.append((kind, sensor, amount))
        self._play(self.tape.step(kind, sensor, amount))

    def finish(self):
        """Let everything arrive, and judge the whole."""
        self._play(self.tape.finish())
        self.judge.finish()

    def _play(self, ops):
        for call in self.player.play(ops):
            self.judge.take(call)
            for each in self.others:
                each.take(call)
        check_counts(self.tape.config, self.player.sync)
        self.judge.checked["every_measurement_is_counted"] += 1


def check_counts(config, sync):
    """Every measurement and every set ends in exactly one fate, and buffers keep to their bounds."""
    sets = sync.set_counts()
    demand("every_set_is_counted", sets["due"] == sets["given"] + sets["reset"] + sync.open_sets, sets)
    for timing in config.sensors:
        counts = sync.counts()[timing.name]
        whole = counts["buffered"] >= 0 and counts["received"] == sum(counts.values()) - counts["received"]
        demand("every_measurement_is_counted", whole, (timing.name, counts))
        most = (config.max_chunks if timing.is_event else config.max_frames) + config.max_open_sets + 1
        demand("memory_is_bounded", counts["buffered"] <= most, (timing.name, counts))


def play_again(trial, variant, rng):
    """Play the tape of a finished trial in another way; what comes out must be the same."""
    config, ops = trial.tape.config, trial.tape.ops
    if variant == "a_sensor_that_is_dead":
        return dead_sensor(trial, rng)
    if variant == "a_sensor_that_has_become_too_late":
        return late_sensor(trial.seed, trial.steps, rng)
    if variant == "payloads_do_not_matter":
        ops = [_with_other_payload(op) for op in ops]
    again = Player(config, rng if variant == "more_advances_do_not_matter" else None)
    again.play(ops)
    demand(variant, _shown(again.sets) == _shown(trial.player.sets), _first_difference(trial.player.sets, again.sets))
    if variant == "same_input_same_output":
        demand(variant, again.sync.counts() == trial.player.sync.counts(), "counts")
    return True


def dead_sensor(trial, rng):
    """What a sensor that never delivers, or has died, costs the sets that lack it: nothing."""
    name, config = "a_sensor_that_is_dead", trial.tape.config
    if len(config.sensors) < 2:
        return False
    dead = rng.choice(config.sensors)
    alive = tuple(t for t in config.sensors if t is not dead)
    ops = _without(trial.tape.ops, dead.name)
    without = Player(replace(config, sensors=alive))
    without.play(ops)
    never = Player(config)
    never.play(ops)
    demand(name, _shown(never.sets, dead.name) == _shown(without.sets), (dead.name, "never came"))
    return dying_sensor(trial, rng)


def dying_sensor(trial, rng):
    """The same once a partner has died and is stale: the last sensor, where it never was the reference."""
    name, config, ops = "a_sensor_that_is_dead", trial.tape.config, trial.tape.ops
    dead, at = config.sensors[-1], rng.randrange(len(ops))
    dying = Player(config, answering=False)  # what it delivered before it died would count as an answer
    calls = dying.play(_without(ops, dead.name, at))
    without = Player(replace(config, sensors=config.sensors[:-1]), answering=False)
    without.play(_without(ops, dead.name))
    died_ns = next(op.now_ns for op in ops[at:] if op.now_ns)  # silence counts from the start of simulated time
    # A stall defers what time does until everything has been drained: silence is noticed by advance alone.
    noticed = (c.op.now_ns for c in calls if c.op.kind == "advance" and c.op.now_ns >= died_ns + dead.stale_ns)
    settled_ns = next(noticed, died_ns + dead.stale_ns) + config.max_wait_ns
    leaps = any(b.now_ns < a.now_ns for a, b in zip(ops, ops[1:], strict=False))
    if leaps or any(dead.name in (call.reference, call.reference_before) for call in calls):
        return True
    mine, theirs = ([s for s in p.sets if s.due_ns > settled_ns] for p in (dying, without))
    # Its last measurements may still be near enough to a reference that arrives much later than they did.
    demand(name, _shown(mine, dead.name) == _shown(theirs), (dead.name, "died", _first_difference(mine, theirs)))
    return True


def late_sensor(seed, steps, rng):
    """What the last sensor costs once it comes too late for every set: a few waits, as many as are begun by then.

    With the steps that move no clock and stop no process.
    """
    name, tape = "a_sensor_that_has_become_too_late", Tape(seed)
    for step in steps:
        if step[0] in ("run", "cut", "heal", "flap"):
            tape.step(*step)
    tape.finish()
    config, ops = tape.config, [op for op in tape.ops if op.now_ns]
    if len(config.sensors) < 2 or not ops:
        return False
    late, at = config.sensors[-1].name, rng.randrange(len(ops)) // 2
    by_ns = _lags_ns(config, ops, late, max) - _lags_ns(config, ops, late, min)
    by_ns += MS + config.max_wait_ns + config.sensors[-1].tolerance_ns
    by_ns += max((t.period_ns for t in config.sensors if t.is_event), default=0)  # a chunk may be as long
    until_ns = ops[-1].now_ns - 2 * SECOND  # then all others are silent
    # Until the first comes late, it may as well be lost, or silent.
    since_ns = next((op.now_ns + by_ns for op in ops[at:] if op.kind == "add" and _is_of(op, late)), until_ns + 1)
    if since_ns > until_ns:
        return False
    moved = [replace(op, now_ns=op.now_ns + by_ns) if k >= at and _is_of(op, late) else op for k, op in enumerate(ops)]
    moved = [op for op in moved if op.now_ns <= until_ns]
    having = Player(config, answering=False)
    calls = having.play(sorted(moved, key=lambda op: op.now_ns))
    if any(late in (call.reference, call.reference_before) for call in calls):
        return False
    without = Player(replace(config, sensors=config.sensors[:-1]), answering=False)
    without.play(_without(ops, late))
    closed = {(s.reference, s.stamp_ns): s.closed_ns for s in without.sets}
    waited = [s for s in having.sets if s.due_ns >= since_ns and s.closed_ns > closed.get((s.reference, s.stamp_ns), 0)]
    begun = max(call.open_sets for call in calls)
    # At a change of the reference sets may wait for longer, so that it comes in time once more.
    again = 1 + sum(bool(call.resets) for call in calls) + sum(late in s.present for s in waited)
    demand(name, len(waited) <= again * (VAIN_WAITS + begun), (late, len(waited), begun, again))
    return True


def _lags_ns(config, ops, late, pick):
    """The largest lag of the other sensors, or the smallest of the one that is late."""
    offset_ns = {timing.name: timing.offset_ns for timing in config.sensors}
    adds = [(op.now_ns, op.measurement) for op in ops if op.kind == "add"]
    of_late = pick is min
    lags = (now - m.stamp_ns + offset_ns[m.sensor] for now, m in adds if (m.sensor == late) == of_late)
    return pick(lags, default=0)


def _is_of(op, name):
    return op.sensor == name or (op.measurement is not None and op.measurement.sensor == name)


def _without(ops, name, since=0):
    """A tape without a sensor from a call on; where its own call starts simulated time, time passes in its place."""
    start = next((k for k, op in enumerate(ops) if op.now_ns), None)
    gone = [k >= since and _is_of(op, name) for k, op in enumerate(ops)]
    kept = [Op("advance", op.now_ns, drained=op.drained) if lost else op for op, lost in zip(ops, gone, strict=True)]
    return [op for k, op in enumerate(kept) if k == start or not gone[k]]


def _with_other_payload(op):
    if op.measurement is None or op.measurement.start_ns is not None:
        return op
    return replace(op, measurement=replace(op.measurement, payload=bytearray(op.measurement.payload)))


def _shown(sets, without=None):
    return [
        (
            s.stamp_ns,
            s.reference,
            s.due_ns,
            s.closed_ns,
            tuple((n, m.stamp_ns, s.skew_ns[n]) for n, m in s.present.items() if n != without),
            tuple((n, a) for n, a in s.absent.items() if n != without),
        )
        for s in sets
    ]


def _first_difference(one, two):
    for k, (a, b) in enumerate(zip(_shown(one), _shown(two), strict=False)):
        if a != b:
            return k, a, b
    return len(one), len(two)


def prove(seed, steps=None):
    """Play and judge a schedule (by default that of the seed); returns (checked, steps, sets).

    Raises:
        Violation: a check does not hold.
    """
    steps = random_steps(seed) if steps is None else steps
    trial = Trial(seed)
    for step in steps:
        trial.step(*step)
    trial.finish()
    rng = random.Random(seed)
    checked = Counter(trial.judge.checked)
    for each in trial.others:
        checked += each.checked
    variant = VARIANTS[seed % len(VARIANTS)]
    checked[variant] += play_again(trial, variant, rng)
    return checked, len(steps), len(trial.player.sets)


def shrink(seed, steps, check):
    """The shortest schedule that can be had by leaving out steps, and still breaks the same check."""
    at = 0
    while at < len(steps):
        fewer = [*steps[:at], *steps[at + 1 :]]
        try:
            prove(seed, fewer)
        except Violation as violation:
            if violation.check == check:
                steps, at = fewer, -1
        at += 1
    return steps
