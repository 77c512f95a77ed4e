# SPDX-License-Identifier: Apache-2.0
"""Judges a run of the synchroniser call by call; each check has a name and counts how often it was put."""

from collections import Counter
from dataclasses import replace

from sync_oracle import NO_LATE, Late, Sensor, check_partner, check_window, covered_ns
from sync_play import demand

from anyseg_ros.sync.timing import SECOND
from anyseg_ros.types import Absence

FOREVER = 1 << 62


class Judge:
    """Keeps its own account of what is due.

    Attributes:
        checked: how often each check was put.
    """

    def __init__(self, config, sync, tape):
        self.config, self.sync, self.tape = config, sync, tape
        self.checked = Counter()
        self.sensors = {
            t.name: Sensor(t, config.max_chunks if t.is_event else config.max_frames) for t in config.sensors
        }
        self.last = None  # (stamp, corrected, reference) of the last set since everything started over
        self.odd = []  # (sensor, start, stamp) of odd measurements since everything started over
        self.late = NO_LATE
        self.floor = (-FOREVER, 0)
        self.since_ns = -FOREVER  # the first of all is answered from its present measurement on
        self.wanted = {}  # (reference, stamp) -> corrected, of due sets that were not given yet
        self.unsure_floor = False
        self.life = False  # a set was opened since there was last no reference
        self.answer_next = False
        self.now_ns = 0
        self.switched_ns = 0
        self.quiet_since_ns = 0

    def take(self, call):
        """Judge one call."""
        back_ns = self.now_ns - call.op.now_ns
        if call.op.now_ns == 0 or not 0 < back_ns <= self.config.now_slack_ns:  # a small step back is held
            self.now_ns = call.op.now_ns
        jumped = any(r.sensor is None for r in call.resets)
        self._judge_old_sets(call)
        self._follow(call, jumped)
        opened = self._log(call, jumped) if call.op.kind == "add" else None
        if jumped:  # what is older than the measurement that the new time began with is not due
            log = self.sensors[call.reference].log if call.reference is not None else []
            self.since_ns = max((a.at_ns for a in log), default=-FOREVER) - 1
        if call.reference != call.reference_before:
            self._switch(call, opened, jumped)
        elif opened is not None and not jumped and call.reference == opened.measurement.sensor:
            self._expect(self.sensors[call.reference], opened)
        self._judge_sets(call, call.given[call.old :])
        self._account(call)

    def finish(self):
        """Judge the end: nobody waits, nothing is owed."""
        demand("nothing_waits_at_the_end", self.sync.open_sets == 0, self.sync.open_sets)
        demand("every_due_set_is_answered_once", not self.wanted, self.wanted)
        self.checked["nothing_waits_at_the_end"] += 1

    def _judge_old_sets(self, call):
        """The sets that closed before a reset; what makes its sensor the reference has arrived when they close."""
        accepted = call.op.kind == "add" and any("is now the reference" in r.reason for r in call.resets)
        log = self.sensors[call.op.measurement.sensor].log if accepted else []
        if accepted:
            log.append(self.sensors[call.op.measurement.sensor].read(call.op.measurement, sure=True))
        self._judge_sets(call, call.given[: call.old])
        del log[-1:]

    def _follow(self, call, jumped):
        """Start over where the synchroniser says so; forgive what an explicit reset lost."""
        op, now = call.op, self.now_ns
        for reset in call.resets:
            if reset.sensor is not None:
                self.sensors[reset.sensor].jumped_ns = now
        if op.kind in ("enable", "disable") and self.sensors[op.sensor].enabled != (op.kind == "enable"):
            self.sensors[op.sensor].start_over()
            self.sensors[op.sensor].jumped_ns = None
            self.sensors[op.sensor].enabled = op.kind == "enable"
        if not jumped:
            return
        self.switched_ns = now
        if op.kind == "reset":
            demand("every_due_set_is_answered_once", call.lost >= len(self.wanted), "lost without being counted")
            self.wanted.clear()
        demand("every_due_set_is_answered_once", not self.wanted, (self.wanted, "not closed before a reset"))
        self.floor, self.unsure_floor, self.life = (-FOREVER, 0), False, False
        by_clock = op.kind == "reset" or any(r.reason.startswith("the clock") for r in call.resets)
        self.answer_next = by_clock and op.kind != "add"
        self.last, self.late = None, NO_LATE
        self.odd.clear()
        for name, sensor in self.sensors.items():
            recent = sensor.jumped_ns is not None and now - sensor.jumped_ns <= self.config.jump_ns
            if not by_clock and (recent or name == call.reference):
                for arrived in sensor.log:  # it may be kept, as one that lives in the new time already
                    arrived.sure = False
            else:
                sensor.start_over()

    def _log(self, call, jumped):
        """Log what arrived; returns it where it may be due for sure."""
        op = call.op
        sensor = self.sensors[op.measurement.sensor]
        if op.odd:
            stamp = op.measurement.stamp_ns
            self.odd.append((sensor.timing.name, op.measurement.start_ns or stamp - 1, stamp))
        reasons = [r.reason for r in call.resets if r.sensor in (None, op.measurement.sensor)]
        if any(reason.startswith("the stamps") for reason in reasons):
            sensor.keep_nearest(4, op.measurement.stamp_ns)  # one of these was held back
            sensor.newest = sensor.held = None
            sensor.stamps.clear()
        arrived = sensor.arrive(op.measurement, op.now_ns, self.config.jump_ns)
        if jumped and not sensor.timing.is_event and self._begins(sensor, arrived, reasons[-1]):
            self._owe(sensor, sensor.log[-1])
            self.checked["after_a_jump_the_next_good_measurement_is_answered"] += 1
            return None
        if arrived is not None and self.answer_next:
            self.answer_next = False
            if not sensor.timing.is_event:
                self.checked["after_a_jump_the_next_good_measurement_is_answered"] += 1
                self._owe(sensor, arrived)
                return None
        return arrived

    @staticmethod
    def _begins(sensor, arrived, reason):
        """Whether the new time begins with what has just arrived, rather than with what had arrived before."""
        newest = arrived is not None and arrived.at_ns == max(a.at_ns for a in sensor.log)
        return reason.startswith("the stamps") or ("is now the reference" in reason and newest)

    def _owe(self, sensor, arrived):
        self.wanted[sensor.timing.name, arrived.measurement.stamp_ns] = arrived.at_ns
        self.checked["every_due_set_is_answered_once"] += 1

    def _above_floor(self, at_ns, stamp_ns):
        return at_ns > max(self.floor[0], self.since_ns) and stamp_ns > self.floor[1]

    def _raise_floor(self, at_ns, stamp_ns):
        self.floor = max(self.floor[0], at_ns), max(self.floor[1], stamp_ns)

    def _expect(self, sensor, arrived):
        """A sure measurement of the reference: due above the floor."""
        if self.unsure_floor:
            return
        if sensor.timing.is_event:
            self._expect_multiples(sensor, arrived)
        elif self._above_floor(arrived.at_ns, arrived.measurement.stamp_ns):
            self._owe(sensor, arrived)
        else:
            self._judge_late(sensor, arrived)

    def _judge_late(self, sensor, arrived):
        """A clock that was set back by little: its stamps may be late for a while, not for long."""
        timing = sensor.timing
        if self.last is None or self.last[2] != timing.name or arrived.at_ns > self.last[1]:
            return  # what lies above its last set is below one that is open, of the sensor that led before
        goes_on = self.late.of == self.last and arrived.at_ns > self.late.at_ns
        if not goes_on:  # a single stamp that was a little too high may hold up those after it for jump_ns
            reach = self.config.jump_ns if self._follows_one_too_high(sensor, arrived.at_ns) else timing.step_back_ns
            self.late = Late(self.last, arrived.at_ns, 0, reach // timing.period_ns + 5)
        self.late = replace(self.late, at_ns=arrived.at_ns, count=self.late.count + 1)
        self.checked["a_small_step_back_is_followed"] += 1
        demand("a_small_step_back_is_followed", self.late.count <= self.late.most, self.late)

    def _follows_one_too_high(self, sensor, at_ns):
        """Whether the last set is farther above a stamp than disorder reaches, but no other stamp than its own is.

        The first stamp of all counts twice: with nothing before it, it is no exception. A set of before the sensor was
        switched off is one too high; one of before its stamps have just jumped is not.
        """
        if all(a.at_ns != self.last[1] for a in sensor.log):
            return sensor.jumped_ns is None or self.now_ns - sensor.jumped_ns > self.config.jump_ns
        sure = [a.at_ns for a in sensor.log if a.sure]
        second = sorted([*sure, *sure[:1]])[-2]
        return second - at_ns <= sensor.timing.step_back_ns < self.last[1] - at_ns

    def _follows_odd(self):
        """Whether the last set is of a single stamp that was a little too high: it may hold up others for jump_ns."""
        return self.last is not None and any(
            name == self.last[2] and start < self.last[0] <= stamp for name, start, stamp in self.odd
        )

    def _expect_multiples(self, sensor, arrived):
        timing = sensor.timing
        before = max((a.at_ns for a in sensor.log if a is not arrived), default=None)
        if before is None or arrived.at_ns - before > self.config.max_open_sets * timing.period_ns:
            return
        period = timing.period_ns
        for time in range((before // period + 1) * period, arrived.at_ns + 1, period):
            chunks = [a for a in sensor.candidates(time - timing.window_ns + 1, time - 1) if a.start_ns < time]
            half = 2 * covered_ns(chunks, time - timing.window_ns, time) >= timing.window_ns
            if half and all(a.sure for a in chunks) and self._above_floor(time, time):
                self.wanted[timing.name, time] = time
                self.checked["every_due_set_is_answered_once"] += 1

    def _switch(self, call, opened, jumped):
        """Another sensor is the reference: what of it lies above everything that is open or was given, is due."""
        self.switched_ns = self.now_ns
        if not jumped:
            self.since_ns = -FOREVER
        for (_, stamp), at in self.wanted.items():
            self._raise_floor(at, stamp)
        if call.reference is None:
            self.life = False
            return
        sensor = self.sensors[call.reference]
        if call.op.kind == "add" and (call.reference_before is None or not self.life):
            self.since_ns = call.op.measurement.stamp_ns - sensor.timing.offset_ns - 1
        if jumped or self.unsure_floor or sensor.timing.is_event:
            return
        if call.reference_before is None:
            mine = [opened] if opened is not None and opened.measurement.sensor == call.reference else []
        else:
            mine = [a for a in sensor.candidates(-FOREVER, FOREVER) if a.sure] if self.life else []
        for arrived in mine:
            if self._above_floor(arrived.at_ns, arrived.measurement.stamp_ns):
                self._owe(sensor, arrived)

    def _judge_sets(self, call, sets):
        names = set(self.sensors)
        for each in sets:
            sensor = self.sensors[each.reference]
            at = each.stamp_ns - (0 if sensor.timing.is_event else sensor.timing.offset_ns)
            rises = self.last is None or (each.stamp_ns > self.last[0] and at > self.last[1])
            demand("stamps_rise_between_jumps", rises, (each, self.last))
            self.last = (each.stamp_ns, at, each.reference)
            self.wanted.pop((each.reference, each.stamp_ns), None)
            self._raise_floor(at, each.stamp_ns)
            shape = set(each.present) | set(each.absent) == names and not set(each.present) & set(each.absent)
            demand("every_sensor_is_present_or_absent", shape, each)
            has = each.reference in each.present or each.absent[each.reference] in (Absence.EMPTY, Absence.DISABLED)
            demand("the_reference_is_in_its_set", has or sensor.timing.is_event, each)
            waited = each.closed_ns - max(each.due_ns, self.switched_ns)
            in_time = waited <= self.config.max_wait_ns or call.op.drained
            demand("nothing_waits_past_its_deadline", in_time, (each, waited))
            for other in self.sensors.values():
                self._judge_partner(other, each, at)
        for name in ("stamps_rise_between_jumps", "nothing_waits_past_its_deadline"):
            self.checked[name] += len(sets)

    def _judge_partner(self, sensor, each, at):
        if not sensor.enabled or (sensor.timing.name == each.reference and not sensor.timing.is_event):
            return
        if not sensor.timing.is_event:
            check_partner(sensor, each, at)
            self.checked["partner_is_the_nearest"] += 1
        elif check_window(sensor, each, at):
            self.checked["window_is_whole"] += 1

    def _account(self, call):
        """What holds after every call: bounds, silence."""
        now = self.now_ns
        self.unsure_floor = call.open_sets > 0 and (self.unsure_floor or call.open_sets != len(self.wanted))
        opened = bool(call.given[call.old :] or call.open_sets)
        self.life = call.reference is not None and (self.life or opened)
        demand("memory_is_bounded", call.open_sets <= self.config.max_open_sets, call.open_sets)
        self.checked["memory_is_bounded"] += 1
        if call.given or self.is_disturbed(call):
            self.quiet_since_ns = now
        if self.is_disturbed(call):
            for sensor in self.sensors.values():
                sensor.steady_since_ns = None
        elif call.op.kind == "add":
            self._judge_silence(self.sensors[call.op.measurement.sensor], call.reference)

    def is_disturbed(self, call):
        """Whether more happened than that time passed and something arrived."""
        op = call.op
        return call.resets or op.kind not in ("add", "advance", "answer") or op.drained or op.odd or self.now_ns == 0

    def longest_silence_ns(self):
        """How long there may be no output while one sensor delivers steadily."""
        offsets = [t.offset_ns for t in self.config.sensors]
        limit = 3 * max(t.stale_ns for t in self.config.sensors) + self.config.max_wait_ns
        limit += max(offsets) - min(offsets) + self.tape.lagged_ns  # stamps rise, whichever sensor leads
        return limit + (self.config.jump_ns if self.tape.shifted or self._follows_odd() else 0)

    def _judge_silence(self, sensor, reference):
        """While one sensor delivers steadily, there is output."""
        if sensor.steady_since_ns is None or reference is None:
            return
        silent = self.now_ns - max(sensor.steady_since_ns, self.quiet_since_ns)
        self.checked["while_one_sensor_lives_there_is_output"] += 1
        demand(
            "while_one_sensor_lives_there_is_output",
            silent <= self.longest_silence_ns(),
            (sensor.timing.name, silent / SECOND),
        )
