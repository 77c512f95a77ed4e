# SPDX-License-Identifier: Apache-2.0
"""What sets lead to: who answers them, and whether there is something to answer while one sensor can be used."""

from collections import Counter

from sync_play import MOST_DELAY_NS, demand
from sync_sources import is_usable

from anyseg_ros.sync.timing import SECOND
from anyseg_ros.sync.usability import PROBATION_NS

CHECK = "while_one_sensor_can_be_used_there_is_something_to_use"


class Usefulness:
    """Judges, after the judge of everything else, that no sensor of no use keeps one that is of use from the output.

    Attributes:
        checked: how often the check was put.
    """

    def __init__(self, judge):
        self.judge = judge
        self.checked = Counter()
        self._useful_ns = 0
        self._bad_ns = {}  # by sensor, when it last delivered, or led to, nothing of use

    def take(self, call):
        """Judge one call."""
        now, op = self.judge.now_ns, call.op
        if op.kind == "add" and not is_usable(op.measurement):
            self._bad_ns[op.measurement.sensor] = now
        for each in call.given:
            if any(is_usable(m) for m in each.present.values()):
                self._useful_ns = now
            else:
                self._bad_ns[each.reference] = now
        if self.judge.is_disturbed(call):
            self._useful_ns = now
        elif op.kind == "add" and call.reference is not None:
            self._judge(self.judge.sensors[op.measurement.sensor])

    def _judge(self, sensor):
        if sensor.steady_since_ns is None:
            return
        name, config = sensor.timing.name, self.judge.config
        limit = self.judge.longest_silence_ns()
        # Each of the others may have to be tried: two sets, what they wait for, and the answers to them.
        others = [t for t in config.sensors if t.name != name]
        limit += sum(2 * t.stale_ns + config.max_wait_ns + MOST_DELAY_NS for t in others)
        bad_ns = self._bad_ns.get(name)
        if bad_ns is not None:  # it may have lost its rank, and be too far from all others for anyone to see it
            limit += PROBATION_NS + MOST_DELAY_NS
        since = max(sensor.steady_since_ns, self._useful_ns, bad_ns or 0)
        self.checked[CHECK] += 1
        demand(CHECK, self.judge.now_ns - since <= limit, (name, (self.judge.now_ns - since) / SECOND, limit / SECOND))
