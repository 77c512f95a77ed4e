# SPDX-License-Identifier: Apache-2.0
"""The synchroniser as a state machine under random rigs, faults and clocks; ``make prove`` runs many thousands.

Every call is judged as it happens by ``sync_judge`` and ``sync_oracle``; a finished schedule is played again in other
ways that must not matter. The checks are named in the message of a failure.
"""

import json
import random

import prove_sync
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sync_play import Violation
from sync_proof import VARIANTS, Trial, play_again, prove
from sync_rigs import MORE_STEPS, STEPS, random_steps

from anyseg_ros.sync.arrivals import Arrivals
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.track import SensorTrack
from anyseg_ros.sync.usability import Usability

sensors = st.integers(0, 5)
open_due = Synchronizer._open_due


def amount_of(kind):
    return st.integers(*STEPS[kind])


class SynchroniserMachine(RuleBasedStateMachine):
    """Any order of faults; time passes with each, so that none of them is only noted."""

    trial = None

    @initialize(seed=st.integers(0, 2**32), warm=amount_of("run"))
    def begin(self, seed, warm):
        self.seed = seed
        self.trial = Trial(seed)
        self.trial.step("run", 0, warm)

    @rule(amount=amount_of("run"))
    def time_passes(self, amount):
        self.trial.step("run", 0, amount)

    @rule(amount=amount_of("stall"))
    def the_process_stands_still(self, amount):
        self.trial.step("stall", 0, amount)

    @rule(kind=st.sampled_from(("cut", "heal", "flap", "burst")), sensor=sensors, amount=amount_of("burst"))
    def a_connection_changes(self, kind, sensor, amount):
        self.trial.step(kind, sensor, amount)

    @rule(kind=st.sampled_from(("shift", "shift_all", "leap")), sensor=sensors, amount=amount_of("shift"))
    def a_clock_jumps(self, kind, sensor, amount):
        self.trial.step(kind, sensor, amount)

    @rule(sensor=sensors, amount=st.integers(*MORE_STEPS["spoil"]))
    def payloads_cannot_be_used(self, sensor, amount):
        self.trial.step("spoil", sensor, amount)
        self.trial.step("run", 0, 6)

    @rule(sensor=sensors, amount=amount_of("outlier"))
    def a_stamp_is_wrong(self, sensor, amount):
        self.trial.step("outlier", sensor, amount)
        self.trial.step("zero", sensor, 0)

    @rule(sensor=sensors, amount=amount_of("again"))
    def old_messages_come_again(self, sensor, amount):
        self.trial.step("again", sensor, amount)

    @rule(sensor=sensors, amount=amount_of("enable"))
    def somebody_switches_a_sensor(self, sensor, amount):
        self.trial.step("enable", sensor, amount)

    @rule()
    def somebody_resets(self):
        self.trial.step("reset", 0, 0)

    def teardown(self):
        if self.trial is not None:
            self.trial.finish()
            rng = random.Random(self.seed)
            for variant in VARIANTS:
                play_again(self.trial, variant, rng)


class TestSynchroniserMachine(SynchroniserMachine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))


def test_hundreds_of_schedules():
    """Those of ``make prove``, from its first seed on; and every check was put."""
    found = prove_sync.run(range(240), progress=False)
    assert found["violations"] == []
    assert found["schedules"] == 240 and found["sets"] > 4000
    assert set(found["checked"]) == prove_sync.CHECKS


@pytest.mark.parametrize("seed", [14, 38, 204, 448, 1198, 12177, 12760, 14052, 18834])
def test_schedules_that_once_broke_it(seed):
    prove(seed, random_steps(seed, more=False))
    prove(seed)


def test_a_set_that_is_due_before_simulated_time_begins_does_not_wait_for_ever():
    prove(44703711, [("run", 0, 1), ("outlier", 0, 7)])


def test_a_broken_synchroniser_is_found_and_its_schedule_shrunk(monkeypatch, tmp_path):
    monkeypatch.setattr(SensorTrack, "age", lambda self, now_ns: None)  # silence is never noticed
    found = prove_sync.run(range(40), progress=False)
    worst = found["violations"][0]
    assert len(worst["steps"]) < len(random_steps(worst["seed"]))
    with pytest.raises(Violation, match=worst["check"]):
        prove(worst["seed"], worst["steps"])
    assert prove_sync.main(["--schedules", "20", "--out", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "prove.json").read_text())["violations"]


@pytest.mark.parametrize(
    ("owner", "name", "replacement", "check", "seed"),
    [
        (
            Usability,
            "refused",
            lambda self, now_ns: False,
            "while_one_sensor_can_be_used_there_is_something_to_use",
            104,
        ),
        (
            Synchronizer,
            "_open_due",
            lambda self, track, now_ns, returns=False: open_due(self, track, now_ns),
            "taking_the_lead_from_a_live_sensor_costs_no_silence",
            56,
        ),
        (
            SensorTrack,
            "is_apart",
            lambda self, other: False,
            "no_sensor_of_another_time_leads_before_one_that_agrees",
            400046,
        ),
        (
            Arrivals,
            "waited",
            lambda self, in_vain: None,
            "a_sensor_that_has_become_too_late",
            400074,
        ),
    ],
)
def test_a_rule_that_is_missing_is_found(owner, name, replacement, check, seed, monkeypatch):
    prove(seed)
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Violation) as found:
        prove(seed)
    assert found.value.check == check
