# SPDX-License-Identifier: Apache-2.0
"""Which sensor takes the lead from another: none that would be silent in it, none of another time before a healthy one.

These checks go by what the judge of everything else has logged, and are put where nothing else is going on.
"""

from collections import Counter, defaultdict, deque
from statistics import median

from sync_play import demand
from sync_sources import is_usable

NO_SILENCE = "taking_the_lead_from_a_live_sensor_costs_no_silence"
NO_OTHER_TIME = "no_sensor_of_another_time_leads_before_one_that_agrees"


class Leaders:
    """Judges every change of the reference.

    Attributes:
        checked: how often each check was put.
    """

    def __init__(self, judge):
        self.judge = judge
        self.checked = Counter()
        self._lags = defaultdict(lambda: deque(maxlen=5))
        self._jumped = set()
        self._useless = set()
        self._taken = None  # (now, sensor) of a lead that was taken from a live sensor, until there is a set

    def take(self, call):
        """Judge one call."""
        self._learn(call)
        if call.given or call.open_sets or self.judge.is_disturbed(call):
            self._taken = None
        if self.judge.is_disturbed(call) or call.reference is None:
            return
        if call.reference_before not in (None, call.reference) and call.reference_before not in self._useless:
            self._judge_time(call.reference, call.reference_before)
            last = self.judge.last
            answered = last is not None and last[2] == call.reference_before and self._delivers(call.reference_before)
            if call.op.kind == "add" and answered and not call.open_sets:
                self._taken = (self.judge.now_ns, call.reference)
        if self._taken is not None:
            self._judge_silence(call)

    def _learn(self, call):
        op = call.op
        for reset in call.resets:
            self._jumped = {reset.sensor} | self._jumped if reset.sensor is not None else set()
            for name in [reset.sensor] if reset.sensor is not None else list(self._lags):
                self._lags[name].clear()
        if op.kind in ("enable", "disable"):
            self._jumped.discard(op.sensor)
            self._lags[op.sensor].clear()
        self._useless |= {s.reference for s in call.given if not any(is_usable(m) for m in s.present.values())}
        if op.kind == "add" and op.now_ns and not op.odd:
            sensor = self.judge.sensors[op.measurement.sensor]
            self._lags[sensor.timing.name].append(op.now_ns - op.measurement.stamp_ns + sensor.timing.offset_ns)

    def _delivers(self, name):
        sensor = self.judge.sensors[name]
        steady = sensor.enabled and sensor.steady_since_ns is not None and sensor.newest is not None
        return steady and self.judge.now_ns - sensor.newest[1] < 1.5 * sensor.timing.period_ns

    def _lag_ns(self, name):
        """A sensor's lag, clocks included; None where its last few do not agree, as in a burst or after a stall."""
        lags = self._lags[name]
        agree = lags and max(lags) - min(lags) < self.judge.config.jump_ns // 2
        return median(lags) if agree else None

    def _judge_time(self, name, before):
        mine_ns, before_ns = self._lag_ns(name), self._lag_ns(before)
        if name not in self._jumped or mine_ns is None or before_ns is None:
            return
        if abs(mine_ns - before_ns) < 2 * self.judge.config.jump_ns:
            return
        self.checked[NO_OTHER_TIME] += 1
        for other in self.judge.config.sensors:
            healthy = other.name not in self._jumped | self._useless | {name, before} and self._delivers(other.name)
            other_ns = self._lag_ns(other.name)
            if healthy and other_ns is not None:
                agrees = abs(other_ns - before_ns) < self.judge.config.jump_ns // 2
                demand(NO_OTHER_TIME, not agrees, (name, "leads, but", other.name, "agrees with", before))

    def _judge_silence(self, call):
        since_ns, name = self._taken
        timing = self.judge.sensors[name].timing
        if call.reference != name or not self._delivers(name):
            self._taken = None
            return
        offsets = [t.offset_ns for t in self.judge.config.sensors]
        limit = timing.step_back_ns + 2 * timing.stale_ns + max(offsets) - min(offsets)
        self.checked[NO_SILENCE] += 1
        demand(NO_SILENCE, self.judge.now_ns - since_ns <= limit, (name, self.judge.now_ns - since_ns, limit))
